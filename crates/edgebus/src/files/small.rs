//! Small files that people write: certificates, keys, tokens, rights. They are read whole, and are
//! no part of what is stored.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Who else may read a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Privacy {
    /// Anybody.
    Public,
    /// Nobody but its owner: a file that others may read or write is refused.
    Secret,
}

/// The largest file that is read, in bytes.
const BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Reads a whole file.
///
/// # Errors
/// When it cannot be read, is larger than 4 MiB, or others may read what is secret.
pub fn read_small(path: &Path, privacy: Privacy) -> io::Result<Vec<u8>> {
    let not = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    // Before it is opened, as opening a pipe waits for its other end.
    if !fs::metadata(path)?.is_file() {
        return Err(not("it is no file".to_owned()));
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let mode = metadata.mode() & 0o777;
    if privacy == Privacy::Secret && mode & 0o077 != 0 {
        let path = path.display();
        let what = format!("others may read or write it (mode {mode:04o}): chmod 600 {path}");
        return Err(not(what));
    }
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(not(format!("it is larger than {BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// What shows that a file was changed or replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    inode: (u64, u64),
    bytes: u64,
    changed: (i64, i64),
}

/// The stamp of a file; `None` when there is none to be seen.
pub fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some(Stamp {
        inode: (metadata.dev(), metadata.ino()),
        bytes: metadata.size(),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn secret_that_others_may_read_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("key");
        fs::write(&path, "secret").expect("written");
        for (mode, good) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
            assert!(read_small(&path, Privacy::Public).is_ok());
            match read_small(&path, Privacy::Secret) {
                Ok(bytes) => assert!(good && bytes == b"secret"),
                Err(error) => assert!(!good && error.to_string().contains("chmod 600")),
            }
        }
    }

    #[test]
    fn what_is_no_small_file_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        assert!(read_small(folder.path(), Privacy::Public).is_err());
        let path = folder.path().join("large");
        fs::write(&path, vec![0; BYTES_MAX as usize + 1]).expect("written");
        assert!(read_small(&path, Privacy::Public).is_err());
    }
}
