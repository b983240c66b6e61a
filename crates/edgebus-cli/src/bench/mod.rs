//! `edgebus bench`: how fast requests are stored here, beside what the disk and redb alone can do.
//!
//! All subjects take turns in one run on one disk, several rounds each, and medians are told:
//! on shared machines only such ratios mean anything. [`controls`] holds the raw writes and the
//! redb rows, [`subject`] edgebus itself, [`load`] the sender, [`device`] the kernel's counters,
//! [`report`] the table.

mod controls;
mod delivery;
mod device;
mod load;
mod measurement;
mod report;
mod subject;

use std::path::PathBuf;
use std::time::Duration;

use crate::args::Global;
use crate::error::CliError;

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// What is done to the requests
    #[arg(long, value_enum, default_value_t = What::Send)]
    what: What,
    /// Requests in flight
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=16384))]
    window: u32,
    /// Send the window as one batch, and the next when all of it is acknowledged
    #[arg(long)]
    batch: bool,
    /// Payload bytes of a request
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=900_000))]
    size: u32,
    /// Version of the request ids
    #[arg(long, value_enum, default_value_t = Ids::V7)]
    ids: Ids,
    /// Length of one measurement
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    time: Duration,
    /// Measurements of each subject; the median is told
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Folder on the disk to measure; a folder in it is made and removed
    #[arg(long, default_value = ".")]
    data: PathBuf,
    /// Leave the controls (raw writes, redb rows) out
    #[arg(long)]
    no_controls: bool,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum What {
    /// They are stored.
    Send,
    /// They are stored, answered by a handler, and the reply is stored.
    Request,
    /// A million that were stored before are given out and acknowledged.
    Consume,
    /// A million that were stored before are read.
    Replay,
}

/// Versions of UUIDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Ids {
    /// Random.
    V4,
    /// Ordered by time.
    V7,
}

/// Measures, and prints a table or one JSON object a line.
pub(crate) fn run(options: Options, global: &Global) -> Result<(), CliError> {
    let folder = Folder::new(&options.data)?;
    let mut subjects = subject::all(&options, global.server.as_ref());
    if !options.no_controls && options.what == What::Send {
        subjects.extend([subject::Subject::Raw, subject::Subject::RedbRows]);
    }
    let mut results: Vec<Vec<measurement::Measurement>> =
        subjects.iter().map(|_| Vec::new()).collect();
    for round in 0..options.rounds {
        for (subject, results) in subjects.iter().zip(&mut results) {
            let dir = folder.0.join(format!("{}-{round}", subject.name()));
            let measurement = subject.measure(&options, global, &dir)?;
            results.push(measurement);
        }
    }
    report::print(&options, &subjects, results, global.json)
}

/// The folder the measurements write to; removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(parent: &std::path::Path) -> Result<Self, CliError> {
        let path = parent.join(format!("edgebus-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|e| CliError::io("create", &path, e))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left for the user to see.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
