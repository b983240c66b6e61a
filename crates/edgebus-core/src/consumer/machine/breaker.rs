//! The circuit breaker: when most of the last messages failed, something is wrong that is not
//! theirs, and going on would drain the log into the dead letters.
//!
//! Of the last [`WINDOW`] outcomes, [`BAD_MAX`] bad ones trip it for [`PAUSE_MS`]; then one message
//! at a time goes through: a success closes it, a failure trips it again.

use crate::id::Seq;

/// How many outcomes are looked at; it does not trip before there are as many.
pub(super) const WINDOW: u32 = 100;
/// With as many bad ones it trips.
pub(super) const BAD_MAX: u32 = 80;
/// How long it stays tripped, milliseconds.
pub(super) const PAUSE_MS: u64 = 30_000;

/// Whether messages go through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Closed,
    Tripped {
        until_ms: u64,
    },
    /// One message at a time: the one that is out.
    Trying {
        trial: Option<Seq>,
    },
}

/// What an outcome changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    None,
    Tripped,
    Closed,
}

#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    /// One bit for each outcome, the last one lowest; 1 is bad.
    outcomes: u128,
    count: u32,
}

impl Breaker {
    pub(super) fn new() -> Self {
        Self {
            state: State::Closed,
            outcomes: 0,
            count: 0,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Store time when it lets a message through again.
    pub(super) fn until_ms(&self) -> Option<u64> {
        match self.state {
            State::Tripped { until_ms } => Some(until_ms),
            _ => None,
        }
    }

    /// How many messages may go now.
    pub(super) fn room(&self, now_ms: u64) -> usize {
        match self.state {
            State::Closed => usize::MAX,
            State::Tripped { until_ms } => usize::from(until_ms <= now_ms),
            State::Trying { trial } => usize::from(trial.is_none()),
        }
    }

    pub(super) fn at(&mut self, now_ms: u64) {
        if self.until_ms().is_some_and(|until_ms| until_ms <= now_ms) {
            self.state = State::Trying { trial: None };
        }
    }

    /// A message went out.
    pub(super) fn given(&mut self, seq: Seq) {
        if let State::Trying { trial } = &mut self.state {
            *trial = Some(seq);
        }
    }

    /// A message came back, however.
    pub(super) fn returned(&mut self, seq: Seq) {
        if let State::Trying { trial } = &mut self.state
            && *trial == Some(seq)
        {
            *trial = None;
        }
    }

    pub(super) fn outcome(&mut self, good: bool, now_ms: u64) -> Turn {
        match self.state {
            State::Closed => {
                const MASK: u128 = (1 << WINDOW) - 1;
                self.outcomes = (self.outcomes << 1 | u128::from(!good)) & MASK;
                self.count = (self.count + 1).min(WINDOW);
                if good || self.count < WINDOW || self.outcomes.count_ones() < BAD_MAX {
                    return Turn::None;
                }
                self.trip(now_ms);
                Turn::Tripped
            }
            // What was out when it tripped tells nothing new.
            State::Tripped { .. } => Turn::None,
            State::Trying { .. } if good => {
                self.close();
                Turn::Closed
            }
            State::Trying { .. } => {
                self.trip(now_ms);
                Turn::None
            }
        }
    }

    fn trip(&mut self, now_ms: u64) {
        self.state = State::Tripped {
            until_ms: now_ms.saturating_add(PAUSE_MS),
        };
    }

    /// Closes it and forgets what was.
    pub(super) fn close(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn breaker_trips_only_when_the_window_is_full_and_most_of_it_is_bad() {
        let mut breaker = Breaker::new();
        for n in 1..WINDOW {
            assert_eq!(breaker.outcome(false, 0), Turn::None, "outcome {n}");
        }
        assert_eq!(breaker.outcome(false, 0), Turn::Tripped);

        let mut breaker = Breaker::new();
        for n in 0..1000 {
            assert_eq!(
                breaker.outcome(n % 4 == 0, 0),
                Turn::None,
                "75 % bad is not most"
            );
        }
    }

    #[test]
    fn tripped_breaker_lets_one_through_and_a_success_closes_it() {
        let mut breaker = Breaker::new();
        (0..WINDOW).for_each(|_| {
            breaker.outcome(false, 1000);
        });
        assert_eq!(breaker.until_ms(), Some(1000 + PAUSE_MS));
        breaker.at(1000 + PAUSE_MS - 1);
        assert_eq!(breaker.room(1000 + PAUSE_MS - 1), 0);
        assert_eq!(breaker.outcome(true, 1001), Turn::None);
        assert!(!breaker.is_closed());
        breaker.at(1000 + PAUSE_MS);
        assert_eq!(breaker.room(1000 + PAUSE_MS), 1);
        breaker.given(Seq(1));
        assert_eq!(breaker.room(1000 + PAUSE_MS), 0);
        breaker.returned(Seq(1));
        assert_eq!(breaker.outcome(false, 50_000), Turn::None);
        assert_eq!(breaker.until_ms(), Some(50_000 + PAUSE_MS));
        breaker.at(50_000 + PAUSE_MS);
        assert_eq!(breaker.outcome(true, 90_000), Turn::Closed);
        assert_eq!(breaker.room(90_000), usize::MAX);
    }
}
