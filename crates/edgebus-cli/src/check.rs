//! `edgebus check`: is every byte of a data folder, or a spool, what was written?
//!
//! Needs no server, and none may run on the folder. Invariant: without `--repair` nothing in the
//! folder is changed. Findings go to stdout as they are met, so that a large store that is damaged all
//! over needs no memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use edgebus::files::{Files, RealFiles};
use edgebus::spool::Spool;
use edgebus::store::check::{Finding, Repair, Severity, Summary, Watch, check};
use edgebus::{Code, Refusal, StoreError};
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::args::Global;
use crate::confirm;
use crate::error::{CliError, FAIL_STOP, REFUSED};
use crate::output::{Output, say};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The data folder of a server, or the folder of a spool
    dir: PathBuf,
    /// Put right what can be put right without losing anything; the files concerned are kept in a
    /// folder repair-N beside them
    #[arg(long)]
    repair: bool,
    /// Do not ask before the repair
    #[arg(long, requires = "repair")]
    force: bool,
}

/// Prints findings as they come.
struct Printer {
    output: Output,
    json: bool,
    bar: ProgressBar,
    /// Why stdout cannot be written any more.
    failed: Option<CliError>,
}

pub(crate) fn run(options: Options, global: &Global) -> Result<(), CliError> {
    let files: Arc<dyn Files> = Arc::new(RealFiles);
    let mut printer = Printer::new(global.json);
    let summary = look(&options.dir, &files, &mut printer);
    printer.bar.finish_and_clear();
    let summary = summary.map_err(|error| failed(error, &options.dir))?;
    // The status is told also when nobody reads the findings to their end.
    let told = match printer.failed.take() {
        Some(error) => Err(error),
        None => printer.close(&summary),
    };
    told.or_else(CliError::unless_unread)?;
    match summary.is_sound() {
        true => Ok(()),
        false if options.repair => repair(&options, &files, &mut printer),
        false => Err(CliError::silent(REFUSED)),
    }
}

/// Puts right what can be.
fn repair(
    options: &Options,
    files: &Arc<dyn Files>,
    printer: &mut Printer,
) -> Result<(), CliError> {
    // What would be left was said already.
    let mut left: Vec<Finding> = Vec::new();
    let plan = Repair::plan(&options.dir, files, &mut left);
    let plan = plan.map_err(|error| failed(error, &options.dir))?;
    let remaining = plan.after().damages;
    const BACKUP: &str = "restore a backup of the folder, or ask for help with it as it is";
    if plan.is_empty() {
        say!(
            "edgebus: nothing of it can be put right without losing more, and nothing was changed: {BACKUP}"
        );
        return Err(CliError::silent(REFUSED));
    }
    for patch in plan.patches() {
        say!(
            "edgebus: to be put right: {}, byte {}, {}: {:#04x} becomes {:#04x}, with which its checksum matches again",
            patch.file.display(),
            patch.byte,
            patch.what,
            patch.is,
            patch.was
        );
    }
    for path in plan.superseded() {
        say!(
            "edgebus: to be removed: {}, as the tables have all that it held",
            path.display()
        );
    }
    let (changed, removed) = (plan.patches().len(), plan.superseded().len());
    if confirm::asks(options.force) {
        confirm::ask(&format!(
            "change {changed} bytes and remove {removed} files? They are copied first"
        ))?;
    }
    let kept = plan.apply().map_err(|error| failed(error, &options.dir))?;
    match printer.json {
        true => printer.output.json(&json!({
            "repaired": changed,
            "removed": removed,
            "originals": kept,
            "remaining_damages": remaining,
        }))?,
        false => printer.output.line(format_args!(
            "repaired: {changed} bytes put right, {removed} files removed, nothing lost; the originals are in {}",
            kept.display()
        ))?,
    }
    printer.output.flush()?;
    match remaining {
        0 => Ok(()),
        _ => {
            say!(
                "edgebus: {remaining} damages remain, which cannot be put right without losing more: {BACKUP}"
            );
            Err(CliError::silent(REFUSED))
        }
    }
}

/// Looks at whatever the folder holds.
fn look(dir: &Path, files: &Arc<dyn Files>, watch: &mut dyn Watch) -> Result<Summary, StoreError> {
    match check(dir, files, watch) {
        Err(StoreError::WrongKind { .. }) => Spool::check_folder(dir, files, watch),
        other => other,
    }
}

fn failed(error: StoreError, dir: &Path) -> CliError {
    match error {
        StoreError::DataInUse { .. } => {
            let message = format!(
                "data folder {} is in use: stop the server or the client that has it, then check",
                dir.display()
            );
            Refusal::new(Code::DataInUse, message).into()
        }
        StoreError::Io { .. } => {
            CliError::with_status(Refusal::new(error.code(), error.to_string()), FAIL_STOP)
        }
        other => other.into(),
    }
}

impl Printer {
    fn new(json: bool) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let style =
            ProgressStyle::with_template("checking {bar:30} {bytes} of {total_bytes}, {eta} left");
        Self {
            output: Output::new(),
            json,
            bar: bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())),
            failed: None,
        }
    }

    fn print(&mut self, finding: &Finding) -> Result<(), CliError> {
        match self.json {
            true => self.output.json(&object(finding))?,
            false => self.output.line(text(finding))?,
        }
        // Whoever waits for a large store sees what is known.
        self.output.flush()
    }

    /// The closing line.
    fn close(&mut self, summary: &Summary) -> Result<(), CliError> {
        match self.json {
            true => self.output.json(&counts(summary))?,
            false => self.output.line(closing(summary))?,
        }
        self.output.flush()
    }
}

impl Watch for Printer {
    fn found(&mut self, finding: Finding) {
        if self.failed.is_none() {
            let printed = self.bar.clone().suspend(|| self.print(&finding));
            self.failed = printed.err();
        }
    }

    fn progress(&mut self, done: u64, all: u64) {
        self.bar.set_length(all);
        self.bar.set_position(done);
    }
}

fn text(finding: &Finding) -> String {
    let mut place = finding.file.display().to_string();
    if let Some(byte) = finding.byte {
        place += &format!(", byte {byte}");
    }
    if let Some(table) = &finding.table {
        place += &format!(", {table}");
    }
    if let Some(key) = finding.key.as_ref().filter(|key| !key.is_empty()) {
        place += &format!(" [{key}]");
    }
    match finding.severity {
        Severity::Note => format!("note: {place}: {}", finding.what),
        _ => format!("damaged: {place}: {}; lost: {}", finding.what, finding.lost),
    }
}

fn object(finding: &Finding) -> Value {
    let lost = &finding.lost;
    json!({
        "severity": match finding.severity { Severity::Note => "note", _ => "damage" },
        "kind": finding.kind,
        "file": finding.file,
        "byte": finding.byte,
        "table": finding.table,
        "key": finding.key,
        "what": finding.what,
        "lost": {
            "seqs": lost.seqs.map(|(first, last)| [first.0, last.0]),
            "ids": lost.ids,
            "reply": lost.reply.map(|seq| seq.0),
            "consumer": lost.consumer,
            "dead_letter": lost.dead_letter,
            "lsns": lost.lsns.map(|(first, last)| [first, last]),
        },
    })
}

fn counts(summary: &Summary) -> Value {
    json!({
        "sound": summary.is_sound(),
        "damages": summary.damages,
        "notes": summary.notes,
        "segments": summary.segments,
        "groups": summary.groups,
        "operations": summary.operations,
        "pages": summary.pages,
        "blocks": summary.blocks,
        "requests": summary.requests,
        "ids": summary.ids,
        "replies": summary.replies,
        "consumers": summary.consumers,
        "dead_letters": summary.dead_letters,
        "bytes": summary.bytes,
    })
}

fn closing(summary: &Summary) -> String {
    let count = |number, what: &str| format!("{} {what}", HumanCount(number));
    let looked_at = [
        count(summary.segments, "journal segments"),
        count(summary.groups, "groups"),
        count(summary.operations, "operations"),
        count(summary.pages, "pages"),
        count(summary.blocks, "blocks"),
        count(summary.requests, "requests"),
        count(summary.ids, "ids"),
        count(summary.replies, "replies"),
        count(summary.consumers, "consumers"),
        count(summary.dead_letters, "dead letters"),
    ];
    let verdict = match summary.damages {
        0 => "sound".to_owned(),
        1 => "1 damage".to_owned(),
        damages => count(damages, "damages"),
    };
    format!(
        "{verdict}: {} in {}",
        looked_at.join(", "),
        HumanBytes(summary.bytes)
    )
}
