//! What of a file's unsynced changes is on the disk when the power has gone, or a sync has failed.
//!
//! Each write survives or not on its own, so later ones may be there without earlier ones; one
//! that survives may be torn between 512-byte sectors. Length changes survive or not as well, and
//! what was never written then reads as 0. One thing never happens, as it does not on a real
//! machine: the page cache holds whole sectors, so a write that reached a sector carries all
//! earlier ones to that sector with it.
//!
//! A device that was in the middle of a write when the power went may lose the whole 4 KiB block it was
//! writing to, with what was synced there before. It does not lose the first block of a file: redb
//! writes its header in place and trusts that sectors are whole.
//!
//! Called by the inode. Pure but for the random choices.

use std::collections::BTreeMap;
use std::ops::Range;

use super::image::Image;
use crate::rng::SimRng;

/// What a disk writes whole or not at all.
pub(super) const SECTOR_BYTES: u64 = 512;
/// What a device reads and writes inside: what it may lose when it is stopped in between.
const BLOCK_BYTES: u64 = 4096;

/// An unsynced change of a file's content.
#[derive(Debug)]
pub(super) enum Change {
    /// Bytes at an offset.
    Write { offset: u64, bytes: Vec<u8> },
    /// At least this long.
    Extend(u64),
    /// Exactly this long.
    SetLen(u64),
}

impl Change {
    /// Does it in full.
    pub(super) fn apply(&self, image: &mut Image) {
        match self {
            Self::Write { offset, bytes } => image.write(bytes, *offset),
            Self::Extend(len) => image.extend(*len),
            Self::SetLen(len) => image.set_len(*len),
        }
    }
}

/// How likely a change is to survive, the same for all of one cut: so that cuts that lose all and
/// cuts that lose a single write both happen often.
#[derive(Clone, Copy, Debug)]
pub(super) struct Odds {
    survival: f64,
    tear: f64,
    /// That a file loses a block that was being written to.
    shred: f64,
}

impl Odds {
    pub(super) fn draw(rng: &mut SimRng) -> Self {
        let random = rng.fraction();
        let survival = *rng.pick(&[0.0, random, random, 1.0]);
        let random = rng.fraction();
        let tear = *rng.pick(&[0.0, random]);
        let shred = *rng.pick(&[0.0, 0.0, 0.5]);
        Self {
            survival,
            tear,
            shred,
        }
    }
}

/// What became of the changes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Losses {
    /// Writes of which some sectors survived and others did not.
    pub(super) torn: u64,
    /// Writes and length changes of which nothing survived.
    pub(super) dropped: u64,
    /// Blocks that hold anything now.
    pub(super) shredded: u64,
}

/// Puts onto `image` what survives of `changes`.
pub(super) fn settle(
    image: &mut Image,
    changes: &[Change],
    odds: Odds,
    rng: &mut SimRng,
) -> Losses {
    let fates: Vec<Fate> = changes
        .iter()
        .map(|change| Fate::draw(change, odds, rng))
        .collect();
    let newest = newest_writes(changes, &fates);
    let mut losses = Losses::default();
    for (index, (change, fate)) in changes.iter().zip(&fates).enumerate() {
        match change {
            Change::Write { offset, bytes } => {
                let mut kept = 0;
                for sector in sectors(*offset, bytes) {
                    if newest.get(&sector).is_some_and(|newest| index <= *newest) {
                        let (at, part) = part_in(sector, *offset, bytes);
                        image.write(part, at);
                        kept += 1;
                    }
                }
                if fate.keeps_length {
                    image.extend(offset + bytes.len() as u64);
                }
                match kept {
                    0 => losses.dropped += 1,
                    all if all == fate.sectors => {}
                    _ => losses.torn += 1,
                }
            }
            Change::Extend(_) | Change::SetLen(_) if fate.keeps_length => change.apply(image),
            Change::Extend(_) | Change::SetLen(_) => losses.dropped += 1,
        }
    }
    losses
}

/// The device was stopped while it did one of the changes: a block at one of its ends holds anything
/// now. Returns how many blocks that came to.
pub(super) fn shred(image: &mut Image, changes: &[Change], odds: Odds, rng: &mut SimRng) -> u64 {
    if changes.is_empty() || !rng.chance(odds.shred) {
        return 0;
    }
    let Change::Write { offset, bytes } = rng.pick(changes) else {
        return 0;
    };
    let last = offset + (bytes.len() as u64).saturating_sub(1);
    let block = *rng.pick(&[offset / BLOCK_BYTES, last / BLOCK_BYTES]);
    let begin = block * BLOCK_BYTES;
    if block == 0 || begin >= image.len() {
        return 0;
    }
    let end = image.len().min(begin + BLOCK_BYTES);
    let mut anything = vec![0; (end - begin) as usize];
    rng.fill(&mut anything);
    image.write(&anything, begin);
    1
}

/// What chance says of one change.
struct Fate {
    kept: Kept,
    /// How many sectors the write touches.
    sectors: u64,
    /// Whether the length the change gives the file survives, with or without the bytes.
    keeps_length: bool,
}

/// Which sectors of a write survive, counted from its first.
enum Kept {
    None,
    All,
    First(u64),
    Some(Vec<bool>),
}

impl Fate {
    fn draw(change: &Change, odds: Odds, rng: &mut SimRng) -> Self {
        let sectors = match change {
            Change::Write { offset, bytes } => {
                let range = sectors(*offset, bytes);
                range.end - range.start
            }
            Change::Extend(_) | Change::SetLen(_) => 0,
        };
        let kept = if !rng.chance(odds.survival) {
            Kept::None
        } else if sectors == 0 || !rng.chance(odds.tear) {
            Kept::All
        } else if rng.chance(0.5) {
            Kept::First(rng.below(sectors))
        } else {
            Kept::Some((0..sectors).map(|_| rng.chance(0.5)).collect())
        };
        Self {
            kept,
            sectors,
            keeps_length: rng.chance(odds.survival),
        }
    }

    fn keeps(&self, index: u64) -> bool {
        match &self.kept {
            Kept::None => false,
            Kept::All => true,
            Kept::First(count) => index < *count,
            Kept::Some(sectors) => sectors[index as usize],
        }
    }
}

/// For each sector that any write reached, the last one that did.
fn newest_writes(changes: &[Change], fates: &[Fate]) -> BTreeMap<u64, usize> {
    let mut newest = BTreeMap::new();
    for (index, (change, fate)) in changes.iter().zip(fates).enumerate() {
        if let Change::Write { offset, bytes } = change {
            for (number, sector) in (0..).zip(sectors(*offset, bytes)) {
                if fate.keeps(number) {
                    newest.insert(sector, index);
                }
            }
        }
    }
    newest
}

/// The sectors a write touches.
fn sectors(offset: u64, bytes: &[u8]) -> Range<u64> {
    let end = offset + bytes.len() as u64;
    offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES)
}

/// The part of a write that lies in one sector, and its offset in the file.
fn part_in(sector: u64, offset: u64, bytes: &[u8]) -> (u64, &[u8]) {
    let start = offset.max(sector * SECTOR_BYTES);
    let end = (offset + bytes.len() as u64).min((sector + 1) * SECTOR_BYTES);
    (
        start,
        &bytes[(start - offset) as usize..(end - offset) as usize],
    )
}
