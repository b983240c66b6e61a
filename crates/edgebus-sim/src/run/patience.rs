//! Worlds that never end: a task that spins without ever waiting stops virtual time, and only somebody outside can see that.
//!
//! A thread cannot be ended from outside, so the process is: the seed is named, and the status is that of
//! a broken promise.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// For how long a world may run. It takes less than a second, little optimised and on a busy machine a few.
const PATIENCE: Duration = Duration::from_secs(90);

/// Which worlds are running, and since when.
#[derive(Debug, Default)]
pub(super) struct Patience {
    running: Mutex<Running>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Running {
    since: BTreeMap<u64, Instant>,
    is_over: bool,
}

impl Patience {
    /// A world that is run in here is watched.
    pub(super) fn watch<T>(&self, seed: u64, world: impl FnOnce() -> T) -> T {
        self.lock().since.insert(seed, Instant::now());
        let outcome = world();
        self.lock().since.remove(&seed);
        outcome
    }

    /// No more worlds will come.
    pub(super) fn is_over(&self) {
        self.lock().is_over = true;
        self.ended.notify_all();
    }

    /// Waits until all worlds ended, or one runs for longer than it may: its seed.
    pub(super) fn wait(&self) -> Option<u64> {
        self.wait_at_most(PATIENCE)
    }

    fn wait_at_most(&self, patience: Duration) -> Option<u64> {
        let mut running = self.lock();
        loop {
            if running.is_over {
                return None;
            }
            let oldest = running.since.iter().min_by_key(|(_, since)| **since);
            let left = match oldest {
                None => patience,
                Some((seed, since)) => match patience.checked_sub(since.elapsed()) {
                    None | Some(Duration::ZERO) => return Some(*seed),
                    Some(left) => left,
                },
            };
            let waited = self.ended.wait_timeout(running, left);
            running = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn world_that_does_not_end_is_named() {
        let patience = Patience::default();
        let seed = patience.watch(7, || patience.wait_at_most(Duration::from_millis(1)));
        assert_eq!(seed, Some(7));
    }

    #[test]
    fn worlds_that_ended_are_not() {
        let patience = Patience::default();
        patience.watch(7, || ());
        patience.is_over();
        assert_eq!(patience.wait_at_most(Duration::ZERO), None);
    }
}
