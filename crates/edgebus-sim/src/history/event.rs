//! What can happen in a run.

use std::sync::Arc;

use edgebus_core::consumer::{DeadLetterCode, LeaseToken};
use edgebus_core::{ConsumerName, RequestId, Seq};

use super::call::{Asked, Operation, Outcome, Settling};
use super::{Call, Client, Digest, Final, Worker};

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    /// A message is to be stored.
    Asked(Asked),
    /// An operator asks for something.
    Operating {
        /// The call's number.
        call: Call,
        /// Who asks.
        client: Client,
        /// For what.
        what: Operation,
    },
    /// A stream of a consumer's messages is asked for.
    Opened {
        /// The stream.
        worker: Worker,
        /// Whose messages.
        consumer: ConsumerName,
    },
    /// A stream ended, or its worker died: nothing more is given on it, and what it asked and was
    /// not told is as good as unknown.
    Closed {
        /// The stream.
        worker: Worker,
    },
    /// A worker got a message.
    Given {
        /// On which stream; `None`: an operator asked for the next ones.
        worker: Option<Worker>,
        /// Of which consumer.
        consumer: ConsumerName,
        /// The lease, and with it the message's place in the log.
        token: LeaseToken,
        /// The message's id.
        id: RequestId,
        /// Of its payload.
        payload: Digest,
        /// Which attempt this is: 1, and one more for each that was charged.
        attempt: u32,
    },
    /// A worker says what became of a message.
    Settling(Settling),
    /// A call ended, or the receipt came of a request whose reply is waited for.
    Told {
        /// Which call.
        call: Call,
        /// How.
        outcome: Outcome,
    },
    /// A client's process went away: what it asked and was not told is as good as unknown.
    Gone {
        /// Which client.
        client: Client,
    },
    /// A message was seen in a replay, a listing or a notification.
    Seen {
        /// The call it was shown to; `None`: nobody in particular asked.
        call: Option<Call>,
        /// Its place in the log.
        seq: Seq,
        /// Its id.
        id: RequestId,
        /// Of its payload.
        payload: Digest,
    },
    /// The number of the last message was seen, say, in statistics.
    SeenLast {
        /// That number.
        seq: Seq,
    },
    /// The log was seen to begin here: everything before is gone.
    Trimmed {
        /// The first message that is kept.
        before: Seq,
    },
    /// A consumer was seen to have missed messages.
    Gap {
        /// Which.
        consumer: ConsumerName,
        /// The first one that it missed.
        from: Seq,
        /// The last one that it missed.
        to: Seq,
    },
    /// A dead letter was seen.
    DeadLetter {
        /// Whose.
        consumer: ConsumerName,
        /// The message.
        seq: Seq,
        /// Why.
        reason: DeadLetterCode,
    },
    /// Something was made to go wrong.
    Fault {
        /// What kind.
        kind: &'static str,
        /// What exactly, for whoever reads the story.
        what: Arc<str>,
    },
    /// A write to the journal failed, or any sync: until the next start nothing more may be acked.
    IoFailed,
    /// The server stopped.
    Died {
        /// How.
        how: Death,
    },
    /// The server is there.
    Started,
    /// A person who reads the story is told.
    Remark(Arc<str>),
    /// Read through the product at the very end.
    Final(Box<Final>),
}

/// How a server stopped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Death {
    /// With it went what was not synced.
    PowerCut,
    /// The process alone.
    Kill,
    /// By itself, after an I/O error.
    FailStop,
    /// As it was told to.
    Shutdown,
}
