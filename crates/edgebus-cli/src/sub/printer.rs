//! How notifications look on stdout.

use std::ops::ControlFlow;

use edgebus::Entry;
use serde_json::json;

use crate::error::CliError;
use crate::output::{Output, Row, payload_text, say};

pub(super) struct Printer {
    output: Output,
    json: bool,
    /// How many more are wanted; `None` for any number.
    left: Option<u64>,
}

impl Printer {
    pub(super) fn new(count: Option<u64>, json: bool) -> Self {
        Self {
            output: Output::new(),
            json,
            left: count,
        }
    }

    /// Prints a notification; `Break` when it was the last one that is wanted.
    pub(super) fn message(&mut self, entry: &Entry) -> Result<ControlFlow<()>, CliError> {
        let record = entry.record();
        if self.json {
            self.output.json(&Row::new(entry)?)?;
        } else {
            let payload = payload_text(record.payload_bytes());
            self.output
                .line(format_args!("{}\t{payload}", record.topic_str()))?;
        }
        self.output.flush()?;
        let Some(left) = &mut self.left else {
            return Ok(ControlFlow::Continue(()));
        };
        *left = left.saturating_sub(1);
        Ok(match left {
            0 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })
    }

    /// Tells how many were missed here.
    pub(super) fn lagged(&mut self, missed: u64) -> Result<ControlFlow<()>, CliError> {
        say!(
            "edgebus: {missed} notifications were missed here: they came faster than they were printed"
        );
        if self.json {
            self.output.json(&json!({ "lagged": missed }))?;
            self.output.flush()?;
        }
        Ok(ControlFlow::Continue(()))
    }
}
