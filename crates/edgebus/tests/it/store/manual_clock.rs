//! A clock that moves when a test says so.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use edgebus::clock::{Clock, Now};

/// Clones show the same time.
#[derive(Clone, Debug)]
pub(crate) struct ManualClock(Arc<Mutex<Now>>);

impl ManualClock {
    pub(crate) fn new(wall_ms: u64) -> Self {
        let monotonic = Duration::ZERO;
        Self(Arc::new(Mutex::new(Now { monotonic, wall_ms })))
    }

    pub(crate) fn read(&self) -> Now {
        *self.0.lock().expect("no panic while held")
    }

    pub(crate) fn advance(&self, time: Duration) {
        let mut now = self.0.lock().expect("no panic while held");
        now.monotonic += time;
        now.wall_ms += time.as_millis() as u64;
    }

    /// Puts the wall clock somewhere; the monotonic one does not notice.
    pub(crate) fn set_wall_ms(&self, wall_ms: u64) {
        self.0.lock().expect("no panic while held").wall_ms = wall_ms;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        self.read()
    }
}
