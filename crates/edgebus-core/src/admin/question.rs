//! What operators may ask for.

use super::letters::DeadLetterFilter;
use crate::code::{Code, Refusal};
use crate::consumer::{ConsumerConfig, LeaseToken, Settlement};
use crate::id::{ConsumerName, RequestId, Seq};
use crate::query::LogQuery;

/// Most messages of one [`Admin::Next`].
pub const NEXT_MAX: u32 = 1024;
/// Longest wait of one [`Admin::Next`], in milliseconds.
pub const NEXT_WAIT_MS_MAX: u64 = 5 * 60 * 1000;

/// A place in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Position {
    /// A sequence number.
    Seq(Seq),
    /// The first message received at or after this wall-clock time, unix milliseconds.
    TimeMs(u64),
}

/// Something to be done or told.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Admin {
    /// Make a consumer, or check that it is there as it should be. Answered with `Done`.
    ConsumerAdd {
        /// Its name.
        name: ConsumerName,
        /// How it is set up.
        config: ConsumerConfig,
    },
    /// All consumers. Answered with `Consumers`.
    Consumers,
    /// One consumer. Answered with `Consumers`, with one in it.
    ConsumerInfo {
        /// Which.
        name: ConsumerName,
    },
    /// Stop giving out its messages, or go on. Answered with `Done`.
    ConsumerPause {
        /// Which.
        name: ConsumerName,
        /// Stop, or go on.
        paused: bool,
    },
    /// Remove it with all it knew. Answered with `Done`.
    ConsumerRemove {
        /// Which.
        name: ConsumerName,
    },
    /// Forget what it did: everything before a place is done, everything from there on is not.
    /// Answered with `Done`.
    ConsumerReset {
        /// Which.
        name: ConsumerName,
        /// The first message that is to be done.
        to: Position,
    },
    /// Lease messages without a worker; the leases are bound to nothing but `ack_wait`. Answered
    /// with `Deliveries`, none when nothing came in time.
    Next {
        /// Of which consumer.
        name: ConsumerName,
        /// At most this many; from 1 to [`NEXT_MAX`]. There may be fewer, so that the answer fits
        /// a frame.
        count: u32,
        /// They are done with being handed over.
        ack: bool,
        /// How long to wait for the first, in milliseconds; at most [`NEXT_WAIT_MS_MAX`].
        wait_ms: u64,
    },
    /// Say what became of a lease. Answered with `Done`, once it is on disk.
    Settle {
        /// Of which consumer.
        name: ConsumerName,
        /// The lease.
        token: LeaseToken,
        /// What became of it.
        settlement: Settlement,
    },
    /// A page of dead letters, in order of their numbers. Answered with `DeadLetters`.
    DeadLetters {
        /// Which.
        filter: DeadLetterFilter,
        /// Only numbers above this one.
        after: u64,
        /// Most in the page, at least 1; there may be fewer.
        limit: u32,
    },
    /// How many dead letters there are. Answered with `Count`.
    DeadLetterCount {
        /// Which.
        filter: DeadLetterFilter,
    },
    /// Try dead letters again. Answered with `Count`: how many.
    Requeue {
        /// Which; something has to be set.
        filter: DeadLetterFilter,
        /// Only count them.
        dry_run: bool,
    },
    /// Remove dead letters for good. Answered with `Count`: how many.
    RemoveDeadLetters {
        /// Which; something has to be set.
        filter: DeadLetterFilter,
        /// Only count them.
        dry_run: bool,
    },
    /// Who is connected. Answered with `Clients`.
    Clients,
    /// Remove the old end of the log. Answered with `Trimmed`.
    Trim {
        /// The first message that is kept.
        before: Position,
    },
    /// Give stored messages to a consumer once more. Answered with `Count`: how many.
    ReplayInto {
        /// Which consumer.
        name: ConsumerName,
        /// Which messages; `limit` and `page_bytes` are not looked at.
        query: LogQuery,
    },
    /// What became of a request. Answered with `State`.
    RequestState {
        /// Its id, in the asker's scope.
        id: RequestId,
    },
    /// The next bytes of a backup of the store, in their order, on the connection on which it was
    /// begun. Answered with `Backup`.
    Backup {
        /// Which, as the first answer said; 0 begins one.
        id: u64,
        /// How many bytes were handed out so far.
        offset: u64,
    },
}

impl Admin {
    /// Fails when a value makes no sense.
    ///
    /// # Errors
    /// [`Code::BadConfig`] for the configuration of a consumer, [`Code::BadQuery`] otherwise.
    pub fn check(&self) -> Result<(), Refusal> {
        let bad = |what: &str| Err(Refusal::new(Code::BadQuery, what.to_owned()));
        match self {
            Self::ConsumerAdd { config, .. } => config.check(),
            Self::Next { count, .. } if !(1..=NEXT_MAX).contains(count) => {
                bad("count must be from 1 to 1024")
            }
            Self::Next { wait_ms, .. } if *wait_ms > NEXT_WAIT_MS_MAX => {
                bad("wait must be at most 5 minutes: ask again after that")
            }
            Self::DeadLetters { limit: 0, .. } => bad("a page of 0 dead letters holds nothing"),
            Self::DeadLetters { filter, .. } | Self::DeadLetterCount { filter } => filter.check(),
            Self::Requeue { filter, .. } | Self::RemoveDeadLetters { filter, .. } => {
                filter.check_chosen()
            }
            _ => Ok(()),
        }
    }
}
