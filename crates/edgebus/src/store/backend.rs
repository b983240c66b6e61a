//! redb's storage on our own files, so that simulated faults reach redb too.
//!
//! Growth is allocated for real: a full disk then shows before a commit, not in the middle of one.

use std::io;
use std::ops::Bound;
use std::sync::Arc;

use redb::{BackendError, StorageBackend};

use crate::files::File;

/// One file as redb's storage.
#[derive(Debug)]
pub(super) struct FileBackend(pub(super) Arc<dyn File>);

impl StorageBackend for FileBackend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if len > self.0.len()? {
            self.0.allocate(len)
        } else {
            self.0.set_len(len)
        }
    }

    /// The kind of the error goes, so that a failed sync is never taken for a full disk.
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync().map_err(io::Error::other)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(data, offset)
    }

    /// Only the whole file can be locked, which is what one writing process needs.
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        match (start, end) {
            (Bound::Unbounded | Bound::Included(0), Bound::Unbounded) => {
                self.0.try_lock().map_err(BackendError::Io)
            }
            _ => Err(BackendError::Unsupported),
        }
    }

    fn unlock_range(&self, _start: Bound<u64>, _end: Bound<u64>) -> Result<(), BackendError> {
        self.0.unlock().map_err(BackendError::Io)
    }

    /// Read views may outlive the database, and with them this file: so the lock goes first.
    fn close(&self) -> io::Result<()> {
        self.0.unlock()
    }
}
