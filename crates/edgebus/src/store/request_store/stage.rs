//! Staging: building the next group. Nothing staged is visible to anyone.

use std::sync::atomic::Ordering;

use ahash::AHashMap;
use edgebus_core::entry::Envelope;
use edgebus_core::{Code, ConsumerName, Entry, Record, Refusal, RequestId, Scope, Seq};

use super::RequestStore;
use crate::clock::Now;
use crate::store::StoreError;
use crate::store::op::{DeadLetter, Op};
use crate::store::overlay::{Appended, StoredId};
use crate::store::view::Counters;

/// Why a change was not staged.
#[derive(Clone, Debug, PartialEq)]
pub enum StageError {
    /// The group is full: commit it, then stage this again.
    GroupFull,
    /// Refused for good; nothing was staged.
    Refused(Refusal),
}

impl From<Refusal> for StageError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The group that is being built. Nothing in it is visible to anyone.
#[derive(Debug, Default)]
pub(super) struct Staged {
    pub(super) ops: Vec<u8>,
    pub(super) op_count: u32,
    pub(super) appends: Vec<Appended>,
    pub(super) ids: AHashMap<(RequestId, Scope), StoredId>,
    pub(super) others: Vec<Op>,
    /// Sends of what is stored or staged; they count once the group is on disk.
    pub(super) duplicates: u64,
}

impl Staged {
    /// Takes the group out. What is left is empty and has room for one like it.
    pub(super) fn take(&mut self) -> Self {
        let mut ids = std::mem::take(&mut self.ids);
        ids.clear();
        let next = Self {
            ops: Vec::with_capacity(self.ops.len()),
            appends: Vec::with_capacity(self.appends.len()),
            ids,
            ..Self::default()
        };
        std::mem::replace(self, next)
    }
}

impl RequestStore {
    /// Bytes of operations staged so far.
    pub fn staged_bytes(&self) -> usize {
        self.staged.ops.len()
    }

    /// Adds a request to the group that is being built, unless its id is stored or staged
    /// already. Returns its sequence number and whether it is a duplicate; neither may be told to
    /// anyone before [`RequestStore::commit`] returned.
    ///
    /// # Errors
    /// [`StageError::GroupFull`], or a refusal: [`Code::IdConflict`], [`Code::StorageFull`],
    /// [`Code::Poisoned`], or the code of a look-up that failed.
    pub fn stage_append(
        &mut self,
        record: &Record,
        scope: Scope,
        identity: &str,
        fingerprint: u128,
        now: Now,
    ) -> Result<(Seq, bool), StageError> {
        self.shared.check().map_err(|e| Refusal::from(&e))?;
        let counters = &self.shared.counters;
        let id = record.id();
        let known = match self.staged.ids.get(&(id, scope)) {
            Some(stored) => Some(*stored),
            None => self
                .shared
                .find(&id, scope)
                .map_err(|e| Refusal::from(&e))?,
        };
        if let Some(stored) = known {
            if stored.fingerprint == fingerprint {
                self.staged.duplicates += 1;
                return Ok((stored.seq, true));
            }
            Counters::add(&counters.refused, 1);
            let message = format!(
                "request id {id} was stored as seq {} with another topic or payload: use a new id for a new request",
                stored.seq
            );
            return Err(Refusal::new(Code::IdConflict, message).into());
        }
        if counters.storage_full.load(Ordering::Relaxed) {
            Counters::add(&counters.refused, 1);
            return Err(self.storage_full().into());
        }
        let start = self.staged.ops.len();
        if start + Entry::encoded_bytes(identity, record) > self.journal.group_bytes_max() {
            return Err(StageError::GroupFull);
        }
        let seq = Seq(self.visible_seq().0 + self.staged.appends.len() as u64 + 1);
        let envelope = Envelope {
            seq,
            received_ms: now.wall_ms,
            scope,
            identity,
        };
        Entry::encode(&mut self.staged.ops, &envelope, record);
        let end = self.staged.ops.len() as u32;
        self.staged.appends.push(Appended {
            start: start as u32,
            end,
            id,
            scope,
            fingerprint,
        });
        self.staged
            .ids
            .insert((id, scope), StoredId { seq, fingerprint });
        self.staged.op_count += 1;
        Ok((seq, false))
    }

    fn visible_seq(&self) -> Seq {
        self.shared.state.read().open.last_seq
    }

    fn storage_full(&self) -> Refusal {
        let free = self.shared.counters.disk_free_bytes.load(Ordering::Relaxed);
        let dir = self.dir.display();
        let kept = self.config.disk_free_bytes_min;
        let message = if free < kept {
            format!(
                "{dir} has {free} bytes free, less than the {kept} kept for work already accepted: free some space"
            )
        } else {
            format!("{dir} has {free} bytes free, too few for the tables to grow: free some space")
        };
        Refusal::new(Code::StorageFull, message).retry_after_ms(1000)
    }

    /// Adds a consumer's offset to the group that is being built.
    ///
    /// # Errors
    /// [`StageError::GroupFull`] or [`Code::Poisoned`].
    pub fn stage_offset(&mut self, consumer: &ConsumerName, offset: Seq) -> Result<(), StageError> {
        self.stage_other(Op::SetOffset {
            consumer: consumer.clone(),
            offset,
        })
    }

    /// Adds a dead letter to the group that is being built; says whether it is new.
    ///
    /// # Errors
    /// Outer: the store cannot be read. Inner: as [`RequestStore::stage_append`], and
    /// [`Code::NotFound`].
    pub fn stage_dead_letter(
        &mut self,
        seq: Seq,
        consumer: &ConsumerName,
        reason: &str,
        now: Now,
    ) -> Result<Result<bool, StageError>, StoreError> {
        let Some(entry) = self.get_by_seq(seq)? else {
            let refusal = Refusal::new(
                Code::NotFound,
                format!("there is no request with seq {seq}"),
            );
            return Ok(Err(refusal.into()));
        };
        let same = |op: &Op| matches!(op, Op::DeadLetter { letter, .. } if letter.seq == seq.0 && letter.consumer == consumer.as_str());
        if self.staged.others.iter().any(same)
            || self.shared.has_dead_letter(consumer.as_str(), seq)?
        {
            return Ok(Ok(false));
        }
        let number = self.last_dead_letter + 1;
        let letter = DeadLetter {
            seq: seq.0,
            consumer: consumer.as_str().to_owned(),
            reason: reason.to_owned(),
            store_time_ms: self.time.at(now),
            wall_ms: now.wall_ms,
            entry: entry.as_bytes().clone(),
        };
        let staged = self.stage_other(Op::DeadLetter { number, letter });
        if staged.is_ok() {
            self.last_dead_letter = number;
        }
        Ok(staged.map(|()| true))
    }

    fn stage_other(&mut self, op: Op) -> Result<(), StageError> {
        self.shared.check().map_err(|e| Refusal::from(&e))?;
        let start = self.staged.ops.len();
        op.encode(&mut self.staged.ops);
        if self.staged.ops.len() > self.journal.group_bytes_max() {
            self.staged.ops.truncate(start);
            return Err(StageError::GroupFull);
        }
        self.staged.others.push(op);
        self.staged.op_count += 1;
        Ok(())
    }
}
