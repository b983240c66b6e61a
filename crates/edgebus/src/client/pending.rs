//! Who waits for what: one receipt, a batch of them, a reply, or an answer to something else.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use edgebus_core::admin::Managed;
use edgebus_core::consumer::{Answer, LeaseToken};
use edgebus_core::query::{LogPage, Stats};
use edgebus_core::{Code, Receipt, Refusal, RequestId, Seq};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::spooling::{Origin, Taken};
use super::telling::mismatch;
use crate::error::SendError;

/// Sequence number and whether it was stored before, or why not.
pub(super) type Outcome = Result<(u64, bool), Refusal>;

/// Whoever waits for one send.
#[derive(Debug)]
pub(super) enum SendWaiter {
    One(oneshot::Sender<Outcome>, Room),
    InBatch(Arc<Batch>, usize),
    /// Takes the word of a spool as well.
    Spooling(oneshot::Sender<Result<Taken, Refusal>>, Room),
    /// It comes out of the spool, from this place.
    Forward(Origin),
    /// It was told before.
    Nobody,
}

/// The room in the window that something undecided takes.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) _count: Option<OwnedSemaphorePermit>,
    pub(super) _bytes: Option<OwnedSemaphorePermit>,
}

impl SendWaiter {
    /// It is in the spool.
    pub(super) fn tell_spooled(self, number: u64) {
        if let Self::Spooling(waiter, room) = self {
            drop(room);
            let _ = waiter.send(Ok(Taken::Spooled(number)));
        }
    }

    /// Tells the outcome. Whoever waited may have gone, which changes nothing.
    pub(super) fn tell(self, outcome: Outcome) {
        match self {
            Self::One(waiter, room) => {
                // First the room in the window, so that whoever waited finds it.
                drop(room);
                let _ = waiter.send(outcome);
            }
            Self::InBatch(batch, index) => batch.tell(index, outcome),
            Self::Spooling(waiter, room) => {
                drop(room);
                let stored = outcome.map(|(seq, duplicate)| Taken::Stored(seq, duplicate));
                let _ = waiter.send(stored);
            }
            // The spool is told under the lock, where order counts.
            Self::Forward(_) | Self::Nobody => {}
        }
    }
}

/// Sends that are waited for together.
#[derive(Debug)]
pub(super) struct Batch(Mutex<BatchState>);

#[derive(Debug)]
struct BatchState {
    outcomes: Vec<Option<Outcome>>,
    left: usize,
    done: Option<oneshot::Sender<Vec<Outcome>>>,
    room: Option<Room>,
}

impl Batch {
    pub(super) fn new(count: usize, room: Room) -> (Arc<Self>, oneshot::Receiver<Vec<Outcome>>) {
        let (done, outcomes) = oneshot::channel();
        let state = BatchState {
            outcomes: (0..count).map(|_| None).collect(),
            left: count,
            done: Some(done),
            room: Some(room),
        };
        (Arc::new(Self(Mutex::new(state))), outcomes)
    }

    fn tell(&self, index: usize, outcome: Outcome) {
        let mut state = self.0.lock();
        state.outcomes[index] = Some(outcome);
        state.left -= 1;
        if state.left == 0 {
            let outcomes = std::mem::take(&mut state.outcomes)
                .into_iter()
                .flatten()
                .collect();
            state.room = None;
            if let Some(done) = state.done.take() {
                let _ = done.send(outcomes);
            }
        }
    }
}

/// A request that was sent; waits for its receipt. Dropping it changes nothing for the request.
#[derive(Debug)]
pub struct PendingReceipt {
    id: RequestId,
    outcome: oneshot::Receiver<Outcome>,
}

impl PendingReceipt {
    pub(super) fn new(id: RequestId, outcome: oneshot::Receiver<Outcome>) -> Self {
        Self { id, outcome }
    }

    /// The request's id.
    pub fn request_id(&self) -> RequestId {
        self.id
    }
}

impl Future for PendingReceipt {
    type Output = Result<Receipt, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let id = self.id;
        Pin::new(&mut self.outcome)
            .poll(cx)
            .map(|told| result(id, told.unwrap_or_else(|_| Err(lost()))))
    }
}

/// A batch that was sent.
#[derive(Debug)]
pub(super) struct PendingBatch {
    pub(super) ids: Vec<RequestId>,
    pub(super) outcomes: oneshot::Receiver<Vec<Outcome>>,
}

impl PendingBatch {
    pub(super) async fn results(self) -> Vec<Result<Receipt, SendError>> {
        let Self { ids, outcomes } = self;
        let outcomes = outcomes
            .await
            .unwrap_or_else(|_| vec![Err(lost()); ids.len()]);
        ids.into_iter()
            .zip(outcomes)
            .map(|(id, outcome)| result(id, outcome))
            .collect()
    }
}

fn result(id: RequestId, outcome: Outcome) -> Result<Receipt, SendError> {
    match outcome {
        Ok((seq, duplicate)) => Ok(Receipt::new(id, Seq(seq), duplicate)),
        Err(refusal) => Err(SendError::new(id, refusal)),
    }
}

/// The connection ended before the answer came.
pub(super) fn lost() -> Refusal {
    Refusal::new(
        Code::Unknown,
        "the connection was lost before the answer came",
    )
}

/// Waits for the reply to a request; an `Err` when nobody is left to bring it.
pub(super) type PendingReply = oneshot::Receiver<Result<Answer, Refusal>>;
/// The other end of [`PendingReply`].
pub(super) type ReplyWaiter = oneshot::Sender<Result<Answer, Refusal>>;
/// Whoever waits until what was said about a message is on disk.
pub(super) type SettleWaiter = oneshot::Sender<Result<(), Refusal>>;
/// Whoever waits for a stream to be open: which leases it kept.
pub(super) type OpenWaiter = oneshot::Sender<Result<Vec<LeaseToken>, Refusal>>;

/// What a server answers to whoever asked one thing.
#[derive(Debug)]
pub(super) enum Told {
    Page(LogPage),
    Stats(Box<Stats>),
    Published(u64),
    Managed(Managed),
}

impl Told {
    pub(super) fn into_page(self) -> Result<LogPage, Refusal> {
        match self {
            Self::Page(page) => Ok(page),
            _ => Err(mismatch()),
        }
    }

    pub(super) fn into_stats(self) -> Result<Stats, Refusal> {
        match self {
            Self::Stats(stats) => Ok(*stats),
            _ => Err(mismatch()),
        }
    }

    pub(super) fn into_published(self) -> Result<u64, Refusal> {
        match self {
            Self::Published(reached) => Ok(reached),
            _ => Err(mismatch()),
        }
    }

    pub(super) fn into_managed(self) -> Result<Managed, Refusal> {
        match self {
            Self::Managed(managed) => Ok(managed),
            _ => Err(mismatch()),
        }
    }
}
