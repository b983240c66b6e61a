//! Which message is next, and who gets it.

use super::super::expiry::expires_at;
use super::super::ledger::Ledger;
use super::super::op::{Attempt, ConsumerOp};
use super::super::places::Places;
use super::super::settlement::DeadLetterCode;
use super::super::token::LeaseToken;
use super::leases::{Holder, Lease};
use super::output::{Moment, Offer, Output, PauseReason};
use super::{Consumer, ack_wait_ms, record};
use crate::entry::Entry;
use crate::id::Seq;
use crate::planted;

/// Why an offered entry is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wanted {
    /// It was never given out.
    New,
    /// It is to be tried again.
    Retry,
    /// It is to be tried again, alone.
    Suspect,
    /// It was a dead letter.
    Requeued,
    /// An operator wants it done again.
    Again,
}

impl Consumer {
    /// What could be given out now beside what is at the cursor: retries, suspects, requeued dead
    /// letters with their number (the entry is in that row), and what is to be done again. At most
    /// `max`, and no more than there is room for. Costs next to nothing when there is nothing.
    pub fn due(
        &self,
        ledger: &Ledger,
        places: &Places,
        now: Moment,
        max: usize,
    ) -> Vec<(Seq, Option<u64>)> {
        let now_ms = self.now_ms.max(now.store_ms);
        if self.waiting.is_empty() && ledger.again.is_empty() {
            return Vec::new();
        }
        let mut due: Vec<Seq> = Vec::new();
        let alone_max = self.room(ledger, now_ms).min(max).min(1);
        if alone_max == 1 && self.probe.is_none() && self.workers.any_idle(places) {
            due.extend(self.waiting.due_suspects(now_ms).take(1));
        }
        let max = self.room_beside_claim(ledger, now_ms).min(max);
        if due.len() < max && self.workers.any_open(places) {
            let room = max - due.len();
            due.extend(self.waiting.due_retries(now_ms).take(room));
            if !self.is_bounded(ledger) {
                let room = max - due.len();
                due.extend(self.waiting.fresh().take(room));
                self.list_again(ledger, max, &mut due);
            }
        }
        let numbered = due.into_iter().map(|seq| (seq, ledger.requeued(seq)));
        numbered.collect()
    }

    fn list_again(&self, ledger: &Ledger, max: usize, due: &mut Vec<Seq>) {
        let mut from = self.again_from;
        while due.len() < max
            && let Some(seq) = ledger.again.at_or_after(from)
        {
            if !ledger.open.contains_key(&seq) && !ledger.requeued.contains_key(&seq) {
                due.push(seq);
            }
            from = seq.next();
        }
    }

    /// The next message to look at. `None`: the message there is for this consumer and cannot be
    /// given out, or there is no configuration. While there is no room it still goes on over what
    /// is not for it, so that an idle or paused consumer holds nothing.
    pub fn scan_from(&self, ledger: &Ledger) -> Option<Seq> {
        ledger.config.as_ref()?;
        if self.stalled && !self.has_room_for_new(ledger) {
            return None;
        }
        Some(self.next_at_cursor(ledger))
    }

    /// A requeued one that was far ahead of the cursor may have moved the offset beyond it.
    fn next_at_cursor(&self, ledger: &Ledger) -> Seq {
        self.cursor.max(ledger.offset).next()
    }

    /// Whether a message is to be given out beside what is at the cursor, or is out. Anything else
    /// that comes late, to be offered after [`Consumer::due`] had listed it, is not to be offered:
    /// above the cursor it would be taken for the next one.
    pub fn awaits(&self, ledger: &Ledger, seq: Seq) -> bool {
        ledger.open.contains_key(&seq) || ledger.is_extra(seq)
    }

    /// All up to `upto` were looked at, by offering them or otherwise, and none that was not taken
    /// is for this consumer.
    pub fn passed(&mut self, upto: Seq) {
        if upto > self.cursor {
            self.cursor = upto;
            self.stalled = false;
        }
    }

    /// Offers an entry that [`Consumer::due`] listed, or the next one at the cursor; there, only
    /// what is not for this consumer may be left out. [`Offer::Taken`] and [`Offer::Skipped`] mean
    /// that it was looked at: after a run of offers from the cursor the owner calls
    /// [`Consumer::passed`] with the last of them.
    pub fn offer(
        &mut self,
        ledger: &mut Ledger,
        places: &mut Places,
        entry: &Entry,
        now: Moment,
        out: &mut Vec<Output>,
    ) -> Offer {
        self.at(now);
        let seq = entry.seq();
        let Some(wanted) = self.wanted(ledger, entry) else {
            self.skip(ledger, entry, out);
            return Offer::Skipped;
        };
        let at_cursor = seq == self.next_at_cursor(ledger);
        self.reclaim(ledger, places);
        if !self.fits(ledger, places, wanted) {
            self.stalled |= wanted == Wanted::New;
            self.tell_bound(ledger, out);
            return Offer::NoRoom;
        }
        if !ledger.is_extra(seq) && expires_at(entry).is_some_and(|ms| ms <= self.now_ms) {
            self.waiting.remove(seq);
            let reason = "it expired before it was done".to_owned();
            self.bury(ledger, seq, DeadLetterCode::Expired, reason, None, out);
        } else if !self.deliver(ledger, places, entry, wanted, out) {
            self.stalled |= wanted == Wanted::New;
            return Offer::NoRoom;
        }
        if wanted == Wanted::New || at_cursor {
            self.passed(seq);
        }
        self.reclaim(ledger, places);
        Offer::Taken
    }

    /// Why an entry is wanted; `None` when it is not, or not now.
    fn wanted(&self, ledger: &Ledger, entry: &Entry) -> Option<Wanted> {
        let seq = entry.seq();
        if let Some(work) = ledger.open.get(&seq) {
            let may_go = !self.leases.contains(seq) && work.due_ms <= self.now_ms;
            return may_go.then_some(if work.suspect {
                Wanted::Suspect
            } else {
                Wanted::Retry
            });
        }
        if ledger.requeued.contains_key(&seq) {
            return Some(Wanted::Requeued);
        }
        let config = ledger.config.as_ref()?;
        let wanted = if ledger.again.contains(seq) {
            Wanted::Again
        } else if seq > self.cursor && !ledger.was_done(seq) {
            Wanted::New
        } else {
            return None;
        };
        config.selects(entry.record()).then_some(wanted)
    }

    /// An entry that is not for this consumer, or not now.
    fn skip(&mut self, ledger: &mut Ledger, entry: &Entry, out: &mut Vec<Output>) {
        if ledger.config.is_none() {
            return;
        }
        let seq = entry.seq();
        let open = ledger.open.contains_key(&seq);
        if !open {
            self.waiting.remove(seq);
        }
        if !open && ledger.again.contains(seq) {
            record(ledger, ConsumerOp::Done(vec![(seq, seq)]), out);
        }
        // An open one may be listed by `due` far above the cursor, after a reset: what lies between
        // was not looked at.
        if !open || seq == self.next_at_cursor(ledger) {
            self.passed(seq);
        }
    }

    fn fits(&self, ledger: &Ledger, places: &Places, wanted: Wanted) -> bool {
        match wanted {
            Wanted::Suspect => {
                self.room(ledger, self.now_ms) > 0
                    && self.probe.is_none()
                    && self.workers.any_idle(places)
            }
            Wanted::Retry => self.room_beside_claim(ledger, self.now_ms) > 0,
            Wanted::New | Wanted::Requeued | Wanted::Again => self.has_room_for_new(ledger),
        }
    }

    fn deliver(
        &mut self,
        ledger: &mut Ledger,
        places: &mut Places,
        entry: &Entry,
        wanted: Wanted,
        out: &mut Vec<Output>,
    ) -> bool {
        let seq = entry.seq();
        let alone = wanted == Wanted::Suspect;
        let bytes = entry.as_bytes().len() as u64;
        let Some(worker) = self.workers.take(places, alone, bytes) else {
            return false;
        };
        match wanted {
            Wanted::New => {}
            Wanted::Retry | Wanted::Suspect | Wanted::Requeued => self.waiting.remove(seq),
            Wanted::Again => self.pass_again(ledger, seq),
        }
        let delivery = match wanted {
            Wanted::New => 1,
            _ => ledger.next_delivery(seq),
        };
        let lease = Lease {
            delivery,
            holder: Holder::Worker(worker.id),
            place: worker.place,
            alone,
            deadline_ms: self.now_ms.saturating_add(ack_wait_ms(ledger)),
        };
        lease.enter(places);
        self.leases.insert(seq, lease);
        if alone {
            self.probe = Some(seq);
        }
        self.breaker.given(seq);
        let attempt = Attempt {
            seq,
            delivery,
            place: worker.place.kind(),
            alone,
        };
        record(ledger, ConsumerOp::Attempts(vec![attempt]), out);
        let charged = match wanted {
            Wanted::New => 0,
            _ => ledger.open.get(&seq).map_or(0, |work| work.charged),
        };
        out.push(Output::Deliver {
            worker: worker.id,
            token: LeaseToken {
                epoch: ledger.epoch,
                seq,
                delivery,
            },
            attempt: charged.saturating_add(1),
            entry: entry.clone(),
        });
        true
    }

    /// Moves on over what is to be done again and is open, this one included.
    fn pass_again(&mut self, ledger: &Ledger, given: Seq) {
        while let Some(seq) = ledger.again.at_or_after(self.again_from)
            && (seq == given || ledger.open.contains_key(&seq))
        {
            self.again_from = seq.next();
        }
    }

    /// How many messages may go out now, places aside.
    pub(super) fn room(&self, ledger: &Ledger, now_ms: u64) -> usize {
        let Some(config) = &ledger.config else {
            return 0;
        };
        let paused = ledger.paused && !planted!("pause-ignored");
        if paused || self.blocked.is_some() {
            return 0;
        }
        let in_flight_max = config.max_in_flight as usize;
        let leases = in_flight_max.saturating_sub(self.leases.len());
        let credit = usize::try_from(self.workers.credit()).unwrap_or(usize::MAX);
        self.breaker.room(now_ms).min(leases).min(credit)
    }

    /// The same without the one that is kept for a suspect.
    fn room_beside_claim(&self, ledger: &Ledger, now_ms: u64) -> usize {
        let claimed = usize::from(self.claim.place.is_some());
        self.room(ledger, now_ms).saturating_sub(claimed)
    }

    fn has_room_for_new(&self, ledger: &Ledger) -> bool {
        self.room_beside_claim(ledger, self.now_ms) > 0 && !self.is_bounded(ledger)
    }

    /// Whether as much waits, or is done in pieces, as may.
    pub(super) fn is_bounded(&self, ledger: &Ledger) -> bool {
        self.waiting.retries() + self.waiting.suspects() >= self.limits.pending_max
            || ledger.acked.len() >= self.limits.ranges_max
    }

    /// Says so once when the bound is reached, and once when it is left.
    pub(super) fn tell_bound(&mut self, ledger: &Ledger, out: &mut Vec<Output>) {
        let bounded = self.is_bounded(ledger);
        if bounded != self.bound_told {
            self.bound_told = bounded;
            out.push(if bounded {
                Output::Paused {
                    reason: PauseReason::Bounded,
                }
            } else {
                Output::Resumed
            });
        }
    }

    /// Up to where everything is done.
    pub(super) fn reach(&self, ledger: &Ledger) -> Seq {
        if ledger.config.is_none() {
            // It selects nothing, and its offset is moved by hand.
            return ledger.offset;
        }
        ledger.reach(self.cursor)
    }
}
