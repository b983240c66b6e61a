//! What a consumer wants: which messages, from where on, how often and how long to try.

use prost::Message as _;

use crate::code::{Code, Refusal};
use crate::id::Seq;
use crate::message::Kind;
use crate::record::Record;
use crate::topic::TopicPattern;

/// Whether completions carry replies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ConsumerMode {
    /// Its completion stores the reply. No two responders select the same topic.
    Responder,
    /// Its completion stores nothing; any number may select the same topic.
    Listener,
}

/// Where a new consumer begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Start {
    /// With the oldest message that is kept.
    All,
    /// With the first message stored after the consumer was made.
    New,
    /// With a sequence number.
    Seq(Seq),
    /// With the first message received at or after a wall-clock time, unix milliseconds.
    TimeMs(u64),
}

/// How long a consumer that does not keep up holds what it has not passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Hold {
    /// For this many milliseconds without a worker, or until the log takes 80 % of its byte limit;
    /// then it is overtaken and told of the gap.
    ForMs(u64),
    /// For ever: at the byte limit appends are refused.
    Forever,
}

/// How a consumer is set up.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ConsumerConfig {
    /// Whether completions carry replies.
    pub mode: ConsumerMode,
    /// Topics it selects; at least one pattern, at most [`ConsumerConfig::PATTERNS_MAX`].
    pub patterns: Vec<TopicPattern>,
    /// What it selects.
    pub kind: Kind,
    /// The client whose inbox this is: only messages without a target, or with this one, are
    /// selected. Empty: messages for a client are left out.
    pub target: String,
    /// Where it begins when it is new.
    pub start: Start,
    /// How long a worker may take before the message is given to another, in milliseconds.
    pub ack_wait_ms: u64,
    /// Attempts after which a message is a dead letter; at least 1.
    pub max_attempts: u32,
    /// Waiting times between attempts, in milliseconds; the last one is used again and again. Up
    /// to a fifth is added by chance.
    pub backoff_ms: Vec<u64>,
    /// Most messages that may be with workers at a time; at least 1.
    pub max_in_flight: u32,
    /// How long it holds the log.
    pub hold: Hold,
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

impl ConsumerConfig {
    /// Most patterns of one consumer.
    pub const PATTERNS_MAX: usize = 64;
    /// Most steps of a backoff.
    pub const BACKOFF_STEPS_MAX: usize = 32;

    /// A responder to requests that match a pattern.
    pub fn responder(pattern: TopicPattern) -> Self {
        Self::new(ConsumerMode::Responder, pattern)
    }

    /// A listener to requests that match a pattern.
    pub fn listener(pattern: TopicPattern) -> Self {
        Self::new(ConsumerMode::Listener, pattern)
    }

    fn new(mode: ConsumerMode, pattern: TopicPattern) -> Self {
        Self {
            mode,
            patterns: vec![pattern],
            kind: Kind::Request,
            target: String::new(),
            start: Start::All,
            ack_wait_ms: 30_000,
            max_attempts: 5,
            backoff_ms: vec![1_000, 5_000, 30_000, 120_000],
            max_in_flight: 1024,
            hold: Hold::ForMs(7 * DAY_MS),
        }
    }

    /// Adds a pattern.
    #[must_use]
    pub fn pattern(mut self, pattern: TopicPattern) -> Self {
        self.patterns.push(pattern);
        self
    }

    /// Sets what it selects.
    #[must_use]
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Makes it the inbox of a client.
    #[must_use]
    pub fn target(mut self, client: impl Into<String>) -> Self {
        self.target = client.into();
        self
    }

    /// Sets where it begins when it is new.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Sets how long a worker may take, in milliseconds.
    #[must_use]
    pub fn ack_wait_ms(mut self, ms: u64) -> Self {
        self.ack_wait_ms = ms;
        self
    }

    /// Sets after how many attempts a message is a dead letter.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Sets the waiting times between attempts, in milliseconds.
    #[must_use]
    pub fn backoff_ms(mut self, steps: impl Into<Vec<u64>>) -> Self {
        self.backoff_ms = steps.into();
        self
    }

    /// Sets how many messages may be with workers at a time.
    #[must_use]
    pub fn max_in_flight(mut self, messages: u32) -> Self {
        self.max_in_flight = messages;
        self
    }

    /// Sets how long it holds the log.
    #[must_use]
    pub fn hold(mut self, hold: Hold) -> Self {
        self.hold = hold;
        self
    }

    /// Fails when a value makes no sense.
    ///
    /// # Errors
    /// [`Code::BadConfig`], naming the value.
    pub fn check(&self) -> Result<(), Refusal> {
        let problem = if self.patterns.is_empty() || self.patterns.len() > Self::PATTERNS_MAX {
            "a consumer has from 1 to 64 patterns"
        } else if self.ack_wait_ms == 0 || self.ack_wait_ms > 365 * DAY_MS {
            "ack_wait must be more than 0 and at most a year"
        } else if self.max_attempts == 0 {
            "max_attempts must be at least 1"
        } else if self.max_in_flight == 0 || self.max_in_flight > 65_536 {
            "max_in_flight must be from 1 to 65536"
        } else if self.backoff_ms.is_empty() || self.backoff_ms.len() > Self::BACKOFF_STEPS_MAX {
            "backoff has from 1 to 32 steps"
        } else if self
            .backoff_ms
            .iter()
            .any(|ms| *ms == 0 || *ms > 365 * DAY_MS)
        {
            "each step of backoff must be more than 0 and at most a year"
        } else if self.target.len() > 255 {
            "a client name has at most 255 bytes"
        } else if self.mode == ConsumerMode::Responder && self.kind == Kind::Notification {
            "a notification has no reply: make a listener of it"
        } else if self.hold == Hold::ForMs(0) {
            "hold must be more than 0"
        } else {
            return Ok(());
        };
        Err(Refusal::new(Code::BadConfig, problem))
    }

    /// Whether a message is for this consumer.
    pub fn selects(&self, record: &Record) -> bool {
        self.selects_topic_of(record) && self.is_for(record)
    }

    /// Whether a message is of its kind and on one of its topics. It may be for another client
    /// all the same.
    pub fn selects_topic_of(&self, record: &Record) -> bool {
        let topic = record.topic_str();
        record.kind() == self.kind && self.patterns.iter().any(|pattern| pattern.matches(topic))
    }

    fn is_for(&self, record: &Record) -> bool {
        match self.kind {
            Kind::Notification => {
                let target = record.target();
                target.is_empty() || target == self.target
            }
            Kind::Request => true,
        }
    }

    /// The waiting time after the n-th failed attempt, 1 for the first, in milliseconds, without
    /// what chance adds.
    pub fn backoff_after(&self, failed: u32) -> u64 {
        let step = (failed.max(1) as usize - 1).min(self.backoff_ms.len().saturating_sub(1));
        self.backoff_ms.get(step).copied().unwrap_or(1_000)
    }

    /// As prost, for the journal, the tables and the wire.
    pub fn to_proto(&self) -> ConsumerProto {
        let (start, start_value) = match self.start {
            Start::All => (0, 0),
            Start::New => (1, 0),
            Start::Seq(seq) => (2, seq.0),
            Start::TimeMs(ms) => (3, ms),
        };
        ConsumerProto {
            mode: match self.mode {
                ConsumerMode::Responder => 1,
                ConsumerMode::Listener => 2,
            },
            patterns: self.patterns.iter().map(ToString::to_string).collect(),
            kind: u32::from(self.kind.to_byte()),
            target: self.target.clone(),
            start,
            start_value,
            ack_wait_ms: self.ack_wait_ms,
            max_attempts: self.max_attempts,
            backoff_ms: self.backoff_ms.clone(),
            max_in_flight: self.max_in_flight,
            hold_ms: match self.hold {
                Hold::ForMs(ms) => Some(ms),
                Hold::Forever => None,
            },
        }
    }

    /// From prost.
    ///
    /// # Errors
    /// [`Code::BadConfig`] or [`Code::BadPattern`], naming the value.
    pub fn from_proto(proto: ConsumerProto) -> Result<Self, Refusal> {
        let bad = |what: &str| Refusal::new(Code::BadConfig, what.to_owned());
        let patterns: Result<Vec<TopicPattern>, Refusal> =
            proto.patterns.iter().map(|text| text.parse()).collect();
        let config = Self {
            mode: match proto.mode {
                1 => ConsumerMode::Responder,
                2 => ConsumerMode::Listener,
                _ => {
                    return Err(bad(
                        "the mode of a consumer is 1 (responder) or 2 (listener)",
                    ));
                }
            },
            patterns: patterns?,
            kind: u8::try_from(proto.kind)
                .ok()
                .and_then(Kind::from_byte)
                .ok_or_else(|| bad("the kind of a consumer is 1 (request) or 2 (notification)"))?,
            target: proto.target,
            start: match proto.start {
                0 => Start::All,
                1 => Start::New,
                2 => Start::Seq(Seq(proto.start_value)),
                3 => Start::TimeMs(proto.start_value),
                _ => return Err(bad("the start of a consumer is 0, 1, 2 or 3")),
            },
            ack_wait_ms: proto.ack_wait_ms,
            max_attempts: proto.max_attempts,
            backoff_ms: proto.backoff_ms,
            max_in_flight: proto.max_in_flight,
            hold: proto.hold_ms.map_or(Hold::Forever, Hold::ForMs),
        };
        config.check()?;
        Ok(config)
    }

    /// As bytes, for the tables.
    pub fn encode(&self) -> Vec<u8> {
        self.to_proto().encode_to_vec()
    }
}

/// A consumer's configuration where bytes are needed.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ConsumerProto {
    /// 1 responder, 2 listener.
    #[prost(uint32, tag = "1")]
    pub mode: u32,
    /// Topic patterns.
    #[prost(string, repeated, tag = "2")]
    pub patterns: Vec<String>,
    /// 1 requests, 2 notifications.
    #[prost(uint32, tag = "3")]
    pub kind: u32,
    /// The client whose inbox it is; empty for none.
    #[prost(string, tag = "4")]
    pub target: String,
    /// 0 all, 1 new, 2 from a sequence number, 3 from a time.
    #[prost(uint32, tag = "5")]
    pub start: u32,
    /// The sequence number, or unix milliseconds.
    #[prost(uint64, tag = "6")]
    pub start_value: u64,
    /// Milliseconds.
    #[prost(uint64, tag = "7")]
    pub ack_wait_ms: u64,
    /// At least 1.
    #[prost(uint32, tag = "8")]
    pub max_attempts: u32,
    /// Milliseconds each.
    #[prost(uint64, repeated, tag = "9")]
    pub backoff_ms: Vec<u64>,
    /// At least 1.
    #[prost(uint32, tag = "10")]
    pub max_in_flight: u32,
    /// Milliseconds; not there: for ever.
    #[prost(uint64, optional, tag = "11")]
    pub hold_ms: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_survives_the_way_there_and_back() {
        let config = ConsumerConfig::listener("a.*".parse().expect("pattern"))
            .pattern("b.>".parse().expect("pattern"))
            .kind(Kind::Notification)
            .target("till-7")
            .start(Start::Seq(Seq(4)))
            .hold(Hold::Forever);
        assert_eq!(ConsumerConfig::from_proto(config.to_proto()), Ok(config));
    }

    #[test]
    fn value_that_makes_no_sense_is_refused_by_name() {
        let config = ConsumerConfig::responder("a".parse().expect("pattern"));
        let bad = [
            config.clone().ack_wait_ms(0),
            config.clone().max_attempts(0),
            config.clone().max_in_flight(0),
            config.clone().backoff_ms([]),
            config.clone().backoff_ms([0]),
            config.hold(Hold::ForMs(0)),
        ];
        for config in bad {
            assert_eq!(config.check().expect_err("bad").code, Code::BadConfig);
        }
    }

    #[test]
    fn backoff_goes_step_by_step_and_stays_at_the_last() {
        let config = ConsumerConfig::responder("a".parse().expect("pattern")).backoff_ms([1, 5]);
        let steps: Vec<u64> = (0..4).map(|failed| config.backoff_after(failed)).collect();
        assert_eq!(steps, [1, 1, 5, 5]);
    }
}
