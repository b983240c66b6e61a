//! How a consumer is set up, as it is typed, and as it is printed.

use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use edgebus::consumer::{ConsumerConfig, ConsumerMode, Hold, Start};
use edgebus::{Kind, Refusal};

use crate::time::{Position, rfc3339};
use crate::values;

/// Whether completions carry replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// What it completes is the reply; one for a topic
    Responder,
    /// It completes and replies nothing; any number for a topic
    Listener,
}

impl From<Mode> for ConsumerMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Responder => Self::Responder,
            Mode::Listener => Self::Listener,
        }
    }
}

/// What may be left as it is. What is not typed keeps what it was, or its default.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Settings {
    /// Where it begins when it is new: all, new (what comes from now on), a sequence number, or a
    /// time [default: all]
    #[arg(long, value_name = "all|new|SEQ|TIME", allow_hyphen_values = true, value_parser = parse_start)]
    start: Option<Start>,
    /// How long a worker may take before the message is given to another [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = values::some_duration)]
    ack_wait: Option<Duration>,
    /// Attempts after which a message is a dead letter [default: 5]
    #[arg(long, value_name = "ATTEMPTS", value_parser = clap::value_parser!(u32).range(1..))]
    max_attempts: Option<u32>,
    /// Waiting times between attempts; the last is used again and again [default: 1s,5s,30s,2m]
    #[arg(long, value_name = "DURATION,...", value_delimiter = ',', value_parser = values::some_duration)]
    backoff: Vec<Duration>,
    /// Most messages that may be with workers at a time [default: 1024]
    #[arg(long, value_name = "MESSAGES", value_parser = clap::value_parser!(u32).range(1..))]
    max_in_flight: Option<u32>,
    /// How long it keeps the log from being trimmed while it has no worker: a duration, or forever
    /// [default: 7d]
    #[arg(long, value_name = "DURATION|forever", value_parser = parse_hold)]
    hold: Option<Hold>,
}

impl Settings {
    /// Puts what was typed into a configuration.
    pub(crate) fn apply(&self, mut config: ConsumerConfig) -> ConsumerConfig {
        if let Some(start) = self.start {
            config = config.start(start);
        }
        if let Some(ack_wait) = self.ack_wait {
            config = config.ack_wait_ms(values::millis(ack_wait));
        }
        if let Some(attempts) = self.max_attempts {
            config = config.max_attempts(attempts);
        }
        if !self.backoff.is_empty() {
            let steps: Vec<u64> = self.backoff.iter().copied().map(values::millis).collect();
            config = config.backoff_ms(steps);
        }
        if let Some(messages) = self.max_in_flight {
            config = config.max_in_flight(messages);
        }
        if let Some(hold) = self.hold {
            config = config.hold(hold);
        }
        config
    }
}

fn parse_start(text: &str) -> Result<Start, Refusal> {
    match text {
        "all" => Ok(Start::All),
        "new" => Ok(Start::New),
        _ => Position::from_str(text).map(|position| match position {
            Position::Seq(seq) => Start::Seq(seq),
            Position::TimeMs(ms) => Start::TimeMs(ms),
        }),
    }
}

fn parse_hold(text: &str) -> Result<Hold, String> {
    match text {
        "forever" => Ok(Hold::Forever),
        _ => values::some_duration(text).map(|hold| Hold::ForMs(values::millis(hold))),
    }
}

/// As it is printed.
pub(super) fn mode_text(mode: ConsumerMode) -> &'static str {
    match mode {
        ConsumerMode::Responder => "responder",
        ConsumerMode::Listener => "listener",
        // Of a newer version.
        _ => "other",
    }
}

/// As it is printed, and typed.
pub(super) fn kind_text(kind: Kind) -> &'static str {
    match kind {
        Kind::Request => "requests",
        Kind::Notification => "notifications",
        _ => "other",
    }
}

/// As it is printed, and typed.
pub(super) fn start_text(start: Start) -> String {
    match start {
        Start::All => "all".to_owned(),
        Start::New => "new".to_owned(),
        Start::Seq(seq) => seq.to_string(),
        Start::TimeMs(ms) => rfc3339(ms),
        _ => "other".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use edgebus::Seq;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        settings: Settings,
    }

    fn typed(line: &str) -> Result<ConsumerConfig, clap::Error> {
        let words = std::iter::once("x").chain(line.split_whitespace());
        let config = ConsumerConfig::responder("t".parse().expect("a pattern"));
        Ok(Line::try_parse_from(words)?.settings.apply(config))
    }

    #[test]
    fn what_is_typed_is_set_and_the_rest_stays() {
        let config = typed("").expect("nothing is needed");
        assert_eq!(
            config,
            ConsumerConfig::responder("t".parse().expect("a pattern"))
        );
        let config = typed("--start 7 --ack-wait 1m --backoff 1s,2s --hold forever").expect("fits");
        assert_eq!(config.start, Start::Seq(Seq(7)));
        assert_eq!(config.ack_wait_ms, 60_000);
        assert_eq!(config.backoff_ms, [1_000, 2_000]);
        assert_eq!(config.hold, Hold::Forever);
        assert_eq!(config.max_attempts, 5);
        assert!(matches!(
            typed("--start -1h").expect("fits").start,
            Start::TimeMs(_)
        ));
    }

    #[test]
    fn values_that_make_no_sense_are_refused_as_they_are_typed() {
        for line in [
            "--start soon",
            "--ack-wait 0s",
            "--max-attempts 0",
            "--backoff 1s,",
            "--backoff 0s",
            "--hold never",
            "--max-in-flight 0",
        ] {
            assert!(typed(line).is_err(), "{line}");
        }
    }
}
