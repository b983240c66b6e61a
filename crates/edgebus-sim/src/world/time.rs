//! The clocks of a machine: a monotonic one that is the runtime's, and a wall clock that is wrong.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use edgebus::clock::{Clock, Now};
use tokio::time::Instant;

/// Where wall clocks begin: some day in 2023, unix milliseconds.
const WALL_MS: u64 = 1_700_000_000_000;

/// The wall clock of a machine, which outlives its processes. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Wall(Arc<Mutex<Hand>>);

#[derive(Clone, Copy, Debug)]
struct Hand {
    set_at: Instant,
    set_to_ms: u64,
    /// It stands still.
    frozen: bool,
}

/// The clocks as one process sees them.
#[derive(Clone, Debug)]
pub(crate) struct ProcessClock {
    started: Instant,
    wall: Wall,
}

impl Wall {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Hand {
            set_at: Instant::now(),
            set_to_ms: WALL_MS,
            frozen: false,
        })))
    }

    /// What it shows, in unix milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        self.lock().shows()
    }

    /// Puts it somewhere; it goes on from there, or stands still.
    pub(crate) fn set(&self, to_ms: u64, frozen: bool) {
        *self.lock() = Hand {
            set_at: Instant::now(),
            set_to_ms: to_ms,
            frozen,
        };
    }

    /// The clocks of a process that starts now.
    pub(crate) fn process(&self) -> ProcessClock {
        ProcessClock {
            started: Instant::now(),
            wall: self.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Hand> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hand {
    fn shows(&self) -> u64 {
        let passed = match self.frozen {
            true => Duration::ZERO,
            false => self.set_at.elapsed(),
        };
        self.set_to_ms.saturating_add(passed.as_millis() as u64)
    }
}

impl Clock for ProcessClock {
    fn now(&self) -> Now {
        Now {
            monotonic: self.started.elapsed(),
            wall_ms: self.wall.now_ms(),
        }
    }
}
