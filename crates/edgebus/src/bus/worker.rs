//! A worker's way back to the engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use edgebus_core::consumer::{LeaseToken, Left, Settlement};
use edgebus_core::{Code, ConsumerName, RecordLimits, Refusal};
use tokio::sync::{mpsc, oneshot};

use super::lane::engine_gone;
use super::pool::Share;
use super::queue::{Mouth, Queue, Said};
use crate::delivery::{BoxFuture, Settle, WorkerEvent, within_limits};

/// A worker that was taken on, and what comes to it.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Leases from an earlier connection that are still good.
    pub(crate) kept: Vec<LeaseToken>,
    /// What it is given; bounded by its credit.
    pub(crate) events: mpsc::UnboundedReceiver<WorkerEvent>,
    /// Its way back.
    pub(crate) handle: WorkerHandle,
}

/// Speaks for a worker. Cheap to clone; once the last one is dropped, the worker is taken for
/// lost.
#[derive(Clone, Debug)]
pub(crate) struct WorkerHandle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    queue: Arc<Queue>,
    mouth: Arc<Mouth>,
    consumer: ConsumerName,
    worker: u64,
    /// What is said in this process comes through no session that would look after them.
    limits: RecordLimits,
    left: AtomicBool,
}

impl WorkerHandle {
    pub(super) fn new(
        queue: Arc<Queue>,
        owner: Arc<str>,
        consumer: ConsumerName,
        worker: u64,
        limits: RecordLimits,
    ) -> Self {
        Self(Arc::new(Inner {
            queue,
            mouth: Mouth::of(owner),
            consumer,
            worker,
            limits,
            left: AtomicBool::new(false),
        }))
    }

    /// Says what became of messages, within the limits of a session; the room that it takes is given
    /// back once the engine has heard it. The future waits for the disk; dropping it changes nothing.
    pub(crate) fn settle_all(
        &self,
        items: Vec<(LeaseToken, Settlement)>,
        room: Option<Share>,
    ) -> impl Future<Output = Vec<Result<(), Refusal>>> + use<> {
        let count = items.len();
        let (done, outcomes) = oneshot::channel();
        self.say(items, Some(done), room);
        async move {
            let gone = |_| vec![Err(engine_gone()); count];
            outcomes.await.unwrap_or_else(gone)
        }
    }

    /// It takes so many messages more, and so many bytes.
    pub(crate) fn take_more(&self, messages: u32, bytes: u64) {
        self.0.say(Said::Credit {
            worker: self.0.worker,
            credit: messages,
            room: bytes,
        });
    }

    /// The connection to the worker is lost: it may come back for its leases.
    pub(crate) fn lost(&self) {
        self.0.leave(Left::Lost);
    }

    fn say(
        &self,
        items: Vec<(LeaseToken, Settlement)>,
        done: Option<oneshot::Sender<Vec<Result<(), Refusal>>>>,
        room: Option<Share>,
    ) {
        let consumer = self.0.consumer.clone();
        self.0.say(Said::Settle {
            consumer,
            items,
            done,
            room,
        });
    }
}

impl Inner {
    fn say(&self, said: Said) {
        self.queue.say(&self.mouth, said);
    }

    fn leave(&self, left: Left) {
        if !self.left.swap(true, Ordering::AcqRel) {
            let worker = self.worker;
            self.say(Said::Detach { worker, left });
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.leave(Left::Lost);
    }
}

impl Settle for WorkerHandle {
    fn settle(&self, token: LeaseToken, settlement: Settlement) {
        let (settlement, _) = within_limits(settlement, &self.0.limits);
        self.say(vec![(token, settlement)], None, None);
    }

    fn settle_wait(
        &self,
        token: LeaseToken,
        settlement: Settlement,
    ) -> BoxFuture<Result<(), Refusal>> {
        let (settlement, fits) = within_limits(settlement, &self.0.limits);
        let outcomes = self.settle_all(vec![(token, settlement)], None);
        Box::pin(async move {
            let nothing = || Refusal::new(Code::Unknown, "the engine did not answer");
            let settled = outcomes.await.pop().unwrap_or_else(|| Err(nothing()));
            fits.and(settled)
        })
    }

    fn credit(&self, messages: u32) {
        self.take_more(messages, 0);
    }

    fn close(&self) {
        self.0.leave(Left::Closed);
    }
}
