//! Opening a spool: lock, journal, and what a crash left in it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::cursor::{Cursor, Ground};
use super::folder::Folder;
use super::index::{Figures, Index};
use super::write::{Batch, Room};
use super::{Spool, SpoolConfig};
use crate::clock::{Clock, SystemClock};
use crate::files::{Files, RealFiles};
use crate::store::StoreError;
use crate::store::journal::{Begins, Journal, recover};
use crate::store::store_time::StoreTime;

impl Spool {
    /// Opens the spool in a folder, or makes one there if the folder is empty or missing.
    ///
    /// # Errors
    /// [`StoreError::DataInUse`] when another process has it; [`StoreError::WrongKind`] for a
    /// store's folder; [`StoreError::Corrupt`] names the place; any other as it says. Whatever was
    /// spooled stays in the folder.
    pub fn open(dir: &Path, config: SpoolConfig) -> Result<Self, StoreError> {
        let clock = Arc::new(SystemClock::default());
        Self::open_with(dir, config, Arc::new(RealFiles), clock)
    }

    /// Opens a spool on given files and a given clock.
    ///
    /// # Errors
    /// As [`Spool::open`], and [`edgebus_core::Code::BadConfig`].
    pub fn open_with(
        dir: &Path,
        config: SpoolConfig,
        files: Arc<dyn Files>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        config.check()?;
        let now = clock.now();
        let folder = Folder::open(&*files, dir)?;
        let mut index = Index::default();
        let recovered = recover(
            &*files,
            &folder.journal,
            config.segment_bytes,
            Begins::Anywhere,
            |place, header, ops| {
                let end = place.offset + header.disk_bytes() as u64;
                index.take_group(place, end, &ops)
            },
        )?;
        let ground = Ground {
            files: files.clone(),
            journal: folder.journal.clone(),
        };
        index.check_whole(&ground)?;
        if folder.is_new && index.next > 1 {
            let detail = "the file is missing, but there is a journal";
            return Err(StoreError::corrupt(&dir.join("VERSION"), detail));
        }
        if !folder.is_new {
            index.check_there_is_one(&ground)?;
        }
        index.tally(|index, figures| ground.waiting_bytes(index, figures))?;

        let segments = Arc::new(recovered.segments.with_one_spare());
        let mut journal = Journal::new(
            files,
            &ground.journal,
            segments.clone(),
            recovered.next_number,
            recovered.last_lsn,
        );
        if let Some(end) = recovered.end {
            journal.go_on(end)?;
            let place = journal.place().expect("it was just told where to go on");
            if index
                .segments
                .back()
                .is_none_or(|last| last.segment != place.segment)
            {
                index.segments.push_back(Figures::new(place));
            }
        }
        let cursor = Cursor::before(&index, index.first);
        let mut spool = Self {
            config,
            ground,
            clock,
            journal,
            segments,
            index,
            time: StoreTime::resume(recovered.last_times_ms, now),
            next_lsn: recovered.last_lsn.next(),
            cursor,
            ahead: None,
            out: BTreeMap::new(),
            owed: BTreeMap::new(),
            torn: recovered.torn,
            stopped: None,
            _folder: folder,
        };
        spool.begin()?;
        Ok(spool)
    }

    /// Writes what has to be there before the first request: the first mark, behind a tear too, so
    /// that it is found once, and VERSION.
    fn begin(&mut self) -> Result<(), StoreError> {
        if self.index.marked.is_none() {
            (self.index.first, self.index.next) = (1, 1);
            self.write(Batch::default(), Room::Freed)?;
        } else if self.torn.is_some() {
            match self.write(Batch::default(), Room::Freed) {
                // Then it is found again, unless there is room for a request before.
                Err(StoreError::Full { .. }) => {}
                other => other?,
            }
        }
        if self._folder.is_new {
            let files = self.ground.files.clone();
            self._folder.mark(&*files)?;
        }
        self.free()
    }
}
