//! The streams an application has open, over all the connections that carry them.
//!
//! Invariant: credit that a server may use, messages that an application holds and credit that is
//! still to be told add up to what the stream was opened with, whatever connections come and go.

use std::collections::{BTreeMap, HashMap};

use ahash::AHashSet;
use edgebus_core::admin::Delivery;
use edgebus_core::consumer::{LeaseToken, Settlement};
use edgebus_core::stream::{HELD_MAX, Open};
use edgebus_core::{Code, Entry, Refusal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::pending::{OpenWaiter, SettleWaiter};
use super::undecided::{Patience, Said, not_sent};
use crate::delivery::{Notifier, WorkerEvent};

/// What a lease takes in the question for a stream, beside its text; and what all else takes.
const HELD_BYTES: usize = 2;
const BESIDE_HELD_BYTES: usize = 1024;

/// By the client's own numbers, which outlive connections.
#[derive(Debug, Default)]
pub(super) struct Streams {
    last: u64,
    streams: BTreeMap<u64, Stream>,
    /// The client's numbers by those on this connection.
    here: HashMap<u64, u64>,
}

/// Where what comes on a stream is wanted.
#[derive(Debug)]
pub(super) enum StreamEnd {
    Worker(mpsc::UnboundedSender<WorkerEvent>),
    Subscriber(Notifier),
}

#[derive(Debug)]
pub(super) struct Stream {
    open: Open,
    end: StreamEnd,
    /// Its number on this connection, from when it is asked for.
    number: Option<u64>,
    /// The server has opened it on this connection.
    is_open: bool,
    /// Whoever waits for it to be opened for the first time.
    first: Option<OpenWaiter>,
    /// Since when that has been waiting for a connection.
    since: Option<Instant>,
    /// How many messages the server may send, as far as it was told.
    told: u32,
    /// What it was not told of.
    untold: u32,
    /// Leases that are not settled.
    held: AHashSet<LeaseToken>,
    /// What is to be said once it is open.
    parked: Vec<Said>,
    /// The application has left; it is only kept to say what is parked.
    leaving: bool,
    /// The application was told that nothing more comes: what comes all the same is given back.
    is_over: bool,
}

/// What a stream that is open has to say at once.
pub(super) struct ToSay {
    pub(super) parked: Vec<Said>,
    pub(super) credit: u32,
    pub(super) leave: bool,
}

impl Streams {
    /// A stream that is to be opened.
    pub(super) fn add(
        &mut self,
        open: Open,
        end: StreamEnd,
        first: OpenWaiter,
        since: Option<Instant>,
    ) -> u64 {
        self.last += 1;
        let told = match &open {
            Open::Consume(consume) => consume.credit,
            _ => 0,
        };
        let held = match &open {
            Open::Consume(consume) => consume.held.iter().copied().collect(),
            _ => AHashSet::default(),
        };
        let stream = Stream {
            open,
            end,
            number: None,
            is_open: false,
            first: Some(first),
            since,
            told,
            untold: 0,
            held,
            parked: Vec::new(),
            leaving: false,
            is_over: false,
        };
        self.streams.insert(self.last, stream);
        self.last
    }

    /// Whether anything is held, or still to be said.
    pub(super) fn are_settled(&self) -> bool {
        let settled = |stream: &Stream| stream.held.is_empty() && stream.parked.is_empty();
        self.streams.values().all(settled)
    }

    /// The client's numbers of all of them.
    pub(super) fn all(&self) -> Vec<u64> {
        self.streams.keys().copied().collect()
    }

    /// Those that are to be asked for on this connection, with what to ask.
    /// None takes more bytes than that, unless it did when it was asked for first.
    pub(super) fn unopened(&mut self, bytes_max: usize) -> Vec<(u64, Open)> {
        let closed = self.streams.iter_mut().filter(|(_, s)| s.number.is_none());
        closed
            .map(|(own, s)| (*own, s.open_as(bytes_max)))
            .collect()
    }

    /// A stream was asked for under this number.
    pub(super) fn asked(&mut self, own: u64, number: u64) {
        self.here.insert(number, own);
        if let Some(stream) = self.streams.get_mut(&own) {
            stream.number = Some(number);
        }
    }

    /// The client's number of a stream of this connection.
    pub(super) fn own(&self, number: u64) -> Option<u64> {
        self.here.get(&number).copied()
    }

    /// The number on this connection of a stream that is open.
    pub(super) fn open_number(&self, own: u64) -> Option<u64> {
        let stream = self.streams.get(&own)?;
        stream.number.filter(|_| stream.is_open)
    }

    /// The server has opened it, and these leases were kept. Whoever waited for that is handed out.
    pub(super) fn opened(
        &mut self,
        own: u64,
        kept: &[LeaseToken],
    ) -> Option<(Option<OpenWaiter>, ToSay)> {
        let stream = self.streams.get_mut(&own)?;
        stream.is_open = true;
        let first = stream.first.take();
        match &first {
            None => stream.resume(kept),
            // The others are not this stream's to wait for.
            Some(_) => {
                let kept = kept.iter().copied().collect::<AHashSet<_>>();
                stream.held.retain(|token| kept.contains(token));
            }
        }
        let to_say = ToSay {
            parked: std::mem::take(&mut stream.parked),
            credit: std::mem::take(&mut stream.untold),
            leave: stream.leaving,
        };
        stream.told = stream.told.saturating_add(to_say.credit);
        Some((first, to_say))
    }

    /// Messages came. Hands those back that nobody takes any more.
    pub(super) fn deliver(&mut self, own: u64, deliveries: Vec<Delivery>) -> Vec<Delivery> {
        let Some(stream) = self.streams.get_mut(&own) else {
            return deliveries;
        };
        stream.told = stream.told.saturating_sub(deliveries.len() as u32);
        let StreamEnd::Worker(worker) = &stream.end else {
            return Vec::new();
        };
        if stream.is_over {
            return deliveries;
        }
        let tokens: Vec<_> = deliveries.iter().map(|d| d.token).collect();
        match worker.send(WorkerEvent::Deliveries(deliveries)) {
            Err(mpsc::error::SendError(WorkerEvent::Deliveries(deliveries))) => deliveries,
            _ => {
                stream.held.extend(tokens);
                Vec::new()
            }
        }
    }

    /// Notifications came, or were missed.
    pub(super) fn notify(&self, own: u64, entries: Vec<Entry>, missed: u64) {
        let Some(StreamEnd::Subscriber(notifier)) = self.streams.get(&own).map(|s| &s.end) else {
            return;
        };
        for entry in entries {
            notifier.notify(entry);
        }
        if missed > 0 {
            notifier.lagged(missed);
        }
    }

    /// Something is said about a message. Hands it back when it can be said on this connection,
    /// under the number that comes with it.
    ///
    /// # Errors
    /// The stream has ended.
    pub(super) fn settle(&mut self, own: u64, said: Said) -> Result<Option<(u64, Said)>, Said> {
        let Some(stream) = self.streams.get_mut(&own) else {
            return Err(said);
        };
        if said.settlement != Settlement::Extend {
            stream.held.remove(&said.token);
        }
        match stream.number.filter(|_| stream.is_open) {
            Some(number) => Ok(Some((number, said))),
            None => {
                stream.park(said, Instant::now());
                Ok(None)
            }
        }
    }

    /// What was to be said, or was said and not answered, is said on the next connection.
    pub(super) fn say_again(
        &mut self,
        own: u64,
        items: Vec<Said>,
        now: Instant,
    ) -> Result<(), Vec<Said>> {
        let Some(stream) = self.streams.get_mut(&own) else {
            return Err(items);
        };
        items.into_iter().for_each(|said| stream.park(said, now));
        Ok(())
    }

    /// So many more messages may come; under which number the server can be told now.
    pub(super) fn credit(&mut self, own: u64, messages: u32) -> Option<u64> {
        let stream = self.streams.get_mut(&own)?;
        match stream.number.filter(|_| stream.is_open) {
            Some(number) => {
                stream.told = stream.told.saturating_add(messages);
                Some(number)
            }
            None => {
                stream.untold = stream.untold.saturating_add(messages);
                None
            }
        }
    }

    /// The application leaves; the number to close on this connection. What is parked is said
    /// first, if it is to be open at all.
    pub(super) fn leave(&mut self, own: u64) -> Option<u64> {
        let stream = self.streams.get_mut(&own)?;
        if !stream.is_open && !stream.parked.is_empty() {
            stream.leaving = true;
            return None;
        }
        self.remove(own)?.number
    }

    /// It has ended for good.
    pub(super) fn end(&mut self, own: u64, why: Option<&Refusal>) -> Option<Stream> {
        let mut stream = self.remove(own)?;
        stream.tell_end(why.cloned());
        Some(stream)
    }

    /// Whether the application has had it open.
    pub(super) fn was_open(&self, own: u64) -> bool {
        let stream = self.streams.get(&own);
        stream.is_some_and(|stream| stream.first.is_none())
    }

    /// The server ended it on this connection; it is to be opened again.
    pub(super) fn interrupt(&mut self, own: u64) {
        if let Some(stream) = self.streams.get_mut(&own) {
            if let Some(number) = stream.number {
                self.here.remove(&number);
            }
            stream.lose(Instant::now());
        }
    }

    fn remove(&mut self, own: u64) -> Option<Stream> {
        let stream = self.streams.remove(&own)?;
        // What still comes on it is dropped: the server takes it back.
        if let Some(number) = stream.number {
            self.here.remove(&number);
        }
        Some(stream)
    }

    /// The connection is lost.
    pub(super) fn lost(&mut self, now: Instant) {
        self.here.clear();
        self.streams
            .values_mut()
            .for_each(|stream| stream.lose(now));
    }

    /// The next connection leads to another store: what is held counts for nothing there, and a
    /// lease may look like one of another message. So workers end; what they wanted to say is
    /// handed out.
    pub(super) fn end_workers(&mut self, why: &Refusal) -> Vec<Said> {
        let mut parked = Vec::new();
        self.streams.retain(|_, stream| {
            let is_worker = matches!(stream.end, StreamEnd::Worker(_));
            let ends = is_worker && stream.first.is_none();
            if ends {
                parked.append(&mut stream.parked);
                stream.tell_end(Some(why.clone()));
            }
            !ends
        });
        parked
    }

    /// Streams that were to be opened for the first time and have waited too long, and whoever has
    /// waited too long until something is settled.
    pub(super) fn give_up(
        &mut self,
        patience: &Patience,
        reason: &Refusal,
    ) -> (Vec<OpenWaiter>, Vec<(SettleWaiter, Refusal)>) {
        let over = |stream: &Stream| {
            stream.number.is_none() && stream.first.is_some() && patience.is_over(stream.since)
        };
        let mut waiters = Vec::new();
        self.streams.retain(|_, stream| {
            let over = over(stream);
            if over {
                waiters.extend(stream.first.take());
            }
            !over
        });
        let mut settling = Vec::new();
        for stream in self.streams.values_mut() {
            let parked = stream.parked.iter_mut();
            settling.extend(parked.filter_map(|said| said.give_up(patience, reason)));
            stream.parked.retain(|said| !said.is_idle_talk());
        }
        (waiters, settling)
    }

    /// Nothing more comes on any stream. What was to be said is handed out.
    pub(super) fn end_all(&mut self, why: &Refusal) -> (Vec<OpenWaiter>, Vec<Said>) {
        let (mut waiters, mut parked) = (Vec::new(), Vec::new());
        for (_, mut stream) in std::mem::take(&mut self.streams) {
            waiters.extend(stream.first.take());
            parked.append(&mut stream.parked);
            stream.tell_end(Some(why.clone()));
        }
        self.here.clear();
        (waiters, parked)
    }

    /// Nothing more comes, but what is held can still be settled.
    pub(super) fn drain(&mut self, why: &Refusal) {
        for stream in self.streams.values_mut() {
            stream.is_over = true;
            stream.tell_end(Some(why.clone()));
        }
    }
}

impl Stream {
    /// Has something said on the next connection.
    fn park(&mut self, mut said: Said, now: Instant) {
        said.wait_from(now);
        self.parked.push(said);
    }

    /// What to ask for now.
    fn open_as(&mut self, bytes_max: usize) -> Open {
        let Open::Consume(consume) = &mut self.open else {
            return self.open.clone();
        };
        self.told = self.told.saturating_add(std::mem::take(&mut self.untold));
        let mut consume = consume.clone();
        consume.credit = self.told;
        if self.first.is_none() {
            // What does not fit goes to others, or comes again; too large a frame would end every
            // connection there is.
            let mut room = bytes_max.saturating_sub(BESIDE_HELD_BYTES);
            let fits = |token: &&LeaseToken| {
                let bytes = token.to_string().len() + HELD_BYTES;
                let fits = bytes <= room;
                room = room.saturating_sub(bytes);
                fits
            };
            let held = self.held.iter().take(HELD_MAX).take_while(fits);
            consume.held = held.copied().collect();
            // It was there, so it is to be there: an operator who has removed the consumer since
            // did not mean it to begin anew.
            consume.config = None;
        }
        Open::Consume(consume)
    }

    /// It is open again.
    fn resume(&mut self, kept: &[LeaseToken]) {
        match &self.end {
            StreamEnd::Worker(worker) => {
                // Whoever took it may have gone.
                let _ = worker.send(WorkerEvent::Resumed(kept.to_vec()));
            }
            StreamEnd::Subscriber(notifier) => {
                notifier.interrupted();
            }
        }
    }

    fn lose(&mut self, now: Instant) {
        self.number = None;
        self.is_open = false;
        self.since.get_or_insert(now);
    }

    pub(super) fn tell_end(&mut self, why: Option<Refusal>) {
        match (&self.end, why) {
            (StreamEnd::Worker(worker), Some(why)) => drop(worker.send(WorkerEvent::Ended(why))),
            (StreamEnd::Worker(_), None) => {}
            (StreamEnd::Subscriber(notifier), why) => notifier.end(why),
        }
    }

    /// Whoever waits for it, and what was to be said on it.
    pub(super) fn into_waiting(self) -> (Option<OpenWaiter>, Vec<Said>) {
        (self.first, self.parked)
    }
}

/// Why nothing can be said about a message any more.
pub(super) fn left() -> Refusal {
    let left = "the worker that held the lease has left";
    Refusal::new(Code::StaleLease, left)
}

/// Why a stream was not opened.
pub(super) fn not_opened(reason: &Refusal) -> Refusal {
    not_sent(reason)
}
