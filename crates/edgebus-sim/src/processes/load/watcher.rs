//! Somebody who looks at the log while it grows: what is shown must be there at the end.

use std::time::Duration;

use edgebus::query::LogQuery;
use edgebus::{Client, Refusal, Seq};

use super::{Shared, connect};
use crate::history;
use crate::rng::SimRng;

/// Messages that are asked for at a time.
const LOOKS_AT: u64 = 200;
/// Between two looks.
const LOOKS_EVERY: Duration = Duration::from_millis(25);

/// The one who looks.
pub(super) struct Watcher {
    client: history::Client,
    shared: Shared,
    rng: SimRng,
}

impl Watcher {
    pub(super) fn new(client: history::Client, shared: Shared, rng: SimRng) -> Self {
        Self {
            client,
            shared,
            rng,
        }
    }

    /// Looks until clients are to end.
    pub(super) async fn run(mut self) {
        let builder = || Client::builder(&self.shared.url).name("watcher");
        let Some(client) = connect(&self.shared, builder).await else {
            return;
        };
        while !self.shared.is_stopping() {
            // The server may be away, and says so; it is asked again.
            let _ = self.look(&client).await;
            self.shared.pause(LOOKS_EVERY).await;
        }
    }

    async fn look(&mut self, client: &Client) -> Result<(), Refusal> {
        let last = client.stats().await?.last_seq;
        self.shared.notes.saw_last(last);
        if last == 0 {
            return Ok(());
        }
        // Mostly the newest, where a look could be too early.
        let newest = last.saturating_sub(LOOKS_AT) + 1;
        let from = match self.rng.chance(0.7) {
            true => newest.max(1),
            false => 1 + self.rng.below(last),
        };
        let to = (from + LOOKS_AT - 1).min(last);
        let call = self.shared.notes.looks(self.client, Seq(from), Seq(to));
        let mut query = LogQuery::from(Seq(from));
        query.to = Some(Seq(to));
        let mut replay = client.replay(query);
        while let Some(entry) = replay.next().await {
            match entry {
                Ok(entry) => self.shared.notes.saw(call, &entry),
                Err(refusal) => {
                    self.shared.notes.looked(call, None);
                    return Err(refusal);
                }
            }
        }
        self.shared.notes.looked(call, Some(Seq(to)));
        Ok(())
    }
}
