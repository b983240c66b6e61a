//! The log from some point on, as an iterator.

use std::time::Duration;

use edgebus_core::{Entry, Refusal};

use super::runtime::{Runtime, TimedOut};
use crate::client;

/// The log from some point on, pulled page by page: a slow reader holds nothing at the server.
///
/// An iterator that ends with the log, or after an error.
///
/// ```no_run
/// # fn example(client: edgebus::blocking::Client) -> Result<(), edgebus::Refusal> {
/// use edgebus::{LogQuery, Seq};
///
/// for entry in client.replay(LogQuery::from(Seq(1))) {
///     let entry = entry?;
///     println!("{} {}", entry.seq(), entry.record().topic_str());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Replay {
    replay: client::Replay,
    runtime: Runtime,
}

impl Replay {
    pub(super) fn new(replay: client::Replay, runtime: &Runtime) -> Self {
        Self {
            replay,
            runtime: runtime.clone(),
        }
    }

    /// The next request; `None` at the end of the log.
    ///
    /// # Errors
    /// [`TimedOut`] when there was no answer in this time; the page is asked for again next time.
    pub fn next_timeout(
        &mut self,
        time: Duration,
    ) -> Result<Option<Result<Entry, Refusal>>, TimedOut> {
        self.runtime.wait_at_most(time, self.replay.next())
    }
}

impl Iterator for Replay {
    type Item = Result<Entry, Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        self.runtime.wait(self.replay.next())
    }
}
