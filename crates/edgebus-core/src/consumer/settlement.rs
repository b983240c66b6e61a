//! What a worker says about a message it was given, and what is kept of failures.

use std::fmt;

use super::reply::Reply;

/// What a worker says about a message it holds a lease on.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Settlement {
    /// Done.
    Ack,
    /// Done, with a reply; a listener's is not kept.
    Complete(Reply),
    /// Not done: try again.
    Nak {
        /// Not before this many milliseconds; `None` for the next step of the backoff.
        delay_ms: Option<u64>,
        /// Why.
        reason: String,
    },
    /// Not to be tried again: a dead letter.
    Term {
        /// Why.
        reason: String,
    },
    /// Still being worked on: the lease begins anew.
    Extend,
    /// Given back untouched; no attempt is charged.
    Release,
}

/// One attempt that failed.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AttemptError {
    /// What went wrong.
    #[prost(string, tag = "1")]
    pub error: String,
    /// When: the server's wall clock, unix milliseconds.
    #[prost(uint64, tag = "2")]
    pub wall_ms: u64,
}

/// Why a message is a dead letter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum DeadLetterCode {
    /// The worker said that trying again is of no use.
    Rejected,
    /// It failed as often as is allowed.
    Attempts,
    /// It was not started before it expired.
    Expired,
    /// It was alone with its worker when that died, as often as is allowed.
    Crashed,
    /// Moved by hand.
    Moved,
}

impl DeadLetterCode {
    const ALL: [Self; 5] = [
        Self::Rejected,
        Self::Attempts,
        Self::Expired,
        Self::Crashed,
        Self::Moved,
    ];

    /// The code as it is kept and printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Attempts => "attempts",
            Self::Expired => "expired",
            Self::Crashed => "crashed",
            Self::Moved => "moved",
        }
    }

    /// The code with this text; [`DeadLetterCode::Moved`] for one of another version.
    pub fn parse(text: &str) -> Self {
        let found = Self::ALL.into_iter().find(|code| code.as_str() == text);
        found.unwrap_or(Self::Moved)
    }
}

impl fmt::Display for DeadLetterCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
