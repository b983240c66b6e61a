//! What waits to be given out, beside what the cursor has not reached: retries, suspects and
//! requeued dead letters. Only sequence numbers: the entries are fetched again when it is time.
//!
//! Invariant: an open message is either leased or here, as a retry or as a suspect. One that is not
//! open any more may be here, when its owner made it a dead letter by hand: it goes when it is
//! looked at.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::Seq;

/// Messages to be given out again.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// By the store time from which on they may go.
    retries: BTreeSet<(u64, Seq)>,
    suspects: BTreeSet<(u64, Seq)>,
    /// When each may go, and whether it is suspect.
    by_seq: BTreeMap<Seq, (u64, bool)>,
    /// Requeued, and not given out since.
    fresh: BTreeSet<Seq>,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.by_seq.is_empty() && self.fresh.is_empty()
    }

    pub(super) fn retries(&self) -> usize {
        self.retries.len()
    }

    pub(super) fn suspects(&self) -> usize {
        self.suspects.len()
    }

    pub(super) fn insert(&mut self, seq: Seq, due_ms: u64, suspect: bool) {
        self.remove(seq);
        self.by_seq.insert(seq, (due_ms, suspect));
        self.set(suspect).insert((due_ms, seq));
    }

    pub(super) fn insert_fresh(&mut self, seq: Seq) {
        self.fresh.insert(seq);
    }

    /// Takes a message out, if it is there.
    pub(super) fn remove(&mut self, seq: Seq) {
        if let Some((due_ms, suspect)) = self.by_seq.remove(&seq) {
            self.set(suspect).remove(&(due_ms, seq));
        }
        self.fresh.remove(&seq);
    }

    fn set(&mut self, suspect: bool) -> &mut BTreeSet<(u64, Seq)> {
        if suspect {
            &mut self.suspects
        } else {
            &mut self.retries
        }
    }

    /// Retries that may go, those that waited longest first.
    pub(super) fn due_retries(&self, now_ms: u64) -> impl Iterator<Item = Seq> + '_ {
        due(&self.retries, now_ms)
    }

    /// Suspects that may go.
    pub(super) fn due_suspects(&self, now_ms: u64) -> impl Iterator<Item = Seq> + '_ {
        due(&self.suspects, now_ms)
    }

    pub(super) fn fresh(&self) -> impl Iterator<Item = Seq> + '_ {
        self.fresh.iter().copied()
    }

    /// When the next one that may not go yet may go.
    pub(super) fn next_due_ms(&self, now_ms: u64) -> Option<u64> {
        let next = |set: &BTreeSet<(u64, Seq)>| {
            let mut later = set.range((now_ms.saturating_add(1), Seq(0))..);
            later.next().map(|(due_ms, _)| *due_ms)
        };
        [next(&self.retries), next(&self.suspects)]
            .into_iter()
            .flatten()
            .min()
    }
}

fn due(set: &BTreeSet<(u64, Seq)>, now_ms: u64) -> impl Iterator<Item = Seq> + '_ {
    set.range(..=(now_ms, Seq(u64::MAX))).map(|(_, seq)| *seq)
}

/// What chance adds to waiting times, so that what failed together does not come back together.
/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A waiting time with up to a fifth added.
    pub(super) fn stretch(&mut self, ms: u64) -> u64 {
        ms.saturating_add(self.next() % (ms / 5 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_adds_up_to_a_fifth_and_not_always_the_same() {
        let mut chance = Chance::new(7);
        let mut seen = BTreeSet::new();
        for _ in 0..100 {
            let ms = chance.stretch(1000);
            assert!((1000..=1200).contains(&ms));
            seen.insert(ms);
        }
        assert!(seen.len() > 50);
        assert_eq!((chance.stretch(0), chance.stretch(1)), (0, 1));
    }
}
