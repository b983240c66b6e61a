//! Files as they would be with some of their bytes put right, and some of them gone. Nothing is
//! written.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::files::{File, Files, OpenMode};

/// See the module. Files are opened for reading only.
#[derive(Debug)]
pub(super) struct Patched {
    files: Arc<dyn Files>,
    bytes: Mutex<BTreeMap<PathBuf, BTreeMap<u64, u8>>>,
    hidden: Mutex<BTreeSet<PathBuf>>,
}

#[derive(Debug)]
struct PatchedFile {
    file: Arc<dyn File>,
    bytes: BTreeMap<u64, u8>,
}

impl Patched {
    pub(super) fn over(files: Arc<dyn Files>) -> Self {
        Self {
            files,
            bytes: Mutex::default(),
            hidden: Mutex::default(),
        }
    }

    /// Has a byte of a file be another one, for whoever opens it from here on.
    pub(super) fn put(&self, path: &Path, at: u64, byte: u8) {
        let mut bytes = self.bytes.lock();
        bytes.entry(path.to_owned()).or_default().insert(at, byte);
    }

    /// Has a file not be there, for whoever looks from here on.
    pub(super) fn hide(&self, path: &Path) {
        self.hidden.lock().insert(path.to_owned());
    }
}

fn read_only<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Files for Patched {
    fn create_dir(&self, _path: &Path) -> io::Result<()> {
        read_only()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = self.files.list(dir)?;
        let hidden = self.hidden.lock();
        names.retain(|name| !hidden.contains(&dir.join(name)));
        Ok(names)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        if mode != OpenMode::Read {
            return read_only();
        }
        let file = self.files.open(path, OpenMode::Read)?;
        let bytes = self.bytes.lock().get(path).cloned().unwrap_or_default();
        Ok(Arc::new(PatchedFile { file, bytes }))
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        read_only()
    }

    fn remove(&self, _path: &Path) -> io::Result<()> {
        read_only()
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.files.free_bytes(dir)
    }
}

impl File for PatchedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)?;
        let end = offset + buffer.len() as u64;
        for (at, byte) in self.bytes.range(offset..end) {
            buffer[(at - offset) as usize] = *byte;
        }
        Ok(())
    }

    fn write_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        read_only()
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn allocate(&self, _len: u64) -> io::Result<()> {
        read_only()
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        read_only()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.file.drop_cache()
    }

    fn try_lock(&self) -> io::Result<bool> {
        read_only()
    }

    fn unlock(&self) -> io::Result<()> {
        Ok(())
    }
}
