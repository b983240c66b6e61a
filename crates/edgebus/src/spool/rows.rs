//! Listing what is in a spool, waiting and dead, by number.

use edgebus_core::{Code, Entry};

use super::cursor::{Cursor, Ground, Letters};
use super::index::{Dead, Index};
use super::{RowState, Spool, SpoolRow};
use crate::store::StoreError;
use crate::store::dead_letter::DeadLetter;

/// Bytes of records behind which a page ends early.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

impl Spool {
    /// The requests with numbers behind `after`, waiting and dead, by number. At most so many; fewer
    /// when they are large, and none only when there are none.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] naming the place, or what the operating system says.
    pub fn list(&self, after: u64, limit: usize) -> Result<Vec<SpoolRow>, StoreError> {
        rows(&self.ground, &self.index, after, limit)
    }
}

/// See [`Spool::list`].
pub(super) fn rows(
    ground: &Ground,
    index: &Index,
    after: u64,
    limit: usize,
) -> Result<Vec<SpoolRow>, StoreError> {
    let from = after.saturating_add(1);
    let mut cursor = Cursor::before(index, from.max(index.first));
    let mut next_waiting = || -> Result<Option<Entry>, StoreError> {
        while let Some((_, entry)) = cursor.step(ground, index)? {
            if entry.seq().0 >= from && index.waits(entry.seq().0) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    };
    let mut letters = Letters::default();
    let mut dead = index.dead.range(from..).peekable();
    let mut waiting = next_waiting()?;
    let mut rows = Vec::new();
    let mut bytes = 0;
    while rows.len() < limit && bytes < PAGE_BYTES {
        let is_dead_first = match (&waiting, dead.peek()) {
            (Some(entry), Some((number, _))) => **number < entry.seq().0,
            (None, Some(_)) => true,
            (Some(_), None) => false,
            (None, None) => break,
        };
        let row = if is_dead_first {
            let (number, at) = dead.next().expect("it was peeked at");
            dead_row(ground, &mut letters, *number, at)?
        } else {
            let entry = waiting.take().expect("it was looked at");
            waiting = next_waiting()?;
            row(entry.seq().0, &entry, RowState::Waiting)
        };
        bytes += row.record.as_bytes().len();
        rows.push(row);
    }
    Ok(rows)
}

fn dead_row(
    ground: &Ground,
    letters: &mut Letters,
    number: u64,
    dead: &Dead,
) -> Result<SpoolRow, StoreError> {
    let letter = letters.get(ground, number, dead)?;
    let entry = letter.entry()?;
    let DeadLetter {
        code,
        reason,
        wall_ms,
        ..
    } = letter;
    let state = RowState::Dead {
        code: Code::parse(&code).unwrap_or(Code::Unknown),
        reason,
        at_ms: wall_ms,
    };
    Ok(row(number, &entry, state))
}

fn row(number: u64, entry: &Entry, state: RowState) -> SpoolRow {
    SpoolRow {
        number,
        record: entry.record().clone(),
        spooled_ms: entry.received_ms(),
        state,
    }
}
