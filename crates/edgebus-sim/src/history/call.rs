//! What is asked of the bus, and what is told.

use std::sync::Arc;
use std::time::Duration;

use edgebus_core::consumer::LeaseToken;
use edgebus_core::{Code, ConsumerName, RequestId, Scope, Seq};

use super::{Call, Client, Digest, Worker};

/// A message is to be stored. A resend by the application is a call of its own, what the library
/// says again by itself is not.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Asked {
    /// Its number.
    pub call: Call,
    /// Who asks.
    pub client: Client,
    /// In which way.
    pub kind: Kind,
    /// The message's id.
    pub id: RequestId,
    /// Where the id lives.
    pub scope: Scope,
    /// The message's topic.
    pub topic: Arc<str>,
    /// Of its payload.
    pub payload: Digest,
    /// After which it is not to be started any more; `None`: never.
    pub expires: Option<Duration>,
}

/// In which way a message is to be stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// A request; a receipt is enough.
    Send,
    /// A request; the reply is waited for. Its receipt, where it is known, is told first.
    Request,
    /// A request through the client's own disk.
    Spool,
    /// A notification that is kept in the log.
    Publish,
}

/// What a worker says about a message it was given.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum How {
    /// Done.
    Ack,
    /// Done, with a reply: the digest of its payload.
    Complete(Digest),
    /// Failed, to be tried again.
    Nak,
    /// Failed for good.
    Term,
    /// Still at it.
    Extend,
    /// Given back untouched.
    Release,
}

impl How {
    /// Whether the message is done with it, for this consumer.
    pub const fn completes(self) -> bool {
        matches!(self, Self::Ack | Self::Complete(_))
    }
}

/// A worker says what became of a message. What is said without waiting is told
/// [`Outcome::Unknown`] at once.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Settling {
    /// Its number.
    pub call: Call,
    /// On which stream; `None`: an operator, by the token alone.
    pub worker: Option<Worker>,
    /// Of which consumer.
    pub consumer: ConsumerName,
    /// The lease, and with it the message.
    pub token: LeaseToken,
    /// What became of it.
    pub how: How,
}

/// How a consumer is set up, as far as the checker cares.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Setup {
    /// Its completions are replies.
    pub responder: bool,
    /// It is for notifications, not for requests.
    pub notifications: bool,
    /// Topic patterns; a message that matches one is for it.
    pub patterns: Vec<Arc<str>>,
    /// Where it begins, if it is new.
    pub start: Start,
    /// How often a message may fail.
    pub attempts_max: u32,
}

/// Where a new consumer begins.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Start {
    /// With the oldest message.
    All,
    /// With what is stored after it was made.
    New,
    /// With this one.
    Seq(Seq),
    /// Elsewhere: nothing is owed to it that was asked for before it was made.
    Other,
}

/// What an operator asks for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Operation {
    /// A consumer is to be made, or set up anew.
    SetUp(ConsumerName, Setup),
    /// Its offset is to be set: everything up to here is done, what comes after is not.
    Reset(ConsumerName, Seq),
    /// It is to be removed.
    Delete(ConsumerName),
    /// It is to give out nothing.
    Pause(ConsumerName),
    /// It is to go on.
    Resume(ConsumerName),
    /// Messages from the first to the last are to be done once more.
    ReplayInto(ConsumerName, Seq, Seq),
    /// Dead letters are to be tried again; those of all consumers when none is named.
    Requeue(Option<ConsumerName>),
    /// Dead letters are to be removed; those of all consumers when none is named.
    RemoveLetters(Option<ConsumerName>),
    /// A message is to be a dead letter of this consumer.
    Bury(ConsumerName, Seq),
    /// The log is to begin here.
    Trim(Seq),
    /// All messages from the first to the last are to be shown: what is shown is
    /// [`super::Event::Seen`] with this call, and [`Outcome::Shown`] ends it.
    Show(Seq, Seq),
}

impl Operation {
    /// Whose state it changes: `Some(None)` for every consumer's, `None` for no consumer's.
    pub fn consumer(&self) -> Option<Option<&ConsumerName>> {
        match self {
            Self::SetUp(name, _)
            | Self::Reset(name, _)
            | Self::Delete(name)
            | Self::Pause(name)
            | Self::Resume(name)
            | Self::ReplayInto(name, _, _)
            | Self::Bury(name, _) => Some(Some(name)),
            Self::Requeue(name) | Self::RemoveLetters(name) => Some(name.as_ref()),
            Self::Trim(_) | Self::Show(_, _) => None,
        }
    }
}

/// How a call ended for whoever asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// There is a receipt.
    Stored {
        /// Where it is in the log.
        seq: Seq,
        /// It had been there before.
        duplicate: bool,
    },
    /// It is on the client's own disk.
    Spooled {
        /// Its number there.
        number: u64,
    },
    /// It is not done, for this reason. With [`Code::Unknown`] it is [`Outcome::Unknown`].
    Refused(Code),
    /// It may have been done, or be done later. Also for a call that was given up while it went on.
    Unknown,
    /// The request was done, and this is the digest of the reply's payload.
    Reply(Digest),
    /// The request is a dead letter.
    DeadLettered,
    /// The request and its reply were trimmed.
    ReplyExpired,
    /// It is stored and no reply came in time.
    TimedOut,
    /// It is done, and on disk.
    Done,
    /// The message had been done before.
    AlreadyCompleted,
    /// The lease is not good any more.
    StaleLease,
    /// All that was asked for was shown up to here.
    Shown(Seq),
}
