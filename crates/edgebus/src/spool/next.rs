//! Handing out what waits.

use std::sync::Arc;

use edgebus_core::planted;

use super::cursor::Cursor;
use super::{Spool, Waiting};
use crate::store::StoreError;

impl Spool {
    /// The next waiting requests behind those handed out so far, oldest first; empty when there are
    /// none. At most so many, and so many bytes of records, but at least one.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] naming the place, or what the operating system says; nothing was
    /// handed out, and the spool goes on.
    pub fn next(&mut self, count_max: usize, bytes_max: usize) -> Result<Vec<Waiting>, StoreError> {
        let now = self.clock.now();
        let store_time_ms = self.time.at(now);
        let mut given = Vec::new();
        let mut bytes = 0;
        while given.len() < count_max {
            let found = match self.ahead.take() {
                Some(ahead) => Some(ahead),
                None => match self.cursor.step(&self.ground, &self.index) {
                    Ok(found) => found,
                    // What was read before the damage is handed out first.
                    Err(_) if !given.is_empty() => None,
                    Err(error) => return Err(error),
                },
            };
            let Some((at, entry)) = found else {
                break;
            };
            let number = entry.seq().0;
            if !self.index.waits(number) || self.owed.contains_key(&number) {
                continue;
            }
            let record = entry.record().clone();
            let record_bytes = record.as_bytes().len();
            if !given.is_empty() && bytes + record_bytes > bytes_max {
                self.ahead = Some((at, entry));
                break;
            }
            bytes += record_bytes;
            self.out.insert(number, (at, record_bytes as u64));
            if planted!("spool-forgets-before-receipt") {
                self.index.removed(number, record_bytes as u64);
            }
            given.push(Waiting {
                number,
                record,
                age_ms: store_time_ms.saturating_sub(entry.store_time_ms()),
            });
        }
        Ok(given)
    }

    /// Hands out again from the first that is not settled.
    pub fn rewind(&mut self) {
        self.cursor = Cursor::before(&self.index, self.index.first);
        self.ahead = None;
        self.out.clear();
    }

    /// The clock this spool goes by.
    pub fn clock(&self) -> Arc<dyn crate::clock::Clock> {
        self.clock.clone()
    }
}
