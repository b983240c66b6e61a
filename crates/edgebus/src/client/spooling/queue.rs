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
const SETTLED_MIN: usize = 256;
/// How long to wait after a server could not take a request, unless it says otherwise.
const STALL: Duration = Duration::from_secs(1);
const STALL_MIN: Duration = Duration::from_millis(10);
const STALL_MAX: Duration = Duration::from_secs(60);
/// How long to wait before a spool is looked into again that had nothing to be sent.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Who has taken a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum Taken {
    /// The server: sequence number and whether it was stored before.
    Stored(u64, bool),
    /// The spool: its number there.
    Spooled(u64),
}

/// A request's place in the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) struct Origin {
    number: u64,
    /// Which opening of the spool it was read from.
    opened: u64,
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
    /// Changes whenever the spool has to be opened again: what was read before counts no more, as it
    /// may be another spool then.
    opened: u64,
    /// What became of requests out of the spool, to be written there.
    settled: Vec<(u64, Settled)>,
    /// What is in flight no more has to be read again.
    rewind: bool,
    /// A server could not take a request: until when to leave it alone.
    stalled: Option<Instant>,
    /// Whether it can now is asked with one request: others behind it must not come before it.
    probing: bool,
    /// The last look into the spool found nothing to send: when to look again. What waits there
    /// all the same is dead, and had no room to be written down as that.
    exhausted: Option<Instant>,
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
            opened: 0,
            settled: Vec::new(),
            rewind: false,
            stalled: None,
            probing: false,
            exhausted: None,
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
    pub(in crate::client) fn push(&mut self, mut sent: Sent) {
        // From here on its time runs.
        sent.wait_from(Instant::now());
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
        self.stalled = Some(Instant::now() + wait.clamp(STALL_MIN, STALL_MAX));
        self.probing = true;
    }

    /// The connection is lost: what was sent out of the spool is read again.
    pub(in crate::client) fn lost(&mut self) {
        self.past = 0;
        self.in_flight = 0;
        self.rewind = true;
        self.stalled = None;
        self.probing = false;
    }

    /// What became of a request that was sent out of the spool.
    pub(in crate::client) fn decided(&mut self, origin: Origin, outcome: Outcome) {
        let Origin { number, opened } = origin;
        if opened != self.opened {
            return;
        }
        self.in_flight = self.in_flight.saturating_sub(1);
        match outcome {
            Ok(_) => self.settled.push((number, Settled::Forwarded)),
            Err(refusal) if refusal.code.is_retryable() => {
                self.stall(&refusal);
                self.rewind = true;
                return;
            }
            Err(refusal) => self.settled.push((number, dead(refusal))),
        }
        self.probing = false;
    }

    /// What is to be done. With `forwards`, requests are read to be sent.
    pub(super) fn take_work(&mut self, forwards: bool) -> Work {
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
            self.exhausted = None;
            work.rewind = true;
        }
        let now = Instant::now();
        self.stalled = self.stalled.filter(|until| *until > now);
        self.exhausted = self.exhausted.filter(|until| *until > now);
        // Half a window at a time.
        let (window, least) = match self.probing {
            true => (1, 1),
            false => (FORWARD_COUNT, FORWARD_COUNT / 2),
        };
        let room = window.saturating_sub(self.in_flight);
        let known = (self.in_flight + self.settled.len() + work.settled.len()) as u64;
        let any = self.waiting > known;
        let until = self.stalled.max(self.exhausted.filter(|_| any));
        work.again_at = until;
        let ready = forwards && !self.rewind && until.is_none();
        if ready && any && room >= least {
            work.room = Some((room, FORWARD_BYTES));
        }
        self.is_busy = !work.is_nothing();
        work
    }

    /// What was to be written is, or is not. So many wait in the spool now, and are dead there.
    pub(super) fn written(&mut self, (waiting, dead): (u64, u64)) {
        self.writing = 0;
        self.is_busy = false;
        self.exhausted = None;
        self.waiting = waiting;
        self.dead = dead;
    }

    /// Where a request with this number is, for as long as the spool is open.
    pub(super) fn origin(&self, number: u64) -> Origin {
        let opened = self.opened;
        Origin { number, opened }
    }

    /// A look into the spool found something, or nothing.
    pub(super) fn found(&mut self, any: bool) {
        self.exhausted = (!any).then(|| Instant::now() + LOOK_AGAIN);
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

    /// The spool cannot be used until it is opened again, and is read from the start then. Nothing
    /// of what was to be written will be: whoever waits.
    pub(super) fn refuse(&mut self) -> VecDeque<Sent> {
        self.opened += 1;
        self.writing = 0;
        self.in_flight = 0;
        self.settled.clear();
        self.rewind = false;
        self.close()
    }

    /// Nothing more is written: whoever waits.
    pub(in crate::client) fn close(&mut self) -> VecDeque<Sent> {
        std::mem::take(&mut self.to_write)
    }
}

/// What was read out of the spool, as it is to be sent; or why it never will be.
pub(super) fn to_send(
    waiting: Waiting,
    origin: Origin,
    record_bytes_max: usize,
) -> Result<Sent, (u64, Settled)> {
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
    Ok(Sent::new(0, record, SendWaiter::Forward(origin)))
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
