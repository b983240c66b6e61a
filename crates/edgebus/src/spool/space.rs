//! Giving room back: segments in which nothing counts, and dead letters that hold one up.

use super::Spool;
use super::commit::LETTER_BYTES;
use super::cursor::Letters;
use super::write::{Batch, Room};
use crate::store::StoreError;

impl Spool {
    /// Frees the segments before the one that the last mark names, and sees to the spare one.
    pub(super) fn free(&mut self) -> Result<(), StoreError> {
        let Some(mark) = self.index.marked else {
            return Ok(());
        };
        let ground = &self.ground;
        let freed = self
            .segments
            .free_before(&*ground.files, &ground.journal, mark.segment);
        match freed {
            // Nothing was done yet with the one it failed at; the next group tries again.
            Err(StoreError::Full { .. }) => {}
            other => self.stop_at(other)?,
        }
        self.index.freed_before(mark.segment);
        Ok(())
    }

    /// Writes the dead letters of the oldest segment again, at the end, when nothing else in it counts:
    /// one segment at a time, and only when that frees more than it takes.
    pub(super) fn move_letters(&mut self) -> Result<(), StoreError> {
        let Some(segment) = self.index.worth_moving() else {
            return Ok(());
        };
        let in_it = self.index.dead.iter();
        let in_it = in_it.filter(|(_, dead)| dead.at.group.segment == segment);
        let moving: Vec<_> = in_it.map(|(number, dead)| (*number, *dead)).collect();
        let mut letters = Letters::default();
        let mut batch = Batch::default();
        for (number, dead) in moving {
            let letter = letters.get(&self.ground, number, &dead)?;
            let bytes = letter.entry.len() + LETTER_BYTES;
            if !batch.is_empty()
                && batch.is_full_with(bytes, self.journal.group_bytes_max())
                && !self.write_if_room(std::mem::take(&mut batch), Room::Kept)?
            {
                return Ok(());
            }
            batch.die(number, letter, dead.record_bytes);
        }
        self.write_if_room(batch, Room::Kept)?;
        Ok(())
    }
}
