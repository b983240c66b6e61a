//! What is printed: receipts, rows of the log, JSON lines.
//!
//! Only results are printed to stdout. A reader that leaves (`| head`) ends a command quietly.

use std::collections::BTreeMap;
use std::io::{BufWriter, IsTerminal, Stdout, Write};

use edgebus::store::TornTail;
use edgebus::{Entry, Identity, Receipt, Spooled};
use serde::Serialize;

use crate::error::CliError;
use crate::payload::text_or_base64;
use crate::time::rfc3339;

/// Buffered stdout.
#[derive(Debug)]
pub(crate) struct Output(BufWriter<Stdout>);

impl Output {
    /// Stdout with a buffer of its own.
    pub(crate) fn new() -> Self {
        Self(BufWriter::with_capacity(64 * 1024, std::io::stdout()))
    }

    /// Prints a JSON object as one line.
    pub(crate) fn json(&mut self, object: &impl Serialize) -> Result<(), CliError> {
        serde_json::to_writer(&mut self.0, object).map_err(|e| CliError::stdout(e.into()))?;
        self.bytes(b"\n")
    }

    /// Prints text as one line.
    pub(crate) fn line(&mut self, text: impl std::fmt::Display) -> Result<(), CliError> {
        writeln!(self.0, "{text}").map_err(CliError::stdout)
    }

    /// Prints bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.0.write_all(bytes).map_err(CliError::stdout)
    }

    /// Hands everything to whoever reads.
    pub(crate) fn flush(&mut self) -> Result<(), CliError> {
        self.0.flush().map_err(CliError::stdout)
    }

    /// Drops what could not be written, as nobody reads it.
    pub(crate) fn abandon(self) {
        let _ = self.0.into_parts();
    }
}

/// Prints one JSON object.
pub(crate) fn line(object: &impl Serialize) -> Result<(), CliError> {
    let mut output = Output::new();
    output.json(object)?;
    output.flush()
}

/// Prints text as one line, or as several.
pub(crate) fn text(text: &str) -> Result<(), CliError> {
    let mut output = Output::new();
    output.line(text)?;
    output.flush()
}

/// Prints bytes as they are.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), CliError> {
    let mut output = Output::new();
    output.bytes(bytes)?;
    // People find their prompt where they expect it; programs get what was replied.
    if std::io::stdout().is_terminal() && !bytes.ends_with(b"\n") {
        output.bytes(b"\n")?;
    }
    output.flush()
}

/// Says something on stderr, as one line. That nobody hears it is no reason to stop.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}
pub(crate) use say;

/// A receipt as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct ReceiptObject {
    request_id: String,
    seq: u64,
    duplicate: bool,
}

impl From<&Receipt> for ReceiptObject {
    fn from(receipt: &Receipt) -> Self {
        Self {
            request_id: receipt.request_id.to_string(),
            seq: receipt.seq.0,
            duplicate: receipt.duplicate,
        }
    }
}

/// A receipt for people.
pub(crate) fn receipt_text(receipt: &Receipt) -> String {
    let stored = if receipt.duplicate {
        "already stored"
    } else {
        "stored"
    };
    format!("{stored} {} as seq {}", receipt.request_id, receipt.seq)
}

/// That a request is in a spool, as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct SpooledObject {
    request_id: String,
    spooled: bool,
    number: u64,
}

impl From<&Spooled> for SpooledObject {
    fn from(spooled: &Spooled) -> Self {
        Self {
            request_id: spooled.request_id.to_string(),
            spooled: true,
            number: spooled.number,
        }
    }
}

/// That a request is in a spool, for people.
pub(crate) fn spooled_text(spooled: &Spooled) -> String {
    format!(
        "spooled {} as number {}",
        spooled.request_id, spooled.number
    )
}

/// A stored request as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Row<'a> {
    seq: u64,
    request_id: String,
    topic: &'a str,
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<&'a str>,
    time: String,
    headers: Headers,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

/// A header's value, or its values when its name was used more than once.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum HeaderValue {
    One(String),
    Many(Vec<String>),
}

impl HeaderValue {
    fn add(&mut self, value: String) {
        match self {
            Self::One(first) => *self = Self::Many(vec![std::mem::take(first), value]),
            Self::Many(values) => values.push(value),
        }
    }
}

/// Headers as JSON, by name.
pub(crate) type Headers = BTreeMap<String, HeaderValue>;

/// Headers in the order they were given, as JSON.
pub(crate) fn headers(given: impl IntoIterator<Item = (String, String)>) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in given {
        match headers.get_mut(&name) {
            Some(values) => values.add(value),
            None => drop(headers.insert(name, HeaderValue::One(value))),
        }
    }
    headers
}

impl<'a> Row<'a> {
    /// The row of an entry.
    ///
    /// # Errors
    /// When its meta part cannot be read.
    pub(crate) fn new(entry: &'a Entry) -> Result<Self, CliError> {
        let record = entry.record();
        let meta = record.meta()?;
        let (payload, payload_base64) = text_or_base64(record.payload_bytes());
        Ok(Self {
            seq: entry.seq().0,
            request_id: record.id().to_string(),
            topic: record.topic_str(),
            source: meta.source,
            identity: proven(entry),
            time: rfc3339(entry.received_ms()),
            headers: headers(meta.headers.into_iter().map(|h| (h.name, h.value))),
            payload,
            payload_base64,
        })
    }
}

/// Who sent a request, if that was proven to the server.
pub(crate) fn proven(entry: &Entry) -> Option<&str> {
    let identity = entry.identity();
    let proven = !identity.is_empty() && identity != Identity::ANONYMOUS;
    proven.then_some(identity)
}

/// A payload for people: one line, and nothing in it that a terminal acts on.
pub(crate) fn payload_text(payload: &[u8]) -> String {
    let text = String::from_utf8_lossy(payload);
    if !text.chars().any(char::is_control) {
        return text.into_owned();
    }
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => line.extend(c.escape_default()),
            false => line.push(c),
        }
    }
    line
}

/// How wide the terminal on stdout is; `None` when it is none.
pub(crate) fn terminal_width() -> Option<u16> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(stdout).ok()?;
    (size.ws_col > 0).then_some(size.ws_col)
}

/// What to tell people about the end of a journal that could not be read.
pub(crate) fn torn_tail(torn: &TornTail) -> String {
    let place = format!("{}, byte {}", torn.segment.display(), torn.offset);
    let copy = torn.copy.display();
    match torn.short_by {
        0 => format!(
            "the last write to the journal cannot be read ({place}), as after a power cut in the middle of it; \
             unless the disk is damaged, nobody was told that it is stored; its bytes are kept in {copy}"
        ),
        short_by => format!(
            "the journal was cut off ({place}): the file is {short_by} bytes too short, which no crash does; \
             requests that were acknowledged may be lost; what is left of the last write is kept in {copy}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(payload_text("a\"\\é".as_bytes()), "a\"\\é");
        assert_eq!(payload_text(b"a\tb\n\x1b[2J"), "a\\tb\\n\\u{1b}[2J");
        assert_eq!(payload_text(b"\xff"), "\u{fffd}");
    }

    #[test]
    fn a_header_that_comes_twice_keeps_both_values() {
        let mut value = HeaderValue::One("a".to_owned());
        value.add("b".to_owned());
        value.add("c".to_owned());
        let json = serde_json::to_string(&value).expect("strings");
        assert_eq!(json, r#"["a","b","c"]"#);
    }
}
