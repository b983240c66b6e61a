//! What may be granted.

use std::fmt;
use std::str::FromStr;

use crate::code::{Code, Refusal, start_of};

/// Something that is done with topics.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Verb {
    /// Store requests without waiting for replies.
    Send,
    /// Store requests and wait for their replies.
    Request,
    /// Work for a consumer of requests.
    Consume,
    /// Tell notifications, stored or not.
    Publish,
    /// Be told notifications, live or as a durable consumer of them.
    Subscribe,
    /// Read the log.
    Replay,
    /// See, requeue and remove dead letters.
    DeadLetters,
    /// Change consumers; on every topic: also see figures, clients and consumers, and trim the log.
    Admin,
}

impl Verb {
    /// Every verb, in the order of their discriminants.
    pub const ALL: [Self; 8] = [
        Self::Send,
        Self::Request,
        Self::Consume,
        Self::Publish,
        Self::Subscribe,
        Self::Replay,
        Self::DeadLetters,
        Self::Admin,
    ];

    /// The verb as it is written in rules and refusals.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Request => "request",
            Self::Consume => "consume",
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Replay => "replay",
            Self::DeadLetters => "dead-letters",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Verb {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let known = Self::ALL.into_iter().find(|verb| verb.as_str() == text);
        known.ok_or_else(|| {
            let all = Self::ALL.map(Self::as_str).join(", ");
            let text = start_of(text);
            let message = format!("{text:?} is no verb: use some of {all}");
            Refusal::new(Code::BadConfig, message)
        })
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
