//! Dead letters as they are listed, and how they are chosen.

use crate::code::{Code, Refusal};
use crate::consumer::{AttemptError, DeadLetterCode};
use crate::entry::Entry;
use crate::id::{ConsumerName, Seq};
use crate::topic::TopicPattern;

/// Which dead letters. What is set narrows the choice; nothing set: every one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeadLetterFilter {
    /// Only these numbers; none for any. At most [`DeadLetterFilter::NUMBERS_MAX`].
    pub numbers: Vec<u64>,
    /// Only of messages with such a topic.
    pub topic: Option<TopicPattern>,
    /// Only of this consumer.
    pub consumer: Option<ConsumerName>,
    /// Every one is meant: said where forgetting to narrow the choice would do harm.
    pub all: bool,
}

impl DeadLetterFilter {
    /// Most numbers of one filter.
    pub const NUMBERS_MAX: usize = 10_000;

    /// Dead letters with these numbers.
    pub fn numbers(numbers: impl Into<Vec<u64>>) -> Self {
        Self {
            numbers: numbers.into(),
            ..Self::default()
        }
    }

    /// Every dead letter.
    pub fn all() -> Self {
        Self {
            all: true,
            ..Self::default()
        }
    }

    /// Fails when there is too much in it.
    ///
    /// # Errors
    /// [`Code::BadQuery`].
    pub fn check(&self) -> Result<(), Refusal> {
        if self.numbers.len() <= Self::NUMBERS_MAX {
            return Ok(());
        }
        Err(Refusal::new(
            Code::BadQuery,
            "more than 10000 numbers of dead letters: ask in parts",
        ))
    }

    /// Fails also when nothing is set, for what cannot be undone.
    ///
    /// # Errors
    /// [`Code::BadQuery`].
    pub fn check_chosen(&self) -> Result<(), Refusal> {
        let chosen =
            self.all || !self.numbers.is_empty() || self.topic.is_some() || self.consumer.is_some();
        if chosen {
            return self.check();
        }
        Err(Refusal::new(
            Code::BadQuery,
            "no dead letter is named: give numbers, a topic or a consumer, or ask for all",
        ))
    }

    /// Whether a dead letter is meant.
    pub fn selects(&self, number: u64, topic: &str, consumer: &str) -> bool {
        (self.numbers.is_empty() || self.numbers.contains(&number))
            && self
                .topic
                .as_ref()
                .is_none_or(|pattern| pattern.matches(topic))
            && self
                .consumer
                .as_ref()
                .is_none_or(|name| name.as_str() == consumer)
    }
}

/// What a dead letter waits for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum LetterState {
    /// For someone to requeue or remove it.
    Dead,
    /// For its consumer, which gets it once more.
    Requeued,
}

impl LetterState {
    /// The state as it is printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Requeued => "requeued",
        }
    }

    /// The number that stands for it in tables and on the wire.
    pub const fn to_number(self) -> u32 {
        match self {
            Self::Dead => 0,
            Self::Requeued => 1,
        }
    }

    /// The state with this number; dead for one of another version.
    pub const fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Requeued,
            _ => Self::Dead,
        }
    }
}

/// A dead letter as it is listed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetterRow {
    /// Its number; never used twice.
    pub number: u64,
    /// The message's place in the log, which may be trimmed since.
    pub seq: Seq,
    /// Which consumer it failed for.
    pub consumer: String,
    /// Why, in a word.
    pub code: DeadLetterCode,
    /// Why.
    pub reason: String,
    /// What it waits for.
    pub state: LetterState,
    /// The attempts that failed, the oldest first.
    pub attempts: Vec<AttemptError>,
    /// When it died last: the server's wall clock, unix milliseconds.
    pub wall_ms: u64,
    /// The whole message.
    pub entry: Entry,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_takes_what_fits_everything_that_is_set_in_it() {
        let every = DeadLetterFilter::default();
        assert!(every.selects(1, "a", "c"));
        let mut filter = DeadLetterFilter::numbers([1, 2]);
        assert!(filter.selects(2, "a", "c") && !filter.selects(3, "a", "c"));
        filter.topic = Some("a.*".parse().expect("pattern"));
        assert!(filter.selects(2, "a.b", "c") && !filter.selects(2, "a", "c"));
        filter.consumer = Some("c".parse().expect("name"));
        assert!(filter.selects(2, "a.b", "c") && !filter.selects(2, "a.b", "d"));
        // Saying that all are meant widens nothing.
        filter.all = true;
        assert!(!filter.selects(2, "a.b", "d"));
    }

    #[test]
    fn nothing_is_chosen_by_saying_nothing() {
        let nothing = DeadLetterFilter::default();
        assert_eq!(nothing.check(), Ok(()));
        let refusal = nothing.check_chosen().expect_err("nothing is named");
        assert_eq!(refusal.code, Code::BadQuery);
        assert_eq!(DeadLetterFilter::all().check_chosen(), Ok(()));
    }
}
