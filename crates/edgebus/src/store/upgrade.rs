//! Making a store of an earlier format one of the newest.
//!
//! Nothing of it is rewritten: rows and entries of format 1 stay as they are and are read for ever.
//! What is noted is what format 1 did not count. Invariant: the folder says that it is of the newest
//! format before anything is written that an earlier version does not know; a power cut before that
//! leaves a store of format 1, with rows that format 1 does not look at.

use edgebus_core::Seq;
use redb::{Database, ReadableTable as _};

use super::StoreError;
use super::folder::Folder;
use super::generations::{Closed, write_closed};
use super::tables::{
    CONSUMER_OFFSETS, DEAD_LETTERS, FORMAT_VERSION, METADATA, REQUEST_LOG, meta, metadata, protect,
};
use crate::files::Files;

/// Makes a store the newest format, if it is of an earlier one. Everything in it was stored at
/// `store_ms`, a store time, at the latest.
///
/// # Errors
/// What redb or the operating system says: among it that there is no room.
pub(super) fn upgrade(
    files: &dyn Files,
    folder: &Folder,
    database: &Database,
    store_ms: u64,
) -> Result<(), StoreError> {
    if folder.format >= FORMAT_VERSION {
        return Ok(());
    }
    let path = &folder.tables.path;
    note(database, store_ms).map_err(|e| StoreError::redb("write the format to", path, e))?;
    folder.mark_newest(files)
}

fn note(database: &Database, store_ms: u64) -> Result<(), redb::Error> {
    let mut txn = database.begin_write()?;
    txn.set_quick_repair(true);
    {
        let offsets = txn.open_table(CONSUMER_OFFSETS)?;
        let mut rows = txn.open_table(METADATA)?;
        let (mut log_bytes, mut letter_bytes) = (0, 0);
        for row in txn.open_table(REQUEST_LOG)?.iter()? {
            log_bytes += row?.1.value().len() as u64;
        }
        for row in txn.open_table(DEAD_LETTERS)?.iter()? {
            letter_bytes += row?.1.value().len() as u64;
        }
        for (name, value) in [
            (meta::FORMAT_VERSION, u64::from(FORMAT_VERSION)),
            (meta::FIRST_SEQ, 1),
            (meta::LOG_BYTES, log_bytes),
            (meta::DEAD_LETTER_BYTES, letter_bytes),
            (meta::UNTIMED_MS, store_ms),
        ] {
            rows.insert(name, value)?;
        }
        let last_seq = Seq(metadata(&rows, meta::LAST_SEQ)?);
        let first = metadata(&rows, meta::FIRST_GENERATION)?;
        let closed = Closed { last_seq, store_ms };
        for generation in first..metadata(&rows, meta::LAST_GENERATION)? {
            write_closed(&mut rows, generation, closed)?;
        }
        protect(&offsets, &mut rows)?;
    }
    txn.commit()?;
    Ok(())
}
