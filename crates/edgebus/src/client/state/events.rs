//! What a server says, and what becomes of it.

use edgebus_core::admin::Delivery;
use edgebus_core::consumer::{LeaseToken, Settlement};
use edgebus_core::wire::Frame;
use edgebus_core::{Code, Entry, Refusal};

use super::{Event, Phase, State};
use crate::client::pending::{Outcome, SendWaiter, Told};
use crate::client::streams::left;
use crate::client::telling::Telling;
use crate::client::undecided::{Asked, Awaited, Parked, Said, Sent};

impl State {
    /// Takes frames that came on a connection. Says whether there is something to be written.
    ///
    /// # Errors
    /// The connection is to be ended, and why.
    pub(in crate::client) fn on_frames(
        &mut self,
        connection: u64,
        frames: &mut Vec<Frame>,
        told: &mut Vec<Telling>,
    ) -> Result<bool, Refusal> {
        let mut events = Vec::new();
        let has_spool = self.spool.is_some();
        let mut ended = Ok(());
        if let Phase::Up(session) = &mut self.phase
            && connection == self.connection
        {
            ended = frames.drain(..).try_for_each(|frame| {
                session.on_frame(frame, |event| match event {
                    event @ Event::Sent(..) if has_spool => events.push(event),
                    // Apart from the others, as they are many.
                    Event::Sent(sent, Ok(stored)) => told.push(Telling::Sent(sent, Ok(stored))),
                    event => events.push(event),
                })
            });
        }
        let mut filled = false;
        for event in events {
            filled |= self.on_event(event, told, &mut ended);
        }
        ended.map(|()| filled)
    }

    fn on_event(
        &mut self,
        event: Event,
        told: &mut Vec<Telling>,
        ended: &mut Result<(), Refusal>,
    ) -> bool {
        match event {
            Event::Sent(mut sent, Err(refusal)) if self.is_loss(&refusal) => {
                sent.left |= refusal.code == Code::Unknown;
                self.returned.push(Parked::Send(sent));
                end_with(ended, refusal);
            }
            Event::Sent(sent, outcome) if sent.is_forward() => {
                self.forwarded(&sent, outcome.clone());
                // Nobody waits for it, but it shows that the connection was of use.
                told.push(Telling::Sent(sent, outcome));
            }
            Event::Sent(sent, outcome) if sent.is_for_spool() => {
                self.decided_past(sent, outcome, told);
            }
            Event::Sent(sent, outcome) => {
                let outcome = outcome.map_err(|refusal| sent.refused(refusal));
                told.push(Telling::Sent(sent, outcome));
            }
            Event::Answered(awaited, Err(refusal)) if self.is_loss(&refusal) => {
                self.returned_request(awaited);
                end_with(ended, refusal);
            }
            Event::Answered(awaited, answer) => told.push(Telling::Reply(awaited, answer)),
            Event::StreamOpened {
                waiter: Asked::Stream(own),
                kept,
                ..
            } => return self.opened(own, kept, told),
            Event::Deliveries { stream, deliveries } => return self.deliver(stream, deliveries),
            Event::Notifications { stream, entries } => self.notify(stream, entries, 0),
            Event::Lagged { stream, missed } => self.notify(stream, Vec::new(), missed),
            Event::Closed { stream, refusal } => self.closed(stream, refusal, told),
            Event::Reply(frame) => {
                self.outgoing.push(frame);
                return true;
            }
            Event::Page(Asked::One(asking), page) => {
                told.push(Telling::One(asking, Told::Page(page)))
            }
            Event::Stats(Asked::One(asking), stats) => {
                told.push(Telling::One(asking, Told::Stats(stats)));
            }
            Event::Published(Asked::One(asking), reached) => {
                told.push(Telling::One(asking, Told::Published(reached)));
            }
            Event::Managed(Asked::One(asking), managed) => {
                told.push(Telling::One(asking, Told::Managed(managed)));
            }
            Event::Settled(Asked::Settle { items, .. }, errors) => {
                told.push(Telling::Settled(items, errors));
            }
            Event::Refused(Asked::Stream(own), refusal) => self.refused_stream(own, refusal, told),
            Event::Refused(Asked::Settle { stream, mut items }, refusal)
                if self.is_loss(&refusal) =>
            {
                let counts = refusal.code == Code::Unknown;
                items.iter_mut().for_each(|said| said.again |= counts);
                self.say_again(stream, items, &refusal, told);
                end_with(ended, refusal);
            }
            Event::Refused(Asked::Settle { items, .. }, refusal) => {
                told.extend(
                    items
                        .into_iter()
                        .map(|said| Telling::Said(said, refusal.clone())),
                );
            }
            Event::Refused(Asked::One(asking), refusal) => {
                told.push(Telling::Refused(asking, refusal));
            }
            _ => {}
        }
        false
    }

    /// What became of a request out of the spool.
    fn forwarded(&mut self, sent: &Sent, outcome: Outcome) {
        if let (SendWaiter::Forward(origin), Some(spool)) = (&sent.waiter, &mut self.spool) {
            spool.decided(*origin, outcome);
        }
    }

    /// What became of a request that was sent past the spool.
    fn decided_past(&mut self, sent: Sent, outcome: Outcome, told: &mut Vec<Telling>) {
        let sent = match &mut self.spool {
            Some(spool) => spool.decided_past(sent, &outcome),
            None => Some(sent),
        };
        told.extend(sent.map(|sent| Telling::Sent(sent, outcome)));
    }

    /// Whether a refusal says no more than that this connection is of no use.
    fn is_loss(&self, refusal: &Refusal) -> bool {
        let ends = [Code::ShuttingDown, Code::Poisoned, Code::Unknown];
        self.reconnect && ends.contains(&refusal.code)
    }

    /// A request that is to be asked again, with its send if that came back as well.
    fn returned_request(&mut self, awaited: Awaited) {
        // Its send came back just before it, or was stored.
        let own = |last: &mut Parked| last.ordinal() == awaited.ordinal;
        match self.returned.pop_if(own) {
            Some(Parked::Send(sent)) => self.returned.push(Parked::Request(sent, awaited)),
            _ if awaited.is_unwanted() => {}
            _ => self.returned.push(Parked::Awaited(awaited.was_stored())),
        }
    }

    fn opened(&mut self, own: u64, kept: Vec<LeaseToken>, told: &mut Vec<Telling>) -> bool {
        let Some((first, to_say)) = self.streams.opened(own, &kept) else {
            // The application has left meanwhile, and has said so.
            return false;
        };
        told.extend(first.map(|waiter| Telling::Opened(waiter, kept)));
        let Some(number) = self.streams.open_number(own) else {
            return false;
        };
        for said in to_say.parked {
            self.outgoing.settle(number, own, said);
        }
        if to_say.credit > 0 {
            self.outgoing.credit(number, to_say.credit);
        }
        if to_say.leave {
            self.close_stream(own);
        }
        true
    }

    /// Messages came; says whether there is something to be written about them.
    fn deliver(&mut self, number: u64, deliveries: Vec<Delivery>) -> bool {
        let Some(own) = self.streams.own(number) else {
            return false;
        };
        // What nobody takes any more is given back.
        let back = self.streams.deliver(own, deliveries);
        let any = !back.is_empty();
        for delivery in back {
            let said = Said::new(delivery.token, Settlement::Release, None);
            self.outgoing.settle(number, own, said);
        }
        any
    }

    fn notify(&self, number: u64, entries: Vec<Entry>, missed: u64) {
        if let Some(own) = self.streams.own(number) {
            self.streams.notify(own, entries, missed);
        }
    }

    /// The server has ended a stream.
    fn closed(&mut self, number: u64, why: Option<Refusal>, told: &mut Vec<Telling>) {
        let Some(own) = self.streams.own(number) else {
            return;
        };
        match why {
            Some(refusal) if self.reconnect && refusal.code.is_retryable() => {
                self.streams.interrupt(own);
            }
            why => self.end_stream(own, why, told),
        }
    }

    /// The server does not open a stream.
    fn refused_stream(&mut self, own: u64, refusal: Refusal, told: &mut Vec<Telling>) {
        if self.reconnect && refusal.code.is_retryable() && self.streams.was_open(own) {
            return self.streams.interrupt(own);
        }
        self.end_stream(own, Some(refusal), told);
    }

    fn end_stream(&mut self, own: u64, why: Option<Refusal>, told: &mut Vec<Telling>) {
        let Some(stream) = self.streams.end(own, why.as_ref()) else {
            return;
        };
        let why = why.unwrap_or_else(left);
        let (first, parked) = stream.into_waiting();
        told.extend(first.map(|waiter| Telling::NotOpened(waiter, why.clone())));
        told.extend(
            parked
                .into_iter()
                .map(|said| Telling::Said(said, why.clone())),
        );
    }
}

/// A connection that does not end by itself is to be ended. One that is shutting down does, and
/// has answers for others before that.
fn end_with(ended: &mut Result<(), Refusal>, refusal: Refusal) {
    if refusal.code != Code::ShuttingDown && ended.is_ok() {
        *ended = Err(refusal);
    }
}
