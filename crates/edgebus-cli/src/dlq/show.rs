//! How a dead letter is printed: as a row, as JSON, and whole.

use edgebus::admin::DeadLetterRow;
use serde::Serialize;

use crate::error::CliError;
use crate::output::{self, Headers, Output, payload_text};
use crate::payload::text_or_base64;
use crate::time::rfc3339;

/// The names of [`cells`].
pub(super) const COLUMNS: [&str; 8] = [
    "ID", "TIME", "SEQ", "TOPIC", "CONSUMER", "ATTEMPTS", "STATE", "REASON",
];

/// A dead letter as a row for people.
pub(super) fn cells(letter: &DeadLetterRow) -> [String; 8] {
    [
        letter.number.to_string(),
        rfc3339(letter.wall_ms),
        letter.seq.to_string(),
        letter.entry.record().topic_str().to_owned(),
        payload_text(letter.consumer.as_bytes()),
        letter.attempts.len().to_string(),
        letter.state.as_str().to_owned(),
        format!(
            "{}: {}",
            letter.code,
            payload_text(letter.reason.as_bytes())
        ),
    ]
}

/// A dead letter as a row of JSON.
#[derive(Serialize)]
pub(super) struct Row<'a> {
    id: u64,
    seq: u64,
    request_id: String,
    topic: &'a str,
    consumer: &'a str,
    code: &'static str,
    reason: &'a str,
    attempts: usize,
    state: &'static str,
    time: String,
}

impl<'a> Row<'a> {
    pub(super) fn new(letter: &'a DeadLetterRow) -> Self {
        Self {
            id: letter.number,
            seq: letter.seq.0,
            request_id: letter.entry.record().id().to_string(),
            topic: letter.entry.record().topic_str(),
            consumer: &letter.consumer,
            code: letter.code.as_str(),
            reason: &letter.reason,
            attempts: letter.attempts.len(),
            state: letter.state.as_str(),
            time: rfc3339(letter.wall_ms),
        }
    }
}

/// Everything about a dead letter, as JSON.
#[derive(Serialize)]
pub(super) struct Whole<'a> {
    #[serde(flatten)]
    row: Row<'a>,
    errors: Vec<Failure<'a>>,
    source: String,
    received: String,
    headers: Headers,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

/// An attempt that failed.
#[derive(Serialize)]
struct Failure<'a> {
    error: &'a str,
    time: String,
}

impl<'a> Whole<'a> {
    /// Fails when the message's meta part cannot be read.
    pub(super) fn new(letter: &'a DeadLetterRow) -> Result<Self, CliError> {
        let record = letter.entry.record();
        let meta = record.meta()?;
        let (payload, payload_base64) = text_or_base64(record.payload_bytes());
        let failure = |attempt: &'a edgebus::consumer::AttemptError| Failure {
            error: &attempt.error,
            time: rfc3339(attempt.wall_ms),
        };
        Ok(Self {
            row: Row::new(letter),
            errors: letter.attempts.iter().map(failure).collect(),
            source: meta.source,
            received: rfc3339(letter.entry.received_ms()),
            headers: output::headers(meta.headers.into_iter().map(|h| (h.name, h.value))),
            payload,
            payload_base64,
        })
    }
}

/// Prints everything about a dead letter for people.
pub(super) fn print(output: &mut Output, letter: &DeadLetterRow) -> Result<(), CliError> {
    let record = letter.entry.record();
    let meta = record.meta()?;
    let mut fact = |name: &str, value: &str| output.line(format_args!("{name:<11} {value}"));
    fact("dead letter", &letter.number.to_string())?;
    fact("state", letter.state.as_str())?;
    fact("consumer", &payload_text(letter.consumer.as_bytes()))?;
    let reason = payload_text(letter.reason.as_bytes());
    fact("reason", &format!("{}: {reason}", letter.code))?;
    fact("time", &rfc3339(letter.wall_ms))?;
    for (number, attempt) in (1..).zip(&letter.attempts) {
        let error = payload_text(attempt.error.as_bytes());
        let time = rfc3339(attempt.wall_ms);
        fact(&format!("attempt {number}"), &format!("{time} {error}"))?;
    }
    fact("seq", &letter.seq.to_string())?;
    fact("request id", &record.id().to_string())?;
    fact("topic", record.topic_str())?;
    fact("source", &payload_text(meta.source.as_bytes()))?;
    fact("received", &rfc3339(letter.entry.received_ms()))?;
    for header in &meta.headers {
        let value = payload_text(header.value.as_bytes());
        fact("header", &format!("{}={value}", header.name))?;
    }
    fact("payload", &payload_text(record.payload_bytes()))
}
