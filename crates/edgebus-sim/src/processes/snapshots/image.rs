//! A file that holds a file system, and what it held at one moment.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::processes::mounted::Loop;
use crate::processes::{Failure, tools};

/// Bytes copied at a time.
const PIECE: usize = 1024 * 1024;
/// How often a copy is made anew because something was written meanwhile.
const TRIES: u32 = 20;

/// Makes an image with an empty ext4 in it. Its journal is small, so that a copy is quick.
///
/// # Errors
/// [`Failure::CannotRun`] where the tool is missing, [`Failure::Broken`] when it fails.
pub(super) fn make(file: &Path, bytes: u64) -> Result<(), Failure> {
    let mkfs = tools::need_tool("mkfs.ext4", "e2fsprogs")?;
    let failed = |e| Failure::broken(file.display(), e);
    File::create(file)
        .and_then(|image| image.set_len(bytes))
        .map_err(failed)?;
    let name = file.to_string_lossy();
    tools::run(&mkfs, &["-q", "-F", "-J", "size=8", &name]).map(drop)
}

/// What the device behind an image held at one moment. Nobody who writes may run; what the kernel
/// still writes on its own is noticed, and the copy made anew.
///
/// # Errors
/// [`Failure::Broken`] when it cannot be copied, or the kernel does not come to rest.
pub(super) fn copy_at_rest(image: &Path, device: &Loop, copy: &Path) -> Result<(), Failure> {
    for _ in 0..TRIES {
        let before = device.activity()?;
        copy_sparse(image, copy).map_err(|e| Failure::broken(copy.display(), e))?;
        if written(&before) == written(&device.activity()?) {
            return Ok(());
        }
    }
    Err(Failure::Broken(format!(
        "the kernel kept writing to the device: no snapshot after {TRIES} tries"
    )))
}

/// What tells of writes in the figures of a block device: writes that ended, those on their way,
/// discards and flushes.
fn written(stat: &str) -> Vec<&str> {
    let figures: Vec<_> = stat.split_whitespace().collect();
    let fields = [4, 6, 8, 11, 15];
    fields
        .into_iter()
        .filter_map(|field| figures.get(field).copied())
        .collect()
}

/// Copies the parts of a file that were ever written.
///
/// # Errors
/// As reading and writing files.
fn copy_sparse(from: &Path, to: &Path) -> io::Result<()> {
    let from = File::open(from)?;
    let end = from.metadata()?.len();
    let to = File::create(to)?;
    to.set_len(end)?;
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    while at < end {
        let data = match seek(&from, SeekFrom::Data(at)) {
            Ok(data) => data,
            // Nothing but holes from here on.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let hole = seek(&from, SeekFrom::Hole(data))?;
        at = data;
        while at < hole {
            let wanted = piece.len().min((hole - at) as usize);
            let read = from.read_at(&mut piece[..wanted], at)?;
            if read == 0 {
                break;
            }
            to.write_all_at(&piece[..read], at)?;
            at += read as u64;
        }
        at = hole;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_is_the_same_and_keeps_holes() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let file = File::create(&from).expect("made");
        file.set_len(64 * 1024 * 1024).expect("sparse");
        for at in [0, 5_000_000, 40 * 1024 * 1024 + 17] {
            file.write_all_at(b"here", at).expect("written");
        }
        copy_sparse(&from, &to).expect("copied");
        let read = |path| std::fs::read(path).expect("readable");
        assert!(read(&from) == read(&to));
        let taken = tools::bytes_on_disk(folder.path()).expect("is there");
        assert!(taken < 16 * 1024 * 1024, "{taken}");
    }

    #[test]
    fn a_write_shows_in_the_figures_of_a_device_and_a_read_does_not() {
        let stat = |reads, writes| format!(" {reads} 0 8 1 {writes} 0 64 2 0 3 4 0 0 0 0 5 6\n");
        assert_eq!(written(&stat(1, 1)), written(&stat(2, 1)));
        assert_ne!(written(&stat(1, 1)), written(&stat(1, 2)));
    }
}
