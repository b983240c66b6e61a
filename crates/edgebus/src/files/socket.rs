//! Names of Unix sockets in the file system.
//!
//! Invariants: nobody can connect before the socket has the mode it is to have; a socket that
//! somebody listens on is never replaced, and one that is not ours any more never removed.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Sets names aside apart from each other within this process.
static LAST_ASIDE: AtomicU64 = AtomicU64::new(0);

/// The name of a socket that is listened on. Removed when this is dropped, unless another has taken
/// it over.
#[derive(Debug)]
pub(crate) struct SocketName {
    path: PathBuf,
    inode: (u64, u64),
}

/// Listens on a Unix socket, which gets these permissions. A socket that is left over, and that
/// nobody listens on any more, is replaced. The listener does not block.
///
/// # Errors
/// Somebody listens there, something that is no socket is there, or what the operating system
/// says.
pub(crate) fn listen(
    path: &Path,
    mode: u32,
    backlog: i32,
) -> io::Result<(UnixListener, SocketName)> {
    // What is bound is another name, which is shorter: this one nobody could connect to.
    SocketAddrUnix::new(path)?;
    look_for_another(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let aside = aside(path);
    // Of a process with this number that died here.
    let _ = fs::remove_file(&aside);
    net::bind(&socket, &SocketAddrUnix::new(&aside)?)?;
    let named = || {
        fs::set_permissions(&aside, fs::Permissions::from_mode(mode))?;
        let inode = inode(&aside)?;
        net::listen(&socket, backlog)?;
        fs::rename(&aside, path)?;
        Ok(inode)
    };
    match named() {
        Ok(inode) => {
            let path = path.to_owned();
            Ok((socket.into(), SocketName { path, inode }))
        }
        Err(error) => {
            let _ = fs::remove_file(&aside);
            Err(error)
        }
    }
}

/// Says whether somebody listens there, or whether it is no socket.
fn look_for_another(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        let what = "there is something that is no socket: move it, or listen elsewhere";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
    }
    // Not blocking: a listener that takes nobody would hold this up for ever.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match net::connect(&socket, &SocketAddrUnix::new(path)?) {
        Err(rustix::io::Errno::CONNREFUSED | rustix::io::Errno::NOENT) => Ok(()),
        Ok(()) | Err(rustix::io::Errno::AGAIN) => {
            let what = "another process listens on it";
            Err(io::Error::new(io::ErrorKind::AddrInUse, what))
        }
        Err(error) => Err(error.into()),
    }
}

/// A name in the same folder, and no longer than most: the system limits their length.
fn aside(path: &Path) -> PathBuf {
    let number = LAST_ASIDE.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{}-{number}", std::process::id()))
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl Drop for SocketName {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            // What is left over is replaced by the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").mode() & 0o777
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("folder");
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("entry").file_name();
        entries
            .map(|entry| name(entry).into_string().expect("text"))
            .collect()
    }

    #[test]
    fn socket_has_its_mode_and_goes_with_its_listener() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("bus.sock");
        let (listener, name) = listen(&path, 0o640, 16).expect("listens");
        assert_eq!(mode(&path), 0o640);
        assert_eq!(names(folder.path()), ["bus.sock"]);
        UnixStream::connect(&path).expect("connects");
        drop((listener, name));
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn socket_that_somebody_listens_on_is_not_replaced_but_one_left_over_is() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("bus.sock");
        let (listener, name) = listen(&path, 0o600, 16).expect("listens");
        let error = listen(&path, 0o600, 16).expect_err("one listens");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        UnixStream::connect(&path).expect("still connects");
        // As after a crash: nobody listens, but the name is there.
        drop(listener);
        let (_second, second_name) = listen(&path, 0o600, 16).expect("left over");
        // The first finds that it is not its own any more.
        drop(name);
        UnixStream::connect(&path).expect("connects to the second");
        drop(second_name);
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn what_is_no_socket_is_never_replaced() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("bus.sock");
        fs::write(&path, "mine").expect("written");
        let error = listen(&path, 0o600, 16).expect_err("a file");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).expect("kept"), b"mine");
        assert_eq!(names(folder.path()), ["bus.sock"]);
    }
}
