//! How a consumer is printed: as a row, as JSON, and whole.

use edgebus::admin::ConsumerInfo;
use edgebus::consumer::Hold;
use serde::Serialize;

use super::InfoOptions;
use super::settings::{kind_text, mode_text, start_text};
use crate::args::{FolderOptions, Global};
use crate::error::CliError;
use crate::output::{self, Output};
use crate::source::Source;
use crate::time::rfc3339;
use crate::values::duration_text;
use crate::{remote, table};

/// `edgebus consumer ls`.
pub(super) fn list(folder: &FolderOptions, global: &Global) -> Result<(), CliError> {
    let consumers = remote::runtime()?
        .block_on(async { Source::open(folder, global).await?.consumers().await })?;
    if global.json {
        let mut output = Output::new();
        for consumer in &consumers {
            output.json(&Row::new(consumer))?;
        }
        return output.flush();
    }
    let header = [
        "NAME",
        "MODE",
        "STATE",
        "OFFSET",
        "LAG",
        "IN FLIGHT",
        "RETRYING",
        "DEAD",
        "WORKERS",
        "PATTERNS",
    ];
    table::print(header, consumers.iter().map(cells).collect())
}

fn cells(consumer: &ConsumerInfo) -> [String; 10] {
    let config = consumer.config.as_ref();
    [
        consumer.name.to_string(),
        config
            .map_or("-", |config| mode_text(config.mode))
            .to_owned(),
        consumer.state.clone(),
        consumer.offset.to_string(),
        consumer.lag.to_string(),
        consumer.in_flight.to_string(),
        (consumer.retrying + consumer.suspects).to_string(),
        consumer.dead_letters.to_string(),
        consumer.workers.to_string(),
        patterns(consumer).join(" "),
    ]
}

fn patterns(consumer: &ConsumerInfo) -> Vec<String> {
    let patterns = consumer.config.iter().flat_map(|config| &config.patterns);
    patterns.map(ToString::to_string).collect()
}

/// `edgebus consumer info`.
pub(super) fn info(options: InfoOptions, global: &Global) -> Result<(), CliError> {
    let InfoOptions { name, folder } = options;
    let consumer = remote::runtime()?
        .block_on(async { Source::open(&folder, global).await?.consumer(name).await })?;
    match global.json {
        true => output::line(&Row::new(&consumer)),
        false => print(&consumer),
    }
}

fn print(consumer: &ConsumerInfo) -> Result<(), CliError> {
    let mut output = Output::new();
    let mut fact = |name: &str, value: &str| output.line(format_args!("{name:<15} {value}"));
    fact("name", consumer.name.as_str())?;
    fact("state", &consumer.state)?;
    if let Some(config) = &consumer.config {
        let backoff = config.backoff_ms.iter().copied().map(duration_text);
        fact("mode", mode_text(config.mode))?;
        fact("kind", kind_text(config.kind))?;
        fact("patterns", &patterns(consumer).join(" "))?;
        if !config.target.is_empty() {
            fact("inbox of", &output::payload_text(config.target.as_bytes()))?;
        }
        fact("start", &start_text(config.start))?;
        fact("ack wait", &duration_text(config.ack_wait_ms))?;
        fact("max attempts", &config.max_attempts.to_string())?;
        fact("backoff", &backoff.collect::<Vec<_>>().join(", "))?;
        fact("max in flight", &config.max_in_flight.to_string())?;
        let hold = match config.hold {
            Hold::ForMs(ms) => duration_text(ms),
            _ => "forever".to_owned(),
        };
        fact("hold", &hold)?;
    }
    for (name, figure) in [
        ("offset", consumer.offset.0),
        ("lag", consumer.lag),
        ("in flight", consumer.in_flight),
        ("retrying", consumer.retrying),
        ("suspects", consumer.suspects),
        ("dead letters", consumer.dead_letters),
        ("workers", consumer.workers),
        ("completed", consumer.completed),
        ("failed", consumer.failed),
        ("epoch", u64::from(consumer.epoch)),
    ] {
        fact(name, &figure.to_string())?;
    }
    if let Some((from, to)) = consumer.last_gap {
        let gaps = format!(
            "{} ({} messages), the last from {from} to {to}",
            consumer.gaps, consumer.gap_messages
        );
        fact("gaps", &gaps)?;
    }
    if let Some(since) = consumer.held_since_ms {
        fact("no worker since", &rfc3339(since))?;
    }
    output.flush()
}

/// A consumer as JSON.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    state: &'a str,
    #[serde(flatten)]
    setup: Option<Setup<'a>>,
    offset: u64,
    lag: u64,
    in_flight: u64,
    retrying: u64,
    suspects: u64,
    dead_letters: u64,
    workers: u64,
    completed: u64,
    failed: u64,
    epoch: u32,
    gaps: u64,
    gap_messages: u64,
    last_gap: Option<[u64; 2]>,
    held_since: Option<String>,
}

/// How a consumer is set up, as JSON.
#[derive(Serialize)]
struct Setup<'a> {
    mode: &'static str,
    kind: &'static str,
    patterns: Vec<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    target: &'a str,
    start: String,
    ack_wait_ms: u64,
    max_attempts: u32,
    backoff_ms: &'a [u64],
    max_in_flight: u32,
    /// `null`: for ever.
    hold_ms: Option<u64>,
}

impl<'a> Row<'a> {
    fn new(consumer: &'a ConsumerInfo) -> Self {
        let setup = consumer.config.as_ref().map(|config| Setup {
            mode: mode_text(config.mode),
            kind: kind_text(config.kind),
            patterns: patterns(consumer),
            target: &config.target,
            start: start_text(config.start),
            ack_wait_ms: config.ack_wait_ms,
            max_attempts: config.max_attempts,
            backoff_ms: &config.backoff_ms,
            max_in_flight: config.max_in_flight,
            hold_ms: match config.hold {
                Hold::ForMs(ms) => Some(ms),
                _ => None,
            },
        });
        Self {
            name: consumer.name.as_str(),
            state: &consumer.state,
            setup,
            offset: consumer.offset.0,
            lag: consumer.lag,
            in_flight: consumer.in_flight,
            retrying: consumer.retrying,
            suspects: consumer.suspects,
            dead_letters: consumer.dead_letters,
            workers: consumer.workers,
            completed: consumer.completed,
            failed: consumer.failed,
            epoch: consumer.epoch,
            gaps: consumer.gaps,
            gap_messages: consumer.gap_messages,
            last_gap: consumer.last_gap.map(|(from, to)| [from.0, to.0]),
            held_since: consumer.held_since_ms.map(rfc3339),
        }
    }
}
