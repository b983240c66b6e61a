//! What is said about the lines of a file: receipts on stdout, refusals, and a summary on stderr.
//!
//! Invariant: a reader that leaves does not stop the sending; the exit status still tells how it
//! ended.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use edgebus::{Accepted, Code, Refusal, RequestId};
use hdrhistogram::Histogram;
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::error::{CliError, ErrorBody, FAIL_STOP, INTERRUPTED, NO_CONNECTION, REFUSED};
use crate::output::{Output, ReceiptObject, SpooledObject, say};
use crate::spooling;

/// Why nothing more is sent.
#[derive(Debug)]
pub(super) enum Ending {
    /// Everything was.
    Done,
    /// The connection is lost.
    Lost(Refusal),
    /// The server takes nothing more, and why: its store has stopped, or is full.
    Stopped(Refusal),
    /// The user wants it so.
    Interrupted,
    /// The file cannot be read on.
    InputFailed(io::Error),
}

/// Counts and prints.
pub(super) struct Report {
    /// How the file is called in messages.
    name: String,
    has_ids: bool,
    json: bool,
    /// Its folder, and the dead letters that were in it.
    spool: Option<(PathBuf, u64)>,
    /// Receipts go here; `None` when they are not asked for, or nobody reads them.
    output: Option<Output>,
    bar: ProgressBar,
    summary: Summary,
    latencies_us: Option<Histogram<u64>>,
    started: Instant,
}

#[derive(Debug, Default, Serialize)]
struct Summary {
    sent: u64,
    stored: u64,
    duplicates: u64,
    /// With a spool.
    #[serde(skip_serializing_if = "Option::is_none")]
    spooled: Option<u64>,
    refused: u64,
    unknown: u64,
    /// Left in the spool, if there is one; and its dead letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead: Option<u64>,
    seconds: f64,
    rate_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// A line without a receipt, as JSON.
#[derive(Serialize)]
struct RefusedLine<'a> {
    error: ErrorBody<'a>,
    line: u64,
    request_id: Option<String>,
}

impl Report {
    /// A report on a file of a known length, or on one that comes through a pipe.
    pub(super) fn new(path: &Path, length: Option<u64>, has_ids: bool, json: bool) -> Self {
        Self {
            name: match path.as_os_str() == "-" {
                true => "stdin".to_owned(),
                false => path.display().to_string(),
            },
            has_ids,
            json,
            spool: None,
            output: json.then(Output::new),
            bar: bar(length),
            summary: Summary::default(),
            // Bounds that are valid; without it there are no latencies to tell.
            latencies_us: Histogram::new_with_max(3_600_000_000, 3).ok(),
            started: Instant::now(),
        }
    }

    /// Lines go past a spool with so many dead letters in it.
    pub(super) fn past_spool(mut self, dir: &Path, dead: u64) -> Self {
        self.spool = Some((dir.to_owned(), dead));
        self.summary.spooled = Some(0);
        self
    }

    /// So many requests are in the spool at the end, waiting and dead.
    pub(super) fn left_in_spool(&mut self, waiting: u64, dead: u64) {
        (self.summary.waiting, self.summary.dead) = (Some(waiting), Some(dead));
        let Some((dir, before)) = &self.spool else {
            return;
        };
        if waiting > 0 {
            let waiting = spooling::wait_text(waiting);
            self.say(&format!("{waiting} for a server in {}", dir.display()));
        }
        if dead > *before {
            self.say(&spooling::dead_text(dead, *before, dir));
        }
    }

    /// The input was read up to here.
    pub(super) fn progress(&mut self, bytes: u64) {
        self.bar.set_position(bytes);
    }

    /// A request left.
    pub(super) fn sent(&mut self) {
        self.summary.sent += 1;
    }

    /// A request that was to leave never did.
    pub(super) fn unsent(&mut self) {
        self.summary.sent -= 1;
    }

    /// Whether anything is on the server's disk that was not before.
    pub(super) fn has_stored(&self) -> bool {
        self.summary.stored > 0
    }

    /// Says something that is no result.
    pub(super) fn say(&self, text: &str) {
        self.bar.suspend(|| say!("edgebus: {text}"));
    }

    /// A request is on a disk.
    pub(super) fn accepted(
        &mut self,
        accepted: &Accepted,
        latency: Duration,
    ) -> Result<(), CliError> {
        match accepted.receipt().map(|receipt| receipt.duplicate) {
            Some(true) => self.summary.duplicates += 1,
            Some(false) => self.summary.stored += 1,
            None => *self.summary.spooled.get_or_insert_default() += 1,
        }
        if let Some(latencies) = &mut self.latencies_us {
            latencies.saturating_record(latency.as_micros() as u64);
        }
        self.print(|output| match accepted {
            Accepted::Stored(receipt) => output.json(&ReceiptObject::from(receipt)),
            Accepted::Spooled(spooled) => output.json(&SpooledObject::from(spooled)),
            _ => Ok(()),
        })
    }

    /// A line was refused, or its outcome is unknown.
    pub(super) fn refused(
        &mut self,
        line: u64,
        request_id: Option<RequestId>,
        refusal: &Refusal,
    ) -> Result<(), CliError> {
        match refusal.code {
            Code::Unknown => self.summary.unknown += 1,
            _ => self.summary.refused += 1,
        }
        let name = &self.name;
        if !self.json {
            self.bar
                .suspend(|| say!("edgebus: {name}:{line}: {refusal}"));
            return Ok(());
        }
        let message = format!("{name}:{line}: {}", refusal.message);
        let mut error = ErrorBody::from(refusal);
        error.message = &message;
        let object = RefusedLine {
            error,
            line,
            request_id: request_id.map(|id| id.to_string()),
        };
        self.print(|output| output.json(&object))
    }

    /// Hands what was printed to whoever reads.
    pub(super) fn flush(&mut self) -> Result<(), CliError> {
        self.print(Output::flush)
    }

    fn print(
        &mut self,
        print: impl FnOnce(&mut Output) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let Some(output) = &mut self.output else {
            return Ok(());
        };
        print(output).or_else(|error| {
            if let Some(output) = self.output.take() {
                output.abandon();
            }
            error.unless_unread()
        })
    }

    /// Prints the summary, and gives the end that the command comes to.
    pub(super) fn finish(mut self, ending: Ending) -> Result<(), CliError> {
        let seconds = self.started.elapsed().as_secs_f64();
        self.flush()?;
        self.bar.finish_and_clear();
        let quantile = |q| match &self.latencies_us {
            Some(latencies) => latencies.value_at_quantile(q) as f64 / 1000.0,
            None => 0.0,
        };
        let summary = Summary {
            seconds,
            rate_per_s: (self.summary.accepted() as f64 / seconds).round(),
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            ..self.summary
        };
        match self.json {
            // Numbers always have a JSON form.
            true => say!("{}", serde_json::to_string(&summary).unwrap_or_default()),
            false => say!("{}", summary.to_text()),
        }
        self.end(ending, &summary)
    }

    /// The worst that happened decides.
    fn end(&self, ending: Ending, summary: &Summary) -> Result<(), CliError> {
        let again = match (self.has_ids, &self.spool) {
            (true, _) => "send the file again: what is stored is not stored twice",
            (false, Some(_)) => "send the lines again that have no outcome",
            (false, None) => {
                "the lines have no ids of their own, so the whole file sent again would be stored \
                 again: name a field with --id-field"
            }
        };
        let unknown = summary.unknown;
        let reason = match &ending {
            Ending::Lost(refusal) => format!("the connection was lost ({})", refusal.message),
            Ending::Interrupted => "interrupted".to_owned(),
            _ => "the server did not say".to_owned(),
        };
        match ending {
            Ending::Stopped(refusal) if refusal.code == Code::Poisoned => {
                let message = match &self.spool {
                    Some((dir, _)) => {
                        let (dir, why) = (dir.display(), &refusal.message);
                        format!("the spool {dir} has stopped ({why}); mend its disk, then: {again}")
                    }
                    None => {
                        format!("the server's store has stopped; start it again, then: {again}")
                    }
                };
                let refusal = Refusal::new(Code::Poisoned, message);
                Err(CliError::with_status(refusal, FAIL_STOP))
            }
            Ending::Stopped(refusal) => {
                let message = format!("{}; when there is room: {again}", refusal.message);
                Err(Refusal::new(refusal.code, message).into())
            }
            _ if unknown > 0 => {
                let message =
                    format!("{reason}: the outcome of {unknown} requests is unknown; {again}");
                Err(Refusal::new(Code::Unknown, message).into())
            }
            Ending::Lost(_) => {
                let message = format!("{reason}: not everything was sent; {again}");
                let refusal = Refusal::new(Code::Disconnected, message);
                Err(CliError::with_status(refusal, NO_CONNECTION))
            }
            Ending::Interrupted => Err(CliError::silent(INTERRUPTED)),
            Ending::InputFailed(error) => Err(CliError::io("read", Path::new(&self.name), error)),
            Ending::Done if summary.refused > 0 => Err(CliError::silent(REFUSED)),
            Ending::Done => Ok(()),
        }
    }
}

impl Summary {
    /// How many are on a disk.
    fn accepted(&self) -> u64 {
        self.stored + self.duplicates + self.spooled.unwrap_or_default()
    }

    fn to_text(&self) -> String {
        let spooled = self.spooled.map(HumanCount);
        let spooled = spooled.map_or_else(String::new, |count| format!(" {count} spooled,"));
        format!(
            "{} sent, {} stored, {} duplicates,{spooled} {} refused, {} unknown, in {:.2} s ({}/s), p50 {:.2} \
             ms, p99 {:.2} ms",
            HumanCount(self.sent),
            HumanCount(self.stored),
            HumanCount(self.duplicates),
            HumanCount(self.refused),
            HumanCount(self.unknown),
            self.seconds,
            HumanCount(self.rate_per_s as u64),
            self.p50_ms,
            self.p99_ms,
        )
    }
}

/// A bar on stderr, which shows itself on a terminal only.
fn bar(length: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
    let template = match length {
        Some(_) => "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        None => "{spinner} {bytes} {bytes_per_sec}",
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
