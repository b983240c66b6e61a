//! What decides who gets which message, and when: one [`Consumer`] for each consumer.
//!
//! A pure state machine: the owner (one thread) hands in time, entries and what workers say; out
//! come changes to journal, dead letters to write and messages to hand over, in an order that must
//! be kept. Decisions are applied to the [`Ledger`] at once and never taken back; the owner lets
//! nothing out before the changes are on disk.
//!
//! In reading order: `output` what goes in and out; `feed` which message is next and who gets it;
//! `settle` what workers say; `suspects` who may be alone where; `operate` what operators and
//! retention do; below them `leases`, `waiting`, `workers`, `breaker`.
//!
//! The owner's loop: hand in what happened; [`Consumer::tick`] when [`Consumer::next_tick_ms`] has
//! come; then offer what [`Consumer::due`] lists, and after that what lies at
//! [`Consumer::scan_from`], until an offer finds no room.
//!
//! Invariants:
//! - An open message (see [`super::ledger`]) is leased or waits; never both, never twice.
//! - New messages go out in the order of the log, so everything up to the cursor is done, open, or
//!   not for this consumer.
//! - At most one suspect is out at a time, alone at its place. A client may run several connections
//!   from one process; two suspects at two of them would both be blamed for one crash.
//! - What a worker may have is bounded by its credit, the consumer by `max_in_flight`, what waits
//!   by [`MachineLimits`].

mod breaker;
mod feed;
mod leases;
mod operate;
mod output;
mod settle;
mod suspects;
mod waiting;
mod workers;

#[cfg(test)]
mod tests;

pub use output::{
    ConsumerFigures, Left, MachineLimits, Moment, Offer, Output, PauseReason, REASON_BYTES_MAX,
};

use breaker::Breaker;
use leases::{Holder, Lease, Leases};
use settle::Failing;
use suspects::Claim;
use waiting::{Chance, Waiting};
use workers::{Worker, Workers};

use super::config::ConsumerConfig;
use super::ledger::Ledger;
use super::op::{ConsumerOp, PlaceKind};
use super::places::{Place, Places};
use super::token::LeaseToken;
use crate::id::Seq;

/// One consumer at work: what of it does not outlive the server.
#[derive(Debug)]
pub struct Consumer {
    limits: MachineLimits,
    chance: Chance,
    /// The latest store time that was handed in, milliseconds.
    now_ms: u64,
    /// Everything up to here was looked at.
    cursor: Seq,
    /// The message after the cursor is for this consumer, and there was no room for it.
    stalled: bool,
    leases: Leases,
    waiting: Waiting,
    workers: Workers,
    breaker: Breaker,
    /// The suspect that is out.
    probe: Option<Seq>,
    claim: Claim,
    /// Below it, all that is to be done again is open.
    again_from: Seq,
    /// With as many ranges of acks, what was passed over is told to the ledger.
    ranges_compact: usize,
    blocked: Option<PauseReason>,
    bound_told: bool,
    idle_since_ms: Option<u64>,
    completed: u64,
    failed: u64,
}

impl Consumer {
    /// After a store was opened, or for a new consumer: judges what was in flight when the server
    /// stopped. What was in the server's own process is suspect; what was at a connection is kept
    /// for a worker that comes back within the grace; other leases begin anew.
    ///
    /// `seed` feeds the chance in waiting times.
    pub fn new(
        ledger: &mut Ledger,
        limits: MachineLimits,
        seed: u64,
        now: Moment,
        out: &mut Vec<Output>,
    ) -> Self {
        let mut consumer = Self {
            limits,
            chance: Chance::new(seed),
            now_ms: now.store_ms,
            cursor: ledger.taken.max(ledger.offset),
            stalled: false,
            leases: Leases::default(),
            waiting: Waiting::default(),
            workers: Workers::default(),
            breaker: Breaker::new(),
            probe: None,
            claim: Claim::default(),
            again_from: Seq(0),
            ranges_compact: 0,
            blocked: None,
            bound_told: false,
            idle_since_ms: Some(now.store_ms),
            completed: 0,
            failed: 0,
        };
        consumer.space_compaction(ledger);
        for seq in ledger.requeued.keys() {
            if !ledger.open.contains_key(seq) {
                consumer.waiting.insert_fresh(*seq);
            }
        }
        consumer.judge(ledger, now, out);
        consumer.compact(ledger, out);
        consumer
    }

    fn judge(&mut self, ledger: &mut Ledger, now: Moment, out: &mut Vec<Output>) {
        let mut died = Vec::new();
        for (seq, work) in &ledger.open {
            let kept = |holder, place, wait_ms| Lease {
                delivery: work.delivery,
                holder,
                place,
                alone: false,
                deadline_ms: now.store_ms.saturating_add(wait_ms),
            };
            let lease = match work.out {
                None => {
                    self.waiting.insert(*seq, work.due_ms, work.suspect);
                    continue;
                }
                Some((PlaceKind::Process, alone)) => {
                    died.push((*seq, alone));
                    continue;
                }
                // Which connection it was does not matter: it is gone.
                Some((PlaceKind::Connection, _)) => kept(
                    Holder::Lost { blamed: false },
                    Place::Connection(0),
                    self.limits.reconnect_grace_ms,
                ),
                Some((PlaceKind::Detached, _)) => {
                    kept(Holder::Nobody, Place::Detached, ack_wait_ms(ledger))
                }
            };
            if work.suspect {
                self.probe = Some(*seq);
            }
            self.leases.insert(*seq, lease);
        }
        let mut failures = Vec::new();
        for (seq, alone) in died {
            let failing =
                Failing::crash(alone, "the server died while it ran alone in its process");
            self.fail(ledger, seq, failing, now, &mut failures, out);
        }
        record_failures(ledger, failures, out);
    }

    /// A worker came, with a number that is used once, for `credit` messages. Returns which of the
    /// leases it holds it keeps: their time begins anew, and they use no credit. The others were
    /// given to someone else, or back; completing them may still work.
    #[allow(clippy::too_many_arguments)]
    pub fn attach(
        &mut self,
        ledger: &mut Ledger,
        places: &mut Places,
        worker: u64,
        place: Place,
        credit: u32,
        held: &[LeaseToken],
        now: Moment,
    ) -> Vec<LeaseToken> {
        self.at(now);
        self.idle_since_ms = None;
        self.workers.add(Worker {
            id: worker,
            place,
            credit,
            room: u64::MAX,
        });
        let deadline_ms = now.store_ms.saturating_add(ack_wait_ms(ledger));
        let mut kept = Vec::new();
        for token in held {
            let Some(lease) = self.leases.get(token.seq).copied() else {
                continue;
            };
            if token.epoch != ledger.epoch || token.delivery != lease.delivery {
                continue;
            }
            // The token proves who holds it, also when its old connection still counts as alive.
            lease.leave(places);
            let suspect = self.probe == Some(token.seq);
            let lease = Lease {
                holder: Holder::Worker(worker),
                place,
                alone: suspect && held.len() == 1 && places.is_idle(place),
                deadline_ms,
                ..lease
            };
            lease.enter(places);
            self.leases.insert(token.seq, lease);
            kept.push(*token);
        }
        self.reclaim(ledger, places);
        kept
    }

    /// A worker takes no more than so many bytes from now on; one message may be larger than what
    /// is left.
    pub fn set_room(&mut self, worker: u64, bytes: u64) {
        self.workers.set_room(worker, bytes);
    }

    /// A worker takes this many bytes more.
    pub fn add_room(&mut self, worker: u64, bytes: u64) {
        self.workers.add_room(worker, bytes);
    }

    /// A worker takes this many messages more. The owner adds credit as a worker takes or settles
    /// messages; nothing here gives it back by itself.
    pub fn add_credit(&mut self, worker: u64, credit: u32) {
        self.workers.add_credit(worker, credit);
        self.claim_may_change();
    }

    /// A worker takes nothing more, and has not left: it may still hold messages.
    pub fn withdraw(&mut self, worker: u64) {
        self.workers.withdraw(worker);
        self.claim_may_change();
    }

    /// A worker went. Closed: what it held is given back untouched. Lost: it may come back within
    /// the grace; in the server's own process nothing can be lost, so that counts as closed. What
    /// is held at no place in particular stays with its holder until its time is over.
    pub fn detach(
        &mut self,
        ledger: &mut Ledger,
        places: &mut Places,
        worker: u64,
        left: Left,
        now: Moment,
        out: &mut Vec<Output>,
    ) {
        self.at(now);
        let Some(gone) = self.workers.remove(worker) else {
            return;
        };
        if self.workers.len() == 0 {
            self.idle_since_ms = Some(now.store_ms);
        }
        let mut failures = Vec::new();
        for (seq, lease) in self.leases.held_by(worker) {
            let lost = match (gone.place, left) {
                (Place::Detached, _) => Lease {
                    holder: Holder::Nobody,
                    ..lease
                },
                (Place::Connection(_), Left::Lost) => Lease {
                    holder: Holder::Lost { blamed: true },
                    deadline_ms: now.store_ms.saturating_add(self.limits.reconnect_grace_ms),
                    ..lease
                },
                (Place::Connection(_), Left::Closed) | (Place::Process, _) => {
                    self.end_lease(places, seq);
                    let failing = Failing::untouched(ledger, seq);
                    self.fail(ledger, seq, failing, now, &mut failures, out);
                    continue;
                }
            };
            lease.leave(places);
            self.leases.insert(seq, lost);
        }
        record_failures(ledger, failures, out);
        self.reclaim(ledger, places);
    }

    /// What happens by time alone: leases expire, workers do not come back, the breaker lets a
    /// message through.
    pub fn tick(
        &mut self,
        ledger: &mut Ledger,
        places: &mut Places,
        now: Moment,
        out: &mut Vec<Output>,
    ) {
        self.at(now);
        let mut failures = Vec::new();
        while let Some((deadline_ms, seq)) = self.leases.first_deadline()
            && deadline_ms <= self.now_ms
        {
            let Some(lease) = self.end_lease(places, seq) else {
                break;
            };
            let failing = match lease.holder {
                Holder::Worker(_) | Holder::Nobody => Failing::expired(ack_wait_ms(ledger)),
                Holder::Lost { blamed: true } => Failing::crash(
                    lease.alone,
                    "the connection of its worker was lost while it ran there alone",
                ),
                Holder::Lost { blamed: false } => Failing::untouched(ledger, seq),
            };
            self.fail(ledger, seq, failing, now, &mut failures, out);
        }
        record_failures(ledger, failures, out);
        self.compact(ledger, out);
        self.tell_bound(ledger, out);
        self.reclaim(ledger, places);
    }

    /// Store time of the next [`Consumer::tick`], milliseconds; it may be past. `None`: nothing is
    /// due by time alone. When it comes, [`Consumer::due`] may list more, too.
    pub fn next_tick_ms(&self) -> Option<u64> {
        if self.claim.stale {
            return Some(self.now_ms);
        }
        let deadline = self.leases.first_deadline().map(|(ms, _)| ms);
        let retry = self.waiting.next_due_ms(self.now_ms);
        [deadline, retry, self.breaker.until_ms()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether it has a worker.
    pub fn has_worker(&self) -> bool {
        self.workers.len() > 0
    }

    /// Store time since when it has no worker, milliseconds.
    pub fn idle_since_ms(&self) -> Option<u64> {
        self.idle_since_ms
    }

    /// What it is at, for humans. Its offset may be ahead of the ledger's, which follows later.
    pub fn info(&self, ledger: &Ledger) -> ConsumerFigures {
        ConsumerFigures {
            offset: self.reach(ledger),
            cursor: self.cursor,
            in_flight: self.leases.len() as u64,
            retrying: self.waiting.retries() as u64,
            suspects: self.waiting.suspects() as u64 + u64::from(self.probe.is_some()),
            workers: self.workers.len() as u64,
            state: self.state(ledger),
            completed: self.completed,
            failed: self.failed,
        }
    }

    fn state(&self, ledger: &Ledger) -> &'static str {
        if ledger.paused {
            "paused"
        } else if let Some(reason) = self.blocked {
            reason.as_state()
        } else if !self.breaker.is_closed() {
            PauseReason::Breaker.as_state()
        } else if self.is_bounded(ledger) {
            PauseReason::Bounded.as_state()
        } else if self.has_worker() {
            "active"
        } else {
            "idle"
        }
    }

    /// Takes note of the time; store time never goes back.
    fn at(&mut self, now: Moment) {
        self.now_ms = self.now_ms.max(now.store_ms);
        self.breaker.at(self.now_ms);
    }

    /// Ends a lease, if there is one. What becomes of the message is for the caller.
    fn end_lease(&mut self, places: &mut Places, seq: Seq) -> Option<Lease> {
        let lease = self.leases.remove(seq)?;
        lease.leave(places);
        if self.probe == Some(seq) {
            self.probe = None;
        }
        self.breaker.returned(seq);
        Some(lease)
    }
}

fn ack_wait_ms(ledger: &Ledger) -> u64 {
    // Without a configuration nothing is given out; a lease of an earlier one still ends.
    ledger
        .config
        .as_ref()
        .map_or(30_000, |config: &ConsumerConfig| config.ack_wait_ms)
}

fn record(ledger: &mut Ledger, op: ConsumerOp, out: &mut Vec<Output>) {
    let closed = ledger.apply(&op);
    out.push(Output::Change { op, closed });
}

fn record_failures(ledger: &mut Ledger, failures: Vec<super::op::Failure>, out: &mut Vec<Output>) {
    if !failures.is_empty() {
        record(ledger, ConsumerOp::Failed(failures), out);
    }
}
