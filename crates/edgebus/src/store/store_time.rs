//! Store time: milliseconds that only go forward, whatever the wall clock does.
//!
//! It advances with the monotonic clock. Over a restart it advances by what the wall clock says
//! went by, but by at least nothing and at most a day, so that a clock set to 1970 or to 2070
//! neither holds everything for ever nor lets everything expire at once.

use std::time::Duration;

use crate::clock::Now;

const RESTART_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// Store time of one open store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoreTime {
    base_ms: u64,
    opened: Duration,
}

impl StoreTime {
    /// Goes on from the last store time and wall clock on disk, both 0 for a new store.
    pub(crate) fn resume((last_ms, last_wall_ms): (u64, u64), now: Now) -> Self {
        let away_ms = match last_wall_ms {
            0 => 0,
            last => now.wall_ms.saturating_sub(last).min(RESTART_MS_MAX),
        };
        Self {
            base_ms: last_ms + away_ms,
            opened: now.monotonic,
        }
    }

    /// Store time at a moment, milliseconds.
    pub(crate) fn at(&self, now: Now) -> u64 {
        self.base_ms + now.monotonic.saturating_sub(self.opened).as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(monotonic_ms: u64, wall_ms: u64) -> Now {
        Now {
            monotonic: Duration::from_millis(monotonic_ms),
            wall_ms,
        }
    }

    #[test]
    fn store_time_follows_the_monotonic_clock_not_the_wall() {
        let time = StoreTime::resume((0, 0), now(100, 5_000));
        assert_eq!(time.at(now(100, 0)), 0);
        assert_eq!(time.at(now(350, 9_999_999)), 250);
    }

    #[test]
    fn restart_counts_the_time_away_between_nothing_and_a_day() {
        assert_eq!(
            StoreTime::resume((1_000, 5_000), now(7, 8_000)).at(now(7, 0)),
            4_000
        );
        assert_eq!(
            StoreTime::resume((1_000, 5_000), now(7, 1)).at(now(7, 0)),
            1_000
        );
        let far = StoreTime::resume((1_000, 5_000), now(7, u64::MAX));
        assert_eq!(far.at(now(7, 0)), 1_000 + RESTART_MS_MAX);
    }
}
