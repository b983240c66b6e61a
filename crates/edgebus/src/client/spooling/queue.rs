//! What is on its way to the spool, out of it, or past it. Part of the client's state, under its
//! lock.
//!
//! Invariant: nothing is sent past the spool while anything is in it or on its way there.

use std::collections::VecDeque;
use std::time::Duration;

use edgebus_core::{Code, Record, Refusal};
use tokio::time::Instant;

use crate::client::pending::{Outcome, SendWaiter};
use crate::client::undecided::Sent;
use crate::spool::{Settled, Waiting};

/// Requests out of the spool that may be undecided at the server.
const FORWARD_COUNT: usize = 1024;
const FORWARD_BYTES: usize = 4 * 1024 * 1024;
/// What is written to the spool at a time.
const WRITE_COUNT: usize = 4096;
const WRITE_BYTES: usize = 4 * 1024 * 1024;
/// Decisions that are worth a write of their own.
const SETTLED_MIN: usize = 64;
/// How long to wait after a server could not take a request, unless it says otherwise.
const STALL: Duration = Duration::from_secs(1);

/// Who has taken a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum Taken {
    /// The server: sequence number and whether it was stored before.
    Stored(u64, bool),
    /// The spool: its number there.
    Spooled(u64),
}

#[derive(Debug)]
pub(in crate::client) struct SpoolQueue {
    /// To be written to the spool, in order.
    to_write: VecDeque<Sent>,
    /// Sent past the spool, and not decided. If it comes here after all, it comes before others.
    past: usize,
    /// How many are being written.
    writing: usize,
    /// The spool is being written or read.
    is_busy: bool,
    /// In the spool, and not known to be decided there.
    waiting: u64,
    /// Dead letters in the spool.
    dead: u64,
    /// Sent out of the spool, and not decided.
    in_flight: usize,
    /// What became of requests out of the spool, to be written there.
    settled: Vec<(u64, Settled)>,
    /// What is in flight no more has to be read again.
    rewind: bool,
    /// A server could not take a request: until when to leave it alone.
    stalled: Option<Instant>,
    /// The last look into the spool found nothing to send.
    exhausted: bool,
}

/// What is to be done with the spool now.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) to_write: Vec<Sent>,
    pub(super) settled: Vec<(u64, Settled)>,
    pub(super) rewind: bool,
    /// How many requests to read, and how many bytes of them.
    pub(super) room: Option<(usize, usize)>,
    /// When there may be more to do, if nothing else happens.
    pub(super) again_at: Option<Instant>,
}

impl Work {
    pub(super) fn is_nothing(&self) -> bool {
        self.to_write.is_empty() && self.settled.is_empty() && !self.rewind && self.room.is_none()
    }
}

impl SpoolQueue {
    /// For a spool with so many requests in it, waiting and dead.
    pub(in crate::client) fn new(waiting: u64, dead: u64) -> Self {
        Self {
            to_write: VecDeque::new(),
            past: 0,
            writing: 0,
            is_busy: false,
            waiting,
            dead,
            in_flight: 0,
            settled: Vec::new(),
            rewind: false,
            stalled: None,
            exhausted: false,
        }
    }

    /// Whether a request may be sent past the spool.
    pub(in crate::client) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// Requests in the spool, or on their way there.
    pub(in crate::client) fn count(&self) -> u64 {
        self.waiting + (self.to_write.len() + self.writing) as u64
    }

    /// Dead letters in the spool.
    pub(in crate::client) fn dead(&self) -> u64 {
        self.dead
    }

    /// Whether nothing is being written, and nothing is left to be.
    pub(in crate::client) fn is_settled(&self) -> bool {
        self.to_write.is_empty() && !self.is_busy && self.settled.is_empty()
    }

    /// A request goes to the spool, behind those that were said before it.
    pub(in crate::client) fn push(&mut self, sent: Sent) {
        let behind = |other: &&Sent| other.ordinal > sent.ordinal;
        let count = self.to_write.iter().rev().take_while(behind).count();
        self.to_write.insert(self.to_write.len() - count, sent);
    }

    /// A request is sent past the spool.
    pub(in crate::client) fn sent_past(&mut self) {
        self.past += 1;
    }

    /// A request that was sent past the spool is decided. Handed back, if that is the end of it; a
    /// server that cannot take it now is left alone for a while, and it goes to the spool.
    pub(in crate::client) fn decided_past(
        &mut self,
        sent: Sent,
        outcome: &Outcome,
    ) -> Option<Sent> {
        self.past = self.past.saturating_sub(1);
        match outcome {
            Err(refusal) if refusal.code.is_retryable() => {
                self.stall(refusal);
                self.push(sent);
                None
            }
            _ => Some(sent),
        }
    }

    fn stall(&mut self, refusal: &Refusal) {
        let wait = refusal.retry_after_ms.map_or(STALL, Duration::from_millis);
        self.stalled = Some(Instant::now() + wait);
    }

    /// The connection is lost: what was sent out of the spool is read again.
    pub(in crate::client) fn lost(&mut self) {
        self.past = 0;
        self.in_flight = 0;
        self.rewind = true;
        self.stalled = None;
    }

    /// What became of a request that was sent out of the spool.
    pub(in crate::client) fn decided(&mut self, number: u64, outcome: Outcome) {
        self.in_flight = self.in_flight.saturating_sub(1);
        match outcome {
            Ok(_) => self.settled.push((number, Settled::Forwarded)),
            Err(refusal) if refusal.code.is_retryable() => {
                self.stall(&refusal);
                self.rewind = true;
            }
            Err(refusal) => self.settled.push((number, dead(refusal))),
        }
    }

    /// What is to be done. With `connected`, requests are read to be sent.
    pub(super) fn take_work(&mut self, connected: bool) -> Work {
        let mut work = Work::default();
        let mut bytes = 0;
        while self.past == 0
            && let Some(sent) = self.to_write.front()
            && work.to_write.len() < WRITE_COUNT
            && (bytes == 0 || bytes + sent.record.as_bytes().len() <= WRITE_BYTES)
        {
            bytes += sent.record.as_bytes().len();
            work.to_write.extend(self.to_write.pop_front());
        }
        self.writing = work.to_write.len();
        let enough = self.settled.len() >= SETTLED_MIN || self.in_flight == 0;
        if enough || !work.to_write.is_empty() {
            work.settled = std::mem::take(&mut self.settled);
        }
        // What is still in flight would be sent twice.
        if self.rewind && self.in_flight == 0 {
            self.rewind = false;
            self.exhausted = false;
            work.rewind = true;
        }
        if self.stalled.is_some_and(|until| until <= Instant::now()) {
            self.stalled = None;
        }
        work.again_at = self.stalled;
        // Half a window at a time.
        let room = FORWARD_COUNT - self.in_flight;
        let known = (self.in_flight + self.settled.len() + work.settled.len()) as u64;
        let any = self.waiting > known && !self.exhausted;
        let ready = connected && !self.rewind && self.stalled.is_none();
        if ready && any && room >= FORWARD_COUNT / 2 {
            work.room = Some((room, FORWARD_BYTES));
        }
        self.is_busy = !work.is_nothing();
        work
    }

    /// What was to be written is, or is not. So many wait in the spool now, and are dead there.
    pub(super) fn written(&mut self, (waiting, dead): (u64, u64)) {
        self.writing = 0;
        self.is_busy = false;
        self.exhausted &= waiting == self.waiting;
        self.waiting = waiting;
        self.dead = dead;
    }

    /// A look into the spool found so many requests.
    pub(super) fn found(&mut self, count: usize) {
        self.exhausted = count == 0;
    }

    /// What a request out of the spool comes to without being sent.
    pub(super) fn settle(&mut self, settled: (u64, Settled)) {
        self.settled.push(settled);
    }

    /// Requests out of the spool are about to be sent.
    pub(super) fn sending(&mut self, count: usize) {
        self.in_flight += count;
    }

    /// What was read is not sent after all.
    pub(super) fn read_again(&mut self) {
        self.rewind = true;
    }

    /// Nothing more is written: whoever waits.
    pub(in crate::client) fn close(&mut self) -> VecDeque<Sent> {
        std::mem::take(&mut self.to_write)
    }
}

/// What was read out of the spool, as it is to be sent; or why it never will be.
pub(super) fn to_send(waiting: Waiting, record_bytes_max: usize) -> Result<Sent, (u64, Settled)> {
    let Waiting {
        number,
        record,
        age_ms,
        ..
    } = waiting;
    let bytes = record.as_bytes().len();
    if bytes > record_bytes_max {
        let large = format!("{bytes} bytes fit no frame of the server: {record_bytes_max}");
        return Err((number, dead(Refusal::new(Code::PayloadTooLarge, large))));
    }
    let record = match record.expires_ms() {
        0 => record,
        expires_ms if expires_ms <= age_ms => {
            let over = "the time the request was given ran out before a server was there";
            return Err((number, dead(Refusal::new(Code::Expired, over))));
        }
        expires_ms => with_time_left(&record, expires_ms - age_ms),
    };
    Ok(Sent::new(0, record, SendWaiter::Forward(number)))
}

/// It was made by a client, so it can be read.
fn with_time_left(record: &Record, ms: u64) -> Record {
    record
        .with_expires_ms(ms)
        .unwrap_or_else(|_| record.clone())
}

fn dead(refusal: Refusal) -> Settled {
    Settled::Dead {
        code: refusal.code,
        reason: refusal.message,
    }
}
