//! `edgebus doctor`: what the disk and the machine are good for, in plain words.
//!
//! In reading order: [`disk`] measures what a sync takes; [`device`] what the file system is on, and
//! what that says of itself; [`machine`] room, clock, descriptors, memory; [`findings`] what all that
//! means.
//!
//! Invariant: it changes nothing but a file of its own, which has no name. It needs no server, and
//! beside one that runs it only takes its share of the disk for some seconds.

mod device;
mod disk;
mod findings;
mod machine;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::error::{CliError, REFUSED};
use crate::output;
use device::Device;
use disk::Syncs;
use findings::{Finding, Level};
use machine::Machine;

/// Where to look.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It writes and syncs blocks of 4 KiB beside the data for some seconds. A server that runs there goes on,
somewhat slower meanwhile. Whether a disk really keeps what it says it has cannot be proven from
software: only pulling the plug does. Exit status 1 when something is to be mended.

Example:
  edgebus doctor /srv/edgebus/data")]
pub(crate) struct Options {
    /// The data folder, or where it is to be [default: ./edgebus-data]
    dir: Option<PathBuf>,
    /// How long to measure the disk
    #[arg(long, default_value = "3s", value_parser = measuring_time)]
    time: Duration,
}

/// Some seconds are enough, and more than a minute is a burden.
fn measuring_time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if (Duration::from_millis(100)..=Duration::from_secs(60)).contains(&time) => {
            Ok(time)
        }
        Ok(_) => Err("must be from 100ms to 60s".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// `edgebus doctor`.
pub(crate) fn run(options: &Options, json: bool) -> Result<(), CliError> {
    let dir = options.dir.as_deref();
    let dir = dir.unwrap_or(Path::new("edgebus-data"));
    let looked_at = there(dir)?;
    let device = Device::of(&looked_at)?;
    let syncs = disk::measure(&looked_at, options.time)?;
    let machine = Machine::look(dir, &looked_at);
    let findings = findings::of(&device, &syncs, &machine);
    let printed = match json {
        true => output::line(&object(&looked_at, &device, &syncs, &machine, &findings)),
        false => output::text(&page(&looked_at, &findings)),
    };
    printed.or_else(CliError::unless_unread)?;
    match findings.iter().any(|finding| finding.level == Level::Mend) {
        true => Err(CliError::silent(REFUSED)),
        false => Ok(()),
    }
}

/// The folder, or the one it is to be made in.
fn there(dir: &Path) -> Result<PathBuf, CliError> {
    let absolute = std::path::absolute(dir).map_err(|e| CliError::io("look at", dir, e))?;
    let found = absolute.ancestors().find(|folder| folder.is_dir());
    let found = found.unwrap_or(Path::new("/"));
    Ok(found.to_owned())
}

fn page(dir: &Path, findings: &[Finding]) -> String {
    let mut lines = vec![dir.display().to_string(), String::new()];
    for finding in findings {
        let mark = match finding.level {
            Level::Fine => "   ok",
            Level::Note => " note",
            Level::Mend => " MEND",
        };
        lines.push(format!("{mark}  {}: {}", finding.about, finding.text));
    }
    let mend = findings.iter().filter(|f| f.level == Level::Mend).count();
    lines.push(String::new());
    lines.push(match mend {
        0 => "nothing to mend".to_owned(),
        1 => "1 thing to mend".to_owned(),
        _ => format!("{mend} things to mend"),
    });
    lines.join("\n")
}

fn object(
    dir: &Path,
    device: &Device,
    syncs: &Syncs,
    machine: &Machine,
    findings: &[Finding],
) -> serde_json::Value {
    let findings = findings.iter().map(|finding| {
        json!({
            "level": finding.level.as_str(),
            "about": finding.about,
            "text": finding.text,
        })
    });
    json!({
        "dir": dir.display().to_string(),
        "has_store": machine.has_store,
        "file_system": device.file_system,
        "device": device.name,
        "write_cache": device.write_cache,
        "rotational": device.rotational,
        "fdatasync": {
            "count": syncs.count,
            "mean_us": syncs.mean_us,
            "p50_us": syncs.p50_us,
            "p99_us": syncs.p99_us,
            "max_us": syncs.max_us,
            "write_p50_us": syncs.write_p50_us,
        },
        "free_bytes": machine.free_bytes,
        "watermark_bytes": machine.watermark_bytes,
        "last_group_ms": machine.last_group.map(|(_, wall_ms)| wall_ms),
        "wall_ms": machine.wall_ms,
        "clock_synchronised": machine.synchronised,
        "descriptors": machine.descriptors,
        "memory_bytes": machine.memory_bytes,
        "findings": findings.collect::<Vec<_>>(),
    })
}
