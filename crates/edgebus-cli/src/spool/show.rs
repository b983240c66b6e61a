//! How a spooled request is printed: as a row, and as JSON.

use edgebus::spool::{RowState, SpoolRow};
use serde::Serialize;

use crate::error::CliError;
use crate::output::{self, Headers, payload_text};
use crate::payload::text_or_base64;
use crate::time::rfc3339;

/// The names of [`cells`].
pub(super) const COLUMNS: [&str; 6] = ["NUMBER", "TIME", "TOPIC", "STATE", "BYTES", "PAYLOAD"];

/// A request as a row for people: of a dead one, why it is dead.
pub(super) fn cells(row: &SpoolRow) -> [String; 6] {
    let (state, last) = match &row.state {
        RowState::Dead { code, reason, .. } => (
            "dead",
            format!("{code}: {}", payload_text(reason.as_bytes())),
        ),
        _ => ("waiting", payload_text(row.record.payload_bytes())),
    };
    [
        row.number.to_string(),
        rfc3339(row.spooled_ms),
        row.record.topic_str().to_owned(),
        state.to_owned(),
        row.record.as_bytes().len().to_string(),
        last,
    ]
}

/// A request as a row of JSON.
#[derive(Serialize)]
pub(super) struct Row<'a> {
    number: u64,
    request_id: String,
    topic: &'a str,
    source: String,
    time: String,
    state: &'static str,
    bytes: usize,
    headers: Headers,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_since: Option<String>,
}

impl<'a> Row<'a> {
    /// Fails when the request's meta part cannot be read.
    pub(super) fn new(row: &'a SpoolRow) -> Result<Self, CliError> {
        let record = &row.record;
        let meta = record.meta()?;
        let (payload, payload_base64) = text_or_base64(record.payload_bytes());
        let (state, code, reason, at_ms) = match &row.state {
            RowState::Dead {
                code,
                reason,
                at_ms,
            } => (
                "dead",
                Some(code.as_str()),
                Some(reason.as_str()),
                Some(*at_ms),
            ),
            _ => ("waiting", None, None, None),
        };
        Ok(Self {
            number: row.number,
            request_id: record.id().to_string(),
            topic: record.topic_str(),
            source: meta.source,
            time: rfc3339(row.spooled_ms),
            state,
            bytes: record.as_bytes().len(),
            headers: output::headers(meta.headers.into_iter().map(|h| (h.name, h.value))),
            payload,
            payload_base64,
            code,
            reason,
            dead_since: at_ms.map(rfc3339),
        })
    }
}
