//! What was said and is not answered: enough of it to say it again over another connection.
//!
//! Invariants: nothing in here ever gets another id. What may have left and cannot be said again
//! ends as `Unknown`; what never left ends as a refusal.

use std::time::Duration;

use edgebus_core::admin::Admin;
use edgebus_core::consumer::{LeaseToken, Settlement};
use edgebus_core::query::Query;
use edgebus_core::{Code, Record, Refusal};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::pending::{Outcome, ReplyWaiter, Room, SendWaiter, SettleWaiter, Told, lost};

/// A request on its way to being stored.
#[derive(Debug)]
pub(super) struct Sent {
    /// The order in which the application said it.
    pub(super) ordinal: u64,
    pub(super) record: Record,
    pub(super) waiter: SendWaiter,
    /// When its time runs out, if it was given any.
    expires_at: Option<Instant>,
    /// Since when it has been without an answer for want of a connection.
    since: Option<Instant>,
    /// It may have reached a server.
    pub(super) left: bool,
}

/// A request whose reply is waited for.
#[derive(Debug)]
pub(super) struct Awaited {
    pub(super) ordinal: u64,
    /// Asks for the reply once more; not kept where nobody wants it.
    record: Option<Record>,
    pub(super) waiter: ReplyWaiter,
    since: Option<Instant>,
}

/// A question.
#[derive(Debug)]
pub(super) struct Asking {
    waiter: oneshot::Sender<Result<Told, Refusal>>,
    /// The room in the window that it takes.
    room: Option<Room>,
    /// `None`: it may have changed something, so it is not asked twice.
    again: Option<Question>,
    since: Option<Instant>,
}

/// What can be asked as often as one likes, or was never asked so far.
#[derive(Clone, Debug)]
pub(super) enum Question {
    Query(Query),
    Admin(Box<Admin>),
}

/// What is said about one message.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) token: LeaseToken,
    pub(super) settlement: Settlement,
    pub(super) waiter: Option<SettleWaiter>,
    /// It may have reached a server before, over a connection that was lost.
    pub(super) again: bool,
    /// Since when it has been waiting for a connection.
    since: Option<Instant>,
}

/// Whoever waits for an answer to something else than a send.
#[derive(Debug)]
pub(super) enum Asked {
    One(Asking),
    /// A stream that is to be opened, by the client's own number.
    Stream(u64),
    /// A frame of settlements on a stream, by the client's own number.
    Settle {
        stream: u64,
        items: Vec<Said>,
    },
}

/// What waits for a connection, in its order.
#[derive(Debug)]
pub(super) enum Parked {
    Send(Sent),
    Request(Sent, Awaited),
    /// A request that is stored.
    Awaited(Awaited),
    Question(Asking),
}

/// How long what waits for a connection may go on doing so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) now: Instant,
    pub(super) give_up_after: Option<Duration>,
}

impl Patience {
    pub(super) fn is_over(&self, since: Option<Instant>) -> bool {
        match (since, self.give_up_after) {
            (Some(since), Some(after)) => self.now.saturating_duration_since(since) >= after,
            _ => false,
        }
    }
}

impl Sent {
    pub(super) fn new(ordinal: u64, record: Record, waiter: SendWaiter) -> Self {
        // Reading the clock is not free, and few requests have a time to be started in.
        let expires_at = match record.expires_ms() {
            0 => None,
            ms => Instant::now().checked_add(Duration::from_millis(ms)),
        };
        Self {
            ordinal,
            record,
            waiter,
            expires_at,
            since: None,
            left: false,
        }
    }

    /// It is without a connection from now on, if not for longer.
    pub(super) fn wait_from(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// The record as it is to be sent now: with the time that is left of what it was given.
    pub(super) fn due(&self, now: Instant) -> Record {
        let Some(expires_at) = self.expires_at.filter(|_| self.since.is_some()) else {
            return self.record.clone();
        };
        let left = expires_at.saturating_duration_since(now).as_millis();
        let ms = u64::try_from(left).unwrap_or(u64::MAX).max(1);
        // It was made here, so it can be read.
        let record = self.record.with_expires_ms(ms);
        record.unwrap_or_else(|_| self.record.clone())
    }

    /// Why it is not to be sent any more, if its time has run out.
    fn time_is_over(&self, now: Instant) -> Option<Refusal> {
        if self.expires_at.is_some_and(|at| at <= now) {
            return Some(match self.left {
                true => unknown("its time ran out before a server answered"),
                false => Refusal::new(
                    Code::Expired,
                    "the time the request was given ran out before a server was there",
                ),
            });
        }
        None
    }

    /// Why it is not to wait on, if so.
    fn over(&self, patience: &Patience, reason: &Refusal) -> Option<Refusal> {
        let over = || patience.is_over(self.since).then(|| self.end(reason));
        self.time_is_over(patience.now).or_else(over)
    }

    /// What a refusal comes to. A server that could take it another time may yet do so: what was said
    /// over an earlier connection can still be on its way.
    pub(super) fn refused(&self, refusal: Refusal) -> Refusal {
        match self.left && refusal.code.is_retryable() {
            true => unknown(&refusal.message),
            false => refusal,
        }
    }

    /// What it comes to when there will be no answer.
    pub(super) fn end(&self, reason: &Refusal) -> Refusal {
        match self.left {
            true => unknown(&reason.message),
            false => not_sent(reason),
        }
    }

    pub(super) fn tell(self, outcome: Outcome) {
        self.waiter.tell(outcome);
    }

    /// A spool may take it as well.
    pub(super) fn is_for_spool(&self) -> bool {
        matches!(self.waiter, SendWaiter::Spooling(..))
    }

    /// It comes out of the spool, and is there until a server has it.
    pub(super) fn is_forward(&self) -> bool {
        matches!(self.waiter, SendWaiter::Forward(_))
    }

    /// Tells what became of it in the spool. That it is not there says nothing of a server that it
    /// may have reached.
    pub(super) fn tell_written(self, written: Result<u64, Refusal>) {
        match written {
            Ok(number) => self.waiter.tell_spooled(number),
            Err(refusal) if self.left => {
                let unknown = unknown(&refusal.message);
                self.tell(Err(unknown));
            }
            Err(refusal) => self.tell(Err(refusal)),
        }
    }
}

impl Awaited {
    pub(super) fn new(ordinal: u64, record: Record, waiter: ReplyWaiter) -> Self {
        Self {
            ordinal,
            record: Some(record),
            waiter,
            since: None,
        }
    }

    pub(super) fn wait_from(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// A server was there and has stored it: whoever waits for the reply waits for no server.
    pub(super) fn was_stored(mut self) -> Self {
        self.since = None;
        self
    }

    /// What asks for the reply once more: nobody waits for its receipt, which came. `None` when
    /// nobody wants the reply any more.
    pub(super) fn asked_again(&self) -> Option<Sent> {
        Some(Sent {
            ordinal: self.ordinal,
            record: self.record.clone()?,
            waiter: SendWaiter::Nobody,
            expires_at: None,
            since: self.since,
            left: true,
        })
    }

    /// Nobody wants the reply any more.
    pub(super) fn is_unwanted(&self) -> bool {
        self.waiter.is_closed()
    }

    /// Keeps no more of it than its place, if nobody wants the reply.
    pub(super) fn forget_if_unwanted(&mut self) {
        if self.is_unwanted() {
            self.record = None;
        }
    }

    pub(super) fn is_over(&self, patience: &Patience) -> bool {
        patience.is_over(self.since)
    }
}

impl Asking {
    pub(super) fn new(
        waiter: oneshot::Sender<Result<Told, Refusal>>,
        room: Option<Room>,
        again: Option<Question>,
    ) -> Self {
        Self {
            waiter,
            room,
            again,
            since: None,
        }
    }

    pub(super) fn is_over(&self, patience: &Patience) -> bool {
        patience.is_over(self.since) || self.waiter.is_closed()
    }

    /// What is to be asked over a connection; nothing when it must not be asked twice.
    pub(super) fn question(&self) -> Option<Question> {
        self.again.clone()
    }

    /// It leaves now, and may change something: it is not asked again.
    pub(super) fn once(mut self) -> Self {
        if matches!(&self.again, Some(Question::Admin(admin)) if changes(admin)) {
            self.again = None;
        }
        self
    }

    pub(super) fn refuse(self, refusal: Refusal) {
        drop(self.room);
        // Whoever asked may have gone, here and below.
        let _ = self.waiter.send(Err(refusal));
    }

    pub(super) fn tell(self, told: Told) {
        // First the room in the window, so that whoever waited finds it.
        drop(self.room);
        let _ = self.waiter.send(Ok(told));
    }
}

impl Said {
    pub(super) fn new(
        token: LeaseToken,
        settlement: Settlement,
        waiter: Option<SettleWaiter>,
    ) -> Self {
        Self {
            token,
            settlement,
            waiter,
            again: false,
            since: None,
        }
    }

    /// It waits for a connection from now on, if not for longer.
    pub(super) fn wait_from(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// What it comes to when it will not be said any more.
    pub(super) fn end(&self, reason: &Refusal) -> Refusal {
        match self.again {
            true => unknown(&reason.message),
            false => not_sent(reason),
        }
    }

    /// It asks for more time, nobody waits to hear of it, and there is no connection: a lease that
    /// is taken up again begins anew by itself.
    pub(super) fn is_idle_talk(&self) -> bool {
        let is_waited_for = self.waiter.as_ref().is_some_and(|w| !w.is_closed());
        self.settlement == Settlement::Extend && !is_waited_for
    }

    /// Whoever has waited too long, with what they are told: it may still be said, and count.
    pub(super) fn give_up(
        &mut self,
        patience: &Patience,
        reason: &Refusal,
    ) -> Option<(SettleWaiter, Refusal)> {
        if !patience.is_over(self.since) {
            return None;
        }
        Some((self.waiter.take()?, unknown(&reason.message)))
    }

    /// Tells what became of it. That a message is done already is what an ack wanted, when it may
    /// have been heard before: most likely that ack did it. A reply may be the one that stands, or
    /// somebody else's does.
    pub(super) fn tell(self, outcome: Result<(), Refusal>) {
        let completes = matches!(self.settlement, Settlement::Ack | Settlement::Complete(_));
        let Some(waiter) = self.waiter else {
            return;
        };
        let outcome = match outcome {
            Err(mut refusal) if self.again && refusal.code == Code::AlreadyCompleted => {
                refusal.message += ", perhaps by this: it was said before, and the connection lost";
                match self.settlement {
                    Settlement::Ack => Ok(()),
                    _ => Err(refusal),
                }
            }
            // The lease is not good any more, but what was said before may have been heard while it
            // was: then nobody else gets the message.
            Err(refusal) if self.again && completes && refusal.code == Code::StaleLease => {
                let before = "it was said before, and the connection lost";
                Err(unknown(&format!("{}; {before}", refusal.message)))
            }
            outcome => outcome,
        };
        let _ = waiter.send(outcome);
    }
}

impl Parked {
    /// The order in which it was said; questions have none.
    pub(super) fn ordinal(&self) -> u64 {
        match self {
            Self::Send(sent) | Self::Request(sent, _) => sent.ordinal,
            Self::Awaited(awaited) => awaited.ordinal,
            Self::Question(_) => u64::MAX,
        }
    }

    /// It is without a connection from now on.
    pub(super) fn wait_from(&mut self, now: Instant) {
        match self {
            Self::Send(sent) | Self::Request(sent, _) => sent.wait_from(now),
            Self::Awaited(awaited) => awaited.wait_from(now),
            Self::Question(asking) => {
                asking.since.get_or_insert(now);
            }
        }
    }

    /// A server may know of it.
    pub(super) fn may_have_left(&self) -> bool {
        match self {
            Self::Send(sent) | Self::Request(sent, _) => sent.left,
            Self::Awaited(_) => true,
            Self::Question(_) => false,
        }
    }

    /// Why it is not to be said any more, if its time has run out.
    pub(super) fn time_is_over(&self, now: Instant) -> Option<Refusal> {
        match self {
            Self::Send(sent) | Self::Request(sent, _) => sent.time_is_over(now),
            Self::Awaited(_) | Self::Question(_) => None,
        }
    }

    /// Why it cannot be said to a server that takes no larger records, if so.
    pub(super) fn too_large(&self, bytes_max: usize) -> Option<Refusal> {
        let record = match self {
            Self::Send(sent) | Self::Request(sent, _) => &sent.record,
            Self::Awaited(awaited) => awaited.record.as_ref()?,
            Self::Question(_) => return None,
        };
        let bytes = record.as_bytes().len();
        (bytes > bytes_max).then(|| {
            let large = format!("{bytes} bytes fit no frame of the server there is now");
            match self.may_have_left() {
                true => unknown(&large),
                false => Refusal::new(Code::PayloadTooLarge, large),
            }
        })
    }

    /// Why it is not to wait on, if so.
    pub(super) fn over(&self, patience: &Patience, reason: &Refusal) -> Option<Refusal> {
        match self {
            _ if self.is_unwanted() => Some(not_sent(reason)),
            Self::Send(sent) | Self::Request(sent, _) => sent.over(patience, reason),
            Self::Awaited(awaited) => {
                let over = awaited.is_over(patience) || awaited.is_unwanted();
                over.then(|| unknown(&reason.message))
            }
            Self::Question(asking) => asking.is_over(patience).then(|| not_sent(reason)),
        }
    }

    /// A request that nobody waits for any more, and that no server knows of: it is dropped, as its
    /// answer was wanted then and not later.
    pub(super) fn is_unwanted(&self) -> bool {
        matches!(self, Self::Request(sent, awaited) if !sent.left && awaited.is_unwanted())
    }

    /// What it comes to when there will be no connection.
    pub(super) fn end(&self, reason: &Refusal) -> Refusal {
        match self {
            Self::Send(sent) | Self::Request(sent, _) => sent.end(reason),
            Self::Awaited(_) => unknown(&reason.message),
            Self::Question(_) => not_sent(reason),
        }
    }

    /// Tells that there is no answer.
    pub(super) fn refuse(self, refusal: Refusal) {
        match self {
            Self::Send(sent) => sent.tell(Err(refusal)),
            Self::Request(sent, awaited) => {
                sent.tell(Err(refusal.clone()));
                let _ = awaited.waiter.send(Err(refusal));
            }
            Self::Awaited(awaited) => drop(awaited.waiter.send(Err(refusal))),
            Self::Question(asking) => asking.refuse(refusal),
        }
    }
}

/// Whether an answer to it changes anything.
fn changes(admin: &Admin) -> bool {
    !matches!(
        admin,
        Admin::Consumers
            | Admin::ConsumerInfo { .. }
            | Admin::DeadLetters { .. }
            | Admin::DeadLetterCount { .. }
            | Admin::Clients
            | Admin::RequestState { .. }
    )
}

fn unknown(reason: &str) -> Refusal {
    let mut refusal = lost();
    refusal.message = format!("{} ({reason})", refusal.message);
    refusal
}

/// Nothing was sent, so the reason must not sound as if something had been.
pub(super) fn not_sent(reason: &Refusal) -> Refusal {
    Refusal::new(Code::Disconnected, reason.message.clone())
}
