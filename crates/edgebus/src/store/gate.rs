//! Whether the tables can be read at the moment.
//!
//! After a full disk redb refuses everything until the file is opened anew, which the sealer does
//! at once. A reader that comes between waits for the next view instead of telling its caller that
//! the disk is full: reading needs no room.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use edgebus_core::{Code, Refusal};

use super::StoreError;

/// How long a reader waits. Opening takes milliseconds; the bound is for a file that one reader
/// found unreadable, which the sealer does not know yet.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// When who waited in vain is to come again.
const COME_AGAIN_MS: u64 = 100;

/// Where readers wait for the tables.
#[derive(Debug)]
pub(super) struct Gate {
    wait_max: Duration,
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
    /// Somebody has waited for the next view in vain. Until there is one nobody else waits: a look
    /// that waits holds up the engine, and with it acks, and there may be hundreds of looks.
    Late,
    /// There is not even the room to open them.
    Full,
    /// The sealer is gone or stopped.
    Closed,
}

impl Default for Gate {
    fn default() -> Self {
        Self::with_patience(WAIT_MAX)
    }
}

impl Gate {
    fn with_patience(wait_max: Duration) -> Self {
        Self {
            wait_max,
            views: AtomicU64::new(0),
            tables: Mutex::default(),
            changed: Condvar::new(),
        }
    }

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
    /// That of the last look. When the tables are late, [`Code::Busy`]: they will be there, and who
    /// is told that the store is shut down would wait for a connection that does not end.
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
            self.changed
                .wait_while_for(&mut tables, waiting, self.wait_max);
            if is_same() {
                return Err(match *tables {
                    Tables::Full => StoreError::Full { path },
                    Tables::Closed => StoreError::Closed { path },
                    Tables::Open | Tables::Late => {
                        *tables = Tables::Late;
                        let late = "the tables are being opened anew: try again";
                        let refusal = Refusal::new(Code::Busy, late);
                        StoreError::Refused(refusal.retry_after_ms(COME_AGAIN_MS))
                    }
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

    /// A look that failed while the sealer was still at the transaction that a full disk had broken
    /// was told that the store is shut down. Its client waited for a connection that did not end,
    /// and what it had sent later was stored before it.
    #[test]
    fn reader_of_tables_that_are_late_is_told_to_come_again() {
        let gate = Gate::with_patience(Duration::from_millis(1));
        let found = gate.look::<()>(|| Err(closed())).expect_err("closed");
        assert_eq!(found.code(), Code::Busy);
        assert!(found.is_retryable());
        gate.open();
        assert_eq!(gate.look(|| Ok(1)).expect("there again"), 1);
    }

    #[test]
    fn one_reader_waits_for_late_tables_and_those_after_it_do_not() {
        let gate = Gate::with_patience(Duration::from_secs(3600));
        *gate.tables.lock() = Tables::Late;
        let found = gate.look::<()>(|| Err(closed())).expect_err("closed");
        assert_eq!(found.code(), Code::Busy);
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
