//! Which streams of a connection are open, and who waits for one to be.

use std::collections::BTreeMap;

use super::breach;
use crate::code::Refusal;

#[derive(Debug)]
pub(super) struct Streams<Q> {
    last: u64,
    states: BTreeMap<u64, State<Q>>,
}

#[derive(Debug)]
enum State<Q> {
    /// Asked for.
    Opening(Q),
    Open,
    /// Closed by this end, perhaps before the server opened it; the server's Close is to come.
    Closing(Option<Q>),
}

impl<Q> Default for Streams<Q> {
    fn default() -> Self {
        Self {
            last: 0,
            states: BTreeMap::new(),
        }
    }
}

impl<Q> Streams<Q> {
    pub(super) fn add(&mut self, waiter: Q) -> u64 {
        self.last += 1;
        self.states.insert(self.last, State::Opening(waiter));
        self.last
    }

    pub(super) fn is_open(&self, stream: u64) -> bool {
        matches!(self.states.get(&stream), Some(State::Open))
    }

    /// Whoever waited for it; `None` when it is closing again.
    pub(super) fn opened(&mut self, stream: u64) -> Result<Option<Q>, Refusal> {
        match self.states.remove(&stream) {
            Some(State::Opening(waiter)) => {
                self.states.insert(stream, State::Open);
                Ok(Some(waiter))
            }
            Some(State::Closing(Some(waiter))) => {
                self.states.insert(stream, State::Closing(Some(waiter)));
                Ok(None)
            }
            _ => Err(breach("the server opens a stream nobody asked for")),
        }
    }

    /// Whether what comes on it is still wanted.
    pub(super) fn carries(&self, stream: u64) -> Result<bool, Refusal> {
        match self.states.get(&stream) {
            Some(State::Open) => Ok(true),
            Some(State::Closing(_)) => Ok(false),
            _ => Err(breach("the server sends on a stream that is not open")),
        }
    }

    /// Whether the server has to be told.
    pub(super) fn close(&mut self, stream: u64) -> bool {
        match self.states.remove(&stream) {
            Some(State::Opening(waiter)) => {
                self.states.insert(stream, State::Closing(Some(waiter)));
                true
            }
            Some(State::Open) => {
                self.states.insert(stream, State::Closing(None));
                true
            }
            Some(closing) => {
                self.states.insert(stream, closing);
                false
            }
            None => false,
        }
    }

    /// The server's last word on it: whoever still waits for it to open.
    pub(super) fn closed(&mut self, stream: u64) -> Result<Option<Q>, Refusal> {
        match self.states.remove(&stream) {
            Some(State::Opening(waiter)) => Ok(Some(waiter)),
            Some(State::Open) => Ok(None),
            Some(State::Closing(waiter)) => Ok(waiter),
            None => Err(breach("the server closes a stream that is not open")),
        }
    }

    /// Whoever waits for a stream to open, and the streams that were.
    pub(super) fn into_parts(self) -> (Vec<Q>, Vec<u64>) {
        let mut waiters = Vec::new();
        let mut streams = Vec::new();
        for (stream, state) in self.states {
            match state {
                State::Opening(waiter) => waiters.push(waiter),
                State::Open => streams.push(stream),
                State::Closing(waiter) => {
                    streams.push(stream);
                    waiters.extend(waiter);
                }
            }
        }
        (waiters, streams)
    }
}
