//! Bytes that reached a disk, by the kernel's count.

use std::path::{Path, PathBuf};

/// The counter of the block device that a folder is on.
#[derive(Debug)]
pub(super) struct Device(PathBuf);

impl Device {
    /// `None` when the folder is on no block device, as with tmpfs.
    pub(super) fn of(dir: &Path) -> Option<Self> {
        let device = rustix::fs::stat(dir).ok()?.st_dev;
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let stat = PathBuf::from(format!("/sys/dev/block/{major}:{minor}/stat"));
        stat.exists().then_some(Self(stat))
    }

    /// Bytes written to the device since it is there. Others write to it too.
    pub(super) fn written(&self) -> Option<u64> {
        const SECTOR_BYTES: u64 = 512;
        const SECTORS_WRITTEN: usize = 6;
        let stat = std::fs::read_to_string(&self.0).ok()?;
        let sectors: u64 = stat.split_whitespace().nth(SECTORS_WRITTEN)?.parse().ok()?;
        Some(sectors * SECTOR_BYTES)
    }
}
