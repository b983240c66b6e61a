//! Whether the tables can be read at the moment.
//!
//! After a full disk redb refuses everything until the file is opened anew, which the sealer does
//! at once. A reader that comes between waits for the next view instead of telling its caller that
//! the disk is full: reading needs no room.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::StoreError;

/// How long a reader waits. Opening takes milliseconds; the bound is for a file that one reader
/// found unreadable, which the sealer does not know yet.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Where readers wait for the tables.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Views published so far; changed under the lock, read without it by each look.
    views: AtomicU64,
    tables: Mutex<Tables>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Tables {
    /// They are, or the sealer is about to open them.
    #[default]
    Open,
    /// There is not even the room to open them.
    Full,
    /// The sealer is gone or stopped.
    Closed,
}

impl Gate {
    /// There is a new view.
    pub(super) fn open(&self) {
        let mut tables = self.tables.lock();
        *tables = Tables::Open;
        self.views.fetch_add(1, Ordering::Release);
        self.changed.notify_all();
    }

    /// The file could not be opened for want of room.
    pub(super) fn full(&self) {
        *self.tables.lock() = Tables::Full;
        self.changed.notify_all();
    }

    /// The file is closed for good, or will not be opened again once it is.
    pub(super) fn close(&self) {
        *self.tables.lock() = Tables::Closed;
        self.changed.notify_all();
    }

    /// Looks something up; again with the next view when the tables were just being closed.
    ///
    /// # Errors
    /// That of the last look.
    pub(super) fn look<T>(
        &self,
        mut look: impl FnMut() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        loop {
            let seen = self.views.load(Ordering::Acquire);
            let path = match look() {
                Err(StoreError::Closed { path }) => path,
                found => return found,
            };
            let is_same = || self.views.load(Ordering::Acquire) == seen;
            let mut tables = self.tables.lock();
            let waiting = |tables: &mut Tables| is_same() && *tables == Tables::Open;
            self.changed.wait_while_for(&mut tables, waiting, WAIT_MAX);
            if is_same() {
                return Err(match *tables {
                    Tables::Full => StoreError::Full { path },
                    Tables::Open | Tables::Closed => StoreError::Closed { path },
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn closed() -> StoreError {
        StoreError::Closed {
            path: PathBuf::from("store.redb"),
        }
    }

    #[test]
    fn reader_that_came_between_gets_the_next_view() {
        let gate = Gate::default();
        let mut looks = 0;
        let found = gate.look(|| {
            looks += 1;
            if looks < 3 {
                gate.open();
                return Err(closed());
            }
            Ok(looks)
        });
        assert_eq!(found.expect("third look"), 3);
    }

    #[test]
    fn reader_of_tables_that_stay_closed_is_told_why() {
        let gate = Gate::default();
        gate.full();
        let found = gate.look::<()>(|| Err(closed()));
        assert!(matches!(found, Err(StoreError::Full { .. })));
        gate.close();
        let found = gate.look::<()>(|| Err(closed()));
        assert!(matches!(found, Err(StoreError::Closed { .. })));
    }
}
