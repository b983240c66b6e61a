//! `edgebus log get`: one stored request whole, and how it ended.

use edgebus::consumer::{Answer, Reply};
use edgebus::{Code, Entry, Kind, Refusal};
use serde::Serialize;

use crate::args::{GetOptions, Global, Key};
use crate::error::CliError;
use crate::output::{self, Headers, Output, Row, payload_text};
use crate::payload::text_or_base64;
use crate::remote;
use crate::source::Source;
use crate::time::rfc3339;

/// `edgebus log get …`.
pub(super) fn run(options: &GetOptions, global: &Global) -> Result<(), CliError> {
    let (entry, answer) = remote::runtime()?.block_on(async {
        let source = Source::open(&options.folder, global).await?;
        let found = match options.key {
            Key::Seq(seq) => source.get(seq).await?,
            Key::Id(id) => source.find(id).await?,
        };
        match found {
            Some(entry) if entry.record().kind() == Kind::Request => {
                let answer = source.answer(&entry).await?;
                Ok((entry, answer))
            }
            Some(entry) => Ok((entry, None)),
            None => Err(missing(&source, options.key).await),
        }
    })?;
    match global.json {
        true => output::line(&Whole {
            row: Row::new(&entry)?,
            outcome: answer.as_ref().map(Outcome::new),
        }),
        false => print(&entry, answer.as_ref()),
    }
}

/// Why there is nothing to show.
async fn missing(source: &Source, key: Key) -> CliError {
    let refusal = match key {
        Key::Seq(seq) => Refusal::new(
            Code::NotFound,
            format!("no request with seq {seq} is stored"),
        ),
        Key::Id(id) => match source.was_stored(id).await {
            Ok(Some(seq)) => Refusal::new(
                Code::ReplyExpired,
                format!("request {id} was stored as seq {seq} and trimmed since"),
            ),
            _ => Refusal::new(Code::NotFound, format!("no request with id {id} is stored")),
        },
    };
    refusal.into()
}

/// A request and how it ended, as JSON.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    row: Row<'a>,
    #[serde(flatten)]
    outcome: Option<Outcome<'a>>,
}

/// How a request ended, as JSON.
#[derive(Default, Serialize)]
struct Outcome<'a> {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_headers: Option<Headers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl<'a> Outcome<'a> {
    fn new(answer: &'a Answer) -> Self {
        let state = state_text(answer);
        match answer {
            Answer::Reply(Reply { payload, headers }) => {
                let (reply, reply_base64) = text_or_base64(payload);
                let headers = headers.iter().map(|h| (h.name.clone(), h.value.clone()));
                Self {
                    state,
                    reply,
                    reply_base64,
                    reply_headers: Some(output::headers(headers)),
                    ..Self::default()
                }
            }
            Answer::DeadLettered { reason } => Self {
                state,
                reason: Some(reason),
                ..Self::default()
            },
            _ => Self {
                state,
                ..Self::default()
            },
        }
    }
}

fn state_text(answer: &Answer) -> &'static str {
    match answer {
        Answer::Reply(_) => "done",
        Answer::DeadLettered { .. } => "dead_lettered",
        Answer::Expired => "reply_expired",
        // Of a newer version.
        _ => "other",
    }
}

fn print(entry: &Entry, answer: Option<&Answer>) -> Result<(), CliError> {
    let record = entry.record();
    let meta = record.meta()?;
    let mut output = Output::new();
    let mut fact = |name: &str, value: &str| output.line(format_args!("{name:<11} {value}"));
    fact("seq", &entry.seq().to_string())?;
    fact("request id", &record.id().to_string())?;
    fact("topic", record.topic_str())?;
    fact("source", &payload_text(meta.source.as_bytes()))?;
    if let Some(identity) = output::proven(entry) {
        fact("identity", &payload_text(identity.as_bytes()))?;
    }
    fact("time", &rfc3339(entry.received_ms()))?;
    for header in &meta.headers {
        let value = payload_text(header.value.as_bytes());
        fact("header", &format!("{}={value}", header.name))?;
    }
    fact("payload", &payload_text(record.payload_bytes()))?;
    if let Some(answer) = answer {
        fact("state", state_text(answer))?;
    }
    match answer {
        Some(Answer::Reply(reply)) => {
            for header in &reply.headers {
                let value = payload_text(header.value.as_bytes());
                fact("with header", &format!("{}={value}", header.name))?;
            }
            fact("reply", &payload_text(&reply.payload))?;
        }
        Some(Answer::DeadLettered { reason }) => {
            fact("reason", &payload_text(reason.as_bytes()))?;
        }
        _ => {}
    }
    output.flush()
}
