//! The header of `store.redb`: where its trees begin, and whether it is what is ever written.
//!
//! Its first 64 bytes have no checksum; what they say is known beforehand. Each of the two commit
//! slots has one.

use std::io;

use twox_hash::XxHash3_128;

use super::heal::{self, Turned};
use super::pages::{PAGE_BYTES, Pages, REGION_PAGES, Tree, u32_at, u64_at};

const MAGIC: [u8; 9] = *b"redb\x1a\x0a\xa9\x0d\x0a";
const GOD_BYTE: usize = 9;
const PRIMARY: u8 = 1;
const UNCLEAN: u8 = 2;
const TWO_PHASE: u8 = 4;
const SLOTS: [usize; 2] = [64, 192];
const SLOT_BYTES: usize = 128;
const SLOT_CHECKSUM: usize = 112;
/// Bytes of the header that mean something.
pub(super) const HEADER_BYTES: usize = 320;

impl Pages {
    /// Takes up what the header says, and what is wrong with it.
    pub(super) fn read_header(&mut self, header: &[u8]) {
        let mut wrong = |at: u64, what| self.problems.push((at, what));
        if header[..9] != MAGIC {
            wrong(0, "it does not begin as a file of redb does");
        }
        // Whether the file was closed is the only flag that changes by itself.
        let is_usual = header[GOD_BYTE] & !(PRIMARY | UNCLEAN) == TWO_PHASE;
        if !is_usual || header[10..12] != [0, 0] {
            wrong(9, "the header's flags are not as they are ever written");
        }
        if u32_at(header, 12) != Some(PAGE_BYTES as u32) {
            wrong(12, "the header's page size is none that is used");
        }
        if (u32_at(header, 16), u32_at(header, 20)) != (Some(0), Some(REGION_PAGES)) {
            wrong(16, "the header's size of a region is none that is used");
        }
        let regions = u32_at(header, 24).zip(u32_at(header, 28));
        let laid_out = regions.map(|(full, rest)| {
            let pages = u64::from(full) * u64::from(REGION_PAGES) + u64::from(rest);
            (pages + 1) * PAGE_BYTES
        });
        let unclean = header[GOD_BYTE] & UNCLEAN != 0;
        if laid_out != Some(self.bytes) && !unclean {
            wrong(
                24,
                "the header's length of the file is not that of the file",
            );
        }
        if header[32..64].iter().any(|byte| *byte != 0) {
            wrong(32, "bytes of the header that are never set are set");
        }
        let slot = |index: usize| &header[SLOTS[index]..SLOTS[index] + SLOT_BYTES];
        let is_whole = |index: usize| {
            let slot = slot(index);
            XxHash3_128::oneshot(&slot[..SLOT_CHECKSUM]).to_le_bytes() == slot[SLOT_CHECKSUM..]
        };
        let primary = usize::from(header[GOD_BYTE] & PRIMARY != 0);
        for index in [0, 1] {
            if !is_whole(index) {
                let what = match index == primary {
                    true => "the latest commit does not match its checksum",
                    false => "the commit before the latest does not match its checksum",
                };
                wrong(SLOTS[index] as u64, what);
            }
        }
        let number = |index: usize| u64_at(slot(index), 104).unwrap_or(0);
        let other = 1 - primary;
        // As redb chooses: after a commit in two phases it never looks at the other one.
        let is_primary = header[GOD_BYTE] & TWO_PHASE != 0
            || is_whole(primary) && !(is_whole(other) && number(other) > number(primary));
        let chosen = if is_primary { primary } else { other };
        if is_whole(chosen) && is_whole(1 - chosen) && number(chosen) < number(1 - chosen) {
            wrong(
                GOD_BYTE as u64,
                "a later commit is there than the one the header names",
            );
        }
        let slot = slot(chosen);
        let tree = |flag: usize, at: usize| match slot[flag] {
            0 => None,
            _ => Tree::parse(&slot[at..at + 32], None, None),
        };
        (self.user, self.system) = (tree(1, 8), tree(2, 40));
    }

    /// The bits that put right what is wrong with the header, and where in the file they are.
    ///
    /// # Errors
    /// What the operating system says.
    pub(super) fn heal_header(&self) -> io::Result<Vec<(u64, Turned)>> {
        let mut header = vec![0; HEADER_BYTES];
        if self.bytes < HEADER_BYTES as u64 {
            return Ok(Vec::new());
        }
        self.file.read_at(&mut header, 0)?;
        let problems = |header: &[u8]| {
            let mut pages = Self {
                file: self.file.clone(),
                bytes: self.bytes,
                user: None,
                system: None,
                problems: Vec::new(),
            };
            pages.read_header(header);
            pages.problems
        };
        let found = problems(&header);
        let mut healed = Vec::new();
        for (at, _) in &found {
            // Only in the slot, or before both: turning a bit elsewhere would prove nothing.
            let slot = SLOTS.iter().find(|slot| **slot as u64 == *at);
            let range = slot.map_or(0..SLOTS[0], |slot| *slot..slot + SLOT_BYTES);
            let mut part = header[range.clone()].to_vec();
            let turned = heal::by_trying(&mut part, |part| {
                let mut all = header.clone();
                all[range.clone()].copy_from_slice(part);
                problems(&all).len() < found.len() && !problems(&all).iter().any(|(of, _)| of == at)
            });
            if let Some(turned) = turned {
                let at = range.start + turned.at;
                healed.push((at as u64, Turned { at, ..turned }));
            }
        }
        Ok(healed)
    }
}
