//! What was read through the product when all was over.

use std::sync::Arc;

use edgebus_core::consumer::DeadLetterCode;
use edgebus_core::{ConsumerName, RequestId, Scope, Seq};

use super::Digest;

/// A message of the log.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Row {
    /// Its place.
    pub seq: Seq,
    /// Its id.
    pub id: RequestId,
    /// Where the id lives.
    pub scope: Scope,
    /// Its topic.
    pub topic: Arc<str>,
    /// Of its payload.
    pub payload: Digest,
    /// It is a notification.
    pub notification: bool,
}

/// How a consumer stands.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct FinalConsumer {
    /// Its name.
    pub name: ConsumerName,
    /// Everything up to here is done.
    pub offset: Seq,
    /// It gives out nothing: paused, tripped or bounded.
    pub paused: bool,
    /// How many messages retention took from it before it had done them.
    pub gap_messages: u64,
}

/// A dead letter.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Letter {
    /// Whose.
    pub consumer: ConsumerName,
    /// The message.
    pub seq: Seq,
    /// Why.
    pub reason: DeadLetterCode,
}

/// A stored reply.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FinalReply {
    /// To which request.
    pub seq: Seq,
    /// Of its payload.
    pub payload: Digest,
}

/// Everything that is stored, once nothing moves any more.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Final {
    /// The log, as it was shown.
    pub log: Vec<Row>,
    /// Number of the last message there ever was; `Seq(0)`: none.
    pub last: Seq,
    /// All consumers.
    pub consumers: Vec<FinalConsumer>,
    /// All dead letters.
    pub letters: Vec<Letter>,
    /// All replies; `None` when they were not read.
    pub replies: Option<Vec<FinalReply>>,
}
