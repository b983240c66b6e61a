//! What an operator does to a spool: removing requests, and trying dead ones again.

use super::Spool;
use super::commit::ENTRY_BYTES;
use super::cursor::Letters;
use super::write::{Batch, Room, Stamp};
use crate::store::StoreError;

impl Spool {
    /// Removes requests, waiting or dead. On disk when it returns; returns how many there were.
    ///
    /// # Errors
    /// [`StoreError::Full`]: some may not be removed, and it may be tried again. Any other stops the
    /// spool.
    pub fn remove(&mut self, numbers: &[u64]) -> Result<u64, StoreError> {
        self.check()?;
        let mut numbers = numbers.to_vec();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.retain(|number| self.index.waits(*number) || self.index.dead.contains_key(number));
        for chunk in numbers.chunks(self.journal.group_bytes_max() / 16) {
            let waiting: Vec<u64> = chunk
                .iter()
                .copied()
                .filter(|number| self.index.waits(*number))
                .collect();
            let found = self.find(&waiting);
            let found = self.stop_at(found)?;
            let dead = chunk.iter().filter(|number| !self.index.waits(**number));
            let mut removed: Vec<(u64, u64)> = dead.map(|number| (*number, 0)).collect();
            removed.extend(found.into_iter().map(|(number, _, bytes)| (number, bytes)));
            let mut batch = Batch::default();
            batch.remove(&removed);
            self.write(batch, Room::Freed)?;
            for number in chunk {
                self.out.remove(number);
                self.owed.remove(number);
            }
        }
        self.tidy()?;
        Ok(numbers.len() as u64)
    }

    /// Lets dead letters wait again, behind all others, under new numbers and in the order of their old
    /// ones. On disk when it returns; returns how many there were.
    ///
    /// # Errors
    /// [`StoreError::Full`]: some may not wait yet, and it may be tried again. Any other stops the
    /// spool.
    pub fn retry(&mut self, numbers: &[u64]) -> Result<u64, StoreError> {
        self.check()?;
        let mut numbers = numbers.to_vec();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.retain(|number| self.index.dead.contains_key(number));
        let mut letters = Letters::default();
        let mut batch = Batch::default();
        let mut revived = Vec::new();
        for number in &numbers {
            let dead = self.index.dead[number];
            let letter = letters.get(&self.ground, *number, &dead);
            let entry = letter.and_then(|letter| Ok(letter.entry()?));
            let entry = self.stop_at(entry)?;
            let bytes = ENTRY_BYTES + entry.record().as_bytes().len();
            let removal_bytes = 8 * (revived.len() + 2);
            if !batch.is_empty()
                && batch.is_full_with(bytes + removal_bytes, self.journal.group_bytes_max())
            {
                batch.remove(&std::mem::take(&mut revived));
                self.write(std::mem::take(&mut batch), Room::Kept)?;
            }
            let stamp = Stamp {
                wall_ms: entry.received_ms(),
                store_time_ms: entry.store_time_ms(),
            };
            batch.append(
                self.index.next + revived.len() as u64,
                entry.record(),
                stamp,
            );
            revived.push((*number, 0));
        }
        if !batch.is_empty() {
            batch.remove(&revived);
            self.write(batch, Room::Kept)?;
        }
        self.tidy()?;
        Ok(numbers.len() as u64)
    }

    /// Frees what the changes left behind.
    fn tidy(&mut self) -> Result<(), StoreError> {
        self.write_mark()?;
        let moving = self.move_letters();
        self.stop_at(moving)
    }
}
