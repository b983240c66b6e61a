//! A clock that moves when a test says so.
//!
//! The monotonic time only goes forwards, as the trait promises; the wall clock can be put
//! anywhere, as an administrator or NTP does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use edgebus::clock::{Clock, Now};

/// A clock set by hand; clones show the same time.
///
/// ```
/// use std::time::Duration;
/// use edgebus::clock::Clock;
/// use edgebus_sim::SimClock;
///
/// let clock = SimClock::new(1_000);
/// clock.advance(Duration::from_secs(2));
/// assert_eq!(clock.now().wall_ms, 3_000);
/// clock.set_wall(0);
/// assert_eq!(clock.now().monotonic, Duration::from_secs(2));
/// ```
#[derive(Clone, Debug)]
pub struct SimClock(Arc<Mutex<Hands>>);

/// The wall clock is kept exactly, so that many steps below a millisecond add up.
#[derive(Debug)]
struct Hands {
    monotonic: Duration,
    wall: Duration,
}

impl SimClock {
    /// A clock at monotonic 0 and this wall time, in unix milliseconds.
    pub fn new(wall_ms: u64) -> Self {
        Self(Arc::new(Mutex::new(Hands {
            monotonic: Duration::ZERO,
            wall: Duration::from_millis(wall_ms),
        })))
    }

    /// Lets time pass, on both clocks.
    pub fn advance(&self, time: Duration) {
        let mut hands = self.hands();
        hands.monotonic = hands.monotonic.saturating_add(time);
        hands.wall = hands.wall.saturating_add(time);
    }

    /// Puts the wall clock somewhere, in unix milliseconds; the monotonic one does not notice.
    pub fn set_wall(&self, wall_ms: u64) {
        self.hands().wall = Duration::from_millis(wall_ms);
    }

    /// A thread that panicked cannot have left the two numbers half set.
    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for SimClock {
    fn now(&self) -> Now {
        let hands = self.hands();
        Now {
            monotonic: hands.monotonic,
            wall_ms: u64::try_from(hands.wall.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_below_a_millisecond_add_up() {
        let clock = SimClock::new(5);
        for _ in 0..10 {
            clock.advance(Duration::from_micros(100));
        }
        assert_eq!(clock.now().wall_ms, 6);
        assert_eq!(clock.now().monotonic, Duration::from_millis(1));
    }

    #[test]
    fn clones_show_the_same_time() {
        let clock = SimClock::new(0);
        clock.clone().advance(Duration::from_secs(1));
        assert_eq!(clock.now().wall_ms, 1_000);
    }

    #[test]
    fn wall_clock_jumps_either_way_and_the_other_does_not() {
        let clock = SimClock::new(1_000);
        clock.advance(Duration::from_secs(1));
        let before = clock.now().monotonic;
        clock.set_wall(0);
        assert_eq!(clock.now().wall_ms, 0);
        clock.set_wall(u64::MAX);
        assert_eq!(clock.now().wall_ms, u64::MAX);
        assert_eq!(clock.now().monotonic, before);
    }
}
