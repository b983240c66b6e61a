//! Synced changes that are not in the tables yet, in memory.
//!
//! The newest overlay takes what the writer has made durable; a closed one waits for the sealer
//! and never changes again. One `apply` serves live traffic and recovery alike.

use std::collections::BTreeMap;
use std::sync::Arc;

use ahash::AHashMap;
use bytes::Bytes;
use edgebus_core::{ConsumerName, Entry, Lsn, RequestId, Scope, Seq};
use prost::Message as _;

use super::consumers::{Change, ConsumerRow};
use super::dead_letter::{DeadLetter, Fate};
use super::ids::Fingerprint;

/// Where a request id is stored, and what stands for its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StoredId {
    pub(super) seq: Seq,
    pub(super) fingerprint: Fingerprint,
}

/// A group that is on disk.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) last_lsn: Lsn,
    /// Sequence number of the first append in it, or of the next one if it has none.
    pub(super) first_seq: Seq,
    pub(super) appends: Vec<Appended>,
    /// The operations' bytes, as in the journal.
    pub(super) ops: Bytes,
}

/// Where an append is in a group's bytes. Its sequence number follows from its index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Appended {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) id: RequestId,
    pub(super) scope: Scope,
    pub(super) fingerprint: Fingerprint,
}

/// What is known of a dead letter here.
#[derive(Clone, Debug)]
pub(super) enum LetterChange {
    /// All of it.
    Put(DeadLetter),
    /// What becomes of the one below.
    Fate(Fate),
}

/// Memory an append takes beside its bytes: its place, and its row among the ids.
const APPEND_OVERHEAD_BYTES: usize = 150;
const GROUP_OVERHEAD_BYTES: usize = 200;
/// The same of a reply or a dead letter.
const CHANGE_OVERHEAD_BYTES: usize = 100;

impl Group {
    /// The appends from a sequence number on, as entries.
    pub(super) fn entries_from(&self, from: Seq) -> impl Iterator<Item = Entry> + '_ {
        let skip = from.0.saturating_sub(self.first_seq.0) as usize;
        self.appends.iter().skip(skip).map(|append| {
            Entry::from_bytes(self.ops.slice(append.start as usize..append.end as usize))
                .expect("entries were parsed or encoded when the group was built")
        })
    }

    fn last_seq(&self) -> Seq {
        Seq(self.first_seq.0 + self.appends.len() as u64 - 1)
    }
}

/// Consecutive groups and what they change.
#[derive(Debug)]
pub(super) struct Overlay {
    pub(super) groups: Vec<Arc<Group>>,
    pub(super) ids: AHashMap<(RequestId, Scope), StoredId>,
    /// The first reply of each request.
    pub(super) replies: BTreeMap<Seq, Bytes>,
    pub(super) letters: BTreeMap<u64, LetterChange>,
    /// Bytes of the dead letters put here.
    pub(super) letter_bytes: usize,
    /// The consumers that changed, as they were when this was closed; `None` for one that is gone.
    pub(super) consumers: Vec<(ConsumerName, Option<ConsumerRow>)>,
    /// The highest epoch of the consumers that were removed up to when this was closed.
    pub(super) removed_epoch: u32,
    /// Nothing before it is kept, as far as is known up to here.
    pub(super) first_seq: Seq,
    /// Last sequence number up to here.
    pub(super) last_seq: Seq,
    /// Last lsn up to here.
    pub(super) last_lsn: Lsn,
    /// Memory held, in bytes.
    pub(super) bytes: usize,
    /// Journal space taken, in bytes.
    pub(super) journal_bytes: u64,
    /// Store time and wall clock of its last group, milliseconds.
    pub(super) times_ms: (u64, u64),
    /// Store time of its first group, milliseconds.
    pub(super) opened_ms: u64,
}

impl Overlay {
    /// An empty overlay over a log from `first_seq` to `last_seq`, that goes on after an lsn.
    pub(super) fn new(first_seq: Seq, last_seq: Seq, last_lsn: Lsn) -> Self {
        Self {
            groups: Vec::new(),
            ids: AHashMap::new(),
            replies: BTreeMap::new(),
            letters: BTreeMap::new(),
            letter_bytes: 0,
            consumers: Vec::new(),
            removed_epoch: 0,
            first_seq,
            last_seq,
            last_lsn,
            bytes: 0,
            journal_bytes: 0,
            times_ms: (0, 0),
            opened_ms: 0,
        }
    }

    /// An empty overlay that goes on after this one, with room for as many ids.
    pub(super) fn successor(&self) -> Self {
        let mut next = Self::new(self.first_seq, self.last_seq, self.last_lsn);
        next.ids.reserve(self.ids.len());
        next
    }

    /// Takes in a group that is on disk, and what its other operations change.
    pub(super) fn apply(
        &mut self,
        group: Group,
        changes: Vec<Change>,
        journal_bytes: u64,
        times_ms: (u64, u64),
    ) {
        if self.groups.is_empty() {
            self.opened_ms = times_ms.0;
        }
        for (seq, append) in (group.first_seq.0..).zip(&group.appends) {
            let stored = StoredId {
                seq: Seq(seq),
                fingerprint: append.fingerprint,
            };
            self.ids.insert((append.id, append.scope), stored);
        }
        changes.into_iter().for_each(|change| self.change(change));
        if !group.appends.is_empty() {
            self.last_seq = group.last_seq();
        }
        self.last_lsn = group.last_lsn;
        self.bytes +=
            group.ops.len() + group.appends.len() * APPEND_OVERHEAD_BYTES + GROUP_OVERHEAD_BYTES;
        self.journal_bytes += journal_bytes;
        self.times_ms = times_ms;
        self.groups.push(Arc::new(group));
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Reply { seq, reply } => {
                self.bytes += reply.len() + CHANGE_OVERHEAD_BYTES;
                self.replies.entry(seq).or_insert(reply);
            }
            Change::Letter { number, letter } => {
                self.letter_bytes += letter.encoded_len();
                self.bytes += letter.encoded_len() + CHANGE_OVERHEAD_BYTES;
                self.letters.insert(number, LetterChange::Put(letter));
            }
            Change::Fate { number, fate } => {
                self.bytes += CHANGE_OVERHEAD_BYTES;
                match self.letters.get_mut(&number) {
                    Some(LetterChange::Put(letter)) if fate != Fate::Removed => {
                        letter.state = fate.to_state();
                    }
                    _ => {
                        self.letters.insert(number, LetterChange::Fate(fate));
                    }
                }
            }
            Change::Trim { before } => self.first_seq = self.first_seq.max(before),
        }
    }

    /// Whether nothing was taken in.
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The groups that hold requests from a sequence number on, up to about that many bytes, and at
    /// least one.
    pub(super) fn groups_from(&self, from: Seq, bytes_max: usize) -> Vec<Arc<Group>> {
        let start = self
            .groups
            .partition_point(|group| group.first_seq <= from)
            .saturating_sub(1);
        let mut bytes = 0;
        self.groups[start..]
            .iter()
            .take_while(|group| {
                let enough = bytes >= bytes_max.max(1);
                bytes += group.ops.len();
                !enough
            })
            .cloned()
            .collect()
    }
}
