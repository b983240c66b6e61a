//! Single groups of a segment, read where they are known to be.
//!
//! For whoever keeps places instead of contents. Every group read is checked as a whole, so that
//! what changed on the disk since it was written is found out before it is handed on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::group::{BLOCK_BYTES, GroupHeader, HEADER_BYTES, padded_bytes, parse};
use super::scan::Place;
use super::segment::{self, SegmentHeader};
use crate::files::{File, Files, OpenMode};
use crate::store::StoreError;

/// One segment, open for reading.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    file: Arc<dyn File>,
    path: PathBuf,
    number: u64,
    salt: [u8; 16],
    bytes: u64,
}

impl SegmentReader {
    /// Opens a segment.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when its header is not its own, or what the operating system says.
    pub(crate) fn open(files: &dyn Files, dir: &Path, number: u64) -> Result<Self, StoreError> {
        let path = dir.join(segment::file_name(number));
        let io = |action| {
            let path = path.clone();
            move |error| StoreError::io(action, &path, error)
        };
        let file = files.open(&path, OpenMode::Read).map_err(io("open"))?;
        let bytes = file.len().map_err(io("measure"))?;
        let mut block = vec![0; BLOCK_BYTES];
        file.read_at(&mut block, 0).map_err(io("read"))?;
        let header = SegmentHeader::parse(&block).filter(|header| header.number == number);
        let header =
            header.ok_or_else(|| StoreError::corrupt(&path, SegmentHeader::why_not(&block)))?;
        Ok(Self {
            file,
            number,
            salt: header.salt,
            bytes,
            path,
        })
    }

    /// The segment's number.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The operations of the group at a place, and where the next group begins.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when there is no whole group, or what the operating system says.
    pub(crate) fn group(&self, offset: u64) -> Result<(Bytes, u64), StoreError> {
        let io = |error| StoreError::io("read", &self.path, error);
        let damaged = || {
            let detail = format!("byte {offset}: a group that was synced cannot be read");
            StoreError::corrupt(&self.path, detail)
        };
        if offset + BLOCK_BYTES as u64 > self.bytes {
            return Err(damaged());
        }
        // Most groups are one block.
        let mut bytes = vec![0; BLOCK_BYTES];
        self.file.read_at(&mut bytes, offset).map_err(io)?;
        let ops_bytes = u32::from_le_bytes([bytes[60], bytes[61], bytes[62], bytes[63]]);
        let whole = padded_bytes(ops_bytes as usize);
        if offset + whole > self.bytes {
            return Err(damaged());
        }
        if whole > bytes.len() as u64 {
            bytes.resize(whole as usize, 0);
            let rest = &mut bytes[BLOCK_BYTES..];
            self.file
                .read_at(rest, offset + BLOCK_BYTES as u64)
                .map_err(io)?;
        }
        let GroupHeader { ops_bytes, .. } = parse(&bytes, &self.salt).ok_or_else(damaged)?;
        let ops = HEADER_BYTES..HEADER_BYTES + ops_bytes as usize;
        Ok((Bytes::from(bytes).slice(ops), offset + whole))
    }

    /// An error about an operation in a group at a place of this segment.
    pub(crate) fn damaged(&self, place: Place, what: &str) -> StoreError {
        StoreError::corrupt(&self.path, format!("byte {}: {what}", place.offset))
    }
}
