//! How what waits comes to an end without an answer.

use std::collections::VecDeque;

use edgebus_core::{Code, Refusal};
use tokio::time::Instant;

use super::{Phase, State};
use crate::client::spooling::SpoolQueue;
use crate::client::streams::not_opened;
use crate::client::telling::Telling;
use crate::client::undecided::{Awaited, Parked};

impl State {
    /// Nothing more is sent, and nothing comes.
    pub(in crate::client) fn close(&mut self, reason: &Refusal) -> Vec<Telling> {
        if let Phase::Closed(_) = &self.phase {
            return Vec::new();
        }
        let now = Instant::now();
        let mut told = self.lost(reason, now);
        self.phase = Phase::Closed(reason.clone());
        for parked in std::mem::take(&mut self.parked) {
            let end = parked.end(reason);
            told.push(Telling::Parked(parked, end));
        }
        let spooling = self.spool.as_mut().map(SpoolQueue::close);
        told.extend(spooling.into_iter().flatten().map(|sent| {
            let end = sent.end(reason);
            Telling::Parked(Parked::Send(sent), end)
        }));
        let (waiters, parked) = self.streams.end_all(reason);
        let not_opened = not_opened(reason);
        told.extend(
            waiters
                .into_iter()
                .map(|waiter| Telling::NotOpened(waiter, not_opened.clone())),
        );
        told.extend(parked.into_iter().map(|said| Telling::unsaid(said, reason)));
        told
    }

    /// As [`State::close`], but what was said so far is still to be written.
    pub(in crate::client) fn finish(&mut self, reason: &Refusal) -> Vec<Telling> {
        let mut outgoing = std::mem::take(&mut self.outgoing);
        if let Phase::Up(session) = &mut self.phase {
            self.left_below = session.next_tag();
            outgoing.finish(session);
        }
        let told = self.close(reason);
        self.outgoing = outgoing;
        told
    }

    /// There still is no connection, and this is why; nothing where there is one.
    pub(in crate::client) fn still_away(&mut self, why: &Refusal) {
        if let Phase::Away(reason) = &mut self.phase {
            reason.clone_from(why);
        }
    }

    /// Gives up on what has waited for a connection for too long, or has run out of time.
    pub(in crate::client) fn give_up(&mut self, now: Instant) -> Vec<Telling> {
        let mut told = Vec::new();
        let Phase::Away(reason) = &self.phase else {
            return told;
        };
        let patience = self.patience(now);
        let mut stay = VecDeque::with_capacity(self.parked.len());
        for parked in self.parked.drain(..) {
            match parked.over(&patience, reason) {
                Some(refusal) => told.push(Telling::Parked(parked, refusal)),
                None => stay.push_back(parked),
            }
        }
        self.parked = stay;
        let not_opened = not_opened(reason);
        let (waiters, settling) = self.streams.give_up(&patience, reason);
        told.extend(settling.into_iter().map(Telling::settle_given_up));
        told.extend(
            waiters
                .into_iter()
                .map(|waiter| Telling::NotOpened(waiter, not_opened.clone())),
        );
        told
    }

    /// Nothing new is taken; streams end, and what is held can still be settled.
    pub(in crate::client) fn drain(&mut self) {
        let draining = Refusal::new(
            Code::ShuttingDown,
            "the client is draining: use another one",
        );
        self.streams.drain(&draining);
        self.draining = Some(draining);
    }

    /// Leaves all streams: what is held on them is given back.
    pub(in crate::client) fn leave_streams(&mut self) {
        for own in self.streams.all() {
            self.close_stream(own);
        }
    }

    /// Whether nothing new is taken.
    pub(in crate::client) fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    /// Whether nobody waits for an answer any more; whether nothing is held any more.
    pub(in crate::client) fn is_idle(&self) -> (bool, bool) {
        (self.is_answered(), self.streams.are_settled())
    }

    fn is_answered(&self) -> bool {
        let settled = self.spool.as_ref().is_none_or(SpoolQueue::is_settled);
        let nothing_parked = settled && self.parked.is_empty();
        match &self.phase {
            // What waits to be written may be settlements, which the session does not know of yet.
            Phase::Up(session) => {
                nothing_parked
                    && self.returned.is_empty()
                    && session.is_idle_but_for(Awaited::is_unwanted)
                    && self.outgoing.is_empty()
            }
            Phase::Away(_) => nothing_parked,
            Phase::Closed(_) => true,
        }
    }
}
