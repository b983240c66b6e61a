//! What fuzzing needs of the bytes of a store and cannot reach otherwise. Not part of the API:
//! nothing else calls it, and it changes as the insides do.
//!
//! Invariant: nothing is checked here. These are the very functions that read and write stores.

use std::path::Path;

use bytes::Bytes;
use edgebus_core::{Entry, Lsn, Refusal};

use super::StoreError;
use super::block::{Block, BlockBuilder};
use super::journal::{Begins, recover};
use super::op::Op;
use crate::files::Files;

/// A group as recovery reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The number of its segment.
    pub segment: u64,
    /// Where in it, in bytes.
    pub offset: u64,
    /// Its first lsn.
    pub first_lsn: u64,
    /// How many operations it says it holds.
    pub op_count: u32,
    /// Their bytes.
    pub ops: Bytes,
}

/// What recovery finds in a journal behind an lsn, or of one without tables: its groups, and
/// whether it ends in a tear.
///
/// # Errors
/// As recovery.
pub fn groups(
    files: &dyn Files,
    dir: &Path,
    sealed: Option<u64>,
) -> Result<(Vec<Group>, bool), StoreError> {
    let mut groups = Vec::new();
    let begins = sealed.map_or(Begins::Anywhere, |lsn| Begins::Behind(Lsn(lsn)));
    let found = recover(files, dir, 1 << 20, begins, |place, header, ops| {
        groups.push(Group {
            segment: place.segment,
            offset: place.offset,
            first_lsn: header.first_lsn.0,
            op_count: header.op_count,
            ops,
        });
        Ok(())
    })?;
    Ok((groups, found.torn.is_some()))
}

/// Cuts the operation that starts the bytes off them, and writes it anew.
///
/// # Errors
/// The bytes are none.
pub fn op(bytes: &mut Bytes) -> Result<Vec<u8>, Refusal> {
    let op = Op::split_from(bytes)?;
    let mut out = Vec::new();
    op.encode(&mut out);
    Ok(out)
}

/// The entries of a row of `request_log`.
///
/// # Errors
/// The row is not what was written under the key.
pub fn block(key: u64, bytes: &[u8]) -> Result<Vec<Entry>, Refusal> {
    let block = Block::parse(key, bytes)?;
    let _ = block.store_time_ms();
    block.entries()
}

/// A row of `request_log` with these entries, and its key.
pub fn write_block<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> (u64, Vec<u8>) {
    let mut block = BlockBuilder::default();
    entries.into_iter().for_each(|entry| block.push(entry));
    let mut out = Vec::new();
    let key = block.finish(&mut out);
    (key, out)
}
