//! Committing: what became of earlier requests, and new ones.
//!
//! Invariant: what is settled never fails for want of room. A forwarded request is remembered, and a
//! dead one owed, until there is room to write it down; a crash before that sends it once more, under
//! its id.

use edgebus_core::{Code, Record, Refusal};

use super::cursor::Letters;
use super::write::{Batch, Room};
use super::{Settled, Spool};
use crate::store::StoreError;
use crate::store::dead_letter::DeadLetter;

/// Bytes of an entry beside its record, no identity.
pub(super) const ENTRY_BYTES: usize = edgebus_core::entry::HEADER_BYTES;

impl Spool {
    /// Stores what became of earlier requests, and new requests: on disk when it returns. One outcome
    /// for each of `records`: its number, or why not; then nothing of it is stored. When one does not
    /// fit, those behind it are refused too, so that what is stored has no gap.
    ///
    /// Numbers that do not wait (any more) are passed over. Those settled before others in front of
    /// them are remembered, not written down: after a crash they are handed out once more. On a full
    /// disk that goes for all of them, until there is room.
    ///
    /// # Errors
    /// Any stops the spool: the outcome of all of it is unknown until the spool is opened again.
    pub fn commit(
        &mut self,
        settled: &[(u64, Settled)],
        records: Vec<Record>,
    ) -> Result<Vec<Result<u64, Refusal>>, StoreError> {
        self.check()?;
        let settling = self.settle(settled);
        self.stop_at(settling)?;
        let dying = self.write_owed();
        self.stop_at(dying)?;
        let outcomes = self.append(&records)?;
        self.write_mark()?;
        let moving = self.move_letters();
        self.stop_at(moving)?;
        Ok(outcomes)
    }

    fn settle(&mut self, settled: &[(u64, Settled)]) -> Result<(), StoreError> {
        let mut forwarded = Vec::new();
        for (number, settled) in settled {
            if !self.index.waits(*number) {
                continue;
            }
            match settled {
                Settled::Forwarded => forwarded.push(*number),
                Settled::Dead { code, reason } => {
                    self.owed.insert(*number, (*code, reason.clone()));
                }
            }
        }
        forwarded.sort_unstable();
        forwarded.dedup();
        for (number, _, bytes) in self.find(&forwarded)? {
            self.index.removed(number, bytes);
            self.out.remove(&number);
            self.owed.remove(&number);
        }
        Ok(())
    }

    /// Writes the dead letters that are owed, as far as there is room.
    fn write_owed(&mut self) -> Result<(), StoreError> {
        if self.owed.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let stamp = self.stamp(now);
        let numbers: Vec<u64> = self.owed.keys().copied().collect();
        let mut letters = Letters::default();
        let mut batch = Batch::default();
        let mut in_batch = Vec::new();
        for (number, at, bytes) in self.find(&numbers)? {
            let entry = letters.request(&self.ground, number, at)?;
            let (code, reason) = &self.owed[&number];
            let letter = DeadLetter {
                seq: number,
                reason: reason.clone(),
                store_time_ms: stamp.store_time_ms,
                wall_ms: stamp.wall_ms,
                entry: entry.as_bytes().clone(),
                code: code.as_str().to_owned(),
                ..DeadLetter::default()
            };
            let letter = letter.bounded();
            let letter_bytes = entry.as_bytes().len() + LETTER_BYTES;
            if !batch.is_empty() && batch.is_full_with(letter_bytes, self.journal.group_bytes_max())
            {
                let full = std::mem::take(&mut batch);
                if !self.write_dead(full, &mut in_batch)? {
                    return Ok(());
                }
            }
            batch.die(number, letter, bytes);
            in_batch.push(number);
        }
        self.write_dead(batch, &mut in_batch)?;
        Ok(())
    }

    fn write_dead(&mut self, batch: Batch, numbers: &mut Vec<u64>) -> Result<bool, StoreError> {
        let written = self.write_if_room(batch, Room::Kept)?;
        for number in numbers.drain(..).filter(|_| written) {
            self.owed.remove(&number);
            self.out.remove(&number);
        }
        Ok(written)
    }

    fn append(&mut self, records: &[Record]) -> Result<Vec<Result<u64, Refusal>>, StoreError> {
        let now = self.clock.now();
        let stamp = self.stamp(now);
        let mut outcomes: Vec<Result<u64, Refusal>> = Vec::with_capacity(records.len());
        let mut batch = Batch::default();
        let mut number = self.index.next;
        let mut used = self.index.waiting_bytes + self.index.dead_bytes;
        let mut refused = None;
        for record in records {
            let bytes = record.as_bytes().len();
            if !record.is_intact() {
                outcomes.push(Err(Refusal::new(
                    Code::RecordCorrupt,
                    format!(
                        "checksum of request {} does not match its bytes",
                        record.id()
                    ),
                )));
                continue;
            }
            if refused.is_none() && used + bytes as u64 > self.config.bytes_max {
                refused = Some(self.full(used));
            }
            if refused.is_none()
                && !batch.is_empty()
                && batch.is_full_with(ENTRY_BYTES + bytes, self.journal.group_bytes_max())
            {
                refused = self.append_batch(std::mem::take(&mut batch), &mut outcomes)?;
            }
            if let Some(refusal) = &refused {
                outcomes.push(Err(refusal.clone()));
                continue;
            }
            batch.append(number, record, stamp);
            outcomes.push(Ok(number));
            number += 1;
            used += bytes as u64;
        }
        if !batch.is_empty() {
            self.append_batch(batch, &mut outcomes)?;
        }
        Ok(outcomes)
    }

    /// Writes a batch of requests. Without room for it their outcomes become refusals.
    fn append_batch(
        &mut self,
        batch: Batch,
        outcomes: &mut [Result<u64, Refusal>],
    ) -> Result<Option<Refusal>, StoreError> {
        let first = self.index.next;
        let refusal = if self.segments.used_bytes() >= self.config.disk_bytes_max() {
            self.full(self.index.waiting_bytes + self.index.dead_bytes)
        } else {
            match self.write(batch, Room::Taken) {
                Ok(()) => return Ok(None),
                Err(error @ StoreError::Full { .. }) => Refusal::from(&error),
                Err(error) => return Err(error),
            }
        };
        for outcome in outcomes {
            if outcome.as_ref().is_ok_and(|number| *number >= first) {
                *outcome = Err(refusal.clone());
            }
        }
        Ok(Some(refusal))
    }

    fn full(&self, used: u64) -> Refusal {
        let what = format!(
            "the spool is full: {used} of {} bytes, {} requests wait for a server and {} are dead letters",
            self.config.bytes_max,
            self.index.waiting,
            self.dead()
        );
        Refusal::new(Code::StorageFull, what)
    }
}

/// More than a dead letter takes beside its entry: the reason is the largest part.
pub(super) const LETTER_BYTES: usize = 1536;
