//! The task that writes to the spool and reads from it, on threads that may block.
//!
//! It owns the spool. Ends when the client is closed, after what is known of requests that left is
//! written.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use edgebus_core::{Code, Refusal};

use super::queue::Work;
use crate::client::link::Shared;
use crate::client::pending::lost;
use crate::client::undecided::Sent;
use crate::spool::{Spool, SpoolConfig, StoreError, Waiting};

/// How long to leave a spool alone that failed.
const MEND: Duration = Duration::from_secs(1);

/// What came of some work.
struct Done {
    written: Vec<(Sent, Result<u64, Refusal>)>,
    /// `None`: nothing was to be read.
    read: Option<Vec<Waiting>>,
    failed: Option<StoreError>,
}

pub(super) async fn run(spool: Spool, dir: PathBuf, config: SpoolConfig, shared: Arc<Shared>) {
    let mut spool = spool;
    loop {
        let (work, connection) = shared.spool_work();
        if work.is_nothing() {
            if shared.is_closed() {
                return;
            }
            shared.wait_for_spool_work(work.again_at).await;
            continue;
        }
        let working = tokio::task::spawn_blocking(move || {
            let done = act(&mut spool, work);
            (spool, done)
        });
        // The runtime ends, and everything with it.
        let Ok((back, done)) = working.await else {
            return;
        };
        spool = back;
        let Done {
            written,
            read,
            failed,
        } = done;
        shared.spool_done(written, read, (spool.waiting(), spool.dead()), connection);
        if let Some(error) = failed {
            tracing::error!(code = %error.code(), "the spool has stopped, and is opened again: {error}");
            match mend(spool, &dir, &config, &shared, &error).await {
                Some(mended) => spool = mended,
                None => return,
            }
        }
    }
}

/// Opens the spool again, however long it takes; meanwhile what comes is refused.
async fn mend(
    spool: Spool,
    dir: &Path,
    config: &SpoolConfig,
    shared: &Shared,
    error: &StoreError,
) -> Option<Spool> {
    // It holds the lock on its folder.
    drop(spool);
    let mut reason = Refusal::new(Code::Poisoned, error.to_string());
    loop {
        shared.refuse_spooling(&reason);
        let opening = tokio::task::spawn_blocking({
            let (dir, config) = (dir.to_owned(), *config);
            move || Spool::open(&dir, config)
        });
        match opening.await.ok()? {
            Ok(spool) => {
                shared.spool_done(Vec::new(), None, (spool.waiting(), spool.dead()), 0);
                return Some(spool);
            }
            Err(error) => reason = Refusal::new(Code::Poisoned, error.to_string()),
        }
        if shared.is_closed() {
            return None;
        }
        let until = tokio::time::Instant::now() + MEND;
        shared.wait_for_spool_work(Some(until)).await;
    }
}

fn act(spool: &mut Spool, work: Work) -> Done {
    let mut done = Done {
        written: Vec::new(),
        read: None,
        failed: None,
    };
    if work.rewind {
        spool.rewind();
    }
    if !work.to_write.is_empty() || !work.settled.is_empty() {
        let now = tokio::time::Instant::now();
        let records = work.to_write.iter().map(|sent| sent.due(now));
        let committed = spool.commit(&work.settled, records.collect());
        done.written = match committed {
            Ok(outcomes) => work.to_write.into_iter().zip(outcomes).collect(),
            Err(error) => {
                done.failed = Some(error);
                let unknown = work
                    .to_write
                    .into_iter()
                    .map(|sent| (sent, Err(lost_on_disk())));
                unknown.collect()
            }
        };
    }
    if let Some((count, bytes)) = work.room
        && done.failed.is_none()
    {
        match spool.next(count, bytes) {
            Ok(read) => done.read = Some(read),
            Err(error) => done.failed = Some(error),
        }
    }
    done
}

/// It may be found in the spool when that is opened again, and sent then.
fn lost_on_disk() -> Refusal {
    let mut refusal = lost();
    refusal.message = "the spool failed while it was written".to_owned();
    refusal
}
