//! The sealer: moves what is synced in the journal to the tables, so that journal space and
//! memory are used again.
//!
//! Runs beside the writer, one [`Sealer::step`] at a time. Invariants: only closed overlays are
//! sealed; the new view is published before an overlay goes; a journal segment is freed one seal
//! late, so that one lost redb commit is still recoverable.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use edgebus_core::Lsn;
use prost::Message as _;
use redb::{Database, WriteTransaction};

use super::StoreError;
use super::block::BlockBuilder;
use super::generations::Generations;
use super::overlay::{Overlay, StoredId};
use super::sealed::Sealed;
use super::tables::{
    CONSUMER_OFFSETS, DEAD_LETTER_KEYS, DEAD_LETTERS, METADATA, REQUEST_LOG, TablesFile, meta,
    protect, verify,
};
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
    database: Option<Database>,
    generations: Generations,
    /// What was sealed last, and what before that: journal up to there is not needed any more.
    sealed_last: Lsn,
    sealed_before: Lsn,
    maintained: bool,
}

impl Sealer {
    pub(super) fn new(
        shared: Arc<Shared>,
        files: Arc<dyn Files>,
        journal: PathBuf,
        tables: TablesFile,
        database: Database,
        generations: Generations,
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
            sealed_last,
            sealed_before: Lsn(0),
            maintained: false,
        }
    }

    /// Does one piece of work: seals the oldest closed overlay, or sees to spare segments, or
    /// rebuilds a filter after a start.
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
        let oldest = self.shared.state.read().closed.front().cloned();
        if let Some(overlay) = oldest {
            self.seal(&overlay)?;
            self.maintained = false;
            return Ok(SealStep::Worked);
        }
        if self.generations.needs_filter() {
            let mut generations = self.generations.clone();
            generations
                .rebuild_filter(self.database(), &self.shared.keys)
                .map_err(|e| StoreError::redb("read", &self.tables.path, e))?;
            self.generations = generations;
            self.publish(None)?;
            return Ok(SealStep::Worked);
        }
        Ok(SealStep::Idle)
    }

    fn seal(&mut self, overlay: &Arc<Overlay>) -> Result<(), StoreError> {
        let started = Instant::now();
        if self.shared.state.read().sealed.lsn < overlay.last_lsn {
            let path = self.tables.path.clone();
            self.write(overlay)
                .map_err(|e| StoreError::redb("seal into", &path, e))?;
        }
        self.publish(Some(overlay))?;
        self.sealed_before = self.sealed_last;
        self.sealed_last = overlay.last_lsn;
        let counters = &self.shared.counters;
        Counters::add(&counters.seals, 1);
        counters.sealer_full.store(false, Ordering::Relaxed);
        let per_s = overlay.bytes as f64 / started.elapsed().as_secs_f64().max(1e-6);
        counters
            .seal_bytes_per_s
            .store(per_s as u64, Ordering::Relaxed);
        Ok(())
    }

    fn write(&mut self, overlay: &Overlay) -> Result<(), redb::Error> {
        let mut txn = self.database().begin_write()?;
        txn.set_quick_repair(true);
        write_requests(&txn, overlay)?;
        let mut ids: Vec<(([u8; 16], u32), StoredId)> = overlay
            .ids
            .iter()
            .map(|((id, scope), stored)| ((*id.as_bytes(), scope.0), *stored))
            .collect();
        ids.sort_unstable_by_key(|(key, _)| *key);
        let generations = &mut self.generations;
        if !ids.is_empty() {
            generations.insert(&txn, &self.shared.keys, &ids)?;
        }
        write_rest(&txn, overlay)?;
        txn.commit()?;
        Ok(())
    }

    /// Lets readers see the tables as they are now, and takes a sealed overlay away.
    fn publish(&self, sealed: Option<&Arc<Overlay>>) -> Result<(), StoreError> {
        let view = Sealed::open(
            self.database(),
            &self.tables.path,
            &self.generations,
            self.shared.keys,
        )
        .map_err(|e| StoreError::redb("read", &self.tables.path, e))?;
        let mut state = self.shared.state.write();
        let old_view = std::mem::replace(&mut state.sealed, Arc::new(view));
        let old_overlay = sealed.and_then(|_| state.closed.pop_front());
        drop(state);
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
        self.publish(None)
    }
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

fn write_requests(txn: &WriteTransaction, overlay: &Overlay) -> Result<(), redb::Error> {
    let mut log = txn.open_table(REQUEST_LOG)?;
    let mut block = BlockBuilder::default();
    let mut bytes = Vec::new();
    for group in &overlay.groups {
        for entry in group.entries_from(group.first_seq) {
            block.push(&entry);
            if block.is_full() {
                let key = block.finish(&mut bytes);
                log.insert(key, bytes.as_slice())?;
            }
        }
    }
    if !block.is_empty() {
        let key = block.finish(&mut bytes);
        log.insert(key, bytes.as_slice())?;
    }
    Ok(())
}

fn write_rest(txn: &WriteTransaction, overlay: &Overlay) -> Result<(), redb::Error> {
    let mut offsets = txn.open_table(CONSUMER_OFFSETS)?;
    for (consumer, offset) in &overlay.offsets {
        offsets.insert(consumer.as_str(), offset.0)?;
    }
    let mut letters = txn.open_table(DEAD_LETTERS)?;
    let mut keys = txn.open_table(DEAD_LETTER_KEYS)?;
    for (number, letter) in &overlay.dead_letters {
        let body = letter.encode_to_vec();
        let row = [&crc32c::crc32c(&body).to_le_bytes(), body.as_slice()].concat();
        letters.insert(number, row.as_slice())?;
        keys.insert((letter.consumer.as_str(), letter.seq), number)?;
    }
    let mut metadata = txn.open_table(METADATA)?;
    metadata.insert(meta::LAST_SEQ, overlay.last_seq.0)?;
    metadata.insert(meta::SEALED_LSN, overlay.last_lsn.0)?;
    metadata.insert(meta::STORE_TIME_MS, overlay.times_ms.0)?;
    metadata.insert(meta::WALL_MS, overlay.times_ms.1)?;
    if let Some((number, _)) = overlay.dead_letters.last_key_value() {
        metadata.insert(meta::LAST_DEAD_LETTER, number)?;
    }
    protect(&offsets, &mut metadata)?;
    Ok(())
}
