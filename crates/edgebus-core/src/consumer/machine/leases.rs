//! Who holds which message, and until when.
//!
//! Invariant: both maps name the same messages.

use std::collections::{BTreeMap, BTreeSet};

use super::super::places::{Place, Places};
use crate::id::Seq;

/// Who holds a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Holder {
    /// A worker that is there.
    Worker(u64),
    /// Nobody that is known: it ends by time alone, as any lease does.
    Nobody,
    /// A worker that may come back, until the deadline. Blamed: when it does not, the message may
    /// have killed it; else the server had died, not the worker.
    Lost { blamed: bool },
}

/// A message that somebody holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Lease {
    pub(super) delivery: u32,
    pub(super) holder: Holder,
    pub(super) place: Place,
    /// It went to a place of its own, and nothing else goes there as long as it holds.
    pub(super) alone: bool,
    /// Store time, milliseconds.
    pub(super) deadline_ms: u64,
}

impl Lease {
    pub(super) fn enter(&self, places: &mut Places) {
        if matches!(self.holder, Holder::Worker(_)) {
            places.enter(self.place, self.alone);
        }
    }

    /// Only what a worker holds is at a place.
    pub(super) fn leave(&self, places: &mut Places) {
        if matches!(self.holder, Holder::Worker(_)) {
            places.leave(self.place, self.alone);
        }
    }
}

/// The leases of one consumer.
#[derive(Debug, Default)]
pub(super) struct Leases {
    by_seq: BTreeMap<Seq, Lease>,
    by_deadline: BTreeSet<(u64, Seq)>,
}

impl Leases {
    pub(super) fn len(&self) -> usize {
        self.by_seq.len()
    }

    pub(super) fn get(&self, seq: Seq) -> Option<&Lease> {
        self.by_seq.get(&seq)
    }

    pub(super) fn contains(&self, seq: Seq) -> bool {
        self.by_seq.contains_key(&seq)
    }

    /// Adds a lease or puts another in its place.
    pub(super) fn insert(&mut self, seq: Seq, lease: Lease) {
        let deadline_ms = lease.deadline_ms;
        if let Some(before) = self.by_seq.insert(seq, lease) {
            self.by_deadline.remove(&(before.deadline_ms, seq));
        }
        self.by_deadline.insert((deadline_ms, seq));
    }

    pub(super) fn remove(&mut self, seq: Seq) -> Option<Lease> {
        let lease = self.by_seq.remove(&seq)?;
        self.by_deadline.remove(&(lease.deadline_ms, seq));
        Some(lease)
    }

    /// The message whose lease ends first, and when.
    pub(super) fn first_deadline(&self) -> Option<(u64, Seq)> {
        self.by_deadline.first().copied()
    }

    /// What a worker holds, in the order of the log.
    pub(super) fn held_by(&self, worker: u64) -> Vec<(Seq, Lease)> {
        let held = self.by_seq.iter().map(|(seq, lease)| (*seq, *lease));
        held.filter(|(_, lease)| lease.holder == Holder::Worker(worker))
            .collect()
    }

    /// Ends all leases.
    pub(super) fn clear(&mut self, places: &mut Places) {
        for lease in self.by_seq.values() {
            lease.leave(places);
        }
        *self = Self::default();
    }
}
