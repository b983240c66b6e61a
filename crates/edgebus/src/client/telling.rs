//! What whoever waits is told, once the lock is given back.

use edgebus_core::consumer::{Answer, LeaseToken};
use edgebus_core::{Code, Refusal};

use super::pending::{OpenWaiter, Outcome, SettleWaiter, Told, lost};
use super::undecided::{Asking, Awaited, Parked, Said, Sent};

#[derive(Debug)]
pub(super) enum Telling {
    Sent(Sent, Outcome),
    Reply(Awaited, Result<Answer, Refusal>),
    Opened(OpenWaiter, Vec<LeaseToken>),
    NotOpened(OpenWaiter, Refusal),
    One(Asking, Told),
    /// All of it is on disk, but for some by their place.
    Settled(Vec<Said>, Vec<(u32, Refusal)>),
    Said(Said, Refusal),
    /// Whoever waits is told, though it may still be said.
    GivenUp(SettleWaiter, Refusal),
    Refused(Asking, Refusal),
    /// The connection was lost, and it must not be asked twice.
    Lost(Asking),
    /// What became of it in the spool.
    Written(Sent, Result<u64, Refusal>),
    /// There was no connection for it.
    Parked(Parked, Refusal),
}

impl Telling {
    /// What was to be said about a message will not be, or not again.
    pub(super) fn unsaid(said: Said, reason: &Refusal) -> Self {
        let end = said.end(reason);
        Self::Said(said, end)
    }

    /// Whoever waits has done so for too long.
    pub(super) fn settle_given_up((waiter, refusal): (SettleWaiter, Refusal)) -> Self {
        Self::GivenUp(waiter, refusal)
    }

    /// Whoever waited may have gone.
    pub(super) fn tell(self) {
        match self {
            Self::Sent(sent, outcome) => sent.tell(outcome),
            Self::Reply(awaited, answer) => drop(awaited.waiter.send(answer)),
            Self::Opened(waiter, kept) => drop(waiter.send(Ok(kept))),
            Self::NotOpened(waiter, refusal) => drop(waiter.send(Err(refusal))),
            Self::One(asking, told) => asking.tell(told),
            Self::Settled(items, errors) => settled(items, errors),
            Self::Said(said, refusal) => said.tell(Err(refusal)),
            Self::GivenUp(waiter, refusal) => drop(waiter.send(Err(refusal))),
            Self::Refused(asking, refusal) => asking.refuse(refusal),
            Self::Lost(asking) => asking.refuse(lost()),
            Self::Written(sent, written) => sent.tell_written(written),
            Self::Parked(parked, refusal) => parked.refuse(refusal),
        }
    }
}

fn settled(items: Vec<Said>, errors: Vec<(u32, Refusal)>) {
    let mut errors = errors.into_iter().peekable();
    for (at, said) in items.into_iter().enumerate() {
        let outcome = match errors.next_if(|(place, _)| *place as usize == at) {
            Some((_, refusal)) => Err(refusal),
            None => Ok(()),
        };
        said.tell(outcome);
    }
}

/// An answer that does not fit what was asked.
pub(super) fn mismatch() -> Refusal {
    Refusal::new(
        Code::UnexpectedFrame,
        "the server's answer does not fit the question",
    )
}
