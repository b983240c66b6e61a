//! What a machine is told, and what it answers.

use super::super::op::ConsumerOp;
use super::super::settlement::{AttemptError, DeadLetterCode};
use super::super::token::LeaseToken;
use crate::entry::Entry;
use crate::id::Seq;

/// As much of a worker's reason as is kept, in bytes: reasons of messages that wait are in memory.
pub const REASON_BYTES_MAX: usize = 1024;

/// A point in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Moment {
    /// Store time, milliseconds: decides. Never goes back.
    pub store_ms: u64,
    /// Wall clock, unix milliseconds: is noted.
    pub wall_ms: u64,
}

/// Bounds of one consumer that are not its configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MachineLimits {
    /// How long a worker that lost its connection may come back and keep its leases, milliseconds.
    pub reconnect_grace_ms: u64,
    /// Most messages that wait for another attempt; with as many, nothing new is given out.
    pub pending_max: usize,
    /// Most ranges of messages done above the offset; with as many, nothing new is given out.
    pub ranges_max: usize,
}

impl Default for MachineLimits {
    fn default() -> Self {
        Self {
            reconnect_grace_ms: 5_000,
            pending_max: 10_000,
            ranges_max: 10_000,
        }
    }
}

/// How a worker went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    /// Its connection broke: it may come back, or may have died.
    Lost,
    /// It said so: what it held was not touched.
    Closed,
}

/// What became of an offered entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offer {
    /// It was given to a worker, or became a dead letter because it had expired.
    Taken,
    /// It is not for this consumer, or not now: done, with a worker already, not due.
    Skipped,
    /// It is for this consumer, but nobody can take it now. Offer it again after something changed:
    /// credit, a settlement, a worker that came or went (of another consumer, too: places are
    /// shared), time.
    NoRoom,
}

/// Why a consumer gives nothing out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PauseReason {
    /// An operator paused it.
    Operator,
    /// Most of its last messages failed.
    Breaker,
    /// There is no room for more dead letters.
    DeadLettersFull,
    /// As many messages as may wait for another attempt do.
    Bounded,
}

/// What the owner of a machine has to do, in this order.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Journal this; the ledger has it already.
    Change {
        /// The change.
        op: ConsumerOp,
        /// Requeued dead letters that are done by it: their rows go.
        closed: Vec<u64>,
    },
    /// Write a dead letter. Its change ([`ConsumerOp::DeadLettered`]) comes right before.
    DeadLetter {
        /// The message.
        seq: Seq,
        /// It had been requeued: this row is dead again.
        number: Option<u64>,
        /// Why, in short.
        code: DeadLetterCode,
        /// Why.
        reason: String,
        /// Its failed attempts, oldest first, as many as are kept.
        attempts: Vec<AttemptError>,
    },
    /// Hand this to a worker once everything before it is on disk.
    Deliver {
        /// The worker.
        worker: u64,
        /// What it answers with.
        token: LeaseToken,
        /// The first attempt is 1.
        attempt: u32,
        /// The message.
        entry: Entry,
    },
    /// It stopped giving messages out by itself, or an operator stopped it.
    Paused {
        /// Why.
        reason: PauseReason,
    },
    /// It gives messages out again.
    Resumed,
}

impl PauseReason {
    /// The state of a consumer that gives nothing out for this reason.
    pub const fn as_state(self) -> &'static str {
        match self {
            Self::Operator => "paused",
            Self::Breaker => "tripped",
            Self::DeadLettersFull => "dead_letters_full",
            Self::Bounded => "bounded",
        }
    }
}

/// What a consumer is at, for humans.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct ConsumerFigures {
    /// Everything up to here is done.
    pub offset: Seq,
    /// Everything up to here was looked at.
    pub cursor: Seq,
    /// Messages with workers, including those whose worker may still come back.
    pub in_flight: u64,
    /// Messages that wait for another attempt.
    pub retrying: u64,
    /// Messages that may have killed the place they were with and wait to be tried alone.
    pub suspects: u64,
    /// Workers.
    pub workers: u64,
    /// `active`, `idle` (no worker), `paused`, `tripped`, `bounded` or `dead_letters_full`.
    pub state: &'static str,
    /// Messages done since the start of the server.
    pub completed: u64,
    /// Attempts charged since the start of the server, including those that ended in a dead letter.
    pub failed: u64,
}
