//! What a seal writes: an overlay's requests, replies, dead letters and consumers.
//!
//! Invariant: what `metadata` counts is counted in the transaction that changes it.

use edgebus_core::Seq;
use redb::{ReadableTable as _, ReadableTableMetadata as _, Table, WriteTransaction};

use crate::store::block::BlockBuilder;
use crate::store::dead_letter::{DeadLetter, Fate};
use crate::store::front::BlockInfo;
use crate::store::overlay::{LetterChange, Overlay};
use crate::store::tables::{
    CONSUMER_OFFSETS, CONSUMER_STATE, DEAD_LETTER_KEYS, DEAD_LETTERS, METADATA, REPLIES,
    REQUEST_LOG, meta, metadata, protect, reply_row,
};

/// Bytes of rows, as `metadata` has them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Totals {
    pub(super) log_bytes: u64,
    pub(super) reply_bytes: u64,
    pub(super) dead_letter_bytes: u64,
}

impl Totals {
    pub(super) fn load(txn: &WriteTransaction) -> Result<Self, redb::Error> {
        let rows = txn.open_table(METADATA)?;
        Ok(Self {
            log_bytes: metadata(&rows, meta::LOG_BYTES)?,
            reply_bytes: metadata(&rows, meta::REPLY_BYTES)?,
            dead_letter_bytes: metadata(&rows, meta::DEAD_LETTER_BYTES)?,
        })
    }

    pub(super) fn store(
        &self,
        rows: &mut Table<'_, &'static str, u64>,
    ) -> Result<(), redb::StorageError> {
        rows.insert(meta::LOG_BYTES, self.log_bytes)?;
        rows.insert(meta::REPLY_BYTES, self.reply_bytes)?;
        rows.insert(meta::DEAD_LETTER_BYTES, self.dead_letter_bytes)?;
        Ok(())
    }
}

/// Writes the requests from `first` on as blocks; what is trimmed already is left out.
pub(super) fn requests(
    txn: &WriteTransaction,
    overlay: &Overlay,
    first: Seq,
    untimed_ms: u64,
    totals: &mut Totals,
) -> Result<Vec<BlockInfo>, redb::Error> {
    let mut log = txn.open_table(REQUEST_LOG)?;
    let mut block = BlockBuilder::default();
    let mut bytes = Vec::new();
    let mut written = Vec::new();
    let mut write = |block: &mut BlockBuilder| -> Result<(), redb::Error> {
        let key = block.finish(&mut bytes);
        log.insert(key, bytes.as_slice())?;
        totals.log_bytes += bytes.len() as u64;
        written.push(BlockInfo::of(key, &bytes, untimed_ms));
        Ok(())
    };
    for group in &overlay.groups {
        for entry in group.entries_from(group.first_seq.max(first)) {
            block.push(&entry);
            if block.is_full() {
                write(&mut block)?;
            }
        }
    }
    if !block.is_empty() {
        write(&mut block)?;
    }
    Ok(written)
}

/// Writes replies to requests that have none and are not trimmed.
pub(super) fn replies(
    txn: &WriteTransaction,
    overlay: &Overlay,
    first: Seq,
    totals: &mut Totals,
) -> Result<(), redb::Error> {
    let mut replies = txn.open_table(REPLIES)?;
    for (seq, reply) in overlay.replies.range(first..) {
        if replies.get(seq.0)?.is_none() {
            let row = reply_row(*seq, reply);
            replies.insert(seq.0, row.as_slice())?;
            totals.reply_bytes += row.len() as u64;
        }
    }
    Ok(())
}

/// Writes dead letters, and what became of earlier ones.
pub(super) fn letters(
    txn: &WriteTransaction,
    overlay: &Overlay,
    totals: &mut Totals,
) -> Result<(), redb::Error> {
    let mut letters = txn.open_table(DEAD_LETTERS)?;
    let mut keys = txn.open_table(DEAD_LETTER_KEYS)?;
    for (number, change) in &overlay.letters {
        let old = letters.get(number)?.map(|row| row.value().to_vec());
        let new = match (change, &old) {
            (LetterChange::Put(letter), _) => {
                keys.insert((letter.consumer.as_str(), letter.seq), number)?;
                letter.to_row()
            }
            (LetterChange::Fate(Fate::Removed), Some(old)) => {
                match DeadLetter::from_row(*number, old) {
                    Ok(letter) => drop(keys.remove((letter.consumer.as_str(), letter.seq))?),
                    // Damaged: it cannot say whose it is.
                    Err(_) => keys.retain(|_, of| of != *number)?,
                }
                letters.remove(number)?;
                Vec::new()
            }
            // A damaged one stays as it is: whoever asks for it is told.
            (LetterChange::Fate(fate), Some(old)) => match DeadLetter::from_row(*number, old) {
                Ok(mut letter) => {
                    letter.state = fate.to_state();
                    letter.to_row()
                }
                Err(_) => continue,
            },
            (LetterChange::Fate(_), None) => continue,
        };
        if !new.is_empty() {
            letters.insert(number, new.as_slice())?;
        }
        let old_bytes = old.map_or(0, |old| old.len() as u64);
        totals.dead_letter_bytes += new.len() as u64;
        totals.dead_letter_bytes = totals.dead_letter_bytes.saturating_sub(old_bytes);
    }
    Ok(())
}

/// Writes consumers, figures and how far everything goes; the last thing in the transaction.
pub(super) fn rest(
    txn: &WriteTransaction,
    overlay: &Overlay,
    first: Seq,
    totals: &Totals,
) -> Result<(), redb::Error> {
    let mut offsets = txn.open_table(CONSUMER_OFFSETS)?;
    let mut states = txn.open_table(CONSUMER_STATE)?;
    for (name, row) in &overlay.consumers {
        match row {
            Some(row) => {
                offsets.insert(name.as_str(), row.offset.0)?;
                states.insert(name.as_str(), row.state.as_slice())?;
            }
            None => {
                offsets.remove(name.as_str())?;
                states.remove(name.as_str())?;
            }
        }
    }
    let mut rows = txn.open_table(METADATA)?;
    rows.insert(meta::CONSUMERS, states.len()?)?;
    rows.insert(meta::FIRST_SEQ, first.0)?;
    rows.insert(meta::LAST_SEQ, overlay.last_seq.0)?;
    rows.insert(meta::SEALED_LSN, overlay.last_lsn.0)?;
    rows.insert(meta::STORE_TIME_MS, overlay.times_ms.0)?;
    rows.insert(meta::WALL_MS, overlay.times_ms.1)?;
    // One that was removed meanwhile counts too: its number is not given again.
    if let Some((number, _)) = overlay.letters.last_key_value() {
        let last = metadata(&rows, meta::LAST_DEAD_LETTER)?;
        rows.insert(meta::LAST_DEAD_LETTER, last.max(*number))?;
    }
    if overlay.removed_epoch > 0 {
        rows.insert(meta::REMOVED_EPOCH, u64::from(overlay.removed_epoch))?;
    }
    totals.store(&mut rows)?;
    protect(&offsets, &mut rows)?;
    Ok(())
}
