//! Reading the journal back when a store is opened.
//!
//! Every file is synced and dropped from memory first, so that what is read is what is on disk,
//! and what was read is still there after the next power cut.
//!
//! A group that cannot be read is one of two things. A **torn tail** is the group that was being
//! written when the power went: nobody was told it is stored. **Corruption** is a group that had
//! been synced. What was synced is known from what was written later: a later segment starts
//! behind it, or a later group says so in its `synced_lsn`. A torn tail is copied aside and
//! reported; corruption refuses to open and names the place. Nothing is deleted in either case.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use edgebus_core::{Lsn, Refusal};

use super::group::{BLOCK_BYTES, Found, GroupHeader, HEADER_BYTES, look_at, parse};
use super::segment::{self, SegmentHeader};
use super::segments::{Segments, Used};
use crate::files::{Files, OpenMode};
use crate::store::StoreError;

/// A group that cannot be read, at the end of the journal. After a power cut, no request in it was
/// acknowledged; damage to the very last group looks the same, hence the copy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TornTail {
    /// The segment it is in.
    pub segment: PathBuf,
    /// Where in the segment it starts, in bytes.
    pub offset: u64,
    /// How many bytes the segment is too short. Not 0: somebody shortened the file, which no crash
    /// does, and what was acknowledged may be lost.
    pub short_by: u64,
    /// Where its bytes were copied to.
    pub copy: PathBuf,
}

/// What the journal holds.
#[derive(Debug)]
pub(in crate::store) struct Recovered {
    pub(in crate::store) segments: Segments,
    /// The number for the next segment.
    pub(in crate::store) next_number: u64,
    /// Store time and wall clock of the last group; 0 when there is none.
    pub(in crate::store) last_times_ms: (u64, u64),
    pub(in crate::store) torn: Option<TornTail>,
}

/// Reads all groups, oldest first, and gives those behind `sealed` to `apply`.
///
/// # Errors
/// [`StoreError::Corrupt`] naming the place, or what the operating system says.
pub(in crate::store) fn recover(
    files: &dyn Files,
    dir: &Path,
    segment_bytes: u64,
    sealed: Lsn,
    mut apply: impl FnMut(&GroupHeader, Bytes) -> Result<(), Refusal>,
) -> Result<Recovered, StoreError> {
    files
        .sync_dir(dir)
        .map_err(|e| StoreError::io("sync", dir, e))?;
    let names = files.list(dir).map_err(|error| match error.kind() {
        ErrorKind::NotFound => StoreError::corrupt(dir, "the folder is missing"),
        _ => StoreError::io("list", dir, error),
    })?;
    let mut numbers: Vec<u64> = names
        .iter()
        .filter_map(|name| segment::parse_name(name))
        .collect();
    numbers.sort_unstable();
    let is_missing = |pair: &&[u64]| pair[0] + 1 != pair[1];
    if let Some(pair) = numbers.windows(2).find(is_missing) {
        return Err(missing(dir, pair[0] + 1));
    }

    let mut scan = Scan {
        sealed,
        next_lsn: None,
        last_times_ms: (0, 0),
        used: Vec::new(),
        torn: None,
    };
    let mut following = numbers.iter().skip(1);
    let mut header = match numbers.first() {
        Some(number) => Some(read_segment(files, dir, *number)?),
        None => None,
    };
    if let Some(oldest) = &header
        && oldest.header.first_lsn > sealed.next()
    {
        return Err(missing(dir, oldest.header.number.saturating_sub(1)));
    }
    while let Some(segment) = header.take() {
        header = match following.next() {
            Some(number) => Some(read_segment(files, dir, *number)?),
            None => None,
        };
        scan.segment(
            &segment,
            header.as_ref().map(|next| next.header.first_lsn),
            &mut apply,
        )?;
    }
    let last_lsn = Lsn(scan.next_lsn.map_or(0, |next| next.0 - 1));
    if last_lsn < sealed {
        let detail =
            format!("the journal ends at lsn {last_lsn}, the tables hold changes up to {sealed}");
        return Err(match scan.torn {
            Some(torn) => StoreError::corrupt(
                &torn.segment,
                format!("byte {}: the group cannot be read: {detail}", torn.offset),
            ),
            None => StoreError::corrupt(dir, detail),
        });
    }
    // Up to here nothing was changed.
    let torn = match scan.torn.take() {
        Some(torn) => Some(keep_aside(files, dir, &names, torn)?),
        None => None,
    };
    Ok(Recovered {
        segments: Segments::open(files, dir, segment_bytes, scan.used, &names)?,
        next_number: numbers.last().map_or(1, |last| last + 1),
        last_times_ms: scan.last_times_ms,
        torn,
    })
}

fn missing(dir: &Path, number: u64) -> StoreError {
    let path = dir.join(segment::file_name(number));
    StoreError::corrupt(&path, "the segment is missing, and newer ones are there")
}

struct Segment {
    path: PathBuf,
    header: SegmentHeader,
    bytes: Bytes,
}

struct Torn {
    short_by: u64,
    segment: PathBuf,
    offset: usize,
    bytes: Bytes,
}

fn read_segment(files: &dyn Files, dir: &Path, number: u64) -> Result<Segment, StoreError> {
    let path = dir.join(segment::file_name(number));
    let io = |action| {
        let path = path.clone();
        move |error| StoreError::io(action, &path, error)
    };
    let file = files.open(&path, OpenMode::Existing).map_err(io("open"))?;
    file.sync().map_err(io("sync"))?;
    file.drop_cache().map_err(io("drop from memory"))?;
    let len = file.len().map_err(io("measure"))?;
    let mut bytes = vec![0; len as usize];
    file.read_at(&mut bytes, 0).map_err(io("read"))?;
    let header = SegmentHeader::parse(&bytes)
        .ok_or_else(|| StoreError::corrupt(&path, "the segment's header (byte 0) is damaged"))?;
    if header.number != number {
        let detail = format!("the segment's header says it is number {}", header.number);
        return Err(StoreError::corrupt(&path, detail));
    }
    Ok(Segment {
        path,
        header,
        bytes: bytes.into(),
    })
}

/// How far the reading has come.
struct Scan {
    sealed: Lsn,
    next_lsn: Option<Lsn>,
    last_times_ms: (u64, u64),
    used: Vec<Used>,
    torn: Option<Torn>,
}

impl Scan {
    /// Reads one segment. `next_first` is where the following one starts, if there is one.
    fn segment(
        &mut self,
        segment: &Segment,
        next_first: Option<Lsn>,
        apply: &mut impl FnMut(&GroupHeader, Bytes) -> Result<(), Refusal>,
    ) -> Result<(), StoreError> {
        let Segment {
            path,
            header,
            bytes,
        } = segment;
        let mut next = header.first_lsn;
        let mut offset = BLOCK_BYTES;
        let end = loop {
            match look_at(&bytes[offset.min(bytes.len())..], &header.salt, next) {
                Found::Group(group) if group.first_lsn == next => {
                    next = group.last_lsn().next();
                    if group.last_lsn() > self.sealed {
                        let start = offset + HEADER_BYTES;
                        let ops = bytes.slice(start..start + group.ops_bytes as usize);
                        apply(&group, ops).map_err(|refusal| {
                            StoreError::corrupt(path, format!("byte {offset}: {}", refusal.message))
                        })?;
                    }
                    self.last_times_ms = (group.store_time_ms, group.wall_ms);
                    offset += group.disk_bytes();
                }
                found => break found,
            }
        };
        // No crash makes a file shorter, as segments are made at full length.
        let short_by = header.file_bytes.saturating_sub(bytes.len() as u64);
        let unreadable = |what: &str| {
            StoreError::corrupt(
                path,
                format!("byte {offset}: the group with lsn {next} {what}"),
            )
        };
        match next_first {
            Some(next_first) if next_first == next => {}
            Some(_) => return Err(unreadable("was synced and cannot be read")),
            None if later_group_knows(bytes, offset, header, next) => {
                return Err(unreadable(
                    "was synced, as a later group says, and cannot be read",
                ));
            }
            None if end == Found::Nothing && short_by > 0 => {
                let detail = format!(
                    "the segment ends {short_by} bytes early, behind lsn {}: it was made at full length",
                    next.0 - 1
                );
                return Err(StoreError::corrupt(path, detail));
            }
            None if end != Found::Nothing => {
                self.torn = Some(Torn {
                    short_by,
                    segment: path.clone(),
                    offset,
                    bytes: trim_zeros(bytes.slice(offset..)),
                });
            }
            None => {}
        }
        self.next_lsn = Some(next);
        self.used.push(Used {
            number: header.number,
            last_lsn: Lsn(next.0 - 1),
        });
        Ok(())
    }
}

/// Whether a whole group at or behind the unreadable one says that it was durable.
fn later_group_knows(bytes: &[u8], offset: usize, header: &SegmentHeader, lost: Lsn) -> bool {
    (offset..bytes.len())
        .step_by(BLOCK_BYTES)
        .filter_map(|at| parse(&bytes[at..], &header.salt))
        .any(|group| group.synced_lsn >= lost)
}

fn trim_zeros(bytes: Bytes) -> Bytes {
    let len = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    bytes.slice(..len)
}

/// Copies a torn group to a file of its own, durably, before anything else happens.
fn keep_aside(
    files: &dyn Files,
    dir: &Path,
    names: &[String],
    torn: Torn,
) -> Result<TornTail, StoreError> {
    let number = names
        .iter()
        .filter_map(|name| name.strip_prefix("torn-")?.parse::<u64>().ok())
        .max()
        .map_or(1, |last| last + 1);
    let copy = dir.join(format!("torn-{number}"));
    let io = |action| {
        let copy = copy.clone();
        move |error| StoreError::io(action, &copy, error)
    };
    let file = files
        .open(&copy, OpenMode::Truncate)
        .map_err(io("create"))?;
    file.write_at(&torn.bytes, 0).map_err(io("write"))?;
    file.sync().map_err(io("sync"))?;
    files.sync_dir(dir).map_err(io("sync the folder of"))?;
    Ok(TornTail {
        segment: torn.segment,
        offset: torn.offset as u64,
        short_by: torn.short_by,
        copy,
    })
}
