//! What becomes of a message that was given out: done, tried again, or a dead letter.

use bytes::Bytes;
use prost::Message as _;

use super::super::config::ConsumerMode;
use super::super::ledger::{Ledger, Standing, keep_last};
use super::super::op::{ConsumerOp, Failure};
use super::super::places::Places;
use super::super::reply::Reply;
use super::super::settlement::{AttemptError, DeadLetterCode, Settlement};
use super::super::token::LeaseToken;
use super::breaker::Turn;
use super::leases::{Holder, Lease};
use super::output::{Moment, Output, PauseReason, REASON_BYTES_MAX};
use super::{Consumer, ack_wait_ms, record, record_failures};
use crate::code::{Code, Refusal};
use crate::id::Seq;
use crate::planted;

/// Ranges of acks that are never worth a change of their own.
const RANGES_FEW: usize = 64;

/// A message that came back undone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failing {
    charged: bool,
    suspect: bool,
    delay_ms: Option<u64>,
    /// Of the dead letter, when it is the last attempt.
    code: DeadLetterCode,
    error: String,
}

impl Failing {
    /// Nobody is to blame. What was suspect still is: nothing was shown.
    pub(super) fn untouched(ledger: &Ledger, seq: Seq) -> Self {
        Self {
            charged: false,
            suspect: ledger.open.get(&seq).is_some_and(|work| work.suspect),
            delay_ms: None,
            code: DeadLetterCode::Attempts,
            error: String::new(),
        }
    }

    /// Its place died; it is charged only when it was alone there.
    pub(super) fn crash(alone: bool, error: &str) -> Self {
        Self {
            charged: alone,
            suspect: true,
            delay_ms: None,
            code: DeadLetterCode::Crashed,
            error: if alone {
                error.to_owned()
            } else {
                String::new()
            },
        }
    }

    pub(super) fn expired(ack_wait_ms: u64) -> Self {
        Self::refused(None, format!("no answer within {ack_wait_ms} ms"))
    }

    fn refused(delay_ms: Option<u64>, error: String) -> Self {
        Self {
            charged: true,
            suspect: false,
            delay_ms,
            code: DeadLetterCode::Attempts,
            error,
        }
    }
}

impl Consumer {
    /// A worker says what became of a message.
    ///
    /// # Errors
    /// [`Code::AlreadyCompleted`]: the message is done; nothing changes. [`Code::StaleLease`]: the
    /// token is of an earlier epoch or was never given out, or (nak, extend, release) someone else
    /// has the message by now, or nobody.
    pub fn settle(
        &mut self,
        ledger: &mut Ledger,
        places: &mut Places,
        token: LeaseToken,
        settlement: Settlement,
        now: Moment,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        self.at(now);
        let seq = token.seq;
        if let Err(refusal) = self.check(ledger, token, &settlement) {
            if !ledger.open.contains_key(&seq) {
                // It was made a dead letter by hand while it was out.
                self.end_lease(places, seq);
            }
            return Err(refusal);
        }
        match settlement {
            // Whoever asked a responder is answered, if with nothing but that it is done.
            Settlement::Ack => self.complete(ledger, places, seq, &Reply::default(), out),
            Settlement::Complete(reply) => self.complete(ledger, places, seq, &reply, out),
            Settlement::Nak { delay_ms, reason } => {
                let delay_ms = delay_ms.map(|ms| ms.max(1));
                let failing = Failing::refused(delay_ms, bounded(reason));
                self.return_one(ledger, places, seq, failing, now, out);
            }
            Settlement::Release => {
                let failing = Failing::untouched(ledger, seq);
                self.return_one(ledger, places, seq, failing, now, out);
            }
            Settlement::Term { reason } => {
                self.give_up(places, seq);
                let code = DeadLetterCode::Rejected;
                self.bury(ledger, seq, code, bounded(reason), Some(now.wall_ms), out);
                self.failed += 1;
                self.outcome(false, out);
            }
            Settlement::Extend => self.extend(ledger, places, seq),
        }
        self.tell_bound(ledger, out);
        self.reclaim(ledger, places);
        Ok(())
    }

    fn check(
        &self,
        ledger: &Ledger,
        token: LeaseToken,
        settlement: &Settlement,
    ) -> Result<(), Refusal> {
        let standing = if token.epoch == ledger.epoch || planted!("lease-survives-reset") {
            ledger.standing(token.seq, token.delivery)
        } else {
            Standing::Never
        };
        let holds = match settlement {
            Settlement::Ack | Settlement::Complete(_) => {
                let again = standing == Standing::Done && planted!("another-reply-wins");
                matches!(standing, Standing::Open | Standing::Before) || again
            }
            Settlement::Term { .. } => standing == Standing::Open,
            Settlement::Nak { .. } | Settlement::Extend | Settlement::Release => {
                let lease = self.leases.get(token.seq);
                standing == Standing::Open
                    && lease.is_some_and(|lease| lease.delivery == token.delivery)
            }
        };
        match standing {
            _ if holds => Ok(()),
            Standing::Done => Err(already_completed(token)),
            Standing::Open | Standing::Before | Standing::Never => Err(stale(token)),
        }
    }

    fn complete(
        &mut self,
        ledger: &mut Ledger,
        places: &mut Places,
        seq: Seq,
        reply: &Reply,
        out: &mut Vec<Output>,
    ) {
        let mode = ledger.config.as_ref().map(|config| config.mode);
        let op = if mode == Some(ConsumerMode::Responder) {
            let reply = Bytes::from(reply.encode_to_vec());
            ConsumerOp::Completed { seq, reply }
        } else {
            ConsumerOp::Done(vec![(seq, seq)])
        };
        self.finish(ledger, places, op, seq, out);
    }

    /// Whoever holds it, holds it no more; whoever waits for it, waits no more.
    pub(super) fn give_up(&mut self, places: &mut Places, seq: Seq) {
        if self.end_lease(places, seq).is_none() {
            self.waiting.remove(seq);
        }
    }

    fn finish(
        &mut self,
        ledger: &mut Ledger,
        places: &mut Places,
        op: ConsumerOp,
        seq: Seq,
        out: &mut Vec<Output>,
    ) {
        self.give_up(places, seq);
        record(ledger, op, out);
        self.completed += 1;
        self.outcome(true, out);
        self.compact(ledger, out);
    }

    fn return_one(
        &mut self,
        ledger: &mut Ledger,
        places: &mut Places,
        seq: Seq,
        failing: Failing,
        now: Moment,
        out: &mut Vec<Output>,
    ) {
        self.end_lease(places, seq);
        let mut failures = Vec::new();
        self.fail(ledger, seq, failing, now, &mut failures, out);
        record_failures(ledger, failures, out);
    }

    /// A lease begins anew. A worker that says so without having come back is alive, but where it
    /// is cannot be told: from then on the lease ends by time alone.
    fn extend(&mut self, ledger: &Ledger, places: &mut Places, seq: Seq) {
        let Some(lease) = self.leases.get(seq).copied() else {
            return;
        };
        lease.leave(places);
        let lease = Lease {
            holder: match lease.holder {
                Holder::Lost { .. } => Holder::Nobody,
                holder => holder,
            },
            deadline_ms: self.now_ms.saturating_add(ack_wait_ms(ledger)),
            ..lease
        };
        lease.enter(places);
        self.leases.insert(seq, lease);
    }

    /// A message without a lease is tried again later, which is noted in `failures` for the caller
    /// to record, or becomes a dead letter.
    pub(super) fn fail(
        &mut self,
        ledger: &mut Ledger,
        seq: Seq,
        failing: Failing,
        now: Moment,
        failures: &mut Vec<Failure>,
        out: &mut Vec<Output>,
    ) {
        let mut due_ms = 0;
        let Some(work) = ledger.open.get(&seq) else {
            // It was made a dead letter by hand while it was out.
            return;
        };
        if failing.charged {
            self.failed += 1;
            let charged = work.charged.saturating_add(1);
            let (attempts_max, step_ms) = ledger.config.as_ref().map_or((5, 1_000), |config| {
                (config.max_attempts, config.backoff_after(charged))
            });
            if charged >= attempts_max {
                self.bury(
                    ledger,
                    seq,
                    failing.code,
                    failing.error,
                    Some(now.wall_ms),
                    out,
                );
                self.outcome(false, out);
                return;
            }
            let delay_ms = failing.delay_ms;
            let delay_ms = delay_ms.unwrap_or_else(|| self.chance.stretch(step_ms));
            due_ms = self.now_ms.saturating_add(delay_ms);
            self.outcome(false, out);
        }
        self.waiting.insert(seq, due_ms, failing.suspect);
        failures.push(Failure {
            seq,
            charged: failing.charged,
            suspect: failing.suspect,
            due_ms,
            error: failing.error,
            wall_ms: now.wall_ms,
        });
    }

    /// Makes a message that neither is leased nor waits a dead letter. `failed_ms`: the reason is
    /// an attempt's error, too, of this wall-clock time.
    pub(super) fn bury(
        &mut self,
        ledger: &mut Ledger,
        seq: Seq,
        code: DeadLetterCode,
        reason: String,
        failed_ms: Option<u64>,
        out: &mut Vec<Output>,
    ) {
        let work = ledger.open.get(&seq);
        let mut attempts = work.map_or(Vec::new(), |work| work.errors.clone());
        if let Some(wall_ms) = failed_ms {
            let error = reason.clone();
            keep_last(&mut attempts, AttemptError { error, wall_ms });
        }
        let number = ledger.requeued(seq);
        record(ledger, ConsumerOp::DeadLettered { seq }, out);
        out.push(Output::DeadLetter {
            seq,
            number,
            code,
            reason,
            attempts,
        });
        self.compact(ledger, out);
    }

    fn outcome(&mut self, good: bool, out: &mut Vec<Output>) {
        match self.breaker.outcome(good, self.now_ms) {
            Turn::None => {}
            Turn::Tripped => out.push(Output::Paused {
                reason: PauseReason::Breaker,
            }),
            Turn::Closed => out.push(Output::Resumed),
        }
    }

    /// Tells the ledger what was passed over between acks once they are in many pieces: without it
    /// a consumer of every second message would hold one range for each.
    pub(super) fn compact(&mut self, ledger: &mut Ledger, out: &mut Vec<Output>) {
        let pieces = ledger.acked.len();
        let at_bound = pieces >= self.limits.ranges_max;
        if pieces > self.ranges_compact || at_bound && pieces > self.pieces_needed(ledger) {
            let holes = ledger.passed_over(self.cursor);
            if !holes.is_empty() {
                record(ledger, ConsumerOp::Done(holes), out);
            }
            self.space_compaction(ledger);
        }
    }

    /// The next one comes after as many more pieces as make its cost small for each.
    pub(super) fn space_compaction(&mut self, ledger: &Ledger) {
        let pieces = ledger.acked.len();
        self.ranges_compact = pieces + pieces / 4 + RANGES_FEW;
    }

    /// As many as open messages part, and some more, so that it is worth it.
    fn pieces_needed(&self, ledger: &Ledger) -> usize {
        let requeued = ledger.requeued.range(ledger.offset..).count();
        ledger.open.len() + requeued + RANGES_FEW.min(self.limits.ranges_max / 2)
    }
}

fn bounded(mut reason: String) -> String {
    if reason.len() > REASON_BYTES_MAX {
        let end = (0..=REASON_BYTES_MAX)
            .rev()
            .find(|end| reason.is_char_boundary(*end));
        reason.truncate(end.unwrap_or(0));
    }
    reason
}

#[cold]
fn already_completed(token: LeaseToken) -> Refusal {
    Refusal::new(
        Code::AlreadyCompleted,
        format!(
            "message {} of lease {token} is done already: nothing was changed",
            token.seq
        ),
    )
}

#[cold]
fn stale(token: LeaseToken) -> Refusal {
    Refusal::new(
        Code::StaleLease,
        format!(
            "lease {token} does not hold its message any more: drop the work, it is given out anew"
        ),
    )
}
