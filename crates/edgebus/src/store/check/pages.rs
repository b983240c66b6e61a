//! The pages of `store.redb`, read without redb: which are in use, whether they are what was written,
//! and the rows in them.
//!
//! redb does not look at its own checksums when it reads, and gives up on a damaged file as a whole.
//! This reads around the damage and names the place. The layout is that of redb's file format 3
//! (`docs/design.md` of redb 4.6): a header page with two commit slots, and copy-on-write B-trees
//! whose branches hold the XXH3 checksum of each child.
//!
//! Invariants: nothing here panics or loops on any bytes; memory is a page for each level of a tree,
//! and a bit for each page of the file.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use twox_hash::XxHash3_128;

use super::header::HEADER_BYTES;
use super::heal::{self, Turned};
use super::nodes::{branch, leaf, used};
use crate::files::File;

/// The smallest page, and what the others are multiples of.
pub(super) const PAGE_BYTES: u64 = 4096;
/// Largest region redb makes, in pages; the only one it makes unless told otherwise.
pub(super) const REGION_PAGES: u32 = 1 << 20;
const ORDER_MAX: u64 = 20;
/// Largest page of which each bit is tried, in bytes: some seconds.
const HEALED_MAX: u64 = 256 * 1024;

/// The file, and what its header says.
#[derive(Debug)]
pub(super) struct Pages {
    pub(super) file: Arc<dyn File>,
    pub(super) bytes: u64,
    /// The commit that redb would open.
    pub(super) user: Option<Tree>,
    pub(super) system: Option<Tree>,
    /// What is wrong with the header, and the byte.
    pub(super) problems: Vec<(u64, &'static str)>,
}

/// A tree: its root, and how long keys and values are when that is fixed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tree {
    root: u64,
    checksum: u128,
    /// How many rows it should have.
    pub(super) rows: u64,
    pub(super) key_bytes: Option<usize>,
    pub(super) value_bytes: Option<usize>,
}

/// One page, as found.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageInfo {
    /// Where in the file.
    pub(super) at: u64,
    /// Bytes of it that mean something.
    pub(super) used: u64,
    pub(super) is_sound: bool,
    /// All of its bytes; 0 when there is no such place.
    pub(super) bytes: u64,
    /// The checksum it should have, unless what says so is damaged too.
    checksum: Option<u128>,
}

/// A row, as found: its page may be damaged, so its own checksum has the last word.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) key: Bytes,
    pub(super) value: Bytes,
    /// Where the page is in the file.
    pub(super) at: u64,
}

impl PageInfo {
    pub(super) fn damaged(at: u64, bytes: u64, checksum: Option<u128>) -> Self {
        Self {
            at,
            used: bytes,
            is_sound: false,
            bytes,
            checksum,
        }
    }
}

/// What a walk meets.
#[derive(Clone, Debug)]
pub(super) enum Met {
    /// A page, before what is in it.
    Page(PageInfo),
    /// The rows in the order in which they are stored.
    Row(Row),
}

impl Tree {
    /// From the 32 bytes redb has for one.
    pub(super) fn parse(
        bytes: &[u8],
        key_bytes: Option<usize>,
        value_bytes: Option<usize>,
    ) -> Option<Self> {
        let checksum: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
        Some(Self {
            root: u64_at(bytes, 0)?,
            checksum: u128::from_le_bytes(checksum),
            rows: u64_at(bytes, 24)?,
            key_bytes,
            value_bytes,
        })
    }

    /// From a row of the tree of tables; `None`: it makes no sense. A table without rows has no tree.
    pub(super) fn of_table(value: &[u8]) -> Option<Option<Self>> {
        let width = |at: usize| match (value.get(at)?, u32_at(value, at + 1)?) {
            (0, _) => Some(None),
            (_, width) => Some(Some(width as usize)),
        };
        let (key_bytes, value_bytes) = (width(42)?, width(47)?);
        match value.get(9)? {
            0 => Some(None),
            _ => Self::parse(value.get(10..42)?, key_bytes, value_bytes).map(Some),
        }
    }
}

impl Pages {
    /// Reads the header. What is wrong with it is among the problems; without a commit slot that can
    /// be read there are no trees.
    ///
    /// # Errors
    /// What the operating system says.
    pub(super) fn open(file: Arc<dyn File>) -> io::Result<Self> {
        let bytes = file.len()?;
        let mut header = vec![0; HEADER_BYTES];
        let there = bytes.min(HEADER_BYTES as u64) as usize;
        file.read_at(&mut header[..there], 0)?;
        let mut pages = Self {
            file,
            bytes,
            user: None,
            system: None,
            problems: Vec::new(),
        };
        if there < HEADER_BYTES {
            pages.problems.push((bytes, "the file ends in its header"));
            return Ok(pages);
        }
        pages.read_header(&header);
        Ok(pages)
    }

    /// The rows of a tree, in order, with the pages they are on.
    pub(super) fn walk(&self, tree: &Tree) -> Walk<'_> {
        Walk {
            pages: self,
            tree: *tree,
            stack: vec![Frame::Branch {
                children: vec![(tree.root, Some(tree.checksum))],
                next: 0,
            }],
            seen: vec![0; (self.bytes / PAGE_BYTES / 64 + 1) as usize],
        }
    }

    /// The bit that makes a damaged page of a tree match its checksum, and where in the file it is.
    ///
    /// # Errors
    /// What the operating system says.
    pub(super) fn heal(&self, tree: &Tree, page: &PageInfo) -> io::Result<Option<(u64, Turned)>> {
        let Some(checksum) = page
            .checksum
            .filter(|_| (1..=HEALED_MAX).contains(&page.bytes))
        else {
            return Ok(None);
        };
        let mut bytes = vec![0; page.bytes as usize];
        self.file.read_at(&mut bytes, page.at)?;
        let turned = heal::by_trying(&mut bytes, |bytes| {
            let used = used(bytes, tree).and_then(|used| bytes.get(..used));
            used.is_some_and(|used| XxHash3_128::oneshot(used) == checksum)
        });
        Ok(turned.map(|turned| (page.at + turned.at as u64, turned)))
    }

    /// Place and length of a page; `None` when it would not be in the file.
    fn place(&self, number: u64) -> Option<(u64, u64)> {
        let order = number >> 59;
        if order > ORDER_MAX {
            return None;
        }
        let (index, region) = (
            number & (0x000f_ffff >> order),
            (number >> 20) & 0x000f_ffff,
        );
        let page = region * u64::from(REGION_PAGES) + (index << order) + 1;
        let (at, bytes) = (page * PAGE_BYTES, PAGE_BYTES << order);
        (at + bytes <= self.bytes).then_some((at, bytes))
    }
}

/// See [`Pages::walk`].
#[derive(Debug)]
pub(super) struct Walk<'p> {
    pages: &'p Pages,
    tree: Tree,
    stack: Vec<Frame>,
    /// A bit a page: a damaged branch may name one twice, or itself.
    seen: Vec<u64>,
}

#[derive(Debug)]
pub(super) enum Frame {
    Branch {
        /// With their checksums, unless the branch is damaged.
        children: Vec<(u64, Option<u128>)>,
        next: usize,
    },
    Leaf {
        page: Bytes,
        /// Where each key and value is.
        rows: Vec<(Range<usize>, Range<usize>)>,
        next: usize,
        info: PageInfo,
    },
}

impl Walk<'_> {
    /// What comes next; `None` at the end.
    ///
    /// # Errors
    /// What the operating system says.
    pub(super) fn next(&mut self) -> io::Result<Option<Met>> {
        loop {
            let Some(frame) = self.stack.last_mut() else {
                return Ok(None);
            };
            let child = match frame {
                Frame::Branch { children, next } => {
                    children.get(*next).copied().inspect(|_| *next += 1)
                }
                Frame::Leaf {
                    page,
                    rows,
                    next,
                    info,
                } => match rows.get(*next) {
                    Some((key, value)) => {
                        *next += 1;
                        return Ok(Some(Met::Row(Row {
                            key: page.slice(key.clone()),
                            value: page.slice(value.clone()),
                            at: info.at,
                        })));
                    }
                    None => None,
                },
            };
            let Some((number, checksum)) = child else {
                self.stack.pop();
                continue;
            };
            let (info, frame) = self.enter(number, checksum)?;
            self.stack.extend(frame);
            return Ok(Some(Met::Page(info)));
        }
    }

    fn enter(
        &mut self,
        number: u64,
        checksum: Option<u128>,
    ) -> io::Result<(PageInfo, Option<Frame>)> {
        let Some((at, bytes)) = self.pages.place(number) else {
            let nowhere = PageInfo::damaged(self.pages.bytes, 0, checksum);
            return Ok((nowhere, None));
        };
        let (word, bit) = ((at / PAGE_BYTES / 64) as usize, at / PAGE_BYTES % 64);
        let is_second = self.seen[word] & (1 << bit) != 0;
        self.seen[word] |= 1 << bit;
        if is_second {
            return Ok((PageInfo::damaged(at, 0, None), None));
        }
        let mut page = vec![0; bytes as usize];
        self.pages.file.read_at(&mut page, at)?;
        let page = Bytes::from(page);
        let parsed = match page[0] {
            1 => leaf(&page, &self.tree),
            2 => branch(&page, &self.tree),
            _ => None,
        };
        let Some((used, mut parsed)) = parsed else {
            return Ok((PageInfo::damaged(at, bytes, checksum), None));
        };
        // A damaged parent may have the wrong checksum: then rows speak for themselves.
        let in_use = page.get(..used);
        let is_sound = in_use.is_some_and(|in_use| {
            checksum.is_none_or(|checksum| XxHash3_128::oneshot(in_use) == checksum)
        });
        let info_found = PageInfo {
            at,
            used: used.min(page.len()) as u64,
            is_sound,
            bytes,
            checksum,
        };
        match &mut parsed {
            Frame::Branch { children, .. } if !is_sound => {
                children.iter_mut().for_each(|child| child.1 = None);
            }
            Frame::Branch { .. } => {}
            Frame::Leaf { info, .. } => *info = info_found,
        }
        Ok((info_found, Some(parsed)))
    }
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + 8)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}
