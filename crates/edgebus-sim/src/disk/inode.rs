//! One file without its name: what survives a power cut, what reads see, and the changes between.
//!
//! Used by the disk's state. Invariant: what reads see is what survives plus the pending changes
//! in order, except after a failed sync: then memory shows bytes that are on no disk, as Linux
//! does, until [`Inode::drop_cache`].

use std::io;

use super::crash::{Change, Losses, Odds, settle, shred};
use super::image::Image;
use crate::rng::SimRng;

/// One opening of a file; never reused, not after a power cut either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HandleId(pub(super) u64);

/// A file.
#[derive(Default)]
pub(super) struct Inode {
    durable: Image,
    cached: Image,
    pending: Vec<Change>,
    /// Whether a failed sync left bytes in memory that are neither durable nor pending.
    lies: bool,
    /// Who has the lock.
    pub(super) lock: Option<HandleId>,
    /// How many handles of this boot are open.
    pub(super) handles: u32,
    /// Whether it has a name now.
    pub(super) linked: bool,
}

impl Inode {
    /// An empty file that gets a name.
    pub(super) fn linked() -> Self {
        Self {
            linked: true,
            ..Self::default()
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.cached.len()
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.cached.read(buffer, offset)
    }

    /// Makes a change that reads see at once and a power cut may undo.
    pub(super) fn change(&mut self, change: Change) {
        change.apply(&mut self.cached);
        self.pending.push(change);
    }

    /// Makes all changes durable.
    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// Some writes reach the disk, the others are forgotten though memory still shows them, so
    /// that a second sync succeeds and lies. The length lives in the inode, which is not dropped:
    /// it stays pending.
    pub(super) fn fail_sync(&mut self, odds: Odds, rng: &mut SimRng) -> Losses {
        let losses = settle(&mut self.durable, &self.pending, odds, rng);
        self.lies |= !self.pending.is_empty();
        self.pending.clear();
        if self.durable.len() != self.cached.len() {
            self.pending.push(Change::SetLen(self.cached.len()));
        }
        losses
    }

    /// Reads come from the disk again, and from the changes that still are to be written.
    pub(super) fn drop_cache(&mut self) {
        if self.lies {
            self.cached = self.durable.clone();
            for change in &self.pending {
                change.apply(&mut self.cached);
            }
            self.lies = false;
        }
    }

    /// What is left when the power comes back; nobody has it open any more.
    pub(super) fn power_cut(&mut self, odds: Odds, rng: &mut SimRng) -> Losses {
        let mut losses = settle(&mut self.durable, &self.pending, odds, rng);
        losses.shredded = shred(&mut self.durable, &self.pending, odds, rng);
        self.pending.clear();
        self.cached = self.durable.clone();
        self.lies = false;
        self.lock = None;
        self.handles = 0;
        losses
    }

    /// Turns one bit over, on the disk and in memory.
    pub(super) fn flip_bit(&mut self, offset_bits: u64) -> io::Result<()> {
        if offset_bits / 8 >= self.durable.len().min(self.cached.len()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("bit {offset_bits} lies behind what is on the disk; sync first"),
            ));
        }
        self.durable.flip_bit(offset_bits);
        self.cached.flip_bit(offset_bits);
        Ok(())
    }
}
