//! How fast a frame has to come once it has begun.
//!
//! Whoever sends a byte now and then would hold a connection, and what was received of its frame,
//! for as long as it likes. Only time counts in which the frame is waited for: while nothing is
//! read, nobody can send.

use std::time::Duration;

use edgebus_core::{Code, Refusal};
use tokio::time::Instant;

/// How often it is looked at how much has come.
pub(super) const WINDOW: Duration = Duration::from_secs(5);

/// What has come of a frame in the window that goes on.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second_min: usize,
    /// Bytes that had come of the whole stream when the window began.
    from: u64,
    /// Waited in this window.
    waited: Duration,
    /// Waited in the windows before it, for the same frame.
    waited_before: Duration,
}

/// Counts the time until it is dropped as waited for, also when whoever waits gives up.
pub(super) struct Waiting<'a> {
    pace: &'a mut Pace,
    since: Instant,
}

impl Pace {
    /// So many bytes a second must come; 0: any pace will do.
    pub(super) fn new(bytes_per_second_min: usize) -> Self {
        Self {
            bytes_per_second_min,
            from: 0,
            waited: Duration::ZERO,
            waited_before: Duration::ZERO,
        }
    }

    /// A frame has come whole, or nothing has come of the next one. So many bytes have come so far.
    pub(super) fn restart(&mut self, came: u64) {
        self.from = came;
        self.waited = Duration::ZERO;
        self.waited_before = Duration::ZERO;
    }

    /// How long the frame was waited for altogether.
    pub(super) fn waited(&self) -> Duration {
        self.waited_before + self.waited
    }

    /// How much of the window is left.
    pub(super) fn left(&self) -> Duration {
        WINDOW.saturating_sub(self.waited)
    }

    /// The frame is waited for from now on.
    pub(super) fn wait(&mut self) -> Waiting<'_> {
        Waiting {
            pace: self,
            since: Instant::now(),
        }
    }

    /// Ends the window if it is over, or if as much has come as must. So many bytes have come so
    /// far.
    ///
    /// # Errors
    /// [`Code::TooSlow`]: too little has come.
    pub(super) fn check(&mut self, came: u64) -> Result<(), Refusal> {
        let enough = self.bytes_per_second_min as u64 * WINDOW.as_secs();
        if came - self.from >= enough {
            self.waited_before += std::mem::take(&mut self.waited);
            self.from = came;
        } else if self.waited >= WINDOW {
            return Err(too_slow(self.bytes_per_second_min));
        }
        Ok(())
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pace.waited += self.since.elapsed();
    }
}

fn too_slow(bytes_per_second_min: usize) -> Refusal {
    let seconds = WINDOW.as_secs();
    let message = format!(
        "a frame came more slowly than {bytes_per_second_min} bytes a second over {seconds} s: connect again when the way is better"
    );
    Refusal::new(Code::TooSlow, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits, and has so many bytes come by then.
    async fn wait(pace: &mut Pace, seconds: u64, came: u64) -> Result<(), Code> {
        let waiting = pace.wait();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        drop(waiting);
        pace.check(came).map_err(|refusal| refusal.code)
    }

    #[tokio::test(start_paused = true)]
    async fn too_little_in_a_window_is_too_slow_and_enough_begins_another() {
        let mut pace = Pace::new(100);
        assert_eq!(wait(&mut pace, 4, 499).await, Ok(()));
        assert_eq!(wait(&mut pace, 0, 500).await, Ok(()));
        assert_eq!((pace.left(), pace.waited().as_secs()), (WINDOW, 4));
        assert_eq!(wait(&mut pace, 4, 600).await, Ok(()));
        assert_eq!(wait(&mut pace, 1, 700).await, Err(Code::TooSlow));
    }

    #[tokio::test(start_paused = true)]
    async fn whole_frame_begins_anew_and_time_without_reading_does_not_count() {
        let mut pace = Pace::new(100);
        assert_eq!(wait(&mut pace, 4, 10).await, Ok(()));
        pace.restart(20);
        assert_eq!(wait(&mut pace, 4, 30).await, Ok(()));
        tokio::time::advance(WINDOW * 9).await;
        assert_eq!(pace.check(30), Ok(()));
        assert_eq!(wait(&mut pace, 1, 30).await, Err(Code::TooSlow));
    }

    #[tokio::test(start_paused = true)]
    async fn any_pace_will_do_where_none_is_asked_for() {
        let mut pace = Pace::new(0);
        for _ in 0..3 {
            assert_eq!(wait(&mut pace, 60, 1).await, Ok(()));
        }
    }
}
