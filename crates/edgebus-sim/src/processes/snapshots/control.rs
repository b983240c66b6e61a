//! Somebody beside the server whom nobody doubts: what a control writer has synced must be in every
//! snapshot, or it is the snapshots that lose things.
//!
//! It also writes without syncing. Of that a power cut takes some; if no snapshot ever misses any,
//! they show nothing.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::Pid;

use crate::processes::Failure;

/// The file that is synced, and the one that is not.
const SYNCED: &str = "synced";
const LOOSE: &str = "loose";
/// A counter and its complement, so that half a one is not taken for one.
const ROW: u64 = 16;
/// Rows after which it begins at the front again.
const ROWS: u64 = 64 * 1024;

/// The control writer's own process: `edgebus-sim control DIR`. Counts until it is killed.
///
/// # Errors
/// [`Failure::Broken`] when its files cannot be written.
pub fn run(dir: &Path) -> Result<(), Failure> {
    let create = |name| {
        let path = dir.join(name);
        File::create(&path).map_err(|e| Failure::broken(path.display(), e))
    };
    let (synced, loose) = (create(SYNCED)?, create(LOOSE)?);
    let mut stdout = std::io::stdout().lock();
    for counter in 1_u64.. {
        let at = counter % ROWS * ROW;
        let write = || {
            loose.write_all_at(&row(counter), at)?;
            synced.write_all_at(&row(counter), at)?;
            synced.sync_data()
        };
        write().map_err(|e| Failure::broken(dir.display(), e))?;
        // Nobody listens any more: it is over.
        if writeln!(stdout, "{counter}").is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn row(counter: u64) -> [u8; ROW as usize] {
    let mut row = [0; ROW as usize];
    row[..8].copy_from_slice(&counter.to_le_bytes());
    row[8..].copy_from_slice(&(!counter).to_le_bytes());
    row
}

/// The highest counter in a file; 0 when there is none.
fn highest(bytes: &[u8]) -> u64 {
    let (rows, _) = bytes.as_chunks::<{ ROW as usize }>();
    rows.iter()
        .filter_map(|found| {
            let counter = u64::from_le_bytes(*found.first_chunk()?);
            (row(counter) == *found).then_some(counter)
        })
        .max()
        .unwrap_or(0)
}

/// What of the control writer's is in a folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// Of what it synced.
    pub synced: u64,
    /// Of what it did not.
    pub loose: u64,
}

impl Found {
    /// Reads it; a file that is missing holds nothing.
    pub fn read(dir: &Path) -> Self {
        let read = |name| highest(&std::fs::read(dir.join(name)).unwrap_or_default());
        Self {
            synced: read(SYNCED),
            loose: read(LOOSE),
        }
    }
}

/// The control writer as a child process. Killed when dropped.
#[derive(Debug)]
pub struct Control {
    child: Child,
    synced: Arc<AtomicU64>,
}

impl Control {
    /// Starts it on a folder.
    ///
    /// # Errors
    /// [`Failure::Broken`] when it does not start.
    pub fn start(program: &Path, dir: PathBuf) -> Result<Self, Failure> {
        std::fs::create_dir_all(&dir).map_err(|e| Failure::broken(dir.display(), e))?;
        let mut child = Command::new(program)
            .arg("control")
            .arg(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|e| Failure::broken("the control writer does not start", e))?;
        let synced = Arc::new(AtomicU64::new(0));
        let (stdout, told) = (child.stdout.take(), synced.clone());
        // Ends with the child, whose end of the pipe it reads.
        std::thread::spawn(move || {
            let lines = stdout
                .into_iter()
                .flat_map(|out| BufReader::new(out).lines());
            for counter in lines.map_while(|line| line.ok()?.parse().ok()) {
                told.store(counter, Ordering::Release);
            }
        });
        Ok(Self { child, synced })
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The highest counter that is known to be synced.
    pub fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // Ended already: nothing is killed then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn highest_whole_counter_counts() {
        let mut bytes = [row(3), row(9), row(5)].concat();
        assert_eq!(highest(&bytes), 9);
        bytes[20] ^= 1;
        assert_eq!(highest(&bytes), 5, "half a counter is none");
        bytes.truncate(8);
        assert_eq!(highest(&bytes), 0);
        assert_eq!(highest(&[0; 64]), 0, "nothing was written there");
    }
}
