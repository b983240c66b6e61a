//! What all clones of a client share: the way to say something and to wait for the answer,
//! whatever connections carry it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use edgebus_core::admin::{Admin, Managed};
use edgebus_core::consumer::{LeaseToken, Settlement};
use edgebus_core::query::Query;
use edgebus_core::stream::Open;
use edgebus_core::wire::Frame;
use edgebus_core::wire::admin::WireAdmin;
use edgebus_core::wire::control::Welcome;
use edgebus_core::wire::stream::WireOpen;
use edgebus_core::{Code, Record, RecordLimits, Refusal, RequestId};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use super::config::ClientConfig;
use super::pending::{
    Batch, PendingBatch, PendingReceipt, PendingReply, Room, SendWaiter, Told, lost,
};
use super::spooling::SpoolQueue;
use super::state::{Limits, Session, State};
use super::states::{ConnectionState, ConnectionStates};
use super::streams::StreamEnd;
use super::telling::Telling;
use super::undecided::{Asking, Awaited, Question, Said, Sent};

/// Records that wait to be written are joined into frames of up to this many bytes.
const JOIN_BYTES: usize = 64 * 1024;
/// What a frame has before its body, with the number of what is asked.
pub(super) const BESIDE_BODY_BYTES: usize = 32;
/// How often a client that is being drained looks whether it is done.
const DRAIN_LOOK: Duration = Duration::from_millis(10);

/// Waits for a stream to be open: which leases it kept.
type Opening = oneshot::Receiver<Result<Vec<LeaseToken>, Refusal>>;

/// The application's end. When the last one is dropped, what waits is written, and the tasks end.
#[derive(Debug)]
pub(super) struct Link {
    shared: Arc<Shared>,
}

/// What the application's end and the tasks share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// Something is there to be written.
    pub(super) filled: Notify,
    /// Nothing more is to be said.
    pub(super) closing: Notify,
    /// There may be something to do for the spool.
    pub(super) spool_filled: Notify,
    /// Nothing is in the spool any more.
    pub(super) spool_emptied: Notify,
    states: watch::Sender<ConnectionState>,
    /// Of the server of the last connection, in bytes.
    payload_bytes_max: AtomicUsize,
    frame_bytes_max: AtomicUsize,
    /// Somebody who waited was told something since the last connection began.
    answered: AtomicBool,
}

impl Shared {
    /// Without a connection so far.
    pub(super) fn new(config: &ClientConfig) -> Arc<Self> {
        Self::with(config, None)
    }

    pub(super) fn with(config: &ClientConfig, spool: Option<SpoolQueue>) -> Arc<Self> {
        let state = State::new(config.reconnect, config.give_up_after, spool);
        Arc::new(Self {
            state: Mutex::new(state),
            filled: Notify::new(),
            closing: Notify::new(),
            spool_filled: Notify::new(),
            spool_emptied: Notify::new(),
            states: watch::Sender::new(ConnectionState::Connecting),
            payload_bytes_max: AtomicUsize::new(RecordLimits::default().payload_bytes_max),
            frame_bytes_max: AtomicUsize::new(edgebus_core::wire::FRAME_BYTES_MAX),
            answered: AtomicBool::new(false),
        })
    }

    /// There is a connection; gives its number.
    pub(super) fn resume(&self, server: &str, session: Session, welcome: &Welcome) -> u64 {
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let payload_bytes_max = bytes(welcome.payload_bytes_max);
        self.payload_bytes_max
            .store(payload_bytes_max, Ordering::Relaxed);
        self.frame_bytes_max
            .store(bytes(welcome.frame_bytes_max), Ordering::Relaxed);
        let limits = Limits {
            record_bytes_max: self.record_bytes_max(),
            joined_bytes_max: self.batch_bytes_max().min(JOIN_BYTES),
        };
        let store = welcome.store_id();
        let now = Instant::now();
        let (connection, told) = self.state.lock().resume(session, store, &limits, now);
        tell(told);
        self.announce(ConnectionState::Connected {
            server: server.to_owned(),
            connection,
        });
        self.filled.notify_one();
        self.spool_filled.notify_one();
        connection
    }

    /// The connection is lost, and another one is looked for.
    pub(super) fn lost(&self, reason: &Refusal) {
        let told = self.state.lock().lost(reason, Instant::now());
        self.announce(ConnectionState::Lost {
            reason: reason.clone(),
        });
        tell(told);
        self.spool_filled.notify_one();
    }

    /// A server is there and does not let the client in: whoever asks is told that from now on.
    pub(super) fn not_let_in(&self, why: &Refusal) {
        self.state.lock().still_away(why);
        self.states.send_if_modified(|current| match current {
            ConnectionState::Lost { reason } if reason != why => {
                reason.clone_from(why);
                true
            }
            ConnectionState::Connecting => {
                *current = ConnectionState::Lost {
                    reason: why.clone(),
                };
                true
            }
            _ => false,
        });
    }

    /// There will be no connection any more. The first reason counts.
    pub(super) fn close(&self, reason: &Refusal) {
        let told = self.state.lock().close(reason);
        self.over(reason, told);
    }

    fn over(&self, reason: &Refusal, told: Vec<Telling>) {
        self.announce(ConnectionState::Closed {
            reason: reason.clone(),
        });
        tell(told);
        self.filled.notify_one();
        self.closing.notify_one();
        self.spool_filled.notify_one();
        self.spool_emptied.notify_waiters();
    }

    fn announce(&self, state: ConnectionState) {
        self.states.send_if_modified(|current| {
            let over = matches!(current, ConnectionState::Closed { .. });
            if !over {
                *current = state;
            }
            !over
        });
    }

    /// Nothing is sent any more.
    pub(super) fn is_closed(&self) -> bool {
        matches!(&*self.states.borrow(), ConnectionState::Closed { .. })
    }

    /// Gives up on what has waited for too long.
    pub(super) fn give_up(&self) {
        let told = self.state.lock().give_up(Instant::now());
        tell(told);
    }

    /// What is to be written on a connection now; `None` when nothing ever will be again.
    pub(super) fn take_frames(&self, connection: u64) -> Option<Vec<Frame>> {
        self.state.lock().take_frames(connection)
    }

    /// Acts on what was read.
    ///
    /// # Errors
    /// The connection is to be ended, and why.
    pub(super) fn on_frames(
        &self,
        connection: u64,
        frames: &mut Vec<Frame>,
    ) -> Result<(), Refusal> {
        let mut told = Vec::new();
        let acted = self.state.lock().on_frames(connection, frames, &mut told);
        if !told.is_empty() {
            self.answered.store(true, Ordering::Relaxed);
        }
        tell(told);
        self.spool_filled.notify_one();
        if acted? {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Whether the server has answered anything since this was asked last.
    pub(super) fn take_answered(&self) -> bool {
        self.answered.swap(false, Ordering::Relaxed)
    }

    /// A beat has passed. Says whether the server has begun to refuse what it will not take in any
    /// more.
    pub(super) fn beat(&self, ping: bool) -> bool {
        let mut state = self.state.lock();
        if ping {
            state.ping();
        }
        state.open_streams();
        state.forget_unwanted();
        let ends = state.has_returned();
        drop(state);
        self.filled.notify_one();
        ends
    }

    /// Of the server of the last connection.
    pub(super) fn frame_bytes_max(&self) -> usize {
        self.frame_bytes_max.load(Ordering::Relaxed)
    }

    /// Largest record that fits a frame.
    pub(super) fn record_bytes_max(&self) -> usize {
        self.frame_bytes_max().saturating_sub(BESIDE_BODY_BYTES)
    }

    fn batch_bytes_max(&self) -> usize {
        // Well within the server's limit.
        self.frame_bytes_max() / 4
    }
}

/// Outside the lock: whoever is told may say something at once.
pub(super) fn tell(told: Vec<Telling>) {
    told.into_iter().for_each(Telling::tell);
}

impl Link {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn state(&self) -> ConnectionState {
        self.shared.states.borrow().clone()
    }

    pub(super) fn states(&self) -> ConnectionStates {
        ConnectionStates::new(self.shared.states.subscribe())
    }

    /// How large a record the server takes.
    pub(super) fn limits(&self) -> RecordLimits {
        RecordLimits {
            payload_bytes_max: self.shared.payload_bytes_max.load(Ordering::Relaxed),
        }
    }

    /// Bytes of records that are put into one frame, if there is more than one.
    pub(super) fn batch_bytes_max(&self) -> usize {
        self.shared.batch_bytes_max()
    }

    /// Refuses alone what would end the connection.
    fn check_body(&self, bytes: usize) -> Result<(), Refusal> {
        let max = self
            .shared
            .frame_bytes_max()
            .saturating_sub(BESIDE_BODY_BYTES);
        if bytes <= max {
            return Ok(());
        }
        let message = format!("{bytes} bytes do not fit a frame of {max}: ask in parts");
        Err(Refusal::new(Code::FrameTooLarge, message))
    }

    /// Says something under the lock, and has it written.
    pub(super) fn say<T>(&self, say: impl FnOnce(&mut State) -> T) -> T {
        let said = say(&mut self.shared.state.lock());
        self.shared.filled.notify_one();
        said
    }

    /// Sends a record. Its room in the window is given back when it is decided.
    pub(super) fn send(
        &self,
        id: RequestId,
        record: Record,
        room: Room,
    ) -> Result<PendingReceipt, Refusal> {
        let (waiter, outcome) = oneshot::channel();
        let waiter = SendWaiter::One(waiter, room);
        self.say(|state| {
            let sent = Sent::new(state.next_ordinal(), record, waiter);
            state.send(vec![sent]).map_err(|(_, refusal)| refusal)
        })?;
        Ok(PendingReceipt::new(id, outcome))
    }

    /// Sends a request whose reply is waited for. Its room is given back when it is stored.
    pub(super) fn request(
        &self,
        id: RequestId,
        record: Record,
        room: Room,
    ) -> Result<(PendingReceipt, PendingReply), Refusal> {
        let (waiter, outcome) = oneshot::channel();
        let (reply_waiter, reply) = oneshot::channel();
        let waiter = SendWaiter::One(waiter, room);
        self.say(|state| {
            let ordinal = state.next_ordinal();
            let awaited = Awaited::new(ordinal, record.clone(), reply_waiter);
            state.request(Sent::new(ordinal, record, waiter), awaited)
        })?;
        Ok((PendingReceipt::new(id, outcome), reply))
    }

    /// Sends records that are waited for together.
    pub(super) fn send_batch(&self, records: Vec<(RequestId, Record)>, room: Room) -> PendingBatch {
        let (ids, records): (Vec<_>, Vec<_>) = records.into_iter().unzip();
        let (batch, outcomes) = Batch::new(ids.len(), room);
        let refused = self.say(|state| {
            let numbered = records.into_iter().enumerate();
            let sent = numbered.map(|(index, record)| {
                let waiter = SendWaiter::InBatch(batch.clone(), index);
                Sent::new(state.next_ordinal(), record, waiter)
            });
            let sent = sent.collect();
            state.send(sent)
        });
        if let Err((sent, refusal)) = refused {
            sent.into_iter()
                .for_each(|sent| sent.tell(Err(refusal.clone())));
        }
        PendingBatch { ids, outcomes }
    }

    /// Asks a question.
    pub(super) async fn query(&self, query: Query) -> Result<Told, Refusal> {
        self.ask(Question::Query(query)).await
    }

    /// Asks as an operator.
    pub(super) async fn manage(&self, admin: Admin) -> Result<Managed, Refusal> {
        self.check_body(WireAdmin::from(&admin).encoded_len())?;
        self.ask(Question::Admin(Box::new(admin)))
            .await?
            .into_managed()
    }

    async fn ask(&self, question: Question) -> Result<Told, Refusal> {
        let (waiter, told) = oneshot::channel();
        self.say(|state| state.ask(Asking::new(waiter, None, Some(question))))?;
        told.await.unwrap_or_else(|_| Err(lost()))
    }

    /// Publishes a notification. Its room is given back when it is handed on.
    pub(super) async fn publish(&self, record: Record, room: Room) -> Result<u64, Refusal> {
        let (waiter, told) = oneshot::channel();
        self.say(|state| state.publish(record, Asking::new(waiter, Some(room), None)))?;
        told.await.unwrap_or_else(|_| Err(lost()))?.into_published()
    }

    /// Asks for a stream; gives the client's number of it, and what tells whether it is open.
    pub(super) fn open_stream(
        &self,
        open: Open,
        end: StreamEnd,
    ) -> Result<(u64, Opening), Refusal> {
        self.check_body(WireOpen::from(&open).encoded_len())?;
        let (waiter, opening) = oneshot::channel();
        let number = self.say(|state| state.open_stream(open, end, waiter))?;
        Ok((number, opening))
    }

    /// Says what became of a message.
    pub(super) fn settle(
        &self,
        stream: u64,
        token: LeaseToken,
        settlement: Settlement,
        waiter: Option<oneshot::Sender<Result<(), Refusal>>>,
    ) -> Result<(), Refusal> {
        self.say(|state| state.settle(stream, Said::new(token, settlement, waiter)))
    }

    /// Lets so many more messages come on a stream.
    pub(super) fn credit(&self, stream: u64, messages: u32) {
        self.say(|state| state.credit(stream, messages));
    }

    /// Closes a stream.
    pub(super) fn close_stream(&self, stream: u64) {
        self.say(|state| state.close_stream(stream));
    }

    /// Takes nothing new, waits until nobody waits for anything, and closes. What is held is waited
    /// for so long.
    pub(super) async fn drain(&self, held: Duration) {
        self.say(State::drain);
        let until = Instant::now() + held;
        loop {
            let (answered, settled) = self.shared.state.lock().is_idle();
            if answered && (settled || Instant::now() >= until) {
                break;
            }
            tokio::time::sleep(DRAIN_LOOK).await;
        }
        self.say(State::leave_streams);
        self.finish("the client was drained");
    }

    /// What was said so far is still written; everyone who waits is told that nothing comes.
    fn finish(&self, why: &str) {
        let reason = Refusal::new(Code::Disconnected, why);
        let told = self.shared.state.lock().finish(&reason);
        self.shared.over(&reason, told);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.finish("the client was closed");
    }
}
