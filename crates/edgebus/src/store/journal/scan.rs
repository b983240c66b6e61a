//! Reading all groups of a journal, oldest first, without changing anything.
//!
//! A group that cannot be read is one of two things. A **torn tail** is the group that was being
//! written when the power went: nobody was told it is stored. **Corruption** is a group that had
//! been synced. What was synced is known from what was written later: a later segment starts
//! behind it, or a later group says so in its `synced_lsn`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use edgebus_core::{Lsn, Refusal};

use super::group::{BLOCK_BYTES, Found, GroupHeader, HEADER_BYTES, look_at, parse};
use super::segment::{self, SegmentHeader};
use super::segments::Used;
use crate::files::{Files, OpenMode};
use crate::store::StoreError;

/// Where a journal begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Begins {
    /// Behind the last change that is in the tables, or before; what the tables hold is skipped.
    Behind(Lsn),
    /// Where its oldest segment does: there are no tables.
    Anywhere,
}

/// How the files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Synced and dropped from memory first: what is read is what is on disk.
    AtDisk,
    /// Opened for reading only, and synced behind the reading: by someone who does not own the
    /// folder and is not to take for stored what is not yet.
    Aside,
}

/// The place of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The number of its segment.
    pub(crate) segment: u64,
    /// Where in it, in bytes.
    pub(crate) offset: u64,
}

/// What was found.
pub(super) struct Scanned {
    /// Every name in the folder.
    pub(super) names: Vec<String>,
    /// The number for the next segment.
    pub(super) next_number: u64,
    pub(super) last_lsn: Lsn,
    pub(super) last_times_ms: (u64, u64),
    pub(super) used: Vec<Used>,
    pub(super) torn: Option<Torn>,
    pub(super) end: Option<End>,
}

/// The end of the last segment.
#[derive(Debug)]
pub(crate) struct End {
    pub(super) path: PathBuf,
    pub(super) salt: [u8; 16],
    /// Behind the last whole group, in bytes.
    pub(super) offset: u64,
    /// Length of the file.
    pub(crate) bytes: u64,
}

/// Reads all groups, oldest first, and gives those behind `begins` to `apply`.
///
/// # Errors
/// [`StoreError::Corrupt`] naming the place, or what the operating system says.
pub(super) fn scan(
    files: &dyn Files,
    dir: &Path,
    begins: Begins,
    look: Look,
    mut apply: impl FnMut(Place, &GroupHeader, Bytes) -> Result<(), Refusal>,
) -> Result<Scanned, StoreError> {
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

    let sealed = match begins {
        Begins::Behind(sealed) => sealed,
        Begins::Anywhere => Lsn(0),
    };
    let mut scan = Scan {
        sealed,
        next_lsn: None,
        last_times_ms: (0, 0),
        used: Vec::new(),
        torn: None,
        end: None,
    };
    let read = |number| read_segment(files, dir, number, look);
    let mut following = numbers.iter().skip(1);
    let mut header = match numbers.first() {
        Some(number) => Some(read(*number)?),
        None => None,
    };
    if let Some(oldest) = &header
        && matches!(begins, Begins::Behind(_))
        && oldest.header.first_lsn > sealed.next()
    {
        return Err(missing(dir, oldest.header.number.saturating_sub(1)));
    }
    while let Some(segment) = header.take() {
        header = match following.next() {
            Some(number) => Some(read(*number)?),
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
    Ok(Scanned {
        names,
        next_number: numbers.last().map_or(1, |last| last + 1),
        last_lsn,
        last_times_ms: scan.last_times_ms,
        used: scan.used,
        torn: scan.torn,
        end: scan.end,
    })
}

/// Reads all groups without owning the folder: nothing is changed, and a group that is being
/// written is left out. Returns store time and wall clock of the last one.
///
/// # Errors
/// [`StoreError::Corrupt`], also when the owner frees a segment meanwhile, or what the operating
/// system says.
pub(crate) fn look(
    files: &dyn Files,
    dir: &Path,
    apply: impl FnMut(Place, &GroupHeader, Bytes) -> Result<(), Refusal>,
) -> Result<(u64, u64), StoreError> {
    let scanned = scan(files, dir, Begins::Anywhere, Look::Aside, apply)?;
    Ok(scanned.last_times_ms)
}

/// A segment that is not there and should be.
pub(crate) fn missing(dir: &Path, number: u64) -> StoreError {
    let path = dir.join(segment::file_name(number));
    StoreError::corrupt(&path, "the segment is missing, and newer ones are there")
}

struct Segment {
    path: PathBuf,
    header: SegmentHeader,
    bytes: Bytes,
}

/// A group that was cut.
pub(super) struct Torn {
    pub(super) short_by: u64,
    pub(super) segment: PathBuf,
    pub(super) offset: usize,
    pub(super) bytes: Bytes,
}

fn read_segment(
    files: &dyn Files,
    dir: &Path,
    number: u64,
    look: Look,
) -> Result<Segment, StoreError> {
    let path = dir.join(segment::file_name(number));
    let io = |action| {
        let path = path.clone();
        move |error| StoreError::io(action, &path, error)
    };
    let mode = match look {
        Look::AtDisk => OpenMode::Existing,
        Look::Aside => OpenMode::Read,
    };
    let file = files.open(&path, mode).map_err(io("open"))?;
    if look == Look::AtDisk {
        file.sync().map_err(io("sync"))?;
        file.drop_cache().map_err(io("drop from memory"))?;
    }
    let len = file.len().map_err(io("measure"))?;
    let mut bytes = vec![0; len as usize];
    file.read_at(&mut bytes, 0).map_err(io("read"))?;
    if look == Look::Aside {
        match file.sync() {
            // A file system that cannot be written has nothing to sync.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::InvalidInput | ErrorKind::ReadOnlyFilesystem
                ) => {}
            other => other.map_err(io("sync"))?,
        }
    }
    let header = SegmentHeader::parse(&bytes)
        .ok_or_else(|| StoreError::corrupt(&path, SegmentHeader::why_not(&bytes)))?;
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
    end: Option<End>,
}

impl Scan {
    /// Reads one segment. `next_first` is where the following one starts, if there is one.
    fn segment(
        &mut self,
        segment: &Segment,
        next_first: Option<Lsn>,
        apply: &mut impl FnMut(Place, &GroupHeader, Bytes) -> Result<(), Refusal>,
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
                        let place = Place {
                            segment: header.number,
                            offset: offset as u64,
                        };
                        apply(place, &group, ops).map_err(|refusal| {
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
            bytes: bytes.len() as u64,
        });
        self.end = Some(End {
            path: path.clone(),
            salt: header.salt,
            offset: offset as u64,
            bytes: bytes.len() as u64,
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
