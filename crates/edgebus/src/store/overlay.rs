//! Synced changes that are not in the tables yet, in memory.
//!
//! The newest overlay takes what the writer has made durable; a closed one waits for the sealer
//! and never changes again. One `apply` serves live traffic and recovery alike.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use ahash::AHashMap;
use bytes::Bytes;
use edgebus_core::{ConsumerName, Entry, Lsn, RequestId, Scope, Seq};

use super::ids::Fingerprint;
use super::op::{DeadLetter, Op};

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
    pub(super) others: Vec<Op>,
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

/// Memory an append takes beside its bytes: its place, and its row among the ids.
const APPEND_OVERHEAD_BYTES: usize = 150;
const GROUP_OVERHEAD_BYTES: usize = 200;

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
    pub(super) offsets: BTreeMap<ConsumerName, Seq>,
    pub(super) dead_letters: BTreeMap<u64, DeadLetter>,
    pub(super) dead_letter_keys: HashSet<(String, u64)>,
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
    /// An empty overlay that goes on after a sequence number and an lsn.
    pub(super) fn new(last_seq: Seq, last_lsn: Lsn) -> Self {
        Self {
            groups: Vec::new(),
            ids: AHashMap::new(),
            offsets: BTreeMap::new(),
            dead_letters: BTreeMap::new(),
            dead_letter_keys: HashSet::new(),
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
        let mut next = Self::new(self.last_seq, self.last_lsn);
        next.ids.reserve(self.ids.len());
        next
    }

    /// Takes in a group that is on disk.
    pub(super) fn apply(&mut self, group: Group, journal_bytes: u64, times_ms: (u64, u64)) {
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
        for op in &group.others {
            match op {
                Op::Append(_) => {}
                Op::SetOffset { consumer, offset } => {
                    self.offsets.insert(consumer.clone(), *offset);
                }
                Op::DeadLetter { number, letter } => {
                    self.dead_letter_keys
                        .insert((letter.consumer.clone(), letter.seq));
                    self.dead_letters.insert(*number, letter.clone());
                }
            }
        }
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

    /// Whether nothing was taken in.
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The groups that hold requests from a sequence number on, up to about that many bytes.
    pub(super) fn groups_from(&self, from: Seq, bytes_max: usize) -> Vec<Arc<Group>> {
        let start = self
            .groups
            .partition_point(|group| group.first_seq <= from)
            .saturating_sub(1);
        let mut bytes = 0;
        self.groups[start..]
            .iter()
            .take_while(|group| {
                let enough = bytes >= bytes_max;
                bytes += group.ops.len();
                !enough
            })
            .cloned()
            .collect()
    }
}
