//! What it takes to have 4 KiB on the disk: as the journal does it, one write and one `fdatasync` into
//! a file that is there already, zero-filled.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::error::CliError;

const BLOCK_BYTES: usize = 4096;
const FILE_BYTES: u64 = 16 * 1024 * 1024;
/// The tail needs as many.
const SYNCS_MIN: u64 = 50;
/// A disk this slow has said enough.
const TIME_FACTOR_MAX: u32 = 4;

/// What was measured, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Syncs {
    pub(super) count: u64,
    pub(super) mean_us: u64,
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
    pub(super) max_us: u64,
    /// The write alone, which waits for no disk.
    pub(super) write_p50_us: u64,
}

/// Measures in a folder for about that long.
pub(super) fn measure(dir: &Path, time: Duration) -> Result<Syncs, CliError> {
    let file = nameless(dir)?;
    let io = |error| CliError::io("measure the disk of", dir, error);
    let zeros = vec![0; 1024 * 1024];
    for at in (0..FILE_BYTES).step_by(zeros.len()) {
        file.write_all_at(&zeros, at).map_err(io)?;
    }
    file.sync_all().map_err(io)?;
    let mut syncs = histogram()?;
    let mut writes = histogram()?;
    let mut block = [0u8; BLOCK_BYTES];
    let (started, mut at) = (Instant::now(), 0);
    let bar = bar(time);
    while started.elapsed() < time
        || syncs.len() < SYNCS_MIN && started.elapsed() < time * TIME_FACTOR_MAX
    {
        // Other bytes each time: what is there already need not be written.
        block[..8].copy_from_slice(&(syncs.len() + 1).to_le_bytes());
        let written = Instant::now();
        file.write_all_at(&block, at).map_err(io)?;
        writes.saturating_record(us(written.elapsed()));
        let synced = Instant::now();
        file.sync_data().map_err(io)?;
        syncs.saturating_record(us(synced.elapsed()));
        at = (at + BLOCK_BYTES as u64) % FILE_BYTES;
        bar.set_position(started.elapsed().as_millis() as u64);
    }
    bar.finish_and_clear();
    Ok(Syncs {
        count: syncs.len(),
        mean_us: syncs.mean() as u64,
        p50_us: syncs.value_at_quantile(0.5),
        p99_us: syncs.value_at_quantile(0.99),
        max_us: syncs.max(),
        write_p50_us: writes.value_at_quantile(0.5),
    })
}

/// A file that is gone with this process, however that ends.
fn nameless(dir: &Path) -> Result<File, CliError> {
    let path = dir.join(format!(".edgebus-doctor-{}", std::process::id()));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(|e| CliError::io("create", &path, e))?;
    fs::remove_file(&path).map_err(|e| CliError::io("remove", &path, e))?;
    Ok(file)
}

fn histogram() -> Result<Histogram<u64>, CliError> {
    Histogram::new_with_max(60_000_000, 3)
        .map_err(|e| CliError::usage(format!("cannot measure: {e}")))
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn bar(time: Duration) -> ProgressBar {
    let length = u64::try_from(time.as_millis()).ok();
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("measuring the disk [{bar:30}] {eta} left") {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}
