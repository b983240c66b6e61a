//! Which streams of a connection are open.
//!
//! Numbers only go up, so that a frame which was on its way when its stream ended is told from one
//! for a stream that never was.

use std::collections::HashMap;

use super::unexpected;
use crate::code::{Code, Refusal};
use crate::stream::Open;

/// Bounded by the limit that the session asks before it adds one.
#[derive(Debug, Default)]
pub(super) struct Streams {
    last: u64,
    open: HashMap<u64, Carries>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Carries {
    Messages,
    Notifications,
}

impl Carries {
    fn of(open: &Open) -> Self {
        match open {
            Open::Consume(_) => Self::Messages,
            Open::Subscribe(_) => Self::Notifications,
        }
    }
}

impl Streams {
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// Takes note of the number of a new stream, whether it will be opened or not.
    pub(super) fn number(&mut self, stream: u64) -> Result<(), Refusal> {
        if stream <= self.last {
            return Err(unexpected(
                "streams are numbered from 1 up, and no number is used twice",
            ));
        }
        self.last = stream;
        Ok(())
    }

    /// How many are open that carry the same.
    pub(super) fn open_like(&self, open: &Open) -> usize {
        let carries = Carries::of(open);
        self.open
            .values()
            .filter(|other| **other == carries)
            .count()
    }

    pub(super) fn add(&mut self, stream: u64, open: &Open) {
        self.open.insert(stream, Carries::of(open));
    }

    /// Whether the stream is open; it is not any more.
    pub(super) fn end(&mut self, stream: u64) -> bool {
        self.open.remove(&stream).is_some()
    }

    /// As [`Streams::end`], for a client; it fails for a stream that never was.
    pub(super) fn close(&mut self, stream: u64) -> Result<bool, Refusal> {
        self.known(stream)?;
        Ok(self.end(stream))
    }

    /// Whether the stream is open; fails when it never took any.
    pub(super) fn takes_credit(&self, stream: u64) -> Result<bool, Refusal> {
        self.known(stream)?;
        match self.open.get(&stream) {
            Some(Carries::Messages) => Ok(true),
            Some(Carries::Notifications) => Err(unexpected("a subscription takes no credit")),
            None => Ok(false),
        }
    }

    pub(super) fn settles(&self, stream: u64) -> Result<(), Refusal> {
        match self.open.get(&stream) {
            Some(Carries::Messages) => Ok(()),
            Some(Carries::Notifications) => Err(Refusal::new(
                Code::BadQuery,
                format!("stream {stream} is a subscription, which has no leases"),
            )),
            None => Err(Refusal::new(
                Code::StaleLease,
                format!("stream {stream} is not open: what it held was given back"),
            )),
        }
    }

    fn known(&self, stream: u64) -> Result<(), Refusal> {
        if (1..=self.last).contains(&stream) {
            return Ok(());
        }
        Err(unexpected("a frame is for a stream that was never opened"))
    }
}
