//! How many lines a second may be logged about what was refused.
//!
//! Refusals are made by whoever likes to be refused, so their lines would fill the disk that the
//! store lives on. Up to [`LINES_MAX`] a second are logged one by one; of the others it is told how
//! many there were.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Lines a second.
const LINES_MAX: u64 = 20;
const SECOND: Duration = Duration::from_secs(1);

/// The lines of the second that goes on.
#[derive(Debug)]
pub(crate) struct LogBudget(Mutex<Spent>);

#[derive(Debug)]
struct Spent {
    since: Instant,
    lines: u64,
}

impl Default for LogBudget {
    fn default() -> Self {
        Self(Mutex::new(Spent {
            since: Instant::now(),
            lines: 0,
        }))
    }
}

impl LogBudget {
    /// Logs a line about a refusal, if there is room for it.
    pub(crate) fn line(&self, log: impl FnOnce()) {
        let (may, missed) = self.0.lock().spend(Instant::now());
        tell(missed);
        if may {
            log();
        }
    }

    /// Tells of lines that found no room, once their second is over. To be called now and then, as
    /// nothing may be refused any more.
    pub(crate) fn settle(&self) {
        let missed = self.0.lock().turn(Instant::now());
        tell(missed);
    }
}

impl Spent {
    /// Whether there is room for one more, and how many found none in the second before.
    fn spend(&mut self, now: Instant) -> (bool, u64) {
        let missed = self.turn(now);
        self.lines += 1;
        (self.lines <= LINES_MAX, missed)
    }

    fn turn(&mut self, now: Instant) -> u64 {
        if now.saturating_duration_since(self.since) < SECOND {
            return 0;
        }
        self.since = now;
        std::mem::take(&mut self.lines).saturating_sub(LINES_MAX)
    }
}

fn tell(missed: u64) {
    if missed > 0 {
        tracing::info!("… and {missed} more were refused");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flood_of_refusals_is_summed_up_and_the_next_second_begins_anew() {
        let start = Instant::now();
        let mut spent = Spent {
            since: start,
            lines: 0,
        };
        let logged = (0..200).filter(|_| spent.spend(start).0).count();
        assert_eq!(logged as u64, LINES_MAX);
        assert_eq!(spent.turn(start + SECOND / 2), 0);
        assert_eq!(spent.spend(start + SECOND), (true, 180));
        assert_eq!(spent.turn(start + 3 * SECOND), 0);
    }
}
