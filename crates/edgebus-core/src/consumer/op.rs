//! The changes of a consumer that are journaled.

use bytes::Bytes;

use super::config::ConsumerConfig;
use crate::id::Seq;

/// What kind of place a message was given to; decides what a crash means for it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum PlaceKind {
    /// A handler in the server's own process: dies with it.
    Process,
    /// A worker at the other end of a connection.
    Connection,
    /// Nobody in particular: a lease bound to nothing but its time.
    Detached,
}

/// A message that was given to a worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attempt {
    /// The message.
    pub seq: Seq,
    /// How often it was given out in this epoch, this time included.
    pub delivery: u32,
    /// Where to.
    pub place: PlaceKind,
    /// Nothing else was with that place: if it dies, this message did it.
    pub alone: bool,
}

/// A message that came back undone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The message.
    pub seq: Seq,
    /// Whether it counts against `max_attempts`.
    pub charged: bool,
    /// Whether it may have killed the place it was with.
    pub suspect: bool,
    /// Not to be given out before this store time, milliseconds.
    pub due_ms: u64,
    /// Why; empty when nobody is to blame.
    pub error: String,
    /// Wall clock, unix milliseconds.
    pub wall_ms: u64,
}

/// A change of one consumer's durable state.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum ConsumerOp {
    /// It was made, or set up anew; `offset` counts only when it is new.
    Put {
        /// Its configuration.
        config: ConsumerConfig,
        /// Everything up to here is not for it.
        offset: Seq,
    },
    /// It was removed with all it knew.
    Delete,
    /// An operator set its offset: acks above it, attempts and leases are forgotten, the epoch goes
    /// up by one. Makes the consumer's row if it is new.
    Reset {
        /// Everything up to here is done.
        offset: Seq,
    },
    /// Messages were given to workers.
    Attempts(Vec<Attempt>),
    /// Messages are done: inclusive ranges, ascending.
    Done(Vec<(Seq, Seq)>),
    /// A request is done and this is its reply.
    Completed {
        /// The request.
        seq: Seq,
        /// prost `Reply`.
        reply: Bytes,
    },
    /// Messages came back undone.
    Failed(Vec<Failure>),
    /// A message became a dead letter for this consumer: it is done with it.
    DeadLettered {
        /// The message.
        seq: Seq,
    },
    /// A dead letter is to be tried again.
    Requeued {
        /// The message.
        seq: Seq,
        /// Number of the dead letter.
        number: u64,
    },
    /// A requeued dead letter was removed by an operator.
    Dropped {
        /// The message.
        seq: Seq,
    },
    /// Messages that were done are to be done again: inclusive ranges, ascending.
    Again(Vec<(Seq, Seq)>),
    /// Nothing up to here is left for it: the others do not match.
    Progress {
        /// Everything up to here is done.
        offset: Seq,
    },
    /// Retention overtook it: these were never done.
    Gap {
        /// First one that is gone.
        from: Seq,
        /// Last one that is gone.
        to: Seq,
    },
    /// An operator paused or resumed it.
    Paused(bool),
}
