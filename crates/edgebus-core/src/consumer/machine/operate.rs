//! What operators and retention do to a consumer.

use super::super::ledger::Ledger;
use super::super::op::ConsumerOp;
use super::super::places::Places;
use super::super::ranges::Ranges;
use super::output::{Output, PauseReason};
use super::{Consumer, record};
use crate::id::Seq;
use crate::planted;

impl Consumer {
    /// Sets the offset: acks above it, attempts and leases are forgotten, and tokens given out so
    /// far are stale. Workers stay, and so do requeued dead letters.
    pub fn reset(
        &mut self,
        ledger: &mut Ledger,
        places: &mut Places,
        offset: Seq,
        out: &mut Vec<Output>,
    ) {
        record(ledger, ConsumerOp::Reset { offset }, out);
        self.leases.clear(places);
        self.waiting = Default::default();
        for seq in ledger.requeued.keys() {
            self.waiting.insert_fresh(*seq);
        }
        self.probe = None;
        self.again_from = Seq(0);
        self.cursor = offset;
        self.stalled = false;
        self.space_compaction(ledger);
        self.close_breaker(out);
        self.tell_bound(ledger, out);
        self.reclaim(ledger, places);
    }

    /// Pauses it, or lets it go on; going on closes the breaker, too. What is out stays out.
    pub fn pause(&mut self, ledger: &mut Ledger, paused: bool, out: &mut Vec<Output>) {
        if ledger.paused != paused {
            record(ledger, ConsumerOp::Paused(paused), out);
            out.push(if paused {
                Output::Paused {
                    reason: PauseReason::Operator,
                }
            } else {
                Output::Resumed
            });
        }
        if !paused {
            self.close_breaker(out);
        }
        self.claim_may_change();
    }

    fn close_breaker(&mut self, out: &mut Vec<Output>) {
        if !self.breaker.is_closed() {
            out.push(Output::Resumed);
        }
        self.breaker.close();
    }

    /// The owner's reason to give nothing out, or none any more.
    pub fn block(&mut self, reason: Option<PauseReason>) {
        self.blocked = reason;
        self.claim_may_change();
    }

    /// The configuration changed (the owner applied [`ConsumerOp::Put`]): the message at the cursor
    /// is looked at again.
    pub fn configured(&mut self) {
        self.stalled = false;
        self.claim_may_change();
    }

    /// A dead letter is to be tried again: its attempts restart, no offset moves back.
    pub fn requeue(&mut self, ledger: &mut Ledger, seq: Seq, number: u64, out: &mut Vec<Output>) {
        if ledger.requeued(seq) == Some(number) {
            return;
        }
        record(ledger, ConsumerOp::Requeued { seq, number }, out);
        if !ledger.open.contains_key(&seq) {
            self.waiting.remove(seq);
            self.waiting.insert_fresh(seq);
        }
    }

    /// Messages that were done are to be done again, those of them that are for this consumer;
    /// ranges are inclusive. What is not done yet is not touched. The owner bounds how many ranges
    /// it hands in, and leaves out what is trimmed.
    pub fn again(&mut self, ledger: &mut Ledger, ranges: Vec<(Seq, Seq)>, out: &mut Vec<Output>) {
        let parts = ledger.done_parts(&ranges);
        let Some((first, _)) = parts.first().copied() else {
            return;
        };
        record(ledger, ConsumerOp::Again(parts), out);
        self.again_from = self.again_from.min(first);
    }

    /// An entry that [`Consumer::due`] listed exists no more; or an operator removed a requeued dead
    /// letter; or the owner made a message a dead letter by hand, ledger included.
    pub fn gone(
        &mut self,
        ledger: &mut Ledger,
        places: &mut Places,
        seq: Seq,
        out: &mut Vec<Output>,
    ) {
        if ledger.requeued.contains_key(&seq) {
            self.dropped(ledger, places, seq, out);
        } else if !ledger.open.contains_key(&seq) && !ledger.again.contains(seq) {
            self.give_up(places, seq);
        } else if self.leases.contains(seq) {
            // Whoever has it has all of it.
            return;
        } else if ledger.again.contains(seq) {
            self.waiting.remove(seq);
            record(ledger, ConsumerOp::Done(vec![(seq, seq)]), out);
        } else if ledger.open.contains_key(&seq) {
            self.waiting.remove(seq);
            record(ledger, ConsumerOp::Gap { from: seq, to: seq }, out);
        }
        self.tell_bound(ledger, out);
        self.reclaim(ledger, places);
    }

    fn dropped(
        &mut self,
        ledger: &mut Ledger,
        places: &mut Places,
        seq: Seq,
        out: &mut Vec<Output>,
    ) {
        self.waiting.remove(seq);
        record(ledger, ConsumerOp::Dropped { seq }, out);
        match ledger.open.get(&seq) {
            None => {
                self.end_lease(places, seq);
            }
            // It is to be done for another reason, too.
            Some(work) if !self.leases.contains(seq) => {
                self.waiting.insert(seq, work.due_ms, work.suspect);
            }
            Some(_) => {}
        }
    }

    /// Retention: nothing below `first` exists any more. What was not done is told as gaps, except
    /// what workers hold, which they may still complete.
    pub fn trimmed(
        &mut self,
        ledger: &mut Ledger,
        places: &mut Places,
        first: Seq,
        out: &mut Vec<Output>,
    ) {
        let Some(last) = first.0.checked_sub(1).map(Seq).filter(|last| last.0 > 0) else {
            return;
        };
        if ledger.config.is_none() {
            return;
        }
        let Missed {
            undone: missed,
            not_again,
        } = self.missed(ledger, last);
        for (from, to) in &not_again {
            for seq in open_between(ledger, *from, *to) {
                self.waiting.remove(seq);
            }
        }
        if !not_again.is_empty() {
            record(ledger, ConsumerOp::Done(not_again), out);
        }
        for (from, to) in missed {
            for seq in open_between(ledger, from, to) {
                self.waiting.remove(seq);
            }
            let op = match planted!("gap-in-silence") {
                true => ConsumerOp::Done(vec![(from, to)]),
                false => ConsumerOp::Gap { from, to },
            };
            record(ledger, op, out);
        }
        self.passed(last);
        self.progress(ledger, out);
        self.tell_bound(ledger, out);
        self.reclaim(ledger, places);
    }

    /// What retention takes up to `last`: messages that were never done, and messages that were to
    /// be done again.
    fn missed(&self, ledger: &Ledger, last: Seq) -> Missed {
        let mut missed = Ranges::default();
        missed.insert(self.cursor.max(ledger.offset).next(), last);
        for (from, to) in ledger.acked.iter() {
            missed.remove(from, to);
        }
        let mut not_again = Ranges::default();
        for (from, to) in ledger.again.common(Seq(0), last) {
            not_again.insert(from, to);
        }
        for (seq, _) in ledger.open.range(..=last) {
            if !ledger.is_extra(*seq) {
                missed.insert(*seq, *seq);
            }
            if self.leases.contains(*seq) {
                missed.remove(*seq, *seq);
                not_again.remove(*seq, *seq);
            }
        }
        // The row of the dead letter has all of it.
        for (seq, _) in ledger.requeued.range(..=last) {
            missed.remove(*seq, *seq);
            not_again.remove(*seq, *seq);
        }
        Missed {
            undone: missed.iter().collect(),
            not_again: not_again.iter().collect(),
        }
    }

    /// Lets the ledger's offset catch up with what was looked at and is not for this consumer.
    pub fn progress(&mut self, ledger: &mut Ledger, out: &mut Vec<Output>) {
        let offset = self.reach(ledger);
        if offset > ledger.offset {
            record(ledger, ConsumerOp::Progress { offset }, out);
        }
    }
}

/// What retention takes; ranges are inclusive.
struct Missed {
    /// Never done.
    undone: Vec<(Seq, Seq)>,
    /// Done, but not again.
    not_again: Vec<(Seq, Seq)>,
}

fn open_between(ledger: &Ledger, from: Seq, to: Seq) -> Vec<Seq> {
    ledger.open.range(from..=to).map(|(seq, _)| *seq).collect()
}
