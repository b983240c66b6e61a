//! Who waits for the answer to which request. Owned by the engine, so that no answer slips through
//! between being stored and being asked for.
//!
//! Invariant: there is room for whoever waits for little. An owner may have as many places as are
//! free beside its own, so that the more it has, the sooner it is told to come again later.

use std::sync::Arc;

use ahash::{AHashMap, AHashSet};
use edgebus_core::Seq;
use edgebus_core::consumer::Answer;
use tokio::sync::oneshot;

/// Requests that may be waited for at a time; more are told to come again later.
pub(super) const WAITING_MAX: usize = 256 * 1024;

/// Owners that are remembered although none of theirs may wait.
const OWNERS_MAX: usize = 1024;

/// How many are told that there is no room until it is looked again who gave up.
const SWEEP_EVERY: u32 = 4096;

/// Waiters by request.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    by_seq: AHashMap<Seq, Vec<Waiter>>,
    count: usize,
    /// Each of its waiters has a share in it.
    owners: AHashMap<Arc<str>, Arc<()>>,
    /// With how many owners it is looked which can be forgotten: twice as many as were left.
    forget_at: usize,
    /// How many were told that there is no room since it was looked who gave up.
    refused: u32,
    /// Requests that were stored before, whose answer is being looked up. There may be one already,
    /// which nothing that happens meanwhile replaces.
    looked_up: AHashSet<Seq>,
}

#[derive(Debug)]
struct Waiter {
    to: oneshot::Sender<Answer>,
    /// Counted by the map of owners.
    _of: Arc<()>,
}

impl Waiters {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Whether no more of an owner may wait, after those that gave up are gone.
    pub(super) fn is_full_for(&mut self, owner: &str) -> bool {
        // Nobody can have more than all there are.
        if self.count < WAITING_MAX / 2 {
            return false;
        }
        if self.has_room_for(owner) {
            return false;
        }
        // That looks at all of them, so whoever asks again and again pays for it now and then only.
        let sweeps = self.refused == 0;
        self.refused = (self.refused + 1) % SWEEP_EVERY;
        if sweeps {
            self.sweep();
        }
        !self.has_room_for(owner)
    }

    fn has_room_for(&self, owner: &str) -> bool {
        let own = self
            .owners
            .get(owner)
            .map_or(0, |of| Arc::strong_count(of) - 1);
        own < WAITING_MAX.saturating_sub(self.count)
    }

    /// Someone waits for a request's answer.
    pub(super) fn add(&mut self, seq: Seq, owner: &Arc<str>, waiter: oneshot::Sender<Answer>) {
        let of = match self.owners.get(owner) {
            Some(of) => of.clone(),
            None => self.remember(owner),
        };
        let waiter = Waiter {
            to: waiter,
            _of: of,
        };
        self.by_seq.entry(seq).or_default().push(waiter);
        self.count += 1;
    }

    fn remember(&mut self, owner: &Arc<str>) -> Arc<()> {
        if self.owners.len() >= self.forget_at.max(OWNERS_MAX) {
            self.owners.retain(|_, of| Arc::strong_count(of) > 1);
            self.forget_at = 2 * self.owners.len();
        }
        let of = Arc::new(());
        self.owners.insert(owner.clone(), of.clone());
        of
    }

    /// Whether anyone waits for a request.
    pub(super) fn contains(&self, seq: Seq) -> bool {
        self.count > 0 && self.by_seq.contains_key(&seq)
    }

    /// The answer to a request that is waited for is being looked up.
    pub(super) fn look_up(&mut self, seq: Seq) {
        if self.contains(seq) {
            self.looked_up.insert(seq);
        }
    }

    /// Whether the answer to a request is being looked up.
    pub(super) fn is_looked_up(&self, seq: Seq) -> bool {
        self.looked_up.contains(&seq)
    }

    /// There is no answer yet: the next one is the first.
    pub(super) fn not_found(&mut self, seq: Seq) {
        self.looked_up.remove(&seq);
    }

    /// The answer cannot be found out: whoever waits hears that nobody is left to tell.
    pub(super) fn forget(&mut self, seq: Seq) {
        self.looked_up.remove(&seq);
        self.count -= self.by_seq.remove(&seq).map_or(0, |waiters| waiters.len());
    }

    /// Tells everyone who waits for a request.
    pub(super) fn answer(&mut self, seq: Seq, answer: &Answer) {
        self.looked_up.remove(&seq);
        for waiter in self.by_seq.remove(&seq).into_iter().flatten() {
            self.count -= 1;
            // Whoever asked may have gone.
            let _ = waiter.to.send(answer.clone());
        }
    }

    /// Tells everyone whose request is gone.
    pub(super) fn trimmed(&mut self, first: Seq) {
        let gone: Vec<Seq> = self.by_seq.keys().copied().filter(|s| *s < first).collect();
        for seq in gone {
            self.answer(seq, &Answer::Expired);
        }
    }

    /// Forgets who waits for requests above, as those were not stored after all.
    pub(super) fn forget_above(&mut self, last: Seq) {
        self.by_seq.retain(|seq, _| *seq <= last);
        self.looked_up.retain(|seq| *seq <= last);
        self.count = self.by_seq.values().map(Vec::len).sum();
    }

    /// Forgets those who gave up.
    pub(super) fn sweep(&mut self) {
        self.by_seq.retain(|_, waiters| {
            waiters.retain(|waiter| !waiter.to.is_closed());
            !waiters.is_empty()
        });
        self.count = self.by_seq.values().map(Vec::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_for_much_leaves_room_for_whoever_waits_for_little() {
        let (hog, lone): (Arc<str>, Arc<str>) = ("hog".into(), "lone".into());
        let mut waiters = Waiters::default();
        let mut waiting = Vec::new();
        for seq in 1.. {
            if waiters.is_full_for(&hog) {
                break;
            }
            let (to, answer) = oneshot::channel();
            waiters.add(Seq(seq), &hog, to);
            waiting.push(answer);
        }
        assert_eq!(waiters.len(), WAITING_MAX / 2);
        assert!(!waiters.is_full_for(&lone));
        // Those that gave up make room, in time, and so do answers.
        waiting.pop();
        let refused = (0..2 * SWEEP_EVERY).take_while(|_| waiters.is_full_for(&hog));
        assert!(refused.count() <= SWEEP_EVERY as usize);
        waiters.answer(Seq(1), &Answer::Expired);
        assert_eq!(waiters.len(), WAITING_MAX / 2 - 2);
    }

    #[test]
    fn owners_of_whom_nobody_waits_are_forgotten() {
        let mut waiters = Waiters::default();
        for seq in 1..5 * OWNERS_MAX as u64 {
            let (to, _) = oneshot::channel();
            waiters.add(Seq(seq), &seq.to_string().into(), to);
            waiters.answer(Seq(seq), &Answer::Expired);
        }
        assert!(waiters.owners.len() <= OWNERS_MAX);
    }
}
