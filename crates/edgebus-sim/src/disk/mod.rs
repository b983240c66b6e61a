//! A disk in memory that behaves as badly as a real one may.
//!
//! Reads see every change at once; what a power cut leaves is decided by chance from a seed:
//! - content survives once its file is synced; before that each write survives or not on its own,
//!   torn between 512-byte sectors or whole (`crash`)
//! - a name survives once its folder is synced; before that the first so many changes of names
//!   do, or some choice of them (`folder`); syncing a file does not make its name durable
//! - a folder's own name is no different: it is durable once the folder it is in is synced
//!
//! In reading order: `image` (bytes), `crash` (what survives), `inode` and `folder` (files
//! and names, durable and seen), `faults` (what is ordered to go wrong), `state` and `names`
//! (the calls), `handle` (the traits).
//!
//! Deliberately absent: reads that fail, permissions, links, times, and reordering across a
//! successful sync (a disk that lies about its cache).

mod image;

mod crash;

mod inode;

mod folder;

mod faults;

mod state;

mod names;

mod handle;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use faults::{Counts, Fault, Times};

use crate::rng::SimRng;
use state::{Power, State};

/// A simulated disk; clones are the same disk.
///
/// ```
/// use std::path::Path;
/// use edgebus::files::{File, Files, OpenMode};
/// use edgebus_sim::{SimDisk, SimRng};
///
/// # fn main() -> std::io::Result<()> {
/// let disk = SimDisk::new(1);
/// let path = Path::new("/data/log");
/// disk.create_dir(Path::new("/data"))?;
/// let file = disk.open(path, OpenMode::Create)?;
/// file.write_at(b"kept", 0)?;
/// file.sync()?;
/// disk.sync_dir(Path::new("/data"))?;
/// disk.sync_dir(Path::new("/"))?;
/// file.write_at(b"not ", 0)?;
///
/// disk.power_cut(&mut SimRng::seeded(1));
/// assert!(file.len().is_err());
/// let file = disk.open(path, OpenMode::Existing)?;
/// let mut bytes = [0; 4];
/// file.read_at(&mut bytes, 0)?;
/// assert!(&bytes == b"kept" || &bytes == b"not ");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    /// The only boot this handle opens and changes files in; any if `None`.
    boot: Option<u64>,
}

impl SimDisk {
    /// An empty disk with a root folder. The seed decides what a failed sync loses and where a
    /// short write ends; a power cut brings its own.
    pub fn new(seed: u64) -> Self {
        let state = Arc::new(Mutex::new(State::new(seed)));
        Self { state, boot: None }
    }

    /// The same disk for one life of a machine: as [`Files`](edgebus::files::Files) it is dead
    /// after the next power cut, so that a thread left over from before cannot touch the next.
    pub fn this_boot(&self) -> Self {
        let boot = Some(self.boot.unwrap_or(self.lock().boot));
        let state = Arc::clone(&self.state);
        Self { state, boot }
    }

    /// Lets the power go during the `ops`-th change from now (1 is the next one, 0 is now at
    /// once). That call and all later ones fail with "power is off" until
    /// [`SimDisk::power_cut`]; that call's own change may survive, whole or torn.
    pub fn cut_after_ops(&self, ops: u64) {
        let mut state = self.lock();
        if ops == 0 {
            state.power = Power::Off;
        } else {
            state.faults.cut_in(ops);
        }
    }

    /// Whether the power has gone and nothing works until [`SimDisk::power_cut`].
    pub fn power_is_off(&self) -> bool {
        self.lock().power == Power::Off
    }

    /// Cuts the power if it is still on, lets `rng` decide what survives, and turns it on again.
    ///
    /// All open handles are dead from then on, locks are gone, and nothing is left of the plan of
    /// faults. The capacity stays.
    pub fn power_cut(&self, rng: &mut SimRng) {
        self.lock().power_cut(rng);
    }

    /// Lets the `ops`-th change from now fail (1 is the next one), and all later ones if `Sticky`.
    ///
    /// Of a failed sync's writes some are durable and the others forgotten, though reads still
    /// show them until `drop_cache` and the next sync succeeds: as on Linux.
    pub fn fail_after_ops(&self, ops: u64, fault: Fault, times: Times) {
        self.lock().faults.fail_in(ops, fault, times);
    }

    /// Takes back what [`SimDisk::cut_after_ops`] and [`SimDisk::fail_after_ops`] ordered and has
    /// not happened.
    pub fn clear_faults(&self) {
        self.lock().faults = Default::default();
    }

    /// Limits the disk to so many bytes, the length of every file counted; what is there already
    /// stays, even if it is more.
    pub fn set_capacity(&self, bytes: u64) {
        self.lock().capacity_bytes = bytes;
    }

    /// How many bytes of it are used, as [`SimDisk::set_capacity`] counts them.
    pub fn used_bytes(&self) -> u64 {
        let state = self.lock();
        state.capacity_bytes.saturating_sub(state.free_bytes())
    }

    /// Turns over one bit of a file, counted from its start, on the disk and in memory.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` when the file is not that long, or not synced there.
    pub fn flip_bit(&self, path: &Path, offset_bits: u64) -> io::Result<()> {
        let mut state = self.lock();
        let id = state.file_of(path)?;
        state.inode(id).flip_bit(offset_bits)
    }

    /// Makes everything durable, names too, as if it had been there for long. To set a scene:
    /// it is not counted and no fault strikes it.
    pub fn sync_all(&self) {
        self.lock().sync_all();
    }

    /// What was done to the disk so far, over all boots.
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// A panic of one user must not hide what the disk looked like from the others.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk")
            .field("boot", &self.boot)
            .finish_non_exhaustive()
    }
}
