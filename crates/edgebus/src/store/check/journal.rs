//! The journal: every segment, every group, every operation, and whether they fit together and to the
//! tables.
//!
//! Judges as opening does ([`crate::store::journal`]), but goes on behind each damage: at the next whole
//! group, or the next segment. Memory is that of a segment.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use edgebus_core::{Lsn, Seq};

use super::rows::letter_problem;
use super::{Check, Known, Lost, Place};
use crate::store::StoreError;
use crate::store::journal::{
    BLOCK_BYTES, FoundGroup, GROUP_HEADER_BYTES, GroupHeader, SegmentHeader, look_at_group,
    parse_group_at, segment_name, segment_number,
};
use crate::store::op::Op;

/// What a journal belongs to.
#[derive(Clone, Debug)]
pub(crate) enum Owner {
    /// A store; `None` when its tables do not say how far they go.
    Store(Option<Known>),
    /// A spool: there is nothing behind it.
    Spool,
}

/// How far the journal was read.
struct Journal {
    owner: Owner,
    dir: PathBuf,
    /// The next change; `None` before the first segment.
    next: Option<Lsn>,
    /// The next request; `None` before the first one, when nothing says.
    next_seq: Option<u64>,
    /// Up to here everything is in the tables.
    sealed: Lsn,
    /// Ids found in groups that are damaged, since the last whole one.
    lost_ids: Vec<String>,
}

/// A segment as read.
struct Segment {
    path: PathBuf,
    bytes: Bytes,
    header: SegmentHeader,
}

impl Check<'_> {
    /// Looks at the journal.
    pub(crate) fn journal(&mut self, owner: Owner) -> Result<(), StoreError> {
        let dir = self.dir.join("journal");
        let names = match self.files.list(&dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let what = "the folder is missing: what is not in the tables is lost with it";
                self.damage(Place::file("segment", &dir), what, Lost::default());
                return Ok(());
            }
            other => other.map_err(|e| StoreError::io("list", &dir, e))?,
        };
        let numbers = names.iter().filter_map(|name| segment_number(name));
        let mut numbers: Vec<u64> = numbers.collect();
        numbers.sort_unstable();
        for number in &numbers {
            let path = dir.join(segment_name(*number));
            let bytes = self.files.open(&path, crate::files::OpenMode::Read);
            self.all_bytes += bytes.and_then(|file| file.len()).unwrap_or(0);
        }
        let (sealed, next_seq) = match &owner {
            Owner::Store(Some(known)) => (known.sealed, None),
            _ => (Lsn(0), None),
        };
        let mut journal = Journal {
            owner,
            dir: dir.clone(),
            next: None,
            next_seq,
            sealed,
            lost_ids: Vec::new(),
        };
        let mut segments = Vec::new();
        let mut last = None;
        for number in numbers {
            if let Some(last) = last
                && last + 1 != number
            {
                for missing in (last + 1..number).take(64) {
                    let path = dir.join(segment_name(missing));
                    let what = "the segment is missing, and newer ones are there";
                    self.damage(Place::file("segment", &path), what, Lost::default());
                }
            }
            last = Some(number);
            // One ahead, as where the next one begins says where this one ends.
            segments.extend(self.segment(&dir, number)?);
            if segments.len() == 2 {
                let segment = segments.remove(0);
                let following = segments.first().map(|next: &Segment| next.header.first_lsn);
                journal.segment(self, &segment, following);
            }
        }
        if let Some(segment) = segments.first() {
            journal.segment(self, segment, None);
        }
        journal.finish(self);
        for name in names.iter().filter(|name| name.starts_with("torn-")) {
            let what = "bytes of a group that could not be read when the store was opened; they are kept for people";
            self.note(Place::file("torn_tail", &dir.join(name)), what);
        }
        Ok(())
    }

    /// Reads a segment; `None` when its header is damaged, which was said then.
    fn segment(&mut self, dir: &Path, number: u64) -> Result<Option<Segment>, StoreError> {
        let path = dir.join(segment_name(number));
        let io = |e| StoreError::io("read", &path, e);
        let file = self.open(&path).map_err(io)?;
        let mut bytes = vec![0; file.len().map_err(io)? as usize];
        file.read_at(&mut bytes, 0).map_err(io)?;
        self.summary.segments += 1;
        self.looked_at(bytes.len() as u64);
        self.watch.in_use(&path, 0, 60, "journal: header");
        let place = Place::file("segment", &path).at(0);
        match SegmentHeader::parse(&bytes) {
            Some(header) if header.number == number => {
                // The first versions wrote no length.
                let has_length = bytes[48..60].iter().any(|byte| *byte != 0);
                if header.file_bytes == 0 && has_length {
                    let what = "the length in the header does not match its checksum: whether the file was shortened cannot be told";
                    self.damage(place.at(48), what, Lost::default());
                } else if header.file_bytes > bytes.len() as u64 {
                    let short_by = header.file_bytes - bytes.len() as u64;
                    let what = format!("the file is {short_by} bytes too short");
                    self.damage(place.at(bytes.len() as u64), what, Lost::default());
                }
                Ok(Some(Segment {
                    path,
                    bytes: bytes.into(),
                    header,
                }))
            }
            Some(header) => {
                let what = format!("the segment's header says it is number {}", header.number);
                self.damage(place, what, Lost::default());
                Ok(None)
            }
            None => {
                let what = SegmentHeader::why_not(&bytes);
                self.damage(place, what, Lost::default());
                Ok(None)
            }
        }
    }
}

impl Journal {
    /// Reads one segment. `following` is where the next one begins, if there is one.
    fn segment(&mut self, check: &mut Check<'_>, segment: &Segment, following: Option<Lsn>) {
        let Segment {
            path,
            bytes,
            header,
        } = segment;
        match self.next {
            None => {
                let from_tables = matches!(self.owner, Owner::Store(Some(_)));
                if from_tables && header.first_lsn > self.sealed.next() {
                    let older = self.dir.join(segment_name(header.number.saturating_sub(1)));
                    let what = "the segment is missing, and newer ones are there";
                    let lost = lost_lsns(self.sealed.next(), header.first_lsn);
                    self.lost(check, Place::file("segment", &older), what, lost);
                }
            }
            Some(next) if next < header.first_lsn => {
                let lost = lost_lsns(next, header.first_lsn);
                let what = "the segment begins later than the one before it ends";
                self.lost(check, Place::file("gap", path).at(40), what, lost);
            }
            Some(next) if next > header.first_lsn => {
                let what = "the segment begins before the one before it ends";
                check.damage(Place::file("segment", path).at(40), what, Lost::default());
            }
            Some(_) => {}
        }
        let mut next = header.first_lsn;
        let mut offset = BLOCK_BYTES;
        loop {
            let rest = bytes.get(offset..).unwrap_or_default();
            let found = look_at_group(rest, &header.salt, next);
            if let FoundGroup::Group(group) = found
                && group.first_lsn == next
            {
                self.group(check, segment, offset, &group);
                next = group.last_lsn().next();
                offset += group.disk_bytes();
                continue;
            }
            // Where the next segment begins with the very change, this is the end of this one.
            if following == Some(next) {
                break;
            }
            let Some((at, group)) = later_group(bytes, offset, header, next) else {
                self.end(check, segment, offset, next, following, found);
                break;
            };
            self.damaged(check, segment, offset..at, (next, group.first_lsn));
            (next, offset) = (group.first_lsn, at);
        }
        self.next = Some(next);
    }

    /// What stands behind the last whole group of a segment.
    fn end(
        &mut self,
        check: &mut Check<'_>,
        segment: &Segment,
        offset: usize,
        next: Lsn,
        following: Option<Lsn>,
        found: FoundGroup,
    ) {
        let rest = segment.bytes.len();
        match following {
            Some(following) if following > next => {
                self.damaged(check, segment, offset..rest, (next, following));
            }
            // Less: that segment says it.
            Some(_) => {}
            None if found == FoundGroup::Nothing => {}
            None => {
                let at = offset as u64;
                let block = BLOCK_BYTES as u64;
                check
                    .watch
                    .in_use(&segment.path, at, block, "journal: torn");
                let what = format!(
                    "a group with lsn {next} is cut: after a power failure nothing in it was acknowledged; opening copies its bytes aside"
                );
                check.note(Place::file("torn_tail", &segment.path).at(at), what);
            }
        }
    }

    /// A group that was synced and cannot be read, or several.
    fn damaged(
        &mut self,
        check: &mut Check<'_>,
        segment: &Segment,
        range: std::ops::Range<usize>,
        lsns: (Lsn, Lsn),
    ) {
        let (at, len) = (range.start as u64, range.len() as u64);
        check.watch.in_use(&segment.path, at, len, "journal: group");
        let ids = ids_in(segment.bytes.slice(range));
        let mut lost = lost_lsns(lsns.0, lsns.1);
        if lsns.0 > self.sealed {
            lost.ids.clone_from(&ids);
            self.lost_ids.extend(ids);
        }
        let what = "a group that was synced cannot be read";
        self.lost(
            check,
            Place::file("group", &segment.path).at(at),
            what,
            lost,
        );
    }

    /// Says what is lost, unless the tables have it.
    fn lost(&self, check: &mut Check<'_>, place: Place, what: &str, mut lost: Lost) {
        if let Some((first, last)) = lost.lsns {
            let first = first.max(self.sealed.next().0);
            lost.lsns = (first <= last).then_some((first, last));
        }
        match lost.lsns {
            Some(_) => check.damage(place, what, lost),
            None => check.damage(place, format!("{what}; the tables have what it held"), lost),
        }
    }

    /// Looks at the operations of a whole group.
    fn group(
        &mut self,
        check: &mut Check<'_>,
        segment: &Segment,
        offset: usize,
        group: &GroupHeader,
    ) {
        let at = offset as u64;
        let len = group.disk_bytes() as u64;
        check.watch.in_use(&segment.path, at, len, "journal: group");
        check.summary.groups += 1;
        let place = || Place::file("group", &segment.path).at(at);
        let start = offset + GROUP_HEADER_BYTES;
        let mut rest = segment.bytes.slice(start..start + group.ops_bytes as usize);
        let mut count = 0;
        while !rest.is_empty() {
            let op = match Op::split_from(&mut rest) {
                Ok(op) => op,
                Err(refusal) => {
                    check.damage(
                        place(),
                        refusal.message,
                        lost_lsns(group.first_lsn, group.last_lsn().next()),
                    );
                    return;
                }
            };
            count += 1;
            if let Some(what) = self.operation(check, segment, at, group, &op) {
                check.damage(place(), what, Lost::default());
            }
        }
        check.summary.operations += u64::from(count);
        if count != group.op_count {
            let what = format!("the group holds {count} operations of {}", group.op_count);
            check.damage(place(), what, Lost::default());
        }
    }

    /// What is wrong with an operation of a whole group.
    fn operation(
        &mut self,
        check: &mut Check<'_>,
        segment: &Segment,
        at: u64,
        group: &GroupHeader,
        op: &Op,
    ) -> Option<String> {
        let is_spool = matches!(self.owner, Owner::Spool);
        match op {
            Op::Append(entry) => {
                let seq = entry.seq().0;
                let behind_tables = match &self.owner {
                    Owner::Store(Some(known)) if group.last_lsn() > known.sealed => {
                        Some(known.last_seq.next().0)
                    }
                    _ => None,
                };
                let expected = self.next_seq.or(behind_tables);
                self.next_seq = Some(seq + 1);
                if let Some(expected) = expected.filter(|expected| *expected < seq) {
                    let place = Place::file("gap", &segment.path).at(at);
                    let lost = Lost {
                        seqs: Some((Seq(expected), Seq(seq - 1))),
                        ids: std::mem::take(&mut self.lost_ids),
                        ..Lost::default()
                    };
                    check.damage(place, "requests before this group are missing", lost);
                } else if expected.is_some_and(|expected| expected > seq) {
                    return Some(format!("seq {seq} is there for the second time"));
                }
                (!entry.record().is_intact())
                    .then(|| format!("the record of seq {seq} does not match its checksum"))
            }
            Op::DeadLetter { number, letter } => letter_problem(letter)
                .filter(|_| !is_spool)
                .map(|what| format!("dead letter {number}: {what}")),
            Op::Mark(_) if !is_spool => Some("an operation that belongs to no store".to_owned()),
            Op::Consumer { .. } | Op::Trim { .. } if is_spool => {
                Some("an operation that belongs to no spool".to_owned())
            }
            _ => None,
        }
    }

    fn finish(self, check: &mut Check<'_>) {
        let last = self.next.map_or(Lsn(0), |next| Lsn(next.0 - 1));
        if last < self.sealed {
            let what = format!(
                "the journal ends at lsn {last}, and the tables hold changes up to {}",
                self.sealed
            );
            check.damage(Place::file("gap", &self.dir), what, Lost::default());
        }
    }
}

/// The next whole group behind a place that says it was written later, and that what is missing was
/// synced then.
fn later_group(
    bytes: &[u8],
    offset: usize,
    header: &SegmentHeader,
    missing: Lsn,
) -> Option<(usize, GroupHeader)> {
    let places = (offset..bytes.len()).step_by(BLOCK_BYTES);
    let mut groups =
        places.filter_map(|at| Some((at, parse_group_at(&bytes[at..], &header.salt)?)));
    groups.find(|(_, group)| group.first_lsn > missing && group.synced_lsn >= missing)
}

/// The ids of whole requests in what is left of a group.
fn ids_in(bytes: Bytes) -> Vec<String> {
    let mut ids = Vec::new();
    if bytes.len() < GROUP_HEADER_BYTES {
        return ids;
    }
    let mut rest = bytes.slice(GROUP_HEADER_BYTES..);
    while ids.len() < Lost::IDS_MAX {
        match Op::split_from(&mut rest) {
            Ok(Op::Append(entry)) if entry.record().is_intact() => {
                ids.push(entry.record().id().to_string());
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    ids
}

/// The changes from one up to the one before another.
fn lost_lsns(first: Lsn, next: Lsn) -> Lost {
    let last = next.0.saturating_sub(1);
    Lost {
        lsns: (first.0 <= last).then_some((first.0, last)),
        ..Lost::default()
    }
}
