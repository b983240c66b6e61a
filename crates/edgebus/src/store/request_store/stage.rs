//! Staging requests: building the next group. Nothing staged is visible to anyone.

use std::sync::atomic::Ordering;

use ahash::{AHashMap, AHashSet};
use edgebus_core::entry::Envelope;
use edgebus_core::planted;
use edgebus_core::{Code, ConsumerName, Entry, Record, Refusal, RequestId, Scope, Seq};

use super::RequestStore;
use crate::clock::Now;
use crate::store::op::Op;
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
    /// Numbers of the dead letters among them.
    pub(super) letters: AHashMap<(ConsumerName, Seq), u64>,
    /// Numbers of the dead letters that go.
    pub(super) letters_gone: AHashSet<u64>,
    /// Sends of what is stored or staged; they count once the group is on disk.
    pub(super) duplicates: u64,
    /// Bytes of operations that are sure to find room in the journal, once that was asked for.
    pub(super) room: Option<usize>,
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

    /// Bytes of the requests.
    pub(super) fn appended_bytes(&self) -> u64 {
        let bytes = self.appends.iter().map(|a| u64::from(a.end - a.start));
        bytes.sum()
    }

    /// Forgets the requests; the other operations stay, in their order.
    pub(super) fn drop_appends(&mut self) {
        let mut kept = Vec::with_capacity(self.ops.len());
        let mut at = 0;
        for append in self.appends.drain(..) {
            kept.extend_from_slice(&self.ops[at..append.start as usize]);
            at = append.end as usize;
        }
        kept.extend_from_slice(&self.ops[at..]);
        self.ops = kept;
        self.ids.clear();
        self.duplicates = 0;
        self.op_count = self.others.len() as u32;
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
        let scope = match planted!("scope-ignored") {
            true => Scope::default(),
            false => scope,
        };
        let known = match self.staged.ids.get(&(id, scope)) {
            Some(stored) => Some(*stored),
            None => self
                .shared
                .find(&id, scope)
                .map_err(|e| Refusal::from(&e))?,
        };
        let full = counters.storage_full.load(Ordering::Relaxed);
        if let Some(stored) = known.filter(|_| !(full && planted!("full-before-known"))) {
            if stored.fingerprint == fingerprint || planted!("conflict-ignored") {
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
        if full {
            Counters::add(&counters.refused, 1);
            return Err(self.storage_full().into());
        }
        if let Some(holder) = &self.holder {
            Counters::add(&counters.refused, 1);
            return Err(self.held(holder).into());
        }
        let start = self.staged.ops.len();
        if start + Entry::encoded_bytes(identity, record) > self.journal.group_bytes_max() {
            return Err(StageError::GroupFull);
        }
        let seq = Seq(self.visible_seq().0 + self.staged.appends.len() as u64 + 1);
        let envelope = Envelope {
            seq,
            received_ms: now.wall_ms,
            // 0 says that it is not known.
            store_time_ms: self.time.at(now).max(1),
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

    /// The last sequence number, those that are staged included.
    pub fn staged_seq(&self) -> Seq {
        Seq(self.visible_seq().0 + self.staged.appends.len() as u64)
    }

    /// Refuses new requests for as long as this consumer holds the log at its byte limit.
    pub fn hold_appends(&mut self, holder: Option<ConsumerName>) {
        self.holder = holder;
    }

    fn held(&self, holder: &ConsumerName) -> Refusal {
        let message = format!(
            "the log is as large as it may be, and consumer {holder} holds it for ever: let it catch up, remove it, or give it a hold time"
        );
        Refusal::new(Code::StorageFull, message).retry_after_ms(1000)
    }

    pub(super) fn visible_seq(&self) -> Seq {
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
}
