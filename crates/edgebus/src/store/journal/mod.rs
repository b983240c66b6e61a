//! The journal: where a change of state becomes durable, one write and one sync a group.
//!
//! ```text
//!  journal/0000000007.wal   header block │ group │ group │ …      preallocated, zero-filled
//!  journal/0000000008.wal   header block │ group │ ...            the active one
//!  journal/spare-3          empty segment, kept in reserve for when the disk is full
//!  journal/torn-1           bytes of a group that was cut by a power failure
//! ```
//! [`group`] and [`segment`] are the bytes; [`Journal`] writes them; [`scan`] reads them back, for
//! [`recovery`] and for who only looks, and [`read`] single groups; [`Segments`] knows which files
//! may be used again. The store has tables behind it; the spool has nothing else.
//!
//! Invariants: a group is one contiguous write on a 4 KiB boundary, padded to one, so that a block
//! with acked bytes is never written again; a segment has its header, its name and its folder
//! synced before its first group; nothing is written behind a tear or after a failed sync.

mod group;
mod read;
mod recovery;
mod scan;
mod segment;
mod segments;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use edgebus_core::Lsn;
use edgebus_core::planted;

pub(crate) use group::{BLOCK_BYTES, GroupHeader};
pub(super) use group::{
    FOOTER_BYTES as GROUP_FOOTER_BYTES, Found as FoundGroup, HEADER_BYTES as GROUP_HEADER_BYTES,
    footer as group_footer, look_at as look_at_group, parse as parse_group_at,
};
pub(crate) use read::SegmentReader;
pub use recovery::TornTail;
pub(crate) use recovery::recover;
pub(crate) use scan::{Begins, Place, look, missing};
pub(super) use segment::{SegmentHeader, file_name as segment_name, parse_name as segment_number};
pub(crate) use segments::Segments;

use super::StoreError;
use crate::files::{File, Files, OpenMode};
use crate::host;
use group::{FOOTER_BYTES, HEADER_BYTES, padded_bytes};
use scan::End;

/// Writes groups. Owned by the one thread that writes.
#[derive(Debug)]
pub(crate) struct Journal {
    files: Arc<dyn Files>,
    dir: PathBuf,
    segments: Arc<Segments>,
    segment_bytes: u64,
    active: Option<Active>,
    next_number: u64,
    synced: Lsn,
    /// Reused for every group.
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Active {
    file: Arc<dyn File>,
    number: u64,
    path: PathBuf,
    salt: [u8; 16],
    offset: u64,
    /// Size of its file.
    bytes: u64,
}

/// What a group holds, beside its operations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupMeta {
    pub(crate) first_lsn: Lsn,
    pub(crate) op_count: u32,
    pub(crate) store_time_ms: u64,
    pub(crate) wall_ms: u64,
}

impl Journal {
    /// A journal that goes on after `synced`, in a new segment with a number from `next_number`.
    pub(crate) fn new(
        files: Arc<dyn Files>,
        dir: &Path,
        segments: Arc<Segments>,
        next_number: u64,
        synced: Lsn,
    ) -> Self {
        let segment_bytes = segments.segment_bytes();
        Self {
            files,
            dir: dir.to_owned(),
            segments,
            segment_bytes,
            active: None,
            next_number,
            synced,
            buffer: Vec::new(),
        }
    }

    /// Goes on in the last segment, behind its last group, instead of a new one.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn go_on(&mut self, end: End) -> Result<(), StoreError> {
        let file = self.files.open(&end.path, OpenMode::Existing);
        self.active = Some(Active {
            file: file.map_err(|e| StoreError::io("open", &end.path, e))?,
            number: self.next_number - 1,
            path: end.path,
            salt: end.salt,
            offset: end.offset,
            bytes: end.bytes,
        });
        Ok(())
    }

    /// Where the next group goes, once there is room for it.
    pub(crate) fn place(&self) -> Option<Place> {
        self.active.as_ref().map(|active| Place {
            segment: active.number,
            offset: active.offset,
        })
    }

    /// Whether a group of so many bytes of operations, and behind it one of a single block, go into
    /// the segment that is written to.
    pub(crate) fn has_room_and_a_block(&self, ops_bytes: usize) -> bool {
        let needed = padded_bytes(ops_bytes) + BLOCK_BYTES as u64;
        self.active
            .as_ref()
            .is_some_and(|active| active.offset + needed <= active.bytes)
    }

    /// Most bytes of operations in one group: a quarter of a segment with header and padding. A
    /// single operation that is larger is a group of its own.
    pub(crate) fn group_bytes_max(&self) -> usize {
        (self.segment_bytes / 4) as usize - HEADER_BYTES - FOOTER_BYTES
    }

    /// Makes room for a group of that many bytes of operations, with a new segment if need be: a
    /// larger one than usual for a group that is larger than a quarter of one. So many of the spare
    /// segments are left alone.
    ///
    /// # Errors
    /// [`StoreError::Full`]: nothing was written, the journal is as it was. Any other: fail stop.
    pub(crate) fn reserve(
        &mut self,
        ops_bytes: usize,
        first_lsn: Lsn,
        keep: usize,
    ) -> Result<(), StoreError> {
        let needed = padded_bytes(ops_bytes);
        if self
            .active
            .as_ref()
            .is_some_and(|a| a.offset + needed <= a.bytes)
        {
            return Ok(());
        }
        let bytes = (4 * needed).next_multiple_of(SEGMENT_STEP_BYTES);
        self.start_segment(first_lsn, bytes.max(self.segment_bytes), keep)
    }

    /// Writes a group and syncs it. It is durable when this returns. [`Journal::reserve`] comes
    /// before. Returns the bytes written, padding included.
    ///
    /// # Errors
    /// Any is final: the group may or may not be on disk, and nothing must be written after it.
    pub(crate) fn write(&mut self, meta: &GroupMeta, ops: &[u8]) -> Result<u64, StoreError> {
        let Self {
            active,
            buffer,
            synced,
            ..
        } = self;
        let active = active
            .as_mut()
            .expect("reserve opened a segment before the write");
        let header = GroupHeader {
            first_lsn: meta.first_lsn,
            synced_lsn: *synced,
            store_time_ms: meta.store_time_ms,
            wall_ms: meta.wall_ms,
            op_count: meta.op_count,
            ops_bytes: ops.len() as u32,
        };
        header.encode(&active.salt, ops, buffer);
        let io = |action| {
            let path = &active.path;
            move |error| StoreError::Io {
                action,
                path: path.clone(),
                source: error,
            }
        };
        let late = planted!("ack-before-sync");
        if late {
            active.file.sync().map_err(io("sync"))?;
        }
        active
            .file
            .write_at(buffer, active.offset)
            .map_err(io("write"))?;
        if !late {
            active.file.sync().map_err(io("sync"))?;
        }
        active.offset += buffer.len() as u64;
        *synced = Lsn(meta.first_lsn.0 + u64::from(meta.op_count) - 1);
        self.segments.extend_active(*synced);
        Ok(buffer.len() as u64)
    }

    /// Opens the next segment. It is prepared aside and gets its name last.
    fn start_segment(&mut self, first_lsn: Lsn, bytes: u64, keep: usize) -> Result<(), StoreError> {
        let spare = self
            .segments
            .take_spare(&*self.files, &self.dir, bytes, keep)?;
        let number = self.next_number;
        let header = SegmentHeader {
            number,
            salt: random_salt(),
            first_lsn,
            file_bytes: bytes,
        };
        let path = self.dir.join(segment::file_name(number));
        let io = |action| {
            let path = path.clone();
            move |error| StoreError::Io {
                action,
                path,
                source: error,
            }
        };
        spare
            .file
            .write_at(&header.encode(), 0)
            .map_err(io("write"))?;
        spare.file.sync().map_err(io("sync"))?;
        self.files
            .rename(&spare.path, &path)
            .map_err(io("rename"))?;
        if !planted!("no-directory-sync") {
            self.files
                .sync_dir(&self.dir)
                .map_err(io("sync the folder of"))?;
        }
        // Opened again by the name it is known by, so that a trace of the process shows what is
        // written where.
        let file = self
            .files
            .open(&path, OpenMode::Existing)
            .map_err(io("open"))?;
        self.segments.open_active(number, first_lsn, bytes);
        self.next_number += 1;
        self.active = Some(Active {
            file,
            number,
            path,
            salt: header.salt,
            offset: BLOCK_BYTES as u64,
            bytes,
        });
        Ok(())
    }
}

/// The size of a segment is a multiple of it.
const SEGMENT_STEP_BYTES: u64 = 16 * 1024;

/// 128 bits that nobody can guess, so that no payload ever looks like a group.
fn random_salt() -> [u8; 16] {
    *host::random_uuid().as_bytes()
}
