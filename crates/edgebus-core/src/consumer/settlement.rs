//! What a worker says about a message it was given, and what is kept of failures.

use std::fmt;

use super::reply::Reply;
use crate::code::{Code, Refusal};
use crate::record::RecordLimits;

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

impl Settlement {
    /// Longest reason that is kept, in bytes.
    pub const REASON_BYTES_MAX: usize = 4096;
    /// Longest delay of a [`Settlement::Nak`], in milliseconds: a year.
    pub const DELAY_MS_MAX: u64 = 365 * 24 * 60 * 60 * 1000;

    /// The same within bounds. A reason that is too long is cut: for its length alone a failure
    /// must not be lost.
    ///
    /// # Errors
    /// [`Code::PayloadTooLarge`] or [`Code::BadHeader`] for a reply, [`Code::BadQuery`] for a
    /// delay.
    pub fn bounded(mut self, limits: &RecordLimits) -> Result<Self, Refusal> {
        match &mut self {
            Self::Complete(reply) => reply.check(limits)?,
            Self::Nak { delay_ms, .. } if delay_ms.is_some_and(|ms| ms > Self::DELAY_MS_MAX) => {
                return Err(Refusal::new(
                    Code::BadQuery,
                    "the delay of a nak is at most a year",
                ));
            }
            Self::Nak { reason, .. } | Self::Term { reason } => {
                let mut end = reason.len().min(Self::REASON_BYTES_MAX);
                while !reason.is_char_boundary(end) {
                    end -= 1;
                }
                reason.truncate(end);
            }
            Self::Ack | Self::Extend | Self::Release => {}
        }
        Ok(self)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_reason_is_cut_between_characters_and_nothing_is_lost() {
        let limits = RecordLimits::default();
        let reason = format!("x{}", "ü".repeat(4096));
        let term = Settlement::Term { reason }.bounded(&limits);
        let Ok(Settlement::Term { reason }) = term else {
            panic!("{term:?}")
        };
        assert_eq!(reason.len(), 4095);
    }

    #[test]
    fn reply_and_delay_over_their_limits_are_refused_by_code() {
        let limits = RecordLimits {
            payload_bytes_max: 2,
        };
        let nak = Settlement::Nak {
            delay_ms: Some(u64::MAX),
            reason: String::new(),
        };
        let cases = [
            (
                Settlement::Complete(Reply::new("abc")),
                Code::PayloadTooLarge,
            ),
            (
                Settlement::Complete(Reply::new("").header("a=b", "")),
                Code::BadHeader,
            ),
            (
                Settlement::Complete(Reply::new("").header("a", "x".repeat(16 * 1024))),
                Code::BadHeader,
            ),
            (nak, Code::BadQuery),
        ];
        for (settlement, code) in cases {
            let refusal = settlement.bounded(&limits).expect_err("over");
            assert_eq!(refusal.code, code);
        }
    }
}
