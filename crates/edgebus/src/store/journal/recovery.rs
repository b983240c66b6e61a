//! Reading the journal back when a store is opened.
//!
//! Every file is synced and dropped from memory first, so that what is read is what is on disk,
//! and what was read is still there after the next power cut.
//!
//! A torn tail is copied aside and reported; corruption refuses to open and names the place: see
//! [`super::scan`]. Nothing is deleted in either case.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use edgebus_core::{Lsn, Refusal};

use super::group::GroupHeader;
use super::scan::{Begins, End, Look, Place, Scanned, Torn, scan};
use super::segments::Segments;
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
pub(crate) struct Recovered {
    pub(crate) segments: Segments,
    /// The number for the next segment.
    pub(crate) next_number: u64,
    /// The last lsn; one before the first when there is none.
    pub(crate) last_lsn: Lsn,
    /// Store time and wall clock of the last group; 0 when there is none.
    pub(crate) last_times_ms: (u64, u64),
    pub(crate) torn: Option<TornTail>,
    /// Where the last segment may be written on: not when it ends in a tear.
    pub(crate) end: Option<End>,
}

/// Reads all groups, oldest first, and gives those behind `begins` to `apply`.
///
/// # Errors
/// [`StoreError::Corrupt`] naming the place, or what the operating system says.
pub(crate) fn recover(
    files: &dyn Files,
    dir: &Path,
    segment_bytes: u64,
    begins: Begins,
    apply: impl FnMut(Place, &GroupHeader, Bytes) -> Result<(), Refusal>,
) -> Result<Recovered, StoreError> {
    files
        .sync_dir(dir)
        .map_err(|e| StoreError::io("sync", dir, e))?;
    let scanned = scan(files, dir, begins, Look::AtDisk, apply)?;
    // Up to here nothing was changed.
    let Scanned { names, end, .. } = scanned;
    let torn = match scanned.torn {
        Some(torn) => Some(keep_aside(files, dir, &names, torn)?),
        None => None,
    };
    Ok(Recovered {
        segments: Segments::open(files, dir, segment_bytes, scanned.used, &names)?,
        next_number: scanned.next_number,
        last_lsn: scanned.last_lsn,
        last_times_ms: scanned.last_times_ms,
        end: end.filter(|_| torn.is_none()),
        torn,
    })
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
