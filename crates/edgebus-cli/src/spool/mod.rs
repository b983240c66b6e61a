//! `edgebus spool`: what a client keeps on this machine's disk until a server has it.
//!
//! In reading order: this module: what can be typed, listing and removing; [`flush`] forwarding;
//! [`show`] how a request is printed.
//!
//! Invariants: listing takes no lock and changes nothing, so that it works while a client has the
//! spool. Nothing is removed that was not chosen by number, or by asking for the dead or for all.

mod flush;
mod show;

use std::path::{Path, PathBuf};
use std::time::Duration;

use edgebus::spool::{RowState, Spool, SpoolConfig, SpoolRow, StoreError};
use edgebus::{Code, Refusal};
use serde_json::json;

use crate::args::Global;
use crate::error::CliError;
use crate::output::{self, Output, say};
use crate::{confirm, spooling, table, values};

/// Requests that are looked at together.
const PAGE: usize = 1000;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List what waits for a server, and what no server will take; also while a client has the spool
    #[command(after_help = "Example:\n  edgebus spool ls --spool ./spool")]
    Ls(ListOptions),
    /// Have the server take what waits, in its order
    #[command(after_help = "\
Exit status: 0 nothing is left, 1 some were refused for good, 3 no server, 4 the time was over.

Example:
  edgebus spool flush --spool ./spool")]
    Flush(FlushOptions),
    /// Remove requests from a spool for good; no server gets them
    #[command(after_help = "Example:\n  edgebus spool rm 3 4 --spool ./spool")]
    Rm(RemoveOptions),
}

/// Which spool.
#[derive(Debug, clap::Args)]
pub(crate) struct SpoolFolder {
    /// The spool's folder
    #[arg(long, value_name = "DIR")]
    spool: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListOptions {
    #[command(flatten)]
    folder: SpoolFolder,
    /// Only what no server will take
    #[arg(long)]
    dead: bool,
    /// Most requests to list
    #[arg(long, value_name = "REQUESTS", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct FlushOptions {
    #[command(flatten)]
    folder: SpoolFolder,
    /// Try again what was refused for good, too, behind everything else
    #[arg(long)]
    dead: bool,
    /// How long it may take
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = values::some_duration)]
    timeout: Duration,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RemoveOptions {
    #[command(flatten)]
    folder: SpoolFolder,
    /// Only these
    #[arg(value_name = "NUMBER", required_unless_present_any = ["dead", "all"],
          conflicts_with_all = ["dead", "all"])]
    numbers: Vec<u64>,
    /// Every one that no server will take
    #[arg(long, conflicts_with = "all")]
    dead: bool,
    /// Every one
    #[arg(long)]
    all: bool,
    /// Do not ask
    #[arg(long)]
    force: bool,
}

/// `edgebus spool …`.
pub(crate) fn run(command: Command, global: &Global) -> Result<(), CliError> {
    match command {
        Command::Ls(options) => list(&options, global),
        Command::Flush(options) => flush::run(&options, global),
        Command::Rm(options) => remove(&options, global),
    }
}

fn list(options: &ListOptions, global: &Global) -> Result<(), CliError> {
    let mut look = Spool::look(&options.folder.spool)?;
    let mut output = Output::new();
    let mut header = true;
    let mut left = options.limit.unwrap_or(u64::MAX);
    let mut after = 0;
    let mut more = false;
    while !more {
        let mut rows = look.list(after, PAGE)?;
        let Some(last) = rows.last() else {
            break;
        };
        after = last.number;
        rows.retain(|row| !options.dead || is_dead(row));
        more = rows.len() as u64 > left;
        rows.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        left -= rows.len() as u64;
        if global.json {
            for row in &rows {
                output.json(&show::Row::new(row)?)?;
            }
        } else if !rows.is_empty() {
            let columns = header.then_some(show::COLUMNS);
            header = false;
            output.line(table::text(columns, rows.iter().map(show::cells)))?;
        }
    }
    output.flush()?;
    if more && !global.json {
        say!("edgebus: there is more: a higher --limit shows it");
    }
    Ok(())
}

fn is_dead(row: &SpoolRow) -> bool {
    row.state != RowState::Waiting
}

/// Opens a spool that is there.
fn open(dir: &Path) -> Result<Spool, CliError> {
    // Opening would make one there.
    if !dir.join("VERSION").exists() {
        let message = format!("{} holds no spool: name another folder", dir.display());
        return Err(Refusal::new(Code::NotFound, message).into());
    }
    let spool = Spool::open(dir, SpoolConfig::default()).map_err(|error| match error {
        StoreError::DataInUse { path } => spooling::in_use(&path),
        other => other.into(),
    })?;
    if let Some(torn) = spool.torn_tail() {
        say!("edgebus: {}", output::torn_tail(torn));
    }
    Ok(spool)
}

fn remove(options: &RemoveOptions, global: &Global) -> Result<(), CliError> {
    let mut spool = open(&options.folder.spool)?;
    if confirm::asks(options.force) {
        let what = match (options.all, options.dead) {
            (true, _) => requests(spool.waiting() + spool.dead()),
            (false, true) => requests(spool.dead()),
            (false, false) => requests(options.numbers.len() as u64),
        };
        confirm::ask(&format!(
            "remove {what} for good, so that no server gets them?"
        ))?;
    }
    let count = match options.all || options.dead {
        true => remove_pages(&mut spool, options.dead)?,
        false => spool.remove(&options.numbers)?,
    };
    let printed = match global.json {
        true => output::line(&json!({ "removed": count })),
        false => output::text(&format!("removed {}", requests(count))),
    };
    printed.or_else(CliError::unless_unread)?;
    let asked = options.numbers.len() as u64;
    match count {
        0 if asked > 0 => {
            let message = "none of the requests named is in the spool";
            Err(Refusal::new(Code::NotFound, message).into())
        }
        _ if count < asked => {
            say!("edgebus: only {count} of the {asked} requests named were there");
            Ok(())
        }
        _ => Ok(()),
    }
}

fn remove_pages(spool: &mut Spool, only_dead: bool) -> Result<u64, CliError> {
    let mut count = 0;
    let mut after = 0;
    loop {
        let rows = spool.list(after, PAGE)?;
        let Some(last) = rows.last() else {
            return Ok(count);
        };
        after = last.number;
        let chosen = rows.iter().filter(|row| !only_dead || is_dead(row));
        let numbers: Vec<u64> = chosen.map(|row| row.number).collect();
        count += spool.remove(&numbers)?;
    }
}

fn requests(count: u64) -> String {
    match count {
        1 => "1 request".to_owned(),
        _ => format!("{count} requests"),
    }
}
