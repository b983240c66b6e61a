//! The tables at one moment: a redb read transaction and what is looked up in it.
//!
//! Replaced after every seal; readers hold one only for the length of a call, as redb cannot
//! reuse pages under it.

mod pages;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use edgebus_core::query::{LogPage, LogQuery};
use edgebus_core::{Code, Entry, Lsn, Refusal, RequestId, Scope, Seq};
use redb::{AccessGuard, Database, ReadOnlyTable, ReadableTable as _};

use super::StoreError;
use super::block::Block;
use super::dead_letter::DeadLetter;
use super::front::BlockInfo;
use super::generations::{Generations, GenerationsView};
use super::ids::Fingerprinter;
use super::overlay::StoredId;
use super::tables::{DEAD_LETTERS, METADATA, REPLIES, REQUEST_LOG, meta, metadata, reply_from_row};

/// The tables as of one commit.
pub(super) struct Sealed {
    pub(super) lsn: Lsn,
    pub(super) last_seq: Seq,
    /// Nothing before it is kept.
    pub(super) first_seq: Seq,
    pub(super) last_dead_letter: u64,
    pub(super) dead_letter_bytes: u64,
    /// Bytes of the blocks, and of the replies.
    pub(super) log_bytes: u64,
    pub(super) reply_bytes: u64,
    /// Store time at which requests without one were stored at the latest, milliseconds.
    pub(super) untimed_ms: u64,
    /// Store time and wall clock of the last sealed group, milliseconds.
    pub(super) times_ms: (u64, u64),
    path: PathBuf,
    keys: Fingerprinter,
    log: ReadOnlyTable<u64, &'static [u8]>,
    replies: ReadOnlyTable<u64, &'static [u8]>,
    dead_letters: ReadOnlyTable<u64, &'static [u8]>,
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
            first_seq: Seq(metadata(&rows, meta::FIRST_SEQ)?.max(1)),
            dead_letter_bytes: metadata(&rows, meta::DEAD_LETTER_BYTES)?,
            log_bytes: metadata(&rows, meta::LOG_BYTES)?,
            reply_bytes: metadata(&rows, meta::REPLY_BYTES)?,
            untimed_ms: metadata(&rows, meta::UNTIMED_MS)?,
            times_ms: (
                metadata(&rows, meta::STORE_TIME_MS)?,
                metadata(&rows, meta::WALL_MS)?,
            ),
            path: path.to_owned(),
            keys,
            log: txn.open_table(REQUEST_LOG)?,
            replies: txn.open_table(REPLIES)?,
            dead_letters: txn.open_table(DEAD_LETTERS)?,
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

    /// The stored reply of a request, as prost.
    pub(super) fn reply(&self, seq: Seq) -> Result<Option<Bytes>, StoreError> {
        let row = self.guard("look up a reply in", || {
            Ok(self.replies.get(seq.0)?.inspect(is_in_its_page))
        })?;
        let Some(row) = row else { return Ok(None) };
        let reply = reply_from_row(seq, row.value());
        let reply = reply.ok_or_else(|| {
            let what = format!("replies, seq {seq}: stored bytes do not match their checksum");
            self.corrupt(Refusal::new(Code::Corrupt, what))
        });
        reply.map(Some)
    }

    /// A dead letter.
    pub(super) fn dead_letter(&self, number: u64) -> Result<Option<DeadLetter>, StoreError> {
        let row = self.guard("look up a dead letter in", || {
            Ok(self.dead_letters.get(number)?.inspect(is_in_its_page))
        })?;
        let letter = row.map(|row| DeadLetter::from_row(number, row.value()));
        letter.transpose().map_err(|refusal| self.corrupt(refusal))
    }

    /// Whether something before a sequence number is left in the tables.
    pub(super) fn holds_before(&self, first: Seq) -> Result<bool, StoreError> {
        self.guard("look at the first row of", || {
            let block = self.log.first()?.map(|row| row.0.value());
            let reply = self.replies.first()?.map(|row| row.0.value());
            Ok(block
                .into_iter()
                .chain(reply)
                .any(|oldest| oldest < first.0))
        })
    }

    /// What there is to know for retention about the blocks behind a sequence number, at most
    /// `count` of them.
    pub(super) fn blocks_after(
        &self,
        seq: Seq,
        count: usize,
    ) -> Result<Vec<BlockInfo>, StoreError> {
        self.guard("look at blocks in", || {
            let rows = self.log.range(seq.next().0..)?.take(count);
            rows.map(|row| {
                let (key, value) = row?;
                Ok(BlockInfo::of(key.value(), value.value(), self.untimed_ms))
            })
            .collect()
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
            let row = self.guard("read", || {
                let row = self.log.range(at.0..)?.next().transpose()?;
                Ok(row.inspect(|(_, value)| is_in_its_page(value)))
            })?;
            let Some((key, value)) = row else {
                return Err(self.missing_block(at));
            };
            let block = Block::parse(key.value(), value.value()).map_err(|e| self.corrupt(e))?;
            if block.first_seq > at {
                return Err(self.missing_block(at));
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

    /// A block that is not there and was not trimmed.
    pub(super) fn missing_block(&self, seq: Seq) -> StoreError {
        let detail = format!("request_log: the block that holds seq {seq} is missing");
        StoreError::corrupt(&self.path, detail)
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

/// Looks at a row where a panic is caught: one of a damaged page may lie outside of it, and redb finds
/// that out when its bytes are asked for.
fn is_in_its_page(row: &AccessGuard<'_, &'static [u8]>) {
    let _ = row.value();
}

/// Blocks looked at in one call, so that a query that selects nothing does not hold a view long.
const BLOCKS_PER_CALL: usize = 256;
