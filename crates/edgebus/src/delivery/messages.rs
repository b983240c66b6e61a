//! The messages of a consumer as a stream, and the credit that bounds it.

use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};

use edgebus_core::Refusal;
use edgebus_core::admin::Delivery;
use edgebus_core::consumer::{LeaseToken, Settlement};
use futures_core::Stream;
use tokio::sync::mpsc;

use super::delivered::Delivered;
use super::{Settle, WorkerEvent};

/// Credit is returned when this part of it has been used up: less often would let the worker run
/// dry, more often costs frames.
const CREDIT_BATCHES: u32 = 4;

/// The messages of a consumer, as they come to one worker.
///
/// A stream of [`Delivered`]. It ends when the bus stops, after an `Err` that says so; a removed
/// consumer is told the same way, and so is a lost connection that is not made again. Messages that
/// were waiting then are dropped, as nothing could be said about them any more.
///
/// Dropping it gives back what was not taken from it; messages that were taken can still be settled,
/// and the worker leaves when the last of them is.
///
/// ```no_run
/// # async fn example(client: edgebus::Client) -> Result<(), edgebus::Refusal> {
/// use edgebus::consumer::ConsumerConfig;
/// use edgebus::delivery::ConsumeConfig;
///
/// let readings = ConsumerConfig::listener("sensors.>".parse()?);
/// let config = ConsumeConfig::new("archive".parse()?).config(readings);
/// let mut messages = client.consumer(config).await?;
/// while let Some(message) = messages.next().await {
///     let message = message?;
///     println!("{} {:?}", message.topic(), message.payload());
///     message.ack();
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Messages {
    leases: Arc<Leases>,
    events: mpsc::UnboundedReceiver<WorkerEvent>,
    waiting: VecDeque<Delivery>,
    kept: Vec<LeaseToken>,
    end: End,
}

#[derive(Debug)]
enum End {
    NotYet,
    ToBeTold(Refusal),
    Told,
}

impl Messages {
    /// The stream of a worker that was opened with this credit. What it is sent is bounded by that.
    pub(crate) fn new(
        settle: Arc<dyn Settle>,
        events: mpsc::UnboundedReceiver<WorkerEvent>,
        credit: u32,
        kept: Vec<LeaseToken>,
    ) -> Self {
        Self {
            leases: Arc::new(Leases {
                settle,
                batch: (credit / CREDIT_BATCHES).max(1),
                settled: AtomicU32::new(0),
                taking: AtomicBool::new(true),
            }),
            events,
            waiting: VecDeque::new(),
            kept,
            end: End::NotYet,
        }
    }

    /// The next message. `None` when no more come. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<Delivered, Refusal>> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// Which of the leases that were held when the stream was opened, or opened again after a lost
    /// connection, were still good then. The others were given to someone else, or are done.
    pub fn kept(&self) -> &[LeaseToken] {
        &self.kept
    }

    /// Takes over a message that came over a connection that was lost, so that it is settled here.
    ///
    /// If its lease was not kept, it may be with someone else as well; then the first completion
    /// wins, and the other one is told [`edgebus_core::Code::AlreadyCompleted`].
    pub fn adopt(&self, delivered: Delivered) -> Delivered {
        delivered.moved_to(&self.leases)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Delivered, Refusal>>> {
        // First all that came, so that an end is found before work begins that cannot be settled.
        while let End::NotYet = self.end {
            match self.events.poll_recv(cx) {
                Poll::Ready(Some(WorkerEvent::Deliveries(deliveries))) => {
                    self.waiting.extend(deliveries);
                }
                Poll::Ready(Some(WorkerEvent::Resumed(kept))) => self.resume(kept),
                Poll::Ready(Some(WorkerEvent::Ended(refusal))) => {
                    // Where the worker still counts, they are given back; if not, this says nothing.
                    for delivery in self.waiting.drain(..) {
                        let settle = &self.leases.settle;
                        settle.settle(delivery.token, Settlement::Release);
                    }
                    self.end = End::ToBeTold(refusal);
                }
                Poll::Ready(None) => {
                    self.waiting.clear();
                    self.end = End::Told;
                }
                Poll::Pending => break,
            }
        }
        match std::mem::replace(&mut self.end, End::Told) {
            End::ToBeTold(refusal) => return Poll::Ready(Some(Err(refusal))),
            End::Told => return Poll::Ready(None),
            End::NotYet => self.end = End::NotYet,
        }
        match self.waiting.pop_front() {
            Some(delivery) => {
                let delivered = Delivered::new(delivery, self.leases.clone());
                Poll::Ready(Some(Ok(delivered)))
            }
            None => Poll::Pending,
        }
    }

    /// Forgets what went to others while the connection was away.
    fn resume(&mut self, kept: Vec<LeaseToken>) {
        let tokens: HashSet<_> = kept.iter().copied().collect();
        let leases = &self.leases;
        self.waiting.retain(|delivery| {
            let keeps = tokens.contains(&delivery.token);
            if !keeps {
                // It counts for nothing any more, but is not held from here on.
                leases.settle.settle(delivery.token, Settlement::Release);
                leases.return_credit();
            }
            keeps
        });
        self.kept = kept;
    }

    /// Takes nothing more and gives back what was not taken from it.
    pub(super) fn stop(&mut self) {
        self.leases.taking.store(false, Ordering::Release);
        self.events.close();
        while let Ok(event) = self.events.try_recv() {
            if let WorkerEvent::Deliveries(deliveries) = event {
                self.waiting.extend(deliveries);
            }
        }
        let waiting = std::mem::take(&mut self.waiting);
        self.end = End::Told;
        // When nothing else is held, leaving gives all of it back at once.
        if Arc::strong_count(&self.leases) > 1 {
            for delivery in waiting {
                let settle = &self.leases.settle;
                settle.settle(delivery.token, Settlement::Release);
            }
        }
    }
}

impl Stream for Messages {
    type Item = Result<Delivered, Refusal>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(cx)
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What a worker holds; it leaves when the stream and all messages taken from it are gone.
#[derive(Debug)]
pub(super) struct Leases {
    settle: Arc<dyn Settle>,
    /// How much credit is returned at a time.
    batch: u32,
    /// Messages settled whose credit was not returned yet; fewer than `batch`.
    settled: AtomicU32,
    /// More may come.
    taking: AtomicBool,
}

impl Leases {
    pub(super) fn settle(&self) -> &dyn Settle {
        &*self.settle
    }

    /// One message that took credit is settled.
    pub(super) fn return_credit(&self) {
        if !self.taking.load(Ordering::Acquire) {
            return;
        }
        // Whoever makes the batch full returns it: the numbers that are added to are all different
        // until somebody takes the batch off.
        let settled = self.settled.fetch_add(1, Ordering::AcqRel) + 1;
        if settled.is_multiple_of(self.batch) {
            self.settled.fetch_sub(self.batch, Ordering::AcqRel);
            self.settle.credit(self.batch);
        }
    }
}

impl Drop for Leases {
    fn drop(&mut self) {
        self.settle.close();
    }
}
