//! What a client keeps over its connections, under one lock: the session of the connection there
//! is, what waits to be written on it, what waits for the next one, and the open streams.
//!
//! No I/O, and the time is handed in. Invariants: what the application said is in exactly one of
//! session, parked and told; over every connection it leaves in the order in which it was said.

mod ending;
mod events;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use edgebus_core::planted;
use edgebus_core::session::{ClientEvent, ClientSession};
use edgebus_core::stream::Open;
use edgebus_core::wire::Frame;
use edgebus_core::{Code, Record, Refusal};
use tokio::time::Instant;

use super::outgoing::Outgoing;
use super::pending::OpenWaiter;
use super::spooling::SpoolQueue;
use super::streams::{StreamEnd, Streams, left};
use super::telling::Telling;
use super::undecided::{Asked, Asking, Awaited, Parked, Patience, Question, Said, Sent, not_sent};

pub(super) type Session = ClientSession<Sent, Asked, Awaited>;
pub(super) type Event = ClientEvent<Sent, Asked, Awaited>;

#[derive(Debug)]
pub(super) struct State {
    phase: Phase,
    outgoing: Outgoing,
    /// In the order in which it was said; empty while there is a connection.
    parked: VecDeque<Parked>,
    /// What the server could not take in because it ends; to be said again.
    returned: Vec<Parked>,
    pub(super) streams: Streams,
    /// Where sends go that need not wait for a server.
    pub(super) spool: Option<SpoolQueue>,
    /// Counts connections.
    connection: u64,
    /// Sends with lower tags may have left on this connection.
    left_below: u64,
    /// Largest body of a frame that the server takes.
    open_bytes_max: usize,
    next_ordinal: u64,
    /// The store at the other end of the last connection, if it said which.
    store: Option<[u8; 16]>,
    /// Nothing new is taken.
    draining: Option<Refusal>,
    reconnect: bool,
    give_up_after: Option<Duration>,
}

/// What a server takes, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Largest record.
    pub(super) record_bytes_max: usize,
    /// Up to which records are joined into a frame.
    pub(super) joined_bytes_max: usize,
}

#[derive(Debug)]
enum Phase {
    Up(Session),
    /// There is no connection, and why.
    Away(Refusal),
    Closed(Refusal),
}

impl State {
    /// No connection so far.
    pub(super) fn new(
        reconnect: bool,
        give_up_after: Option<Duration>,
        spool: Option<SpoolQueue>,
    ) -> Self {
        let reason = Refusal::new(Code::Disconnected, "no server was reached so far");
        Self {
            phase: Phase::Away(reason),
            outgoing: Outgoing::default(),
            parked: VecDeque::new(),
            returned: Vec::new(),
            streams: Streams::default(),
            spool,
            connection: 0,
            left_below: 0,
            open_bytes_max: edgebus_core::wire::FRAME_BYTES_MAX,
            next_ordinal: 0,
            store: None,
            draining: None,
            reconnect,
            give_up_after,
        }
    }

    /// Whether anything new is taken.
    ///
    /// # Errors
    /// Why not.
    fn check_open(&self) -> Result<(), Refusal> {
        match (&self.phase, &self.draining) {
            (Phase::Closed(reason), _) => Err(not_sent(reason)),
            (_, Some(draining)) => Err(draining.clone()),
            _ => Ok(()),
        }
    }

    /// The place of what is said next.
    pub(super) fn next_ordinal(&mut self) -> u64 {
        self.next_ordinal += 1;
        self.next_ordinal
    }

    /// Sends requests, or has them wait for a connection.
    ///
    /// # Errors
    /// Nothing is sent any more.
    pub(super) fn send(&mut self, sent: Vec<Sent>) -> Result<(), (Vec<Sent>, Refusal)> {
        if let Err(refusal) = self.check_open() {
            return Err((sent, refusal));
        }
        match &mut self.phase {
            Phase::Up(session) => {
                let records = sent.iter().map(|sent| sent.record.clone()).collect();
                self.outgoing.push(session.send(records, sent));
            }
            _ => sent
                .into_iter()
                .for_each(|sent| self.park(Parked::Send(sent))),
        }
        Ok(())
    }

    /// Sends a request, or has it go to the spool.
    ///
    /// # Errors
    /// Nothing is sent any more.
    pub(super) fn send_spooling(&mut self, sent: Sent) -> Result<(), Refusal> {
        self.check_open()?;
        match (&mut self.phase, &mut self.spool) {
            (Phase::Up(session), Some(spool)) if spool.is_empty() => {
                spool.sent_past();
                self.outgoing
                    .push(session.send(vec![sent.record.clone()], [sent]));
            }
            (_, Some(spool)) => spool.push(sent),
            (_, None) => self.put(Parked::Send(sent)),
        }
        Ok(())
    }

    /// Sends requests out of the spool, if the connection is still the one they were read for.
    pub(super) fn forward(&mut self, connection: u64, sent: Vec<Sent>) -> bool {
        match &mut self.phase {
            Phase::Up(session) if connection == self.connection => {
                // One by one: they are joined to frames of a size that the server takes.
                for sent in sent {
                    let frame = session.send(vec![sent.record.clone()], [sent]);
                    self.outgoing.push(frame);
                }
                true
            }
            _ => false,
        }
    }

    /// The connection there is.
    pub(super) fn connection(&self) -> Option<u64> {
        matches!(self.phase, Phase::Up(_)).then_some(self.connection)
    }

    /// Sends a request whose reply is waited for.
    ///
    /// # Errors
    /// Nothing is sent any more.
    pub(super) fn request(&mut self, sent: Sent, awaited: Awaited) -> Result<(), Refusal> {
        self.check_open()?;
        self.put(Parked::Request(sent, awaited));
        Ok(())
    }

    /// Asks a question, at once or over the next connection.
    ///
    /// # Errors
    /// Nothing is asked any more.
    pub(super) fn ask(&mut self, asking: Asking) -> Result<(), Refusal> {
        self.check_open()?;
        self.put(Parked::Question(asking));
        Ok(())
    }

    /// Publishes, if there is a connection: news is not kept for later.
    ///
    /// # Errors
    /// Nothing was sent.
    pub(super) fn publish(&mut self, record: Record, asking: Asking) -> Result<(), Refusal> {
        self.check_open()?;
        match &mut self.phase {
            Phase::Up(session) => {
                let frame = session.publish(vec![record], [Asked::One(asking)]);
                self.outgoing.push(frame);
                Ok(())
            }
            Phase::Away(reason) | Phase::Closed(reason) => Err(not_sent(reason)),
        }
    }

    /// Opens a stream, at once or over the next connection; gives the client's number of it.
    ///
    /// # Errors
    /// Nothing is opened any more.
    pub(super) fn open_stream(
        &mut self,
        open: Open,
        end: StreamEnd,
        waiter: OpenWaiter,
    ) -> Result<u64, Refusal> {
        self.check_open()?;
        let away = matches!(self.phase, Phase::Away(_)).then(Instant::now);
        let own = self.streams.add(open, end, waiter, away);
        self.open_streams();
        Ok(own)
    }

    /// Says what became of a message, at once or when its stream is open again.
    ///
    /// # Errors
    /// It cannot be said any more.
    pub(super) fn settle(&mut self, own: u64, said: Said) -> Result<(), Refusal> {
        if let Phase::Closed(reason) = &self.phase {
            return Err(not_sent(reason));
        }
        match self.streams.settle(own, said) {
            Ok(Some((number, said))) => self.outgoing.settle(number, own, said),
            Ok(None) => {}
            Err(_) => return Err(left()),
        }
        Ok(())
    }

    /// Lets so many more messages come on a stream.
    pub(super) fn credit(&mut self, own: u64, messages: u32) {
        if let Some(number) = self.streams.credit(own, messages) {
            self.outgoing.credit(number, messages);
        }
    }

    /// The application leaves a stream.
    pub(super) fn close_stream(&mut self, own: u64) {
        let number = self.streams.leave(own);
        if let (Some(number), Phase::Up(session)) = (number, &mut self.phase)
            && let Some(frame) = session.close_stream(number)
        {
            self.outgoing.push(frame);
        }
    }

    /// Asks the server for a sign of life.
    pub(super) fn ping(&mut self) {
        if let Phase::Up(_) = &self.phase {
            self.outgoing.push(Frame::Ping { token: 0 });
        }
    }

    /// What is to be written on a connection now; `None` when nothing ever will be again.
    pub(super) fn take_frames(&mut self, connection: u64) -> Option<Vec<Frame>> {
        if connection != self.connection {
            return None;
        }
        match &mut self.phase {
            Phase::Up(session) => {
                self.left_below = session.next_tag();
                Some(self.outgoing.take(session))
            }
            Phase::Away(_) => None,
            Phase::Closed(_) if self.outgoing.is_empty() => None,
            Phase::Closed(_) => Some(self.outgoing.take_finished()),
        }
    }

    /// There is a connection. What is parked is said over it.
    pub(super) fn resume(
        &mut self,
        session: Session,
        store: Option<[u8; 16]>,
        limits: &Limits,
        now: Instant,
    ) -> (u64, Vec<Telling>) {
        let mut told = Vec::new();
        if let Phase::Closed(_) = &self.phase {
            return (self.connection, told);
        }
        self.connection += 1;
        self.left_below = 0;
        self.open_bytes_max = limits.record_bytes_max;
        self.outgoing = Outgoing::new(limits.joined_bytes_max);
        let elsewhere = matches!((self.store, store), (Some(was), Some(is)) if was != is);
        self.store = store.or(self.store);
        self.phase = Phase::Up(session);
        let other = Refusal::new(
            Code::Disconnected,
            "the next server has another store: what was said to the first one counts there alone",
        );
        if elsewhere {
            let gone = self.streams.end_workers(&other);
            told.extend(gone.into_iter().map(|said| match said.again {
                true => Telling::unsaid(said, &other),
                false => Telling::Said(said, left()),
            }));
        }
        self.open_streams();
        for parked in std::mem::take(&mut self.parked) {
            if parked.is_unwanted() {
                told.push(Telling::Parked(parked, other.clone()));
                continue;
            }
            let over = match elsewhere && parked.may_have_left() {
                true => Some(parked.end(&other)),
                false => parked
                    .time_is_over(now)
                    .or_else(|| parked.too_large(limits.record_bytes_max)),
            };
            match over {
                Some(refusal) => told.push(Telling::Parked(parked, refusal)),
                None => self.say(parked, now),
            }
        }
        (self.connection, told)
    }

    /// The connection is lost: what can be said again waits for the next one.
    pub(super) fn lost(&mut self, reason: &Refusal, now: Instant) -> Vec<Telling> {
        let mut told = Vec::new();
        if !matches!(self.phase, Phase::Up(_)) {
            return told;
        }
        let Phase::Up(session) = std::mem::replace(&mut self.phase, Phase::Away(reason.clone()))
        else {
            return told;
        };
        let waiting = session.close();
        let left_below = self.left_below;
        let mut parked = std::mem::take(&mut self.returned);
        let replies = waiting.replies.into_iter().filter(|r| !r.is_unwanted());
        parked.extend(replies.map(|r| Parked::Awaited(r.was_stored())));
        parked.extend(waiting.sends.into_iter().map(|(tag, mut sent, reply)| {
            sent.left |= tag < left_below;
            match reply {
                Some(awaited) => Parked::Request(sent, awaited),
                None => Parked::Send(sent),
            }
        }));
        let mut questions = Vec::new();
        for asked in waiting.questions {
            match asked {
                Asked::Stream(_) => {}
                Asked::Settle { stream, mut items } => {
                    items.iter_mut().for_each(|said| said.again = true);
                    self.say_again(stream, items, reason, &mut told);
                }
                Asked::One(asking) if asking.question().is_some() => {
                    questions.push(Parked::Question(asking));
                }
                Asked::One(asking) => told.push(Telling::Lost(asking)),
            }
        }
        for settling in self.outgoing.drop_all() {
            self.say_again(settling.own, settling.items, reason, &mut told);
        }
        self.streams.lost(now);
        parked.sort_by_key(Parked::ordinal);
        if planted!("resent-out-of-order") {
            parked.reverse();
        }
        parked.extend(questions);
        for mut waiting in parked {
            waiting.wait_from(now);
            self.park_or_spool(waiting);
        }
        if let Some(spool) = &mut self.spool {
            spool.lost();
        }
        told
    }

    /// Keeps nothing of requests whose replies nobody wants any more.
    pub(super) fn forget_unwanted(&mut self) {
        if let Phase::Up(session) = &mut self.phase {
            session.replies_mut().for_each(Awaited::forget_if_unwanted);
        }
    }

    /// The server refused something because it ends: if it does not close the connection by
    /// itself, it is to be closed.
    pub(super) fn has_returned(&self) -> bool {
        !self.returned.is_empty()
    }

    fn patience(&self, now: Instant) -> Patience {
        Patience {
            now,
            give_up_after: self.give_up_after,
        }
    }

    fn park_or_spool(&mut self, parked: Parked) {
        match (parked, &mut self.spool) {
            (Parked::Send(sent), Some(spool)) if sent.is_for_spool() => spool.push(sent),
            // It is in the spool.
            (Parked::Send(sent), _) if sent.is_forward() => {}
            (parked, _) => self.parked.push_back(parked),
        }
    }

    fn park(&mut self, mut parked: Parked) {
        parked.wait_from(Instant::now());
        self.parked.push_back(parked);
    }

    fn put(&mut self, parked: Parked) {
        match &self.phase {
            Phase::Up(_) => self.say_fresh(parked),
            _ => self.park(parked),
        }
    }

    fn say_fresh(&mut self, parked: Parked) {
        // The clock matters only to what has waited.
        let now = Instant::now();
        self.say(parked, now);
    }

    /// Says something over the connection there is.
    fn say(&mut self, parked: Parked, now: Instant) {
        let Phase::Up(session) = &mut self.phase else {
            return;
        };
        let frame = match parked {
            Parked::Send(sent) => session.send(vec![sent.due(now)], [sent]),
            Parked::Request(sent, awaited) => {
                session.request(vec![sent.due(now)], [sent], [awaited])
            }
            Parked::Awaited(awaited) => {
                let Some(sent) = awaited.asked_again() else {
                    return;
                };
                session.request(vec![sent.record.clone()], [sent], [awaited])
            }
            Parked::Question(asking) => match asking.question() {
                Some(Question::Query(query)) => session.query(query, Asked::One(asking)),
                Some(Question::Admin(admin)) => session.manage(&admin, Asked::One(asking.once())),
                None => return,
            },
        };
        self.outgoing.push(frame);
    }

    fn say_again(&mut self, own: u64, items: Vec<Said>, reason: &Refusal, told: &mut Vec<Telling>) {
        if let Err(items) = self.streams.say_again(own, items, Instant::now()) {
            told.extend(items.into_iter().map(|said| Telling::unsaid(said, reason)));
        }
    }

    /// Asks for all streams that are not open on this connection.
    pub(super) fn open_streams(&mut self) {
        let Phase::Up(session) = &mut self.phase else {
            return;
        };
        for (own, open) in self.streams.unopened(self.open_bytes_max) {
            let (number, frame) = session.open_stream(&open, Asked::Stream(own));
            self.outgoing.push(frame);
            self.streams.asked(own, number);
        }
    }
}
