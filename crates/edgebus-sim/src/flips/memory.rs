//! Files in memory that can be copied whole: a store is damaged, opened and thrown away thousands
//! of times.
//!
//! They behave well. [`crate::disk`] is for power cuts; nothing is cut here.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use edgebus::files::{File, Files, OpenMode};

/// Bytes of files by path.
pub(crate) type Image = BTreeMap<PathBuf, Vec<u8>>;

/// A file system in memory; clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(Arc<Mutex<BTreeMap<PathBuf, Arc<Content>>>>);

#[derive(Debug, Default)]
struct Content {
    bytes: Mutex<Vec<u8>>,
    is_locked: AtomicBool,
}

/// An open file.
#[derive(Debug)]
struct Handle {
    content: Arc<Content>,
    has_lock: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic of the store is something to be found out, not to be spread.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    /// With these files.
    pub(crate) fn with(image: &Image) -> Self {
        let files = image.iter().map(|(path, bytes)| {
            let content = Content {
                bytes: Mutex::new(bytes.clone()),
                is_locked: AtomicBool::new(false),
            };
            (path.clone(), Arc::new(content))
        });
        Self(Arc::new(Mutex::new(files.collect())))
    }

    /// All files as they are.
    pub(crate) fn image(&self) -> Image {
        let files = lock(&self.0);
        let files = files.iter();
        files
            .map(|(path, content)| (path.clone(), lock(&content.bytes).clone()))
            .collect()
    }
}

impl Files for Memory {
    fn create_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let files = lock(&self.0);
        let inside = files.keys().filter(|path| path.parent() == Some(dir));
        let names = inside.filter_map(|path| path.file_name()?.to_str());
        Ok(names.map(str::to_owned).collect())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut files = lock(&self.0);
        let is_made = matches!(mode, OpenMode::Create | OpenMode::Truncate);
        let content = match files.get(path) {
            Some(content) => content.clone(),
            None if is_made => {
                let content = Arc::<Content>::default();
                files.insert(path.to_owned(), content.clone());
                content
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        if mode == OpenMode::Truncate {
            lock(&content.bytes).clear();
        }
        Ok(Arc::new(Handle {
            content,
            has_lock: AtomicBool::new(false),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = lock(&self.0);
        let content = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = lock(&self.0).remove(path);
        removed.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(1 << 40)
    }
}

impl File for Handle {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = lock(&self.content.bytes);
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = from
            .checked_add(buffer.len())
            .and_then(|end| bytes.get(from..end));
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let mut bytes = lock(&self.content.bytes);
        let end = offset as usize + data.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset as usize..end].copy_from_slice(data);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut bytes = lock(&self.content.bytes);
        let len = bytes.len().max(within_bounds(len)?);
        bytes.resize(len, 0);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        lock(&self.content.bytes).resize(within_bounds(len)?, 0);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.content.bytes).len() as u64)
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(())
    }

    fn try_lock(&self) -> io::Result<bool> {
        let is_free = !self.content.is_locked.swap(true, Ordering::AcqRel);
        self.has_lock.fetch_or(is_free, Ordering::AcqRel);
        Ok(is_free)
    }

    fn unlock(&self) -> io::Result<()> {
        if self.has_lock.swap(false, Ordering::AcqRel) {
            self.content.is_locked.store(false, Ordering::Release);
        }
        Ok(())
    }
}

/// A damaged length must not take the machine's memory.
fn within_bounds(len: u64) -> io::Result<usize> {
    const BYTES_MAX: u64 = 1 << 28;
    match len <= BYTES_MAX {
        true => Ok(len as usize),
        false => Err(io::ErrorKind::StorageFull.into()),
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Nothing can be done about an unlock that fails, and this one does not.
        let _ = self.unlock();
    }
}
