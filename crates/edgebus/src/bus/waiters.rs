//! Who waits for the answer to which request. Owned by the engine, so that no answer slips through
//! between being stored and being asked for.

use ahash::{AHashMap, AHashSet};
use edgebus_core::Seq;
use edgebus_core::consumer::Answer;
use tokio::sync::oneshot;

/// Requests that may be waited for at a time; more are told to come again later.
pub(super) const WAITING_MAX: usize = 256 * 1024;

/// Waiters by request.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    by_seq: AHashMap<Seq, Vec<oneshot::Sender<Answer>>>,
    count: usize,
    /// Requests that were stored before, whose answer is being looked up. There may be one already,
    /// which nothing that happens meanwhile replaces.
    looked_up: AHashSet<Seq>,
}

impl Waiters {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Whether no more may wait, after those that gave up are gone.
    pub(super) fn is_full(&mut self) -> bool {
        if self.count >= WAITING_MAX {
            self.sweep();
        }
        self.count >= WAITING_MAX
    }

    /// Someone waits for a request's answer.
    pub(super) fn add(&mut self, seq: Seq, waiter: oneshot::Sender<Answer>) {
        self.by_seq.entry(seq).or_default().push(waiter);
        self.count += 1;
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
            let _ = waiter.send(answer.clone());
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
            waiters.retain(|waiter| !waiter.is_closed());
            !waiters.is_empty()
        });
        self.count = self.by_seq.values().map(Vec::len).sum();
    }
}
