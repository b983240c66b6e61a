//! The task that writes to the spool and reads from it, on threads that may block.
//!
//! It owns the spool. Ends when the client is closed, after what is known of requests that left is
//! written.

use std::sync::Arc;
use std::time::Duration;

use edgebus_core::{Code, Refusal};
use tokio::time::Instant;

use super::queue::Work;
use crate::client::link::Shared;
use crate::client::pending::lost;
use crate::client::undecided::Sent;
use crate::host;
use crate::spool::{Spool, StoreError, Waiting};

/// How long to leave a spool alone that failed.
const MEND: Duration = Duration::from_secs(1);

/// What came of some work.
struct Done {
    written: Vec<(Sent, Result<u64, Refusal>)>,
    /// `None`: nothing was to be read.
    read: Option<Vec<Waiting>>,
    failed: Option<StoreError>,
}

/// How the spool is opened.
pub(super) trait Opens: Fn() -> Result<Spool, StoreError> + Send + Sync + 'static {}

impl<F: Fn() -> Result<Spool, StoreError> + Send + Sync + 'static> Opens for F {}

pub(super) async fn run(spool: Spool, opens: impl Opens, shared: Arc<Shared>) {
    let opens = Arc::new(opens);
    let mut spool = spool;
    let mut mended: Option<Instant> = None;
    report(&spool);
    loop {
        let (work, connection) = shared.spool_work();
        if work.is_nothing() {
            if shared.is_closed() {
                return;
            }
            shared.wait_for_spool_work(work.again_at).await;
            continue;
        }
        let working = host::blocking(move || {
            let done = act(&mut spool, work);
            (spool, done)
        });
        let failed = match working.await {
            Ok((back, done)) => {
                let Done {
                    written,
                    read,
                    failed,
                } = done;
                shared.spool_done(written, read, (back.waiting(), back.dead()), connection);
                match failed {
                    None => {
                        spool = back;
                        continue;
                    }
                    // Dropped here, as it holds the lock on its folder.
                    Some(error) => error.to_string(),
                }
            }
            Err(error) if error.is_panic() => error.to_string(),
            // The runtime ends, and everything with it.
            Err(_) => return,
        };
        tracing::error!("the spool has stopped, and is opened again: {failed}");
        match mend(&opens, &shared, failed, mended).await {
            Some(opened) => spool = opened,
            None => return,
        }
        mended = Some(Instant::now());
    }
}

/// Opens the spool again, however long it takes, and not too soon after the last time; meanwhile
/// what comes is refused.
async fn mend(
    opens: &Arc<impl Opens>,
    shared: &Shared,
    failed: String,
    mended: Option<Instant>,
) -> Option<Spool> {
    let mut reason = Refusal::new(Code::Poisoned, failed);
    let mut not_before = mended.map(|at| at + MEND);
    loop {
        shared.refuse_spooling(&reason);
        while let Some(until) = not_before.filter(|until| *until > Instant::now()) {
            if shared.is_closed() {
                return None;
            }
            shared.wait_for_spool_work(Some(until)).await;
            shared.refuse_spooling(&reason);
        }
        let opening = host::blocking({
            let opens = opens.clone();
            move || opens()
        });
        match opening.await {
            Ok(Ok(spool)) => {
                report(&spool);
                shared.spool_done(Vec::new(), None, (spool.waiting(), spool.dead()), 0);
                return Some(spool);
            }
            Ok(Err(error)) => reason = Refusal::new(Code::Poisoned, error.to_string()),
            Err(error) if error.is_panic() => {}
            Err(_) => return None,
        }
        not_before = Some(Instant::now() + MEND);
    }
}

fn report(spool: &Spool) {
    if let Some(torn) = spool.torn_tail() {
        tracing::warn!(
            segment = %torn.segment.display(),
            offset = torn.offset,
            copy = %torn.copy.display(),
            "the spool ended in a group that a power cut tore, and was copied aside"
        );
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
    let now = Instant::now();
    let records = work.to_write.iter().map(|sent| sent.due(now));
    // Also with nothing new: what had no room on the disk before may have it now.
    let committed = spool.commit(&work.settled, records.collect());
    done.written = match committed {
        Ok(outcomes) => work.to_write.into_iter().zip(outcomes).collect(),
        Err(error) => {
            let unknown = work
                .to_write
                .into_iter()
                .map(|sent| (sent, Err(lost_on_disk(&error))))
                .collect();
            done.failed = Some(error);
            unknown
        }
    };
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
fn lost_on_disk(error: &StoreError) -> Refusal {
    let mut refusal = lost();
    refusal.message = format!("the spool failed while it was written: {error}");
    refusal
}
