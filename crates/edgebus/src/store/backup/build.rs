//! The tables of a restored store, row by row out of a backup.
//!
//! Rows come in the order in which they were copied. Of a dead letter the last row counts; of a reply
//! the first; an id that is there twice is that of the later request. Ids of requests that are in the
//! file follow from the requests.
//!
//! Invariant: what does not fit the figures at the end of the backup is refused.

use std::path::Path;

use bytes::Bytes;
use edgebus_core::consumer::{Ledger, Reply};
use edgebus_core::{ConsumerName, Entry, Refusal, Seq};
use prost::Message as _;
use redb::{Database, ReadableTable as _, ReadableTableMetadata as _, WriteTransaction};

use super::file::{BackupFile, Chunk};
use super::format::{
    BLOCKS, CONSUMERS, ENTRIES, IDS, LETTERS, REPLIES, letter, take, take_bytes, take_id, take_u8,
    take_u64,
};
use crate::store::StoreError;
use crate::store::block::{Block, BlockBuilder};
use crate::store::consumers::ConsumerRow;
use crate::store::dead_letter::{DeadLetter, Fate};
use crate::store::generations::{Closed, NewIds, restore_closed};
use crate::store::ids::Fingerprinter;
use crate::store::overlay::StoredId;
use crate::store::tables::{
    CONSUMER_OFFSETS, CONSUMER_STATE, DEAD_LETTER_KEYS, DEAD_LETTERS, METADATA, REPLIES as ROWS,
    REQUEST_LOG, meta, protect, reply_row,
};

/// Bytes of rows written in one transaction, about.
const COMMIT_BYTES: usize = 32 * 1024 * 1024;
/// Ids that are sorted before they are written.
const IDS_AT_ONCE: usize = 128 * 1024;
/// By how much the epoch of each consumer goes up: a lease that the other store gave after the
/// backup is none of this one.
const EPOCHS: u32 = 64 * 1024;

/// How much of what was restored.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub(super) ids: u64,
    pub(super) replies: u64,
    pub(super) dead_letters: u64,
    pub(super) consumers: u64,
    log_bytes: u64,
    reply_bytes: u64,
    letter_bytes: u64,
}

/// Fills empty tables.
pub(super) struct Build<'a> {
    backup: &'a BackupFile,
    database: &'a Database,
    path: &'a Path,
    keys: Fingerprinter,
    ids: NewIds,
    /// The request that has to come next.
    next_seq: u64,
    done: Figures,
    /// Where the chunk stands.
    place: u64,
}

impl<'a> Build<'a> {
    pub(super) fn new(backup: &'a BackupFile, database: &'a Database, path: &'a Path) -> Self {
        let state = &backup.state;
        let closed = state.closed_last_seq.iter().zip(&state.closed_store_ms);
        let closed = closed.map(|(last_seq, store_ms)| Closed {
            last_seq: Seq(*last_seq),
            store_ms: *store_ms,
        });
        Self {
            backup,
            database,
            path,
            keys: Fingerprinter::new((state.key_0, state.key_1)),
            ids: NewIds::new(closed.collect()),
            next_seq: state.copied_from,
            done: Figures::default(),
            place: 0,
        }
    }

    /// Writes everything.
    pub(super) fn run(mut self, mut progress: impl FnMut(u64, u64)) -> Result<Figures, StoreError> {
        let path = self.path;
        let redb = |error: redb::Error| StoreError::redb("restore into", path, error);
        let mut walk = self.backup.chunks();
        let mut txn = self.database.begin_write().map_err(|e| redb(e.into()))?;
        let mut bytes = 0;
        while let Some(chunk) = walk.next()? {
            bytes += chunk.body.len();
            self.place = chunk.place;
            self.chunk(&txn, &chunk)?;
            if self.ids.waiting() >= IDS_AT_ONCE {
                self.ids.write(&txn).map_err(redb)?;
            }
            if bytes >= COMMIT_BYTES {
                bytes = 0;
                txn.commit().map_err(|e| redb(e.into()))?;
                txn = self.database.begin_write().map_err(|e| redb(e.into()))?;
            }
            progress(walk.at, self.backup.bytes());
        }
        self.ids.write(&txn).map_err(redb)?;
        self.compare(&txn)?;
        txn.commit().map_err(|e| redb(e.into()))?;
        self.finish().map_err(redb)?;
        Ok(self.done)
    }

    fn chunk(&mut self, txn: &WriteTransaction, chunk: &Chunk<'_>) -> Result<(), StoreError> {
        let mut rest = chunk.body;
        match chunk.header.kind {
            BLOCKS => self.blocks(txn, &mut rest)?,
            ENTRIES => self.entries(txn, &mut rest)?,
            IDS => {
                while !rest.is_empty() {
                    let (id, scope, stored) = self.some(take_id(&mut rest))?;
                    self.ids.add((*id.as_bytes(), scope.0), stored);
                }
            }
            REPLIES => self.replies(txn, &mut rest)?,
            LETTERS => self.letters(txn, &mut rest)?,
            CONSUMERS => self.consumers(txn, &mut rest)?,
            // The figures are known.
            _ => {}
        }
        Ok(())
    }

    fn blocks(&mut self, txn: &WriteTransaction, rest: &mut &[u8]) -> Result<(), StoreError> {
        let mut log = self.table(txn.open_table(REQUEST_LOG))?;
        while !rest.is_empty() {
            let key = self.some(take_u64(rest))?;
            let bytes = self.some(take_bytes(rest))?;
            let block = Block::parse(key, bytes).map_err(|e| self.refused(&e))?;
            let first = block.first_seq.0;
            for entry in block.entries().map_err(|e| self.refused(&e))? {
                self.note_id(&entry);
            }
            self.follows(first, key)?;
            if key >= self.backup.state.first_seq {
                self.done.log_bytes += bytes.len() as u64;
                self.table(log.insert(key, bytes).map(drop))?;
            }
        }
        Ok(())
    }

    fn entries(&mut self, txn: &WriteTransaction, rest: &mut &[u8]) -> Result<(), StoreError> {
        let mut log = self.table(txn.open_table(REQUEST_LOG))?;
        let mut entries = Bytes::copy_from_slice(rest);
        let (mut block, mut bytes) = (BlockBuilder::default(), Vec::new());
        while !entries.is_empty() {
            let entry = Entry::split_from(&mut entries).map_err(|e| self.refused(&e))?;
            if !entry.record().is_intact() {
                return Err(self.damaged("a request in it does not match its checksum"));
            }
            let seq = entry.seq().0;
            self.note_id(&entry);
            self.follows(seq, seq)?;
            if seq >= self.backup.state.first_seq {
                block.push(&entry);
            }
            if block.is_full() || entries.is_empty() && !block.is_empty() {
                let key = block.finish(&mut bytes);
                self.done.log_bytes += bytes.len() as u64;
                self.table(log.insert(key, bytes.as_slice()).map(drop))?;
            }
        }
        Ok(())
    }

    fn note_id(&mut self, entry: &Entry) {
        let record = entry.record();
        let stored = StoredId {
            seq: entry.seq(),
            fingerprint: self.keys.fingerprint(record),
        };
        let key = (*record.id().as_bytes(), entry.scope().0);
        self.ids.add(key, stored);
    }

    /// Requests that count come one after the other. What was copied and then overtaken by a trim is
    /// there for its ids alone.
    fn follows(&mut self, first: u64, last: u64) -> Result<(), StoreError> {
        if last < self.backup.state.copied_from {
            return Ok(());
        }
        if first != self.next_seq || last > self.backup.state.last_seq {
            let what = format!("seq {first} stands where {} belongs", self.next_seq);
            return Err(self.damaged(&what));
        }
        self.next_seq = last + 1;
        Ok(())
    }

    fn replies(&mut self, txn: &WriteTransaction, rest: &mut &[u8]) -> Result<(), StoreError> {
        let mut rows = self.table(txn.open_table(ROWS))?;
        let first = self.backup.state.first_seq;
        while !rest.is_empty() {
            let seq = self.some(take_u64(rest))?;
            let reply = self.some(take_bytes(rest))?;
            if Reply::decode(reply).is_err() {
                return Err(self.damaged(&format!("the reply to seq {seq} cannot be read")));
            }
            let is_known = self.table(rows.get(seq).map(|row| row.is_some()))?;
            if is_known || seq < first {
                continue;
            }
            let row = reply_row(Seq(seq), reply);
            self.done.replies += 1;
            self.done.reply_bytes += row.len() as u64;
            self.table(rows.insert(seq, row.as_slice()).map(drop))?;
        }
        Ok(())
    }

    fn letters(&mut self, txn: &WriteTransaction, rest: &mut &[u8]) -> Result<(), StoreError> {
        let mut rows = self.table(txn.open_table(DEAD_LETTERS))?;
        let mut keys = self.table(txn.open_table(DEAD_LETTER_KEYS))?;
        while !rest.is_empty() {
            let number = self.some(take_u64(rest))?;
            let what = self.some(take_u8(rest))?;
            let bytes = self.some(take_bytes(rest))?;
            let old = self.table(
                rows.get(number)
                    .map(|row| row.map(|row| row.value().to_vec())),
            )?;
            let old_bytes = old.as_ref().map_or(0, Vec::len) as u64;
            let old = old.map(|row| DeadLetter::from_row(number, &row));
            let old = old.transpose().map_err(|e| self.refused(&e))?;
            let new = match (what, old) {
                (letter::PUT, _) => {
                    let new = DeadLetter::decode(bytes).ok();
                    let new = self.some(new.filter(|letter| letter.entry().is_ok()))?;
                    let key = (new.consumer.as_str(), new.seq);
                    self.table(keys.insert(key, number).map(drop))?;
                    [&crc32c::crc32c(bytes).to_le_bytes(), bytes].concat()
                }
                (letter::DEAD, Some(mut old)) => {
                    old.state = Fate::Dead.to_state();
                    old.to_row()
                }
                (letter::REQUEUED, Some(mut old)) => {
                    old.state = Fate::Requeued.to_state();
                    old.to_row()
                }
                (letter::GONE, old) => {
                    if let Some(old) = old {
                        let key = (old.consumer.as_str(), old.seq);
                        self.table(keys.remove(key).map(drop))?;
                        self.table(rows.remove(number).map(drop))?;
                    }
                    self.done.letter_bytes -= old_bytes;
                    continue;
                }
                _ => return Err(self.damaged(&format!("dead letter {number} is missing"))),
            };
            self.done.letter_bytes += new.len() as u64;
            self.done.letter_bytes -= old_bytes;
            self.table(rows.insert(number, new.as_slice()).map(drop))?;
        }
        Ok(())
    }

    fn consumers(&mut self, txn: &WriteTransaction, rest: &mut &[u8]) -> Result<(), StoreError> {
        let mut offsets = self.table(txn.open_table(CONSUMER_OFFSETS))?;
        let mut states = self.table(txn.open_table(CONSUMER_STATE))?;
        while !rest.is_empty() {
            let len = self.some(take_u8(rest))?;
            let name = self.some(take(rest, usize::from(len)))?;
            let name = std::str::from_utf8(name).ok();
            let name: ConsumerName = self.some(name.and_then(|name| name.parse().ok()))?;
            let ledger = self.some(take_bytes(rest))?;
            let ledger = Ledger::decode(ledger).map_err(|e| self.refused(&e))?;
            let row = ConsumerRow::new(&name, &ledger.restored(EPOCHS));
            self.table(offsets.insert(name.as_str(), row.offset.0).map(drop))?;
            self.table(states.insert(name.as_str(), row.state.as_slice()).map(drop))?;
        }
        Ok(())
    }

    /// Whether it is what the backup says that it should be.
    fn compare(&mut self, txn: &WriteTransaction) -> Result<(), StoreError> {
        let state = &self.backup.state;
        let letters = self.table(txn.open_table(DEAD_LETTERS))?;
        self.done.dead_letters = self.table(letters.len())?;
        let consumers = self.table(txn.open_table(CONSUMER_STATE))?;
        self.done.consumers = self.table(consumers.len())?;
        self.done.ids = self.ids.count();
        let wanted = (state.last_seq + 1, state.dead_letters, state.consumers);
        if wanted == (self.next_seq, self.done.dead_letters, self.done.consumers)
            && self.done.consumers == self.backup.rows(CONSUMERS)
        {
            return Ok(());
        }
        Err(self.damaged("its parts do not fit its figures"))
    }

    /// Filters of the closed tables of ids, and `metadata`.
    fn finish(&mut self) -> Result<(), redb::Error> {
        let state = &self.backup.state;
        for (number, closed) in self.ids.closed() {
            let txn = self.database.begin_write()?;
            restore_closed(&txn, &self.keys, number, closed)?;
            txn.commit()?;
        }
        let mut txn = self.database.begin_write()?;
        txn.set_quick_repair(true);
        {
            let offsets = txn.open_table(CONSUMER_OFFSETS)?;
            let mut rows = txn.open_table(METADATA)?;
            for (name, value) in [
                (meta::FIRST_SEQ, state.first_seq),
                (meta::LAST_SEQ, state.last_seq),
                (meta::SEALED_LSN, state.lsn),
                (meta::STORE_TIME_MS, state.store_time_ms),
                (meta::WALL_MS, state.wall_ms),
                (meta::LAST_DEAD_LETTER, state.last_dead_letter),
                (meta::LAST_GENERATION, self.ids.last()),
                (meta::KEY_0, state.key_0),
                (meta::KEY_1, state.key_1),
                (meta::LOG_BYTES, self.done.log_bytes),
                (meta::REPLY_BYTES, self.done.reply_bytes),
                (meta::DEAD_LETTER_BYTES, self.done.letter_bytes),
                (meta::CONSUMERS, self.done.consumers),
                (
                    meta::REMOVED_EPOCH,
                    u64::from(state.removed_epoch.saturating_add(EPOCHS)),
                ),
                (meta::UNTIMED_MS, state.untimed_ms),
            ] {
                rows.insert(name, value)?;
            }
            protect(&offsets, &mut rows)?;
        }
        txn.commit()?;
        Ok(())
    }

    /// What redb answered.
    fn table<T>(&self, found: Result<T, impl Into<redb::Error>>) -> Result<T, StoreError> {
        found.map_err(|error| StoreError::redb("restore into", self.path, error))
    }

    /// What was found in a row.
    fn some<T>(&self, found: Option<T>) -> Result<T, StoreError> {
        found.ok_or_else(|| self.damaged("a row in it cannot be read"))
    }

    fn refused(&self, refusal: &Refusal) -> StoreError {
        self.damaged(&refusal.message)
    }

    #[cold]
    fn damaged(&self, what: &str) -> StoreError {
        self.backup.damaged(self.place, what)
    }
}
