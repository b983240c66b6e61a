//! The sealer: moves what is synced in the journal to the tables, so that journal space and
//! memory are used again.
//!
//! Runs beside the writer, one [`Sealer::step`] at a time. Invariants: only closed overlays are
//! sealed; the new view is published before an overlay goes; a journal segment is freed one seal
//! late, so that one lost redb commit is still recoverable; what nobody sees any more is removed in
//! pieces of bounded size.

mod prune;
mod write;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use edgebus_core::planted;
use edgebus_core::{Lsn, Seq};
use redb::Database;

use super::StoreError;
use super::front::{BlockInfo, LogFront};
use super::generations::{Closed, Generations};
use super::overlay::{Overlay, StoredId};
use super::sealed::Sealed;
use super::tables::{OpenTables, TablesFile, verify};
use super::view::{Counters, Shared};
use crate::files::Files;

/// What a step of the sealer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealStep {
    /// Something; call again.
    Worked,
    /// Nothing is left to do until an overlay is closed.
    Idle,
    /// The disk is full: call again later. Nothing is lost; reads and acks go on.
    Full,
}

/// Moves closed overlays to the tables.
#[derive(Debug)]
pub struct Sealer {
    shared: Arc<Shared>,
    files: Arc<dyn Files>,
    journal: PathBuf,
    tables: TablesFile,
    /// `None` only while the file is being reopened.
    database: Option<OpenTables>,
    generations: Generations,
    /// How long ids are known at least, milliseconds of store time.
    dedupe_horizon_ms: u64,
    /// What was sealed last, and what before that: journal up to there is not needed any more.
    sealed_last: Lsn,
    sealed_before: Lsn,
    maintained: bool,
    /// On a full disk: removing comes before sealing, every other time, as it makes the room that
    /// sealing needs.
    prune_first: bool,
}

impl Sealer {
    pub(super) fn new(
        shared: Arc<Shared>,
        files: Arc<dyn Files>,
        journal: PathBuf,
        tables: TablesFile,
        database: OpenTables,
        generations: Generations,
        dedupe_horizon_ms: u64,
    ) -> Self {
        let sealed_last = shared.state.read().sealed.lsn;
        note_size(&shared, &tables);
        Self {
            shared,
            files,
            journal,
            tables,
            database: Some(database),
            generations,
            dedupe_horizon_ms,
            sealed_last,
            sealed_before: Lsn(0),
            maintained: false,
            prune_first: false,
        }
    }

    /// Does one piece of work: seals the oldest closed overlay, or sees to spare segments, or
    /// removes what is trimmed, or reads ahead for retention, or rebuilds a filter after a start.
    ///
    /// # Errors
    /// What the operating system or redb says, other than a full disk; the store is then stopped.
    pub fn step(&mut self) -> Result<SealStep, StoreError> {
        self.shared.check()?;
        // A damaged file can make redb panic; the store stops as after any other error.
        let step = catch_unwind(AssertUnwindSafe(|| self.try_step())).unwrap_or_else(|_| {
            let detail = "redb cannot make sense of the file";
            Err(StoreError::corrupt(&self.tables.path, detail))
        });
        match step {
            // A reader may have met an I/O error first; opening anew shows whether it lasts.
            Err(StoreError::Full { .. } | StoreError::Closed { .. }) => {
                let full = &self.shared.counters.sealer_full;
                full.store(true, Ordering::Relaxed);
                self.prune_first = !self.prune_first;
                self.reopen().map(|()| SealStep::Full)
            }
            other => other,
        }
        .inspect_err(|error| self.shared.poison(error.to_string()))
    }

    fn try_step(&mut self) -> Result<SealStep, StoreError> {
        if self.database.is_none() {
            self.reopen()?;
            if self.database.is_none() {
                return Ok(SealStep::Full);
            }
        }
        if !self.maintained {
            self.maintained = true;
            self.shared
                .segments
                .maintain(&*self.files, &self.journal, self.sealed_before)?;
            return Ok(SealStep::Worked);
        }
        if self.prune_first && self.prune()? {
            return Ok(SealStep::Worked);
        }
        let oldest = self.shared.state.read().closed.front().cloned();
        if let Some(overlay) = oldest {
            if planted!("recycle-too-early") {
                let last = overlay.last_lsn;
                let segments = &self.shared.segments;
                segments.maintain(&*self.files, &self.journal, last)?;
            }
            self.seal(&overlay)?;
            self.maintained = false;
            return Ok(SealStep::Worked);
        }
        if self.prune()? || self.drop_generation()? || self.read_ahead()? {
            return Ok(SealStep::Worked);
        }
        if self.generations.needs_filter() {
            let mut generations = self.generations.clone();
            generations
                .rebuild_filter(self.database(), &self.shared.keys)
                .map_err(|e| StoreError::redb("read", &self.tables.path, e))?;
            self.generations = generations;
            self.publish(None, TablesChange::default())?;
            return Ok(SealStep::Worked);
        }
        Ok(SealStep::Idle)
    }

    fn seal(&mut self, overlay: &Arc<Overlay>) -> Result<(), StoreError> {
        let started = Instant::now();
        let early = planted!("prune-before-publish");
        if early {
            self.shared.state.write().closed.pop_front();
        }
        let is_new = self.shared.state.read().sealed.lsn < overlay.last_lsn;
        let mut done = TablesChange::default();
        if is_new {
            let path = self.tables.path.clone();
            done = self
                .write(overlay)
                .map_err(|e| StoreError::redb("seal into", &path, e))?;
        }
        self.publish((!early).then_some(overlay), done)?;
        self.sealed_before = self.sealed_last;
        self.sealed_last = overlay.last_lsn;
        let counters = &self.shared.counters;
        Counters::add(&counters.seals, 1);
        counters.sealer_full.store(false, Ordering::Relaxed);
        self.prune_first = false;
        let per_s = overlay.bytes as f64 / started.elapsed().as_secs_f64().max(1e-6);
        counters
            .seal_bytes_per_s
            .store(per_s as u64, Ordering::Relaxed);
        // While there is always something to seal, retention still needs to know the oldest blocks.
        self.read_ahead()?;
        Ok(())
    }

    fn write(&mut self, overlay: &Overlay) -> Result<TablesChange, redb::Error> {
        let (first, untimed_ms) = {
            let state = self.shared.state.read();
            (state.first_seq(), state.sealed.untimed_ms)
        };
        let mut txn = self.database().begin_write()?;
        txn.set_quick_repair(true);
        let mut totals = write::Totals::load(&txn)?;
        let sealed = write::requests(&txn, overlay, first, untimed_ms, &mut totals)?;
        let mut ids: Vec<(([u8; 16], u32), StoredId)> = overlay
            .ids
            .iter()
            .map(|((id, scope), stored)| ((*id.as_bytes(), scope.0), *stored))
            .collect();
        ids.sort_unstable_by_key(|(key, _)| *key);
        if !ids.is_empty() && !planted!("memory-only-dedupe") {
            let now = Closed {
                last_seq: overlay.last_seq,
                store_ms: overlay.times_ms.0,
            };
            self.generations
                .insert(&txn, &self.shared.keys, &ids, now)?;
        }
        write::replies(&txn, overlay, first, &mut totals)?;
        write::letters(&txn, overlay, &mut totals)?;
        // Room is made with what takes it, so that steady work takes no more and more.
        let pruned = prune::piece(&txn, first, &mut totals)?;
        write::rest(&txn, overlay, first, &totals)?;
        txn.commit()?;
        Ok(TablesChange { sealed, pruned })
    }

    /// Removes a piece of what is trimmed; says whether there was any.
    fn prune(&mut self) -> Result<bool, StoreError> {
        let (first, sealed) = {
            let state = self.shared.state.read();
            (state.first_seq(), state.sealed.clone())
        };
        let pruned_seq = &self.shared.counters.pruned_seq;
        if pruned_seq.load(Ordering::Relaxed) >= first.0 {
            return Ok(false);
        }
        if !sealed.holds_before(first)? {
            pruned_seq.store(first.0, Ordering::Relaxed);
            return Ok(false);
        }
        drop(sealed);
        let path = &self.tables.path;
        let pruned = prune::alone(self.database(), first)
            .map_err(|e| StoreError::redb("remove what is trimmed from", path, e))?;
        let sealed = Vec::new();
        self.publish(None, TablesChange { sealed, pruned })?;
        Ok(true)
    }

    /// Drops the oldest table of ids when it is not needed any more; says whether it was.
    fn drop_generation(&mut self) -> Result<bool, StoreError> {
        let first = self.shared.state.read().first_seq();
        let now_ms = self.shared.counters.store_ms.load(Ordering::Relaxed);
        let horizon_ms = now_ms.checked_sub(self.dedupe_horizon_ms);
        let is_done = |horizon_ms| self.generations.oldest_is_done(first, horizon_ms);
        if !horizon_ms.is_some_and(is_done) {
            return Ok(false);
        }
        let mut generations = self.generations.clone();
        let path = &self.tables.path;
        prune::generation(self.database(), &mut generations)
            .map_err(|e| StoreError::redb("drop old ids from", path, e))?;
        self.generations = generations;
        self.publish(None, TablesChange::default())?;
        Ok(true)
    }

    /// Reads what retention has to know about the oldest blocks; says whether there was any.
    fn read_ahead(&mut self) -> Result<bool, StoreError> {
        let (first, sealed) = {
            let state = self.shared.state.read();
            (state.first_seq(), state.sealed.clone())
        };
        let Some((after, count)) = self.shared.front.lock().wants(first) else {
            return Ok(false);
        };
        // The lock is not held meanwhile, as the writer asks too; nobody else changes the front.
        match sealed.blocks_after(after, count) {
            Ok(blocks) => self.shared.front.lock().read(blocks, count),
            // Whoever asks for these blocks is told; nothing stops for retention's sake.
            Err(StoreError::Corrupt { .. }) => self.shared.front.lock().give_up(),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Lets readers see the tables as they are now, and takes a sealed overlay away.
    fn publish(
        &self,
        sealed: Option<&Arc<Overlay>>,
        change: TablesChange,
    ) -> Result<(), StoreError> {
        let view = Sealed::open(
            self.database(),
            &self.tables.path,
            &self.generations,
            self.shared.keys,
        )
        .map_err(|e| StoreError::redb("read", &self.tables.path, e))?;
        // A backup that takes this view learns with it what the overlay brought.
        let mut capture = self.shared.capture.lock();
        if let (Some(capture), Some(overlay)) = (&mut *capture, sealed) {
            capture.note(overlay);
        }
        let mut front = self.shared.front.lock();
        let mut state = self.shared.state.write();
        let old_view = std::mem::replace(&mut state.sealed, Arc::new(view));
        let old_overlay = sealed.and_then(|_| state.closed.pop_front());
        drop(state);
        drop(capture);
        front.sealed(change.sealed);
        if let Some(last) = change.pruned {
            front.removed(last);
        }
        drop(front);
        self.shared.gate.open();
        note_size(&self.shared, &self.tables);
        // Freed outside the lock, as that can take a while.
        drop((old_view, old_overlay));
        Ok(())
    }

    fn database(&self) -> &Database {
        self.database
            .as_ref()
            .expect("a step goes on only with the file open")
    }

    /// After a full disk redb refuses everything until the file is opened anew. What was not
    /// sealed is still in the overlays and in the journal. Closing waits for reads in progress and
    /// refuses later ones, so no reader of the old views sees a page that is used again.
    fn reopen(&mut self) -> Result<(), StoreError> {
        self.database = None;
        let database = match self.tables.open() {
            Ok(database) => database,
            // Opening may need room too; the next step tries again.
            Err(StoreError::Full { .. }) => {
                self.shared.gate.full();
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let ids_max = self.generations.ids_max();
        self.generations = self.tables.guard(|| {
            verify(&database)?;
            Generations::load(&database, ids_max)
        })?;
        self.database = Some(database);
        // What failed may have been written all the same, so what the front was not told may be so.
        *self.shared.front.lock() = LogFront::default();
        self.publish(None, TablesChange::default())
    }
}

/// What a transaction did to the log's table: blocks at its end, and the last one removed from its
/// beginning.
#[derive(Debug, Default)]
struct TablesChange {
    sealed: Vec<BlockInfo>,
    pruned: Option<Seq>,
}

impl Drop for Sealer {
    /// The file is closed with the sealer, so readers need not wait for another view.
    fn drop(&mut self) {
        self.shared.gate.close();
    }
}

/// Keeps the size of the tables' file among the figures; a size that cannot be told stays as it
/// was, as nothing depends on it.
fn note_size(shared: &Shared, tables: &TablesFile) {
    if let Ok(bytes) = tables.bytes() {
        let counter = &shared.counters.store_file_bytes;
        counter.store(bytes, Ordering::Relaxed);
    }
}
