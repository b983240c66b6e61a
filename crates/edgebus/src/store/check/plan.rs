//! What of a damaged folder can be put right: single bits that turned over, and segments of the journal
//! that are not needed any more.
//!
//! Invariant: nothing is changed here, and nothing proposed without a proof ([`super::heal`]).

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use edgebus_core::Lsn;

use super::heal::{self, Turned};
use super::pages::{Met, Pages, Tree};
use super::repair::Patch;
use crate::files::{Files, OpenMode};
use crate::store::StoreError;
use crate::store::folder::{Kind, STORE, is_whole_version};
use crate::store::journal::{
    BLOCK_BYTES, FoundGroup, SegmentHeader, look_at_group, parse_group_at, segment_name,
    segment_number,
};

/// Looks for single bits that turned over.
pub(super) struct Planner<'a> {
    pub(super) dir: &'a Path,
    pub(super) files: &'a dyn Files,
    pub(super) found: Vec<Patch>,
}

impl Planner<'_> {
    /// All that can be found as long as nothing is put right.
    pub(super) fn round(&mut self, kind: &Kind) -> Result<(), StoreError> {
        self.version(kind)?;
        if kind.word == STORE.word {
            self.tables()?;
        }
        self.journal()
    }

    /// The bytes of a file; `None` when it is not there.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
        let io = |e| StoreError::io("read", path, e);
        let file = match self.files.open(path, OpenMode::Read) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(io)?,
        };
        let mut bytes = vec![0; file.len().map_err(io)? as usize];
        file.read_at(&mut bytes, 0).map_err(io)?;
        Ok(Some(bytes))
    }

    /// Notes that a bit of a file is to be turned back; `is` is the byte it is in.
    fn put(&mut self, path: &Path, byte: u64, is: u8, turned: Turned, what: impl Into<String>) {
        self.found.push(Patch {
            file: path.to_owned(),
            byte,
            is,
            was: is ^ (1 << turned.bit),
            what: what.into(),
        });
    }

    fn version(&mut self, kind: &Kind) -> Result<(), StoreError> {
        let path = self.dir.join("VERSION");
        let Some(mut bytes) = self.read(&path)? else {
            return Ok(());
        };
        if bytes.len() > 256 || is_whole_version(&bytes, kind) {
            return Ok(());
        }
        if let Some(turned) = heal::by_trying(&mut bytes, |bytes| is_whole_version(bytes, kind)) {
            let is = bytes[turned.at];
            self.put(
                &path,
                turned.at as u64,
                is,
                turned,
                "format and id of the store",
            );
        }
        Ok(())
    }

    fn tables(&mut self) -> Result<(), StoreError> {
        let path = self.dir.join("store.redb");
        let io = |e| StoreError::io("read", &path, e);
        let file = match self.files.open(&path, OpenMode::Read) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => other.map_err(io)?,
        };
        let pages = Pages::open(file.clone()).map_err(io)?;
        let byte_at = |at: u64| {
            let mut byte = [0];
            file.read_at(&mut byte, at).map(|()| byte[0]).map_err(io)
        };
        for (at, turned) in pages.heal_header().map_err(io)? {
            let is = byte_at(at)?;
            self.put(&path, at, is, turned, "the header of the tables");
        }
        let roots = [(pages.user, "the tree of tables"), (pages.system, "system")];
        for (root, name) in roots {
            let Some(root) = root else { continue };
            let mut trees = vec![(name.to_owned(), root)];
            let mut at = 0;
            while let Some((name, tree)) = trees.get(at).cloned() {
                let mut walk = pages.walk(&tree);
                // What a damaged page says of others is no proof against them: first it is put right.
                let mut is_sound = false;
                while let Some(met) = walk.next().map_err(io)? {
                    if let Met::Page(page) = &met {
                        is_sound = page.is_sound;
                    }
                    match met {
                        Met::Page(page) if !page.is_sound => {
                            if let Some((at, turned)) = pages.heal(&tree, &page).map_err(io)? {
                                let is = byte_at(at)?;
                                self.put(&path, at, is, turned, format!("a page of {name}"));
                            }
                        }
                        Met::Row(row) if at == 0 && is_sound => {
                            let name = String::from_utf8_lossy(&row.key).into_owned();
                            let table = Tree::of_table(&row.value).flatten();
                            trees.extend(table.map(|table| (name, table)));
                        }
                        Met::Page(_) | Met::Row(_) => {}
                    }
                }
                at += 1;
            }
        }
        Ok(())
    }

    fn journal(&mut self) -> Result<(), StoreError> {
        let dir = self.dir.join("journal");
        let names = match self.files.list(&dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => other.map_err(|e| StoreError::io("list", &dir, e))?,
        };
        for number in names.iter().filter_map(|name| segment_number(name)) {
            let path = dir.join(segment_name(number));
            if let Some(bytes) = self.read(&path)? {
                self.segment(&path, number, bytes);
            }
        }
        Ok(())
    }

    /// The segments that stand before the last run of whole ones, when there is damage among them and
    /// the tables hold all changes up to that run: opening would free them, could it read them.
    pub(super) fn superseded(&self, sealed: Lsn) -> Result<Vec<PathBuf>, StoreError> {
        let dir = self.dir.join("journal");
        let names = match self.files.list(&dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|e| StoreError::io("list", &dir, e))?,
        };
        let numbers = names.iter().filter_map(|name| segment_number(name));
        let mut numbers: Vec<u64> = numbers.collect();
        numbers.sort_unstable();
        // From the newest back: where the run begins, and its first change.
        let mut run: Option<(usize, Lsn)> = None;
        for (at, number) in numbers.iter().enumerate().rev() {
            let bytes = self
                .read(&dir.join(segment_name(*number)))?
                .unwrap_or_default();
            let Some(header) = SegmentHeader::parse(&bytes).filter(|h| h.number == *number) else {
                break;
            };
            let mut next = header.first_lsn;
            let mut offset = BLOCK_BYTES;
            while let Some(group) = bytes
                .get(offset..)
                .and_then(|b| parse_group_at(b, &header.salt))
                && group.first_lsn == next
            {
                next = group.last_lsn().next();
                offset += group.disk_bytes();
            }
            let follows = match run {
                None => next > sealed,
                Some((behind, first)) => numbers[behind] == number + 1 && next == first,
            };
            if !follows {
                break;
            }
            run = Some((at, header.first_lsn));
        }
        Ok(match run {
            Some((begins, first)) if first <= sealed.next() => {
                let before = numbers[..begins].iter();
                before
                    .map(|number| dir.join(segment_name(*number)))
                    .collect()
            }
            _ => Vec::new(),
        })
    }

    fn segment(&mut self, path: &Path, number: u64, mut bytes: Vec<u8>) {
        const HEADER: usize = 60;
        let is_right =
            |bytes: &[u8]| SegmentHeader::parse(bytes).filter(|header| header.number == number);
        let what = "the header of a segment";
        let Some(header) = is_right(&bytes) else {
            let Some(start) = bytes.get_mut(..HEADER) else {
                return;
            };
            if let Some(turned) = heal::by_trying(start, |start| is_right(start).is_some()) {
                self.put(path, turned.at as u64, bytes[turned.at], turned, what);
            }
            return;
        };
        if header.file_bytes == 0 && bytes[48..HEADER].iter().any(|byte| *byte != 0) {
            let has_length = |start: &[u8]| is_right(start).is_some_and(|h| h.file_bytes > 0);
            if let Some(turned) = heal::by_trying(&mut bytes[..HEADER], has_length) {
                self.put(path, turned.at as u64, bytes[turned.at], turned, what);
            }
        }
        let bytes = Bytes::from(bytes);
        let (mut next, mut offset) = (header.first_lsn, BLOCK_BYTES);
        while offset < bytes.len() {
            match look_at_group(&bytes[offset..], &header.salt, next) {
                FoundGroup::Group(group) if group.first_lsn == next => {
                    next = group.last_lsn().next();
                    offset += group.disk_bytes();
                }
                FoundGroup::Torn => {
                    let part = bytes.slice(offset..);
                    if let Some(turned) = heal::group(&part, &header.salt, next) {
                        let at = offset + turned.at;
                        self.put(
                            path,
                            at as u64,
                            bytes[at],
                            turned,
                            format!("the group with lsn {next}"),
                        );
                    }
                    // Damage behind it is found when this is put right, or where the next group is.
                    let places = (offset + BLOCK_BYTES..bytes.len()).step_by(BLOCK_BYTES);
                    let mut later = places.filter_map(|at| {
                        let group = parse_group_at(&bytes[at..], &header.salt)?;
                        (group.first_lsn > next).then_some((at, group.first_lsn))
                    });
                    match later.next() {
                        Some(found) => (offset, next) = found,
                        None => return,
                    }
                }
                FoundGroup::Group(_) | FoundGroup::Nothing => return,
            }
        }
    }
}
