//! The tasks that move a client's frames: one writes, one reads, so that neither end ever waits
//! for the other to read first.

use std::sync::Arc;
use std::time::Duration;

use edgebus_core::admin::{Admin, Managed};
use edgebus_core::consumer::{Answer, LeaseToken, Settlement};
use edgebus_core::query::Query;
use edgebus_core::session::ClientEvent;
use edgebus_core::stream::Open;
use edgebus_core::wire::Frame;
use edgebus_core::wire::admin::WireAdmin;
use edgebus_core::wire::control::Welcome;
use edgebus_core::wire::stream::WireOpen;
use edgebus_core::{Code, Record, Refusal, RequestId};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};
use tokio::task::JoinHandle;

use super::frame_bytes_for;
use super::pending::{
    Asked, Batch, OpenWaiter, PendingBatch, PendingReceipt, PendingReply, ReplyWaiter, SendWaiter,
    SettleWaiter, Told, lost,
};
use super::state::{Session, State, StreamEnd};
use crate::delivery::WorkerEvent;
use crate::transport::{Reader, Writer};

/// Records that wait to be written are joined into frames of up to this many bytes.
const JOIN_BYTES: usize = 64 * 1024;
/// What a frame has before its body, with the number of what is asked.
const BESIDE_BODY_BYTES: usize = 32;
/// How long a server may take nothing of what was said before the client was dropped.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

type Event = ClientEvent<SendWaiter, Asked, ReplyWaiter>;
/// Waits for a stream to be open: which leases it kept.
type Opening = oneshot::Receiver<Result<Vec<LeaseToken>, Refusal>>;

/// A connection with its two tasks. When this is dropped, what waits is written, and they end.
#[derive(Debug)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    reading: JoinHandle<()>,
    /// Largest body of a frame that the server takes, in bytes.
    body_bytes_max: usize,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Something is there to be written.
    filled: Notify,
    /// The client was dropped.
    dropped: Notify,
}

impl Connection {
    /// Opens the conversation and waits for the server's welcome.
    pub(super) async fn open(
        mut reader: Reader,
        mut writer: Writer,
        name: &str,
    ) -> Result<(Self, Welcome), Refusal> {
        let software = concat!("edgebus-rust ", env!("CARGO_PKG_VERSION"));
        let (mut session, hello) = Session::open(name, software);
        let disconnected = |e: std::io::Error| Refusal::new(Code::Disconnected, e.to_string());
        // A server that is full says so and closes: then there is something to read all the same.
        let written = writer.write(vec![hello]).await;
        let mut frames = Vec::new();
        let mut welcome = None;
        while welcome.is_none() {
            if !reader.read(&mut frames).await? {
                written.map_err(disconnected)?;
                return Err(Refusal::new(
                    Code::Disconnected,
                    "the server closed the connection",
                ));
            }
            for frame in frames.drain(..) {
                session.on_frame(frame, |event| {
                    if let ClientEvent::Opened(opened) = event {
                        welcome = Some(opened);
                    }
                })?;
            }
        }
        let welcome = welcome.unwrap_or_default();
        // One request of the log has to fit, however large the server lets them be.
        let frame_bytes_max = usize::try_from(welcome.frame_bytes_max).unwrap_or(usize::MAX);
        reader.allow_frame_bytes(frame_bytes_max);
        let state = State::new(session, frame_bytes_for(&welcome).min(JOIN_BYTES));
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            filled: Notify::new(),
            dropped: Notify::new(),
        });
        let reading = tokio::spawn(read_all(reader, shared.clone()));
        // It ends by itself, as it still has to write what was said last.
        tokio::spawn(write_all(writer, shared.clone()));
        let connection = Self {
            shared,
            reading,
            body_bytes_max: frame_bytes_max.saturating_sub(BESIDE_BODY_BYTES),
        };
        Ok((connection, welcome))
    }

    /// Refuses alone what would end the connection.
    fn check_body(&self, bytes: usize) -> Result<(), Refusal> {
        if bytes <= self.body_bytes_max {
            return Ok(());
        }
        let max = self.body_bytes_max;
        let message = format!("{bytes} bytes do not fit a frame of {max}: ask in parts");
        Err(Refusal::new(Code::FrameTooLarge, message))
    }

    /// Queues what a session says, as long as there is one.
    fn say<T>(&self, frame: impl FnOnce(&mut Session) -> (Option<Frame>, T)) -> Result<T, Refusal> {
        let mut state = self.shared.state.lock();
        let (frame, said) = frame(state.session()?);
        if let Some(frame) = frame {
            state.push(frame);
        }
        drop(state);
        self.shared.filled.notify_one();
        Ok(said)
    }

    /// Sends a record. The permit is given back when it is decided.
    pub(super) fn send(
        &self,
        id: RequestId,
        record: Record,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<PendingReceipt, Refusal> {
        let (waiter, outcome) = oneshot::channel();
        self.say(|session| {
            let frame = session.send(vec![record], [SendWaiter::One(waiter, permit)]);
            (Some(frame), ())
        })?;
        Ok(PendingReceipt::new(id, outcome))
    }

    /// Sends a request whose reply is waited for. The permit is given back when it is stored.
    pub(super) fn request(
        &self,
        id: RequestId,
        record: Record,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<(PendingReceipt, PendingReply), Refusal> {
        let (waiter, outcome) = oneshot::channel();
        let (reply_waiter, reply) = oneshot::channel();
        self.say(|session| {
            let waiters = [SendWaiter::One(waiter, permit)];
            let frame = session.request(vec![record], waiters, [reply_waiter]);
            (Some(frame), ())
        })?;
        Ok((PendingReceipt::new(id, outcome), reply))
    }

    /// Sends records that are waited for together.
    pub(super) fn send_batch(
        &self,
        records: Vec<(RequestId, Record)>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> PendingBatch {
        let (ids, records): (Vec<_>, Vec<_>) = records.into_iter().unzip();
        let (batch, outcomes) = Batch::new(ids.len(), permit);
        let waiters = (0..ids.len()).map(|index| SendWaiter::InBatch(batch.clone(), index));
        let said = self.say(|session| (Some(session.send(records, waiters.clone())), ()));
        if let Err(refusal) = said {
            waiters.for_each(|waiter| waiter.tell(Err(refusal.clone())));
        }
        PendingBatch { ids, outcomes }
    }

    /// Asks a question.
    pub(super) async fn query(&self, query: Query) -> Result<Told, Refusal> {
        self.ask(None, |session, waiter| session.query(query, waiter))
            .await
    }

    /// Publishes a notification. The permit is given back when it is handed on.
    pub(super) async fn publish(
        &self,
        record: Record,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<u64, Refusal> {
        let publish = |session: &mut Session, waiter| session.publish(vec![record], [waiter]);
        self.ask(permit, publish).await?.into_published()
    }

    /// Asks as an operator.
    pub(super) async fn manage(&self, admin: &Admin) -> Result<Managed, Refusal> {
        self.check_body(WireAdmin::from(admin).encoded_len())?;
        self.ask(None, |session, waiter| session.manage(admin, waiter))
            .await?
            .into_managed()
    }

    async fn ask(
        &self,
        permit: Option<OwnedSemaphorePermit>,
        frame: impl FnOnce(&mut Session, Asked) -> Frame,
    ) -> Result<Told, Refusal> {
        let (waiter, told) = oneshot::channel();
        self.say(|session| (Some(frame(session, Asked::One(waiter, permit))), ()))?;
        told.await.unwrap_or_else(|_| Err(lost()))
    }

    /// Asks for a stream; gives its number, and what tells whether it is open.
    pub(super) fn open_stream(
        &self,
        open: &Open,
        end: StreamEnd,
    ) -> Result<(u64, Opening), Refusal> {
        self.check_body(WireOpen::from(open).encoded_len())?;
        let (waiter, opening) = oneshot::channel();
        let number = self.say(|session| {
            let (number, frame) = session.open_stream(open, Asked::Stream(waiter, end));
            (Some(frame), number)
        })?;
        Ok((number, opening))
    }

    /// Says what became of a message.
    pub(super) fn settle(
        &self,
        stream: u64,
        token: LeaseToken,
        settlement: Settlement,
        waiter: Option<SettleWaiter>,
    ) -> Result<(), Refusal> {
        let mut state = self.shared.state.lock();
        state.session()?;
        state.settle(stream, token, settlement, waiter);
        drop(state);
        self.shared.filled.notify_one();
        Ok(())
    }

    /// Lets so many more messages come on a stream.
    pub(super) fn credit(&self, stream: u64, messages: u32) {
        let mut state = self.shared.state.lock();
        if state.session().is_ok() {
            state.credit(stream, messages);
            drop(state);
            self.shared.filled.notify_one();
        }
    }

    /// Closes a stream, if there still is a connection to close it on.
    pub(super) fn close_stream(&self, stream: u64) {
        let mut state = self.shared.state.lock();
        state.end_stream(stream, None);
        let Ok(session) = state.session() else {
            return;
        };
        if let Some(frame) = session.close_stream(stream) {
            state.push(frame);
            drop(state);
            self.shared.filled.notify_one();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reading.abort();
        self.shared.state.lock().finish_outgoing();
        self.shared
            .end(Refusal::new(Code::Disconnected, "the client was closed"));
        self.shared.dropped.notify_one();
    }
}

impl Shared {
    /// Nothing more can be sent. Whoever waits goes on waiting: the answer may have come already,
    /// and the reader finds the end of what has.
    fn end_of_sending(&self, refusal: Refusal) {
        let mut state = self.state.lock();
        state.ended.get_or_insert(refusal);
        state.clear_outgoing();
    }

    /// The connection is lost: whoever waits hears of it. The first reason counts.
    fn end(&self, refusal: Refusal) {
        let session = {
            let mut state = self.state.lock();
            let refusal = state.ended.get_or_insert(refusal).clone();
            state.end_streams(&refusal);
            state.session.take()
        };
        self.filled.notify_one();
        let Some(session) = session else {
            return;
        };
        let waiting = session.close();
        for waiter in waiting.sends {
            waiter.tell(Err(lost()));
        }
        for waiter in waiting.replies {
            // Whoever asked may have gone.
            let _ = waiter.send(Err(lost()));
        }
        for waiter in waiting.questions {
            waiter.refuse(lost());
        }
    }
}

/// Writes until nothing more can be said and all of it has left.
async fn write_all(mut writer: Writer, shared: Arc<Shared>) {
    let write = async {
        loop {
            let (frames, ended) = {
                let mut state = shared.state.lock();
                (state.take_frames(), state.ended.is_some())
            };
            if !frames.is_empty() {
                if let Err(error) = writer.write(frames).await {
                    shared.end_of_sending(Refusal::new(Code::Disconnected, error.to_string()));
                }
            } else if ended {
                break;
            } else {
                shared.filled.notified().await;
            }
        }
        writer.close().await;
    };
    let given_up = async {
        shared.dropped.notified().await;
        tokio::time::sleep(FLUSH_TIMEOUT).await;
    };
    tokio::select! {
        () = write => {}
        () = given_up => {}
    }
}

async fn read_all(mut reader: Reader, shared: Arc<Shared>) {
    let mut frames = Vec::new();
    let refusal = loop {
        let came = reader.read(&mut frames).await;
        if let Err(refusal) = act(&shared, &mut frames) {
            break refusal;
        }
        match came {
            Ok(true) => {}
            Ok(false) => {
                break Refusal::new(Code::Disconnected, "the server closed the connection");
            }
            Err(error) => break error.into(),
        }
    };
    // Nobody is left to read it.
    shared.state.lock().clear_outgoing();
    shared.end(refusal);
}

/// Acts on what was read; waiters are told outside the lock.
fn act(shared: &Shared, frames: &mut Vec<Frame>) -> Result<(), Refusal> {
    // Apart from the others, as they are many.
    let mut sent = Vec::new();
    let mut events = Vec::new();
    let mut told = Vec::new();
    let mut replied = false;
    let ended = {
        let mut state = shared.state.lock();
        let Some(session) = &mut state.session else {
            return Ok(());
        };
        let ended = frames.drain(..).try_for_each(|frame| {
            session.on_frame(frame, |event| match event {
                Event::Sent(waiter, outcome) => sent.push((waiter, outcome)),
                event => events.push(event),
            })
        });
        for event in events {
            replied |= on_event(&mut state, event, &mut told);
        }
        ended
    };
    for (waiter, outcome) in sent {
        waiter.tell(outcome);
    }
    told.into_iter().for_each(Telling::tell);
    if replied {
        shared.filled.notify_one();
    }
    ended
}

/// What is told outside the lock.
enum Telling {
    Reply(ReplyWaiter, Result<Answer, Refusal>),
    Opened(OpenWaiter, Vec<LeaseToken>),
    One(Asked, Told),
    Settled(Asked, Vec<(u32, Refusal)>),
    Refused(Asked, Refusal),
}

impl Telling {
    /// Whoever waited may have gone.
    fn tell(self) {
        match self {
            Self::Reply(waiter, answer) => drop(waiter.send(answer)),
            Self::Opened(waiter, kept) => drop(waiter.send(Ok(kept))),
            Self::One(waiter, told) => waiter.tell(told),
            Self::Settled(waiter, errors) => waiter.settled(errors),
            Self::Refused(waiter, refusal) => waiter.refuse(refusal),
        }
    }
}

/// Acts on what concerns streams, and says whether there is something to be written; the rest is to
/// be told.
fn on_event(state: &mut State, event: Event, told: &mut Vec<Telling>) -> bool {
    let telling = match event {
        Event::StreamOpened {
            waiter: Asked::Stream(waiter, end),
            stream,
            kept,
        } => {
            state.add_stream(stream, end);
            Telling::Opened(waiter, kept)
        }
        Event::Deliveries { stream, deliveries } => {
            return state.deliver(stream, WorkerEvent::Deliveries(deliveries));
        }
        Event::Notifications { stream, entries } => {
            state.notify(stream, entries, 0);
            return false;
        }
        Event::Lagged { stream, missed } => {
            state.notify(stream, Vec::new(), missed);
            return false;
        }
        Event::Closed { stream, refusal } => {
            state.end_stream(stream, refusal);
            return false;
        }
        Event::Reply(frame) => {
            state.push(frame);
            return true;
        }
        Event::Answered(waiter, answer) => Telling::Reply(waiter, answer),
        Event::Page(waiter, page) => Telling::One(waiter, Told::Page(page)),
        Event::Stats(waiter, stats) => Telling::One(waiter, Told::Stats(stats)),
        Event::Published(waiter, reached) => Telling::One(waiter, Told::Published(reached)),
        Event::Managed(waiter, managed) => Telling::One(waiter, Told::Managed(managed)),
        Event::Settled(waiter, errors) => Telling::Settled(waiter, errors),
        Event::Refused(waiter, refusal) => Telling::Refused(waiter, refusal),
        _ => return false,
    };
    told.push(telling);
    false
}
