//! The handle to a running bus.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use edgebus_core::query::Stats;
use edgebus_core::{ConsumerName, Message, Receipt, Record, RecordLimits, Refusal, Scope, Seq};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use super::dispatch::commands::Change;
use super::lane::{Lane, LaneConfig, Outcome, Sender, engine_gone};
use super::queue::{Command, Queue};
use super::state::BusState;
use super::steps::Steps;
use super::threads;
use crate::clock::Clock;
use crate::error::SendError;
use crate::store::backup::Backup;
use crate::store::{Replay, RequestStore, StoreError, StoreReader};

/// A running store that many senders share. Cheap to clone.
///
/// ```
/// use edgebus::{Message, MessageBus, RequestId};
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # let folder = tempfile::tempdir()?;
/// let bus = MessageBus::open(folder.path())?;
/// let message = Message::new(RequestId::from_bytes([1; 16]), "orders.created".try_into()?, "{}");
/// let receipt = bus.send_to_server(message).await?; // on disk when this returns
/// assert!(!receipt.duplicate);
/// bus.shutdown().await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct MessageBus {
    inner: Arc<Inner>,
    lane: Lane,
}

#[derive(Debug)]
struct Inner {
    queue: Arc<Queue>,
    reader: StoreReader,
    record_limits: RecordLimits,
    store_id: [u8; 16],
    clock: Arc<dyn Clock>,
    state: watch::Receiver<BusState>,
    engine: Mutex<Option<JoinHandle<()>>>,
}

impl MessageBus {
    /// Opens the store in a folder and starts a bus on it.
    ///
    /// # Errors
    /// As [`RequestStore::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::start(RequestStore::open(dir)?)
    }

    /// Starts a bus on an open store.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(store: RequestStore) -> Result<Self, StoreError> {
        let queue = Arc::new(Queue::default());
        let (bus, steps) = Self::assemble(store, queue.clone());
        let engine = threads::start(steps, queue).map_err(|source| StoreError::Io {
            action: "start a thread for",
            path: "the bus".into(),
            source,
        })?;
        *bus.inner.engine.lock() = Some(engine);
        Ok(bus)
    }

    /// A bus on an open store that works only as far as somebody steps it: a simulator, from one
    /// task.
    #[doc(hidden)]
    pub fn start_stepped(store: RequestStore) -> (Self, Steps) {
        Self::assemble(store, Arc::new(Queue::for_a_task()))
    }

    fn assemble(store: RequestStore, queue: Arc<Queue>) -> (Self, Steps) {
        let reader = store.reader();
        let keys = store.fingerprinter();
        let record_limits = store.record_limits();
        let store_id = store.store_id();
        let clock = store.clock();
        let (sender, state) = watch::channel(BusState::Running);
        let steps = Steps::new(store, queue.clone(), sender);
        let itself = Sender {
            identity: String::new(),
            scope: Scope::default(),
            owner: "".into(),
            pool: None,
        };
        let lane = Lane::new(queue.clone(), keys, itself, LaneConfig::default());
        let inner = Inner {
            queue,
            reader,
            record_limits,
            store_id,
            clock,
            state,
            engine: Mutex::default(),
        };
        let bus = Self {
            inner: Arc::new(inner),
            lane,
        };
        (bus, steps)
    }

    /// Stores a request. On disk when this returns.
    ///
    /// Waits while too much is undecided. A future that is dropped may or may not have stored the
    /// request: sending it again with the same id tells.
    ///
    /// # Errors
    /// [`SendError`]: refused, or unknown.
    pub async fn send_to_server(&self, message: Message) -> Result<Receipt, SendError> {
        let id = message.id;
        let failed = |refusal| SendError::new(id, refusal);
        let record = Record::encode(&message, &self.inner.record_limits).map_err(failed)?;
        let submitted = self.lane.submit(vec![record]).await;
        receipt(&message, submitted.outcomes().await.pop()).map_err(failed)
    }

    /// Stores a request as [`MessageBus::send_to_server`] does, but says [`edgebus_core::Code::Busy`] instead of
    /// waiting when too much is undecided. Handed over when this returns; the future it returns
    /// waits for the disk.
    ///
    /// # Errors
    /// [`SendError`]: refused, or unknown.
    pub fn try_send_to_server(
        &self,
        message: Message,
    ) -> Result<impl Future<Output = Result<Receipt, SendError>> + use<>, SendError> {
        let id = message.id;
        let failed = move |refusal| SendError::new(id, refusal);
        let record = Record::encode(&message, &self.inner.record_limits).map_err(failed)?;
        let submitted = self.lane.try_submit(vec![record]).map_err(failed)?;
        Ok(async move { receipt(&message, submitted.outcomes().await.pop()).map_err(failed) })
    }

    /// Stores many requests, usually in one group; one result for each, in their order.
    pub async fn send_batch(&self, messages: Vec<Message>) -> Vec<Result<Receipt, SendError>> {
        let encoded: Vec<_> = messages
            .iter()
            .map(|message| Record::encode(message, &self.inner.record_limits))
            .collect();
        let good = encoded
            .iter()
            .filter_map(|record| record.as_ref().ok())
            .cloned()
            .collect();
        let mut outcomes = self.lane.submit(good).await.outcomes().await.into_iter();
        messages
            .iter()
            .zip(encoded)
            .map(|(message, record)| {
                let outcome = record.and_then(|_| receipt(message, outcomes.next()));
                outcome.map_err(|refusal| SendError::new(message.id, refusal))
            })
            .collect()
    }

    /// A bounded way in of its own, for one connection: its backlog is nobody else's latency.
    pub fn lane(&self, identity: impl Into<String>, scope: Scope, config: LaneConfig) -> Lane {
        let identity = identity.into();
        let owner = identity.as_str().into();
        let sender = Sender {
            identity,
            scope,
            owner,
            pool: None,
        };
        self.lane_of(sender, config)
    }

    /// As [`MessageBus::lane`], for a sender whose turns may be shared with others.
    pub(crate) fn lane_of(&self, sender: Sender, config: LaneConfig) -> Lane {
        let keys = self.inner.reader.fingerprinter();
        Lane::new(self.inner.queue.clone(), keys, sender, config)
    }

    /// Reads the store from any thread, while it is being written.
    pub fn reader(&self) -> StoreReader {
        self.inner.reader.clone()
    }

    /// Begins a backup of the store, which is taken while the bus works. Blocks; so does taking it.
    ///
    /// # Errors
    /// As [`StoreReader::backup`].
    pub fn backup(&self) -> Result<Backup, StoreError> {
        self.reader().backup(self.inner.clock.now().wall_ms)
    }

    /// Everything stored from a sequence number on. Reads from disk: not for an async runtime's
    /// own threads.
    pub fn replay(&self, from: Seq) -> Replay {
        self.inner.reader.replay_from(from)
    }

    /// Sets a consumer's offset. On disk when this returns.
    ///
    /// # Errors
    /// Why not; [`edgebus_core::Code::Unknown`] when it may have been.
    pub async fn set_consumer_offset(
        &self,
        consumer: ConsumerName,
        offset: Seq,
    ) -> Result<(), Refusal> {
        let (done, outcome) = oneshot::channel();
        let change = Box::new(Change::SetOffset(consumer, offset));
        self.inner.queue.control(Command::Change { change, done })?;
        outcome.await.unwrap_or_else(|_| Err(engine_gone()))
    }

    /// Keeps a request among the dead letters of a consumer; says whether it was new. On disk when
    /// this returns.
    ///
    /// # Errors
    /// [`edgebus_core::Code::NotFound`] and others; [`edgebus_core::Code::Unknown`] when it may have been.
    pub async fn move_to_dead_letter(
        &self,
        seq: Seq,
        consumer: ConsumerName,
        reason: impl Into<String>,
    ) -> Result<bool, Refusal> {
        let (done, outcome) = oneshot::channel();
        let reason = reason.into();
        self.inner.queue.control(Command::DeadLetter {
            seq,
            consumer,
            reason,
            done,
        })?;
        outcome.await.unwrap_or_else(|_| Err(engine_gone()))
    }

    /// The bus's figures; those of connections are left at 0.
    pub fn stats(&self) -> Stats {
        let totals = *self.inner.queue.board.totals.lock();
        let (subscribers, notifications, lagged) = self.inner.queue.board.hub.figures();
        Stats {
            queued: self.inner.queue.records(),
            consumers: totals.consumers,
            in_flight: totals.in_flight,
            retrying: totals.retrying,
            replies: totals.done.replies,
            completed: totals.completed,
            failed: totals.failed,
            trimmed: totals.done.trimmed,
            expired: totals.done.expired,
            requests_waiting: totals.waiting,
            gaps: totals.gaps,
            subscribers,
            notifications,
            lagged,
            ..self.inner.reader.stats()
        }
    }

    pub(super) fn queue(&self) -> &Arc<Queue> {
        &self.inner.queue
    }

    pub(super) fn own_lane(&self) -> &Lane {
        &self.lane
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.inner.clock
    }

    /// Whether [`MessageBus::shutdown`] was called.
    pub(crate) fn is_stopping(&self) -> bool {
        self.inner.queue.is_stopping()
    }

    /// How large a request may be.
    pub fn record_limits(&self) -> RecordLimits {
        self.inner.record_limits
    }

    /// The id drawn when the store was made: the same as long as it is the same store.
    pub fn store_id(&self) -> [u8; 16] {
        self.inner.store_id
    }

    /// Whether it takes requests, now and as it changes.
    pub fn state(&self) -> watch::Receiver<BusState> {
        self.inner.state.clone()
    }

    /// Takes nothing new, finishes what was accepted, seals, and ends the threads. Returns the
    /// last state.
    pub async fn shutdown(&self) -> BusState {
        self.inner.queue.stop();
        let engine = self.inner.engine.lock().take();
        if let Some(engine) = engine {
            let _ = tokio::task::spawn_blocking(move || engine.join()).await;
        }
        // The threads hold the other end: once they are gone, so is the store, and their last word
        // stands. A caller that comes second waits here.
        let mut state = self.inner.state.clone();
        while state.changed().await.is_ok() {}
        state.borrow().clone()
    }
}

impl Drop for Inner {
    /// The last handle is gone: what was accepted is finished and sealed.
    fn drop(&mut self) {
        self.queue.stop();
        if let Some(engine) = self.engine.lock().take() {
            let _ = engine.join();
        }
    }
}

pub(super) fn receipt(message: &Message, outcome: Option<Outcome>) -> Result<Receipt, Refusal> {
    let (seq, duplicate) = outcome.unwrap_or_else(|| Err(engine_gone()))?;
    Ok(Receipt::new(message.id, seq, duplicate))
}
