//! What `reply` tells: an object for each message on stdout, and words on stderr.
//!
//! Invariant: an outcome is told when it is on the server's disk, not before. A reader that leaves
//! does not stop the work.

use edgebus::Incoming;
use edgebus::consumer::Settlement;
use serde::Serialize;

use crate::error::CliError;
use crate::output::{Output, payload_text, say};

pub(super) struct Report {
    /// Objects go here; `None` when they are not asked for, or nobody reads them.
    output: Option<Output>,
}

/// What became of one attempt, as JSON.
#[derive(Serialize)]
struct Outcome<'a> {
    seq: u64,
    request_id: String,
    topic: &'a str,
    attempt: u32,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        Self {
            output: json.then(Output::new),
        }
    }

    /// It is on disk.
    pub(super) fn settled(&mut self, message: &Incoming, settlement: &Settlement) {
        let (outcome, reason) = match settlement {
            Settlement::Nak { reason, .. } => ("retry", Some(reason.as_str())),
            Settlement::Term { reason } => ("reject", Some(reason.as_str())),
            _ => ("done", None),
        };
        let object = Outcome {
            seq: message.seq().0,
            request_id: message.request_id().to_string(),
            topic: message.topic(),
            attempt: message.attempt(),
            outcome,
            reason,
        };
        match &mut self.output {
            Some(output) => {
                let printed = output.json(&object).and_then(|()| output.flush());
                if printed.is_err()
                    && let Some(output) = self.output.take()
                {
                    output.abandon();
                }
            }
            None => {
                if let Some(reason) = reason {
                    let reason = payload_text(reason.lines().last().unwrap_or_default().as_bytes());
                    self.note(message, &format!("{outcome}: {reason}"));
                }
            }
        }
    }

    /// Something is worth knowing about a message.
    pub(super) fn note(&self, message: &Incoming, text: &str) {
        say!(
            "edgebus: {} seq {}, attempt {}: {text}",
            message.topic(),
            message.seq(),
            message.attempt()
        );
    }

    /// Says something.
    pub(super) fn say(&self, text: &str) {
        say!("edgebus: {text}");
    }
}

/// What ends the command when outcomes could not be told.
pub(super) fn untold(count: usize) -> CliError {
    let message = format!(
        "the server is gone, and was not told what became of {count} messages: they come again"
    );
    edgebus::Refusal::new(edgebus::Code::Unknown, message).into()
}
