//! Removing from the tables what is trimmed, and ids nobody asks for any more, piece by piece.
//!
//! Invariant: blocks go whole, oldest first, and with each of them the replies to its requests.

use edgebus_core::Seq;
use redb::{Database, ReadableTable as _, WriteTransaction};

use super::write::Totals;
use crate::store::generations::Generations;
use crate::store::tables::{CONSUMER_OFFSETS, METADATA, REPLIES, REQUEST_LOG, meta, protect};

/// Blocks removed in one transaction: twice what a seal of usual size adds.
const BLOCKS_PER_PIECE: usize = 256;
/// Replies removed in one transaction beyond those of its blocks.
const REPLIES_PER_PIECE: usize = 64 * 1024;

/// Removes a piece of what lies before `first`. Returns the last sequence number of the last block
/// removed. `metadata` is for the caller to write.
pub(super) fn piece(
    txn: &WriteTransaction,
    first: Seq,
    totals: &mut Totals,
) -> Result<Option<Seq>, redb::Error> {
    let mut log = txn.open_table(REQUEST_LOG)?;
    let mut last_removed = None;
    for _ in 0..BLOCKS_PER_PIECE {
        let Some(key) = log.first()?.map(|row| row.0.value()) else {
            break;
        };
        if key >= first.0 {
            break;
        }
        if let Some(block) = log.remove(key)? {
            totals.log_bytes = totals.log_bytes.saturating_sub(block.value().len() as u64);
        }
        last_removed = Some(Seq(key));
    }
    let mut replies = txn.open_table(REPLIES)?;
    let with_blocks = last_removed.map_or(0, |last| last.next().0);
    let mut beyond = replies.range(with_blocks..first.0.max(with_blocks))?;
    let end = match beyond.nth(REPLIES_PER_PIECE).transpose()? {
        Some((key, _)) => key.value(),
        None => first.0,
    };
    drop(beyond);
    replies.retain_in(..end, |_, row| {
        totals.reply_bytes = totals.reply_bytes.saturating_sub(row.len() as u64);
        false
    })?;
    Ok(last_removed)
}

/// Removes a piece in a transaction of its own.
pub(super) fn alone(database: &Database, first: Seq) -> Result<Option<Seq>, redb::Error> {
    let mut txn = database.begin_write()?;
    txn.set_quick_repair(true);
    let mut totals = Totals::load(&txn)?;
    let removed = piece(&txn, first, &mut totals)?;
    {
        let offsets = txn.open_table(CONSUMER_OFFSETS)?;
        let mut rows = txn.open_table(METADATA)?;
        // The trim may be in the journal only; without this the log would seem to miss a block.
        rows.insert(meta::FIRST_SEQ, first.0)?;
        totals.store(&mut rows)?;
        protect(&offsets, &mut rows)?;
    }
    txn.commit()?;
    Ok(removed)
}

/// Drops the oldest generation of ids in a transaction of its own.
pub(super) fn generation(
    database: &Database,
    generations: &mut Generations,
) -> Result<(), redb::Error> {
    let mut txn = database.begin_write()?;
    txn.set_quick_repair(true);
    generations.drop_oldest(&txn)?;
    {
        let offsets = txn.open_table(CONSUMER_OFFSETS)?;
        let mut rows = txn.open_table(METADATA)?;
        protect(&offsets, &mut rows)?;
    }
    txn.commit()?;
    Ok(())
}
