//! The tables at one moment: a redb read transaction and what is looked up in it.
//!
//! Replaced after every seal; readers hold one only for the length of a call, as redb cannot
//! reuse pages under it.

use std::path::{Path, PathBuf};

use edgebus_core::query::{LogPage, LogQuery};
use edgebus_core::{ConsumerName, Entry, Lsn, Refusal, RequestId, Scope, Seq};
use redb::{Database, ReadOnlyTable, ReadableTableMetadata as _};

use super::StoreError;
use super::block::Block;
use super::generations::{Generations, GenerationsView};
use super::ids::Fingerprinter;
use super::overlay::StoredId;
use super::tables::{
    CONSUMER_OFFSETS, DEAD_LETTER_KEYS, DEAD_LETTERS, METADATA, REQUEST_LOG, meta, metadata,
};

/// The tables as of one commit.
pub(super) struct Sealed {
    pub(super) lsn: Lsn,
    pub(super) last_seq: Seq,
    pub(super) last_dead_letter: u64,
    pub(super) dead_letters: u64,
    /// Store time and wall clock of the last sealed group, milliseconds.
    pub(super) times_ms: (u64, u64),
    path: PathBuf,
    keys: Fingerprinter,
    log: ReadOnlyTable<u64, &'static [u8]>,
    offsets: ReadOnlyTable<&'static str, u64>,
    dead_letter_keys: ReadOnlyTable<(&'static str, u64), u64>,
    generations: GenerationsView,
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealed")
            .field("lsn", &self.lsn)
            .finish_non_exhaustive()
    }
}

/// The store's key for fingerprints and filters.
pub(super) fn load_keys(database: &Database) -> Result<Fingerprinter, redb::Error> {
    let txn = redb::ReadableDatabase::begin_read(database)?;
    let rows = txn.open_table(METADATA)?;
    Ok(Fingerprinter::new((
        metadata(&rows, meta::KEY_0)?,
        metadata(&rows, meta::KEY_1)?,
    )))
}

impl Sealed {
    /// The tables as they are now.
    pub(super) fn open(
        database: &Database,
        path: &Path,
        generations: &Generations,
        keys: Fingerprinter,
    ) -> Result<Self, redb::Error> {
        let txn = redb::ReadableDatabase::begin_read(database)?;
        let rows = txn.open_table(METADATA)?;
        Ok(Self {
            lsn: Lsn(metadata(&rows, meta::SEALED_LSN)?),
            last_seq: Seq(metadata(&rows, meta::LAST_SEQ)?),
            last_dead_letter: metadata(&rows, meta::LAST_DEAD_LETTER)?,
            dead_letters: txn.open_table(DEAD_LETTERS)?.len()?,
            times_ms: (
                metadata(&rows, meta::STORE_TIME_MS)?,
                metadata(&rows, meta::WALL_MS)?,
            ),
            path: path.to_owned(),
            keys,
            log: txn.open_table(REQUEST_LOG)?,
            offsets: txn.open_table(CONSUMER_OFFSETS)?,
            dead_letter_keys: txn.open_table(DEAD_LETTER_KEYS)?,
            generations: generations.view(&txn)?,
        })
    }

    /// Where an id is stored.
    pub(super) fn find(
        &self,
        id: &RequestId,
        scope: Scope,
    ) -> Result<Option<StoredId>, StoreError> {
        self.guard("look up an id in", || {
            self.generations.find(&self.keys, id, scope)
        })
    }

    /// A consumer's offset.
    pub(super) fn offset(&self, consumer: &ConsumerName) -> Result<Option<Seq>, StoreError> {
        self.guard("look up an offset in", || {
            Ok(self
                .offsets
                .get(consumer.as_str())?
                .map(|row| Seq(row.value())))
        })
    }

    /// The number of the dead letter of a consumer and a request.
    pub(super) fn dead_letter(&self, consumer: &str, seq: u64) -> Result<Option<u64>, StoreError> {
        self.guard("look up a dead letter in", || {
            Ok(self
                .dead_letter_keys
                .get((consumer, seq))?
                .map(|row| row.value()))
        })
    }

    /// Adds what a query selects from `from` on to a page, until `full` says so. Returns where to
    /// go on: behind the tables' last request when all was looked at.
    pub(super) fn read_log(
        &self,
        from: Seq,
        to: Seq,
        query: &LogQuery,
        page: &mut LogPage,
        mut full: impl FnMut(&LogPage, &Entry) -> bool,
    ) -> Result<Seq, StoreError> {
        let to = to.min(self.last_seq);
        let mut at = from;
        for _ in 0..BLOCKS_PER_CALL {
            if at > to {
                break;
            }
            let row = self.guard("read", || self.log.range(at.0..)?.next().transpose())?;
            let Some((key, value)) = row else {
                let detail = format!("request_log: the block that holds seq {at} is missing");
                return Err(StoreError::corrupt(&self.path, detail));
            };
            let block = Block::parse(key.value(), value.value()).map_err(|e| self.corrupt(e))?;
            if block.first_seq > at {
                let detail = format!("request_log: the block that holds seq {at} is missing");
                return Err(StoreError::corrupt(&self.path, detail));
            }
            if block.may_hold(query) {
                for entry in block.entries().map_err(|e| self.corrupt(e))? {
                    if entry.seq() < at || entry.seq() > to {
                        continue;
                    }
                    if query.selects(&entry) {
                        if full(page, &entry) {
                            return Ok(entry.seq());
                        }
                        page.entries.push(entry);
                    }
                }
            }
            at = block.last_seq.next();
        }
        Ok(at)
    }

    fn corrupt(&self, refusal: Refusal) -> StoreError {
        StoreError::corrupt(&self.path, refusal.message)
    }

    /// Runs a look into redb. A damaged file can make redb panic; that is one more way to be
    /// unreadable.
    fn guard<T>(
        &self,
        action: &'static str,
        look: impl FnOnce() -> Result<T, redb::StorageError>,
    ) -> Result<T, StoreError> {
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(look)) {
            Ok(found) => found.map_err(|e| StoreError::redb(action, &self.path, e)),
            Err(_) => {
                let detail = format!("cannot {action} it: redb cannot make sense of the file");
                Err(StoreError::corrupt(&self.path, detail))
            }
        }
    }
}

/// Blocks looked at in one call, so that a query that selects nothing does not hold a view long.
const BLOCKS_PER_CALL: usize = 256;
