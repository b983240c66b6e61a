//! The tables row by row, a page at a time, for a copy of the store.
//!
//! Every row is handed out as it stands, once its checksum was compared: a damaged one is named,
//! and nothing of it gets into a copy.

use edgebus_core::Seq;

use super::{Block, DeadLetter, Sealed, StoreError, reply_from_row};
use crate::store::generations::{Closed, IdCursor};
use crate::store::overlay::StoredId;
use crate::store::tables::IdKey;

impl Sealed {
    /// Blocks from the one that holds `from` on, or the next one there is: its key, its first
    /// sequence number, its bytes. At least one, if there is one, and then up to about so many
    /// bytes.
    pub(in crate::store) fn blocks_from(
        &self,
        from: Seq,
        bytes_max: usize,
        mut take: impl FnMut(u64, Seq, &[u8]),
    ) -> Result<(), StoreError> {
        let mut bytes = 0;
        let mut at = from.0;
        while bytes < bytes_max {
            let row = self.guard("copy blocks of", || {
                self.log.range(at..)?.next().transpose()
            })?;
            let Some((key, value)) = row else { break };
            let (key, value) = (key.value(), value.value());
            let block = Block::parse(key, value).map_err(|e| self.corrupt(e))?;
            take(key, block.first_seq, value);
            bytes += value.len();
            at = key + 1;
        }
        Ok(())
    }

    /// Replies from a sequence number on, as prost, up to about so many bytes. Returns where to go
    /// on; `None` when these were the last ones.
    pub(in crate::store) fn replies_from(
        &self,
        from: u64,
        bytes_max: usize,
        mut take: impl FnMut(u64, &[u8]),
    ) -> Result<Option<u64>, StoreError> {
        let rows = self.guard("copy replies of", || self.replies.range(from..))?;
        let mut bytes = 0;
        for row in rows {
            let (seq, value) = self.guard("copy replies of", || row)?;
            let (seq, value) = (seq.value(), value.value());
            if bytes >= bytes_max {
                return Ok(Some(seq));
            }
            let reply = reply_from_row(Seq(seq), value).ok_or_else(|| {
                let detail =
                    format!("replies, seq {seq}: stored bytes do not match their checksum");
                StoreError::corrupt(&self.path, detail)
            })?;
            take(seq, &reply);
            bytes += reply.len() + ROW_BYTES;
        }
        Ok(None)
    }

    /// Dead letters from a number on, as prost, up to about so many bytes. Returns where to go on.
    pub(in crate::store) fn letters_from(
        &self,
        from: u64,
        bytes_max: usize,
        mut take: impl FnMut(u64, &[u8]),
    ) -> Result<Option<u64>, StoreError> {
        let rows = self.guard("copy dead letters of", || self.dead_letters.range(from..))?;
        let mut bytes = 0;
        for row in rows {
            let (number, value) = self.guard("copy dead letters of", || row)?;
            let (number, value) = (number.value(), value.value());
            if bytes >= bytes_max {
                return Ok(Some(number));
            }
            DeadLetter::from_row(number, value).map_err(|e| self.corrupt(e))?;
            let letter = value.get(4..).unwrap_or_default();
            take(number, letter);
            bytes += letter.len() + ROW_BYTES;
        }
        Ok(None)
    }

    /// Ids of the requests behind `above` and up to `to`, as far as they are reached by looking at
    /// so many rows. Says whether these were the last ones; the cursor goes on otherwise.
    pub(in crate::store) fn ids_between(
        &self,
        (above, to): (Seq, Seq),
        cursor: &mut IdCursor,
        rows_max: usize,
        take: impl FnMut(&IdKey, &StoredId),
    ) -> Result<bool, StoreError> {
        self.guard("copy ids of", || {
            self.generations
                .ids_between((above, to), cursor, rows_max, take)
        })
    }

    /// When each closed table of ids was closed, oldest first; the one that is open comes behind.
    pub(in crate::store) fn closed_generations(&self) -> Vec<Closed> {
        self.generations.closed()
    }
}

/// What a row takes beside its value, about.
const ROW_BYTES: usize = 16;
