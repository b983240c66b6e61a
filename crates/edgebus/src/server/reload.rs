//! Reads certificates, tokens and rights again: when they change, or when told to.

use std::sync::Arc;
use std::time::Duration;

use edgebus_core::{Code, Refusal};
use tokio::time::{Instant, MissedTickBehavior};

use super::guard::Reloaded;
use super::{ServerHandle, Shared};
use crate::host;

/// The shortest time between two looks.
const LOOK_MIN: Duration = Duration::from_millis(10);
/// How often it is said that something ends soon.
const WARN_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// Looks for files that have changed for as long as the server runs.
pub(super) async fn keep_looking(shared: Arc<Shared>) {
    let period = shared.config.reload_every.max(LOOK_MIN);
    let mut looks = tokio::time::interval(period);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut warn_at = Instant::now();
    loop {
        looks.tick().await;
        let guarded = shared.clone();
        let looking = host::blocking(move || guarded.guard.look());
        let reloaded = looking.await.unwrap_or_default();
        log(&reloaded);
        // What was just read may end soon as well.
        if !reloaded.is_empty() || Instant::now() >= warn_at {
            warn_at = Instant::now() + WARN_EVERY;
            warn(&shared);
        }
    }
}

impl ServerHandle {
    /// Reads certificates, tokens and rights again, whether or not their files have changed, and
    /// says so in the log. Connections stay, unless what let them in is not taken any more.
    ///
    /// What cannot be used is told, one refusal for each, with the name of the file; what was read
    /// before it stays.
    pub async fn reload(&self) -> Vec<Refusal> {
        let shared = self.shared.clone();
        let reloading = host::blocking(move || shared.guard.reload());
        let Ok(reloaded) = reloading.await else {
            let stopping = "the runtime is shutting down";
            return vec![Refusal::new(Code::ShuttingDown, stopping)];
        };
        log(&reloaded);
        warn(&self.shared);
        let results = reloaded.into_iter().map(|reloaded| reloaded.result);
        results.filter_map(Result::err).collect()
    }
}

/// Tells what is of no use, or will soon be of none.
fn warn(shared: &Shared) {
    for warning in shared.guard.warnings() {
        tracing::warn!("{warning}");
    }
}

fn log(reloaded: &[Reloaded]) {
    for Reloaded { what, now, result } in reloaded {
        match (result, now) {
            (Ok(()), Some(now)) => tracing::info!("reloaded the {what}: now in use is {now}"),
            (Ok(()), None) => tracing::info!("reloaded the {what}"),
            (Err(refusal), _) => {
                let why = &refusal.message;
                tracing::warn!("the {what} were not reloaded, the old ones stay: {why}");
            }
        }
    }
}
