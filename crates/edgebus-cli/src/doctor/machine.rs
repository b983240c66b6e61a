//! What else a server needs: room, a clock, descriptors, memory.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use edgebus::files::{Files as _, RealFiles};
use edgebus::store::last_group_times;
use edgebus::{Limits, StoreConfig};
use rustix::process::{Resource, getrlimit};

/// What was found.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    /// There is a store in the folder.
    pub(super) has_store: bool,
    pub(super) free_bytes: Option<u64>,
    /// Below it new requests are refused.
    pub(super) watermark_bytes: u64,
    /// How much the log may take.
    pub(super) retention_bytes: u64,
    /// Bytes of the store's files.
    pub(super) store_bytes: u64,
    pub(super) wall_ms: u64,
    /// Store time and wall clock of the last group in the journal.
    pub(super) last_group: Option<(u64, u64)>,
    /// Whether the clock follows others, if somebody here knows.
    pub(super) synchronised: Option<bool>,
    /// What a process may have open at most; `None` for any number.
    pub(super) descriptors: Option<u64>,
    /// What a server with as many connections as it takes would like to have.
    pub(super) descriptors_wanted: u64,
    /// What is there for programs.
    pub(super) memory_bytes: Option<u64>,
}

/// Descriptors beside connections.
const DESCRIPTORS_BESIDE: u64 = 256;

impl Machine {
    /// Of the folder `dir`; `there` is that, or the one it is to be made in.
    pub(super) fn look(dir: &Path, there: &Path) -> Self {
        let config = StoreConfig::default();
        let has_store = dir.join("VERSION").is_file();
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let limits = Limits::default();
        Self {
            has_store,
            free_bytes: RealFiles.free_bytes(there).ok(),
            watermark_bytes: config.disk_free_bytes_min,
            retention_bytes: config.retention_bytes,
            store_bytes: match has_store {
                true => bytes_below(dir),
                false => 0,
            },
            wall_ms: since.map_or(0, |since| since.as_millis() as u64),
            last_group: has_store.then(|| last_group_times(dir)).flatten(),
            synchronised: synchronised(),
            // A server raises its own limit as far as it may.
            descriptors: getrlimit(Resource::Nofile).maximum,
            descriptors_wanted: limits.connections_max as u64 + DESCRIPTORS_BESIDE,
            memory_bytes: memory_bytes(),
        }
    }
}

fn bytes_below(dir: &Path) -> u64 {
    let folders = [dir.to_owned(), dir.join("journal")];
    let entries = folders.iter().filter_map(|dir| fs::read_dir(dir).ok());
    let files = entries
        .flatten()
        .filter_map(|entry| entry.ok()?.metadata().ok());
    files
        .filter(fs::Metadata::is_file)
        .map(|file| file.len())
        .sum()
}

/// What systemd says; nothing where that does not run.
fn synchronised() -> Option<bool> {
    let said = Command::new("timedatectl")
        .args(["show", "-p", "NTPSynchronized", "--value"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    match String::from_utf8_lossy(&said.stdout).trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// What is available, or what is left below the limit of the group of processes this one is in.
fn memory_bytes() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let line = info
        .lines()
        .find(|line| line.starts_with("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    let limit = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let limit: Option<u64> = limit.and_then(|text| text.trim().parse().ok());
    Some(limit.map_or(kib * 1024, |limit| limit.min(kib * 1024)))
}
