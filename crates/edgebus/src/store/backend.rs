//! redb's storage on our own files, so that simulated faults reach redb too.
//!
//! Growth is allocated for real: a full disk then shows before a commit, not in the middle of one.
//!
//! redb writes to a file it only opens. While a store is being opened these writes are held back,
//! so that one that turns out to be damaged is left exactly as it was found.

use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use redb::{BackendError, StorageBackend};

use crate::files::File;

/// One file as redb's storage; clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct FileBackend(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: Arc<dyn File>,
    /// Whether writes go to the file; never taken back.
    released: AtomicBool,
    held: Mutex<Held>,
}

/// What redb did before the release.
#[derive(Debug, Default)]
struct Held {
    changes: Vec<Change>,
    /// `None` while it is the file's own.
    len: Option<u64>,
}

#[derive(Debug)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    SetLen(u64),
    Sync,
}

impl FileBackend {
    /// A file that redb only reads until [`FileBackend::release`].
    pub(super) fn held(file: Arc<dyn File>) -> Self {
        Self(Arc::new(Inner {
            file,
            released: AtomicBool::new(false),
            held: Mutex::default(),
        }))
    }

    /// A file that redb reads and writes.
    pub(super) fn released(file: Arc<dyn File>) -> Self {
        let backend = Self::held(file);
        backend.0.released.store(true, Ordering::Release);
        backend
    }

    /// Does what was held back, in the order it was asked for, and holds nothing back any more.
    ///
    /// # Errors
    /// What the operating system says; the database must not be used then.
    pub(super) fn release(&self) -> io::Result<()> {
        let mut held = self.0.held.lock();
        for change in held.changes.drain(..) {
            match change {
                Change::Write { offset, bytes } => self.0.file.write_at(&bytes, offset)?,
                Change::SetLen(len) => set_len(&*self.0.file, len)?,
                Change::Sync => sync(&*self.0.file)?,
            }
        }
        self.0.released.store(true, Ordering::Release);
        Ok(())
    }

    /// Calls one of two: on the file, or on what is held back.
    fn either<T>(
        &self,
        on_file: impl FnOnce(&dyn File) -> io::Result<T>,
        on_held: impl FnOnce(&dyn File, &mut Held) -> io::Result<T>,
    ) -> io::Result<T> {
        let file = &*self.0.file;
        if self.0.released.load(Ordering::Acquire) {
            return on_file(file);
        }
        on_held(file, &mut self.0.held.lock())
    }
}

impl Held {
    fn len(&self, file: &dyn File) -> io::Result<u64> {
        self.len.map_or_else(|| file.len(), Ok)
    }

    /// Reads the file as it would be if everything had been done.
    fn read(&self, file: &dyn File, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset + out.len() as u64;
        if end > self.len(file)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let on_file = file.len()?.clamp(offset, end) - offset;
        let (there, beyond) = out.split_at_mut(on_file as usize);
        file.read_at(there, offset)?;
        beyond.fill(0);
        for change in &self.changes {
            match change {
                Change::Write { offset: at, bytes } => {
                    let from = offset.max(*at);
                    let to = end.min(at + bytes.len() as u64);
                    if from < to {
                        out[(from - offset) as usize..(to - offset) as usize]
                            .copy_from_slice(&bytes[(from - at) as usize..(to - at) as usize]);
                    }
                }
                Change::SetLen(len) => {
                    let kept = len.clamp(&offset, &end) - offset;
                    out[kept as usize..].fill(0);
                }
                Change::Sync => {}
            }
        }
        Ok(())
    }
}

fn set_len(file: &dyn File, len: u64) -> io::Result<()> {
    if len > file.len()? {
        file.allocate(len)
    } else {
        file.set_len(len)
    }
}

/// The kind of the error goes, so that a failed sync is never taken for a full disk.
fn sync(file: &dyn File) -> io::Result<()> {
    file.sync().map_err(io::Error::other)
}

impl StorageBackend for FileBackend {
    fn len(&self) -> io::Result<u64> {
        self.either(|file| file.len(), |file, held| held.len(file))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        // Only one of the two runs, but both want the buffer.
        if self.0.released.load(Ordering::Acquire) {
            return self.0.file.read_at(out, offset);
        }
        self.0.held.lock().read(&*self.0.file, offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.either(
            |file| set_len(file, len),
            |_, held| {
                held.len = Some(len);
                held.changes.push(Change::SetLen(len));
                Ok(())
            },
        )
    }

    fn sync_data(&self) -> io::Result<()> {
        self.either(sync, |_, held| {
            held.changes.push(Change::Sync);
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.either(
            |file| file.write_at(data, offset),
            |file, held| {
                let end = offset + data.len() as u64;
                held.len = Some(held.len(file)?.max(end));
                let bytes = data.to_vec();
                held.changes.push(Change::Write { offset, bytes });
                Ok(())
            },
        )
    }

    /// Only the whole file can be locked, which is what one writing process needs.
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        match (start, end) {
            (Bound::Unbounded | Bound::Included(0), Bound::Unbounded) => {
                self.0.file.try_lock().map_err(BackendError::Io)
            }
            _ => Err(BackendError::Unsupported),
        }
    }

    fn unlock_range(&self, _start: Bound<u64>, _end: Bound<u64>) -> Result<(), BackendError> {
        self.0.file.unlock().map_err(BackendError::Io)
    }

    /// Read views may outlive the database, and with them this file: so the lock goes first.
    fn close(&self) -> io::Result<()> {
        self.0.file.unlock()
    }
}
