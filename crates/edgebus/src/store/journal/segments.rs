//! Which segments are in use, which may be used again, and which are kept in reserve.
//!
//! Shared by the writer (which opens segments) and the sealer (which frees them). A freed segment
//! is renamed aside and the folder synced before anything in it is overwritten: a power cut never
//! finds a new header under an old name.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use edgebus_core::Lsn;
use parking_lot::Mutex;

use super::segment;
use crate::files::{File, Files, OpenMode};
use crate::store::StoreError;

/// Spare segments kept beyond those in use: one in reserve for a full disk, one to switch to.
const SPARES: usize = 2;

/// The segments of a journal.
#[derive(Debug)]
pub(crate) struct Segments {
    segment_bytes: u64,
    /// How many spares are made; more are only kept.
    spares_made: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Oldest first; the last one is written to.
    used: VecDeque<Used>,
    spares: Vec<Spare>,
    next_spare: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    pub(super) number: u64,
    /// The last lsn in it; one before its first when it is empty.
    pub(super) last_lsn: Lsn,
    /// Size of its file.
    pub(super) bytes: u64,
}

/// A prepared file: right size, no group that counts.
#[derive(Clone, Debug)]
pub(super) struct Spare {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn File>,
}

impl Segments {
    /// None yet, of that size.
    pub(crate) fn none(segment_bytes: u64) -> Self {
        Self {
            segment_bytes,
            spares_made: SPARES,
            state: Mutex::default(),
        }
    }

    /// The segments found in use, oldest first, and the spares among the names of a folder. What
    /// a spare holds does not matter; one of another size is removed.
    ///
    /// # Errors
    /// What the operating system says.
    pub(super) fn open(
        files: &dyn Files,
        dir: &Path,
        segment_bytes: u64,
        used: Vec<Used>,
        names: &[String],
    ) -> Result<Self, StoreError> {
        let mut state = State {
            used: used.into(),
            ..State::default()
        };
        for name in names {
            let Some(number) = name.strip_prefix("spare-") else {
                continue;
            };
            let path = dir.join(name);
            let file = open(files, &path, OpenMode::Existing)?;
            let len = file
                .len()
                .map_err(|e| StoreError::io("measure", &path, e))?;
            if len == segment_bytes && state.spares.len() < SPARES {
                state.spares.push(Spare { path, file });
            } else {
                files
                    .remove(&path)
                    .map_err(|e| StoreError::io("remove", &path, e))?;
            }
            state.next_spare = state.next_spare.max(number.parse().unwrap_or(0));
        }
        Ok(Self {
            segment_bytes,
            spares_made: SPARES,
            state: Mutex::new(state),
        })
    }

    /// With the one spare for a full disk made, and others only kept when they fall off: for a
    /// small journal.
    pub(crate) fn with_one_spare(mut self) -> Self {
        self.spares_made = 1;
        self
    }

    /// Size of a segment.
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// How many are in use.
    pub(crate) fn used(&self) -> usize {
        self.state.lock().used.len()
    }

    /// How many spares there are.
    pub(crate) fn spares(&self) -> usize {
        self.state.lock().spares.len()
    }

    /// Bytes of the files in use.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.state.lock().used.iter().map(|used| used.bytes).sum()
    }

    pub(super) fn open_active(&self, number: u64, first_lsn: Lsn, bytes: u64) {
        self.state.lock().used.push_back(Used {
            number,
            last_lsn: Lsn(first_lsn.0 - 1),
            bytes,
        });
    }

    pub(super) fn extend_active(&self, last_lsn: Lsn) {
        if let Some(active) = self.state.lock().used.back_mut() {
            active.last_lsn = last_lsn;
        }
    }

    /// A prepared file to become the next segment, created on the spot when there is none, when as
    /// few are left as are to be kept, or another size is wanted.
    pub(super) fn take_spare(
        &self,
        files: &dyn Files,
        dir: &Path,
        bytes: u64,
        keep: usize,
    ) -> Result<Spare, StoreError> {
        let usual = bytes == self.segment_bytes;
        let take = || {
            let mut state = self.state.lock();
            let more = usual && state.spares.len() > keep;
            more.then(|| state.spares.pop()).flatten()
        };
        let spare = take();
        match spare {
            Some(spare) => Ok(spare),
            None => self.create_spare(files, dir, bytes),
        }
    }

    /// Frees segments whose last lsn is at most `sealed`, then sees to it that there are spares.
    /// Called by the sealer. A full disk leaves fewer spares and is no error.
    ///
    /// # Errors
    /// What the operating system says; the store must stop.
    pub(crate) fn maintain(
        &self,
        files: &dyn Files,
        dir: &Path,
        sealed: Lsn,
    ) -> Result<(), StoreError> {
        while let Some(number) = self.oldest_free(|oldest| oldest.last_lsn <= sealed) {
            self.free(files, dir, number)?;
        }
        self.make_spares(files, dir)
    }

    /// The same for segments with smaller numbers than this one.
    ///
    /// # Errors
    /// As [`Segments::maintain`].
    pub(crate) fn free_before(
        &self,
        files: &dyn Files,
        dir: &Path,
        first: u64,
    ) -> Result<(), StoreError> {
        while let Some(number) = self.oldest_free(|oldest| oldest.number < first) {
            self.free(files, dir, number)?;
        }
        self.make_spares(files, dir)
    }

    /// Makes the spares that are missing, as far as there is room.
    ///
    /// # Errors
    /// What the operating system says, but for a full disk.
    pub(crate) fn make_spares(&self, files: &dyn Files, dir: &Path) -> Result<(), StoreError> {
        while self.state.lock().spares.len() < self.spares_made {
            match self.create_spare(files, dir, self.segment_bytes) {
                Ok(spare) => self.state.lock().spares.push(spare),
                Err(StoreError::Full { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The oldest segment, unless it is the last one too or is still needed.
    fn oldest_free(&self, is_free: impl Fn(&Used) -> bool) -> Option<u64> {
        let state = self.state.lock();
        let oldest = state.used.front()?;
        (state.used.len() > 1 && is_free(oldest)).then_some(oldest.number)
    }

    /// Takes the oldest segment out of use. The folder is synced before the next one is freed: a
    /// power cut must not bring this one back without the one behind it.
    fn free(&self, files: &dyn Files, dir: &Path, number: u64) -> Result<(), StoreError> {
        let path = dir.join(segment::file_name(number));
        let len = open(files, &path, OpenMode::Existing)?.len();
        let len = len.map_err(|e| StoreError::io("measure", &path, e))?;
        // Another size: of a store that was configured otherwise, or cut off.
        let wanted = len == self.segment_bytes && self.state.lock().spares.len() < SPARES;
        let spare = wanted.then(|| self.next_spare_path(dir));
        match &spare {
            Some(spare) => files
                .rename(&path, spare)
                .map_err(|e| StoreError::io("rename", &path, e))?,
            None => files
                .remove(&path)
                .map_err(|e| StoreError::io("remove", &path, e))?,
        }
        files.sync_dir(dir).map_err(|e| StoreError::sync(dir, e))?;
        self.state.lock().used.pop_front();
        if let Some(path) = spare {
            let file = open(files, &path, OpenMode::Existing)?;
            self.state.lock().spares.push(Spare { path, file });
        }
        Ok(())
    }

    fn next_spare_path(&self, dir: &Path) -> PathBuf {
        let mut state = self.state.lock();
        state.next_spare += 1;
        dir.join(format!("spare-{}", state.next_spare))
    }

    /// A new zero-filled file of full size, synced. Its name is not: whoever needs that syncs the
    /// folder. What a failure leaves behind is removed.
    fn create_spare(&self, files: &dyn Files, dir: &Path, bytes: u64) -> Result<Spare, StoreError> {
        let path = self.next_spare_path(dir);
        let file = open(files, &path, OpenMode::Truncate)?;
        let filled = fill(&*file, bytes).map_err(|e| StoreError::io("create", &path, e));
        let made = filled.and_then(|()| file.sync().map_err(|e| StoreError::sync(&path, e)));
        match made {
            Ok(()) => Ok(Spare { path, file }),
            Err(error) => {
                drop(file);
                // The disk is full or failing: the first error is the one to tell.
                let _ = files.remove(&path);
                Err(error)
            }
        }
    }
}

fn open(files: &dyn Files, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>, StoreError> {
    files
        .open(path, mode)
        .map_err(|e| StoreError::io("open", path, e))
}

/// Writes zeros over the whole length: a later sync of a group then changes no metadata.
fn fill(file: &dyn File, len: u64) -> std::io::Result<()> {
    const CHUNK: u64 = 1024 * 1024;
    let zeros = vec![0; CHUNK as usize];
    file.allocate(len)?;
    let mut at = 0;
    while at < len {
        let part = CHUNK.min(len - at);
        file.write_at(&zeros[..part as usize], at)?;
        at += part;
    }
    Ok(())
}
