//! What is durable about one consumer.
//!
//! [`Ledger::apply`] is the only way a ledger changes; it serves live traffic and recovery, so the
//! ops of a run applied to an older copy give the same ledger. The [`super::machine`] decides which
//! ops there are; the store keeps ledgers, journals their ops and writes them to its tables.
//!
//! Words: a message is *open* when it was given out and is neither done nor a dead letter. It is
//! open *by nature* when it lies above the offset and is not acked; else because it was requeued,
//! or is to be done *again*.
//!
//! Invariants: no open message by nature lies at or below the offset; acked ranges lie above it
//! and do not touch it; within an epoch no message gets a delivery number twice.

use std::collections::BTreeMap;

use super::config::ConsumerConfig;
use super::op::{Attempt, ConsumerOp, Failure, PlaceKind};
use super::ranges::Ranges;
use super::settlement::AttemptError;
use crate::id::Seq;
use crate::planted;

/// Most errors that are kept of one message, the last ones.
pub(super) const ERRORS_MAX: usize = 10;

/// What retention took from a consumer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Gaps {
    /// How often.
    pub count: u64,
    /// How many messages lay there; not all of them may have been for this consumer.
    pub messages: u64,
    /// The last one: first and last message that are gone.
    pub last: Option<(Seq, Seq)>,
}

/// The durable state of one consumer.
#[derive(Clone, PartialEq, Debug)]
pub struct Ledger {
    pub(super) config: Option<ConsumerConfig>,
    pub(super) epoch: u32,
    pub(super) offset: Seq,
    /// Every message up to here that it selects was given out at least once.
    pub(super) taken: Seq,
    /// Highest delivery number of this epoch: a message that was done and is to be done again goes
    /// on above it, so that no token is used twice.
    pub(super) delivery_max: u32,
    pub(super) acked: Ranges,
    pub(super) open: BTreeMap<Seq, Work>,
    pub(super) requeued: BTreeMap<Seq, u64>,
    pub(super) again: Ranges,
    pub(super) paused: bool,
    pub(super) gaps: Gaps,
}

/// An open message.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Work {
    /// Number of the last delivery.
    pub(super) delivery: u32,
    /// Number of the first delivery since it was last done; tokens below belong to what was before.
    pub(super) first: u32,
    /// Attempts that count.
    pub(super) charged: u32,
    /// With whom it is: kind of place, and whether alone there.
    pub(super) out: Option<(PlaceKind, bool)>,
    /// It may have killed the place it was with.
    pub(super) suspect: bool,
    /// Not to be given out before this store time, milliseconds.
    pub(super) due_ms: u64,
    /// What went wrong, oldest first; at most [`ERRORS_MAX`].
    pub(super) errors: Vec<AttemptError>,
}

/// What a token stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// The message is open, and this delivery belongs to it.
    Open,
    /// The message was a dead letter and was requeued since.
    Before,
    /// The message is done.
    Done,
    /// Nobody ever got this token.
    Never,
}

impl Ledger {
    /// A consumer that is done with everything up to `offset`. Without a configuration it selects
    /// nothing and its offset is moved by hand.
    pub fn new(config: Option<ConsumerConfig>, offset: Seq) -> Self {
        Self {
            config,
            epoch: 1,
            offset,
            taken: offset,
            delivery_max: 0,
            acked: Ranges::default(),
            open: BTreeMap::new(),
            requeued: BTreeMap::new(),
            again: Ranges::default(),
            paused: false,
            gaps: Gaps::default(),
        }
    }

    /// The same for a name that consumers had before, with an epoch above all of theirs: a token of
    /// an earlier one is never good for this one.
    #[must_use]
    pub fn with_epoch(self, epoch: u32) -> Self {
        Self { epoch, ..self }
    }

    /// The same in a store that is made of a backup: with nobody, as nobody died, and in an epoch so
    /// much higher that no token from elsewhere is good.
    #[must_use]
    pub fn restored(mut self, epochs: u32) -> Self {
        self.epoch = self.epoch.saturating_add(epochs);
        for work in self.open.values_mut() {
            work.out = None;
        }
        self
    }

    /// How it is set up.
    pub fn config(&self) -> Option<&ConsumerConfig> {
        self.config.as_ref()
    }

    /// Above that of any consumer removed before for a new one, so 1 for the first; goes up by one
    /// with each reset.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Everything up to here is done, except what was requeued or is to be done again.
    pub fn offset(&self) -> Seq {
        self.offset
    }

    /// Whether an operator paused it.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether a message is done (or never was for this consumer, and lies below the offset).
    pub fn is_done(&self, seq: Seq) -> bool {
        self.was_done(seq) && !self.again.contains(seq) && !self.requeued.contains_key(&seq)
    }

    /// Number of the dead letter that is to be tried again.
    pub fn requeued(&self, seq: Seq) -> Option<u64> {
        self.requeued.get(&seq).copied()
    }

    /// What retention took.
    pub fn gaps(&self) -> Gaps {
        self.gaps
    }

    /// Whether it was done at least once in this epoch, or lies below where that began.
    pub(super) fn was_done(&self, seq: Seq) -> bool {
        seq <= self.offset || self.acked.contains(seq)
    }

    /// Whether it is wanted although it was done before.
    pub(super) fn is_extra(&self, seq: Seq) -> bool {
        self.requeued.contains_key(&seq) || self.again.contains(seq)
    }

    /// What a token of this epoch stands for.
    pub(super) fn standing(&self, seq: Seq, delivery: u32) -> Standing {
        let given = (1..=self.delivery_max).contains(&delivery);
        match self.open.get(&seq) {
            Some(work) if !given || delivery > work.delivery => Standing::Never,
            Some(work) if delivery >= work.first => Standing::Open,
            _ if !given => Standing::Never,
            _ if self.requeued.contains_key(&seq) => Standing::Before,
            Some(_) => Standing::Done,
            None if self.was_done(seq) => Standing::Done,
            None => Standing::Never,
        }
    }

    /// The number its next delivery gets.
    pub(super) fn next_delivery(&self, seq: Seq) -> u32 {
        let last = match self.open.get(&seq) {
            Some(work) => work.delivery,
            None if self.is_extra(seq) => self.delivery_max,
            None => 0,
        };
        last.saturating_add(1)
    }

    /// Up to where everything is done when all messages up to `cursor` were looked at.
    pub(super) fn reach(&self, cursor: Seq) -> Seq {
        let mut open = self.open.range(self.offset.next()..);
        let first = open.find(|(seq, _)| !self.acked.contains(**seq));
        let first = first.filter(|_| !planted!("offset-past-unacked"));
        let reach = first.map_or(cursor, |(seq, _)| cursor.min(Seq(seq.0 - 1)));
        reach.max(self.offset)
    }

    /// What was looked at up to `cursor` and is not for this consumer, as far as it joins acks: it
    /// is neither acked nor open nor requeued. Costs as much as there are ranges of acks.
    pub(super) fn passed_over(&self, cursor: Seq) -> Vec<(Seq, Seq)> {
        let mut holes = Vec::new();
        let mut from = self.offset.next();
        for (acked, end) in self.acked.iter() {
            let to = Seq(acked.0 - 1);
            if to > cursor {
                break;
            }
            match self.wanted_between(from, to) {
                None => holes.push((from, to)),
                Some((first, last)) => {
                    holes.push((from, Seq(first.0 - 1)));
                    holes.push((last.next(), to));
                }
            }
            from = end.next();
        }
        if from <= cursor {
            let wanted = self.wanted_between(from, cursor);
            holes.push((from, wanted.map_or(cursor, |(first, _)| Seq(first.0 - 1))));
        }
        holes.retain(|(from, to)| from <= to);
        holes
    }

    /// The first and the last open or requeued message of a range.
    fn wanted_between(&self, from: Seq, to: Seq) -> Option<(Seq, Seq)> {
        let open = self.open.range(from..=to).map(|(seq, _)| *seq);
        let requeued = self.requeued.range(from..=to).map(|(seq, _)| *seq);
        let first = open
            .clone()
            .next()
            .into_iter()
            .chain(requeued.clone().next());
        let last = open
            .clone()
            .next_back()
            .into_iter()
            .chain(requeued.clone().next_back());
        Some((first.min()?, last.max()?))
    }

    /// The parts of ranges that were done.
    pub(super) fn done_parts(&self, ranges: &[(Seq, Seq)]) -> Vec<(Seq, Seq)> {
        let mut parts = Ranges::default();
        for (from, to) in ranges {
            let from = Seq(from.0.max(1));
            parts.insert(from, (*to).min(self.offset));
            for (from, to) in self.acked.common(from, *to) {
                parts.insert(from, to);
            }
        }
        parts.iter().collect()
    }

    /// The only way it changes. Returns the numbers of requeued dead letters that are done by it:
    /// their rows go. [`ConsumerOp::Delete`] is for whoever keeps the ledger and changes nothing.
    pub fn apply(&mut self, op: &ConsumerOp) -> Vec<u64> {
        match op {
            ConsumerOp::Put { config, .. } => self.config = Some(config.clone()),
            ConsumerOp::Delete => {}
            ConsumerOp::Reset { offset } => self.reset(*offset),
            ConsumerOp::Attempts(attempts) => {
                for attempt in attempts {
                    self.attempted(attempt);
                }
            }
            ConsumerOp::Done(ranges) => return self.done(ranges),
            ConsumerOp::Completed { seq, .. } => return self.done(&[(*seq, *seq)]),
            ConsumerOp::Failed(failures) => {
                for failure in failures {
                    self.failed(failure);
                }
            }
            ConsumerOp::DeadLettered { seq } => {
                // The row stays, dead again. `taken` stays, too: it may have been moved by hand, far
                // ahead of what was given out.
                self.done(&[(*seq, *seq)]);
            }
            ConsumerOp::Requeued { seq, number } => {
                self.requeued.insert(*seq, *number);
                if let Some(work) = self.open.get_mut(seq) {
                    work.charged = 0;
                }
            }
            ConsumerOp::Dropped { seq } => {
                self.requeued.remove(seq);
                if self.is_done(*seq) {
                    self.open.remove(seq);
                }
            }
            ConsumerOp::Again(ranges) => {
                for (from, to) in self.done_parts(ranges) {
                    self.again.insert(from, to);
                }
            }
            ConsumerOp::Progress { offset } => self.progress(*offset),
            ConsumerOp::Gap { from, to } => {
                self.gaps.count = self.gaps.count.saturating_add(1);
                let messages = to.0.saturating_sub(from.0).saturating_add(1);
                self.gaps.messages = self.gaps.messages.saturating_add(messages);
                self.gaps.last = Some((*from, *to));
                // An open one alone says nothing about what lies before it: it was found missing.
                if from != to || !self.open.contains_key(to) {
                    self.taken = self.taken.max(*to);
                }
                return self.done(&[(*from, *to)]);
            }
            ConsumerOp::Paused(paused) => self.paused = *paused,
        }
        Vec::new()
    }

    fn reset(&mut self, offset: Seq) {
        self.epoch = self.epoch.saturating_add(1);
        self.offset = offset;
        self.taken = offset;
        self.delivery_max = 0;
        self.acked = Ranges::default();
        self.open.clear();
        self.again = Ranges::default();
        // Requeued ones stay: the dead letter may be all that is left of them.
    }

    fn attempted(&mut self, attempt: &Attempt) {
        let extra = self.is_extra(attempt.seq);
        self.delivery_max = self.delivery_max.max(attempt.delivery);
        let work = self.open.entry(attempt.seq).or_insert_with(|| {
            // Looked at for the first time, in the order of the log; a requeued one may be far
            // ahead of that order after a reset.
            if !extra {
                self.taken = self.taken.max(attempt.seq);
            }
            Work {
                first: attempt.delivery,
                ..Work::default()
            }
        });
        work.delivery = attempt.delivery;
        work.out = Some((attempt.place, attempt.alone));
        work.due_ms = 0;
    }

    fn failed(&mut self, failure: &Failure) {
        let Some(work) = self.open.get_mut(&failure.seq) else {
            return;
        };
        work.out = None;
        work.charged = work.charged.saturating_add(u32::from(failure.charged));
        work.suspect = failure.suspect;
        work.due_ms = failure.due_ms;
        if failure.charged || !failure.error.is_empty() {
            keep_last(
                &mut work.errors,
                AttemptError {
                    error: failure.error.clone(),
                    wall_ms: failure.wall_ms,
                },
            );
        }
    }

    fn done(&mut self, ranges: &[(Seq, Seq)]) -> Vec<u64> {
        let mut closed = Vec::new();
        for &(from, to) in ranges {
            if from > to {
                continue;
            }
            if from == to {
                self.open.remove(&from);
            } else {
                remove_range(&mut self.open, from, to, |_| {});
            }
            if !self.requeued.is_empty() {
                remove_range(&mut self.requeued, from, to, |number| closed.push(number));
            }
            self.again.remove(from, to);
            if to <= self.offset {
                continue;
            }
            if from <= self.offset.next() {
                self.offset = to;
            } else {
                self.acked.insert(from, to);
            }
            self.move_on();
        }
        closed
    }

    fn progress(&mut self, offset: Seq) {
        if offset <= self.offset {
            return;
        }
        let left: Vec<Seq> = self
            .open
            .range(self.offset.next()..=offset)
            .map(|(seq, _)| *seq)
            .filter(|seq| !self.is_extra(*seq))
            .collect();
        for seq in left {
            self.open.remove(&seq);
        }
        self.offset = offset;
        self.move_on();
    }

    /// Moves the offset over what is acked right above it.
    fn move_on(&mut self) {
        if !self.acked.is_empty() {
            // A range that the offset jumped into the middle of is absorbed whole.
            self.offset = self.acked.absorb(self.offset);
        }
        self.taken = self.taken.max(self.offset);
    }
}

/// Adds an error and forgets the oldest ones.
pub(super) fn keep_last(errors: &mut Vec<AttemptError>, error: AttemptError) {
    errors.push(error);
    if errors.len() > ERRORS_MAX {
        errors.drain(..errors.len() - ERRORS_MAX);
    }
}

fn remove_range<V>(map: &mut BTreeMap<Seq, V>, from: Seq, to: Seq, mut gone: impl FnMut(V)) {
    while let Some(seq) = map.range(from..=to).next().map(|(seq, _)| *seq) {
        if let Some(value) = map.remove(&seq) {
            gone(value);
        }
    }
}
