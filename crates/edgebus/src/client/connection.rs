//! The tasks that move a client's frames: one writes, one reads, so that neither end ever waits
//! for the other to read first.

use std::sync::Arc;

use edgebus_core::query::Query;
use edgebus_core::session::{ClientEvent, ClientSession};
use edgebus_core::wire::Frame;
use edgebus_core::wire::control::Welcome;
use edgebus_core::{Code, Record, Refusal, RequestId};
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};
use tokio::task::JoinHandle;

use super::frame_bytes_for;
use super::pending::{Answer, Batch, Outcome, PendingBatch, PendingReceipt, SendWaiter, lost};
use crate::transport::{Reader, Writer};

type QueryWaiter = oneshot::Sender<Result<Answer, Refusal>>;
type Session = ClientSession<SendWaiter, QueryWaiter>;

/// Sends that wait to be written are joined into frames of up to this many bytes.
const JOIN_BYTES: usize = 64 * 1024;

/// A connection with its two tasks; they end when this is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    reading: JoinHandle<()>,
    writing: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Something is there to be written.
    filled: Notify,
}

#[derive(Debug)]
struct State {
    /// `None` once the connection is lost.
    session: Option<Session>,
    outgoing: Vec<Frame>,
    /// Bytes of records in the last outgoing frame, if it is a send.
    joined_bytes: usize,
    /// Up to which others are joined to it.
    joined_bytes_max: usize,
    /// Why nothing more is sent. Answers to what left before may still come.
    ended: Option<Refusal>,
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
        reader.allow_frame_bytes(usize::try_from(welcome.frame_bytes_max).unwrap_or(usize::MAX));
        let state = State {
            session: Some(session),
            outgoing: Vec::new(),
            joined_bytes: 0,
            joined_bytes_max: frame_bytes_for(&welcome).min(JOIN_BYTES),
            ended: None,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            filled: Notify::new(),
        });
        let reading = tokio::spawn(read_all(reader, shared.clone()));
        let writing = tokio::spawn(write_all(writer, shared.clone()));
        let connection = Self {
            shared,
            reading,
            writing,
        };
        Ok((connection, welcome))
    }

    /// Sends a record. The permit is given back when it is decided.
    pub(super) fn send(
        &self,
        id: RequestId,
        record: Record,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<PendingReceipt, Refusal> {
        let (waiter, outcome) = oneshot::channel();
        let mut state = self.shared.state.lock();
        let session = state.session()?;
        let frame = session.send(vec![record], [SendWaiter::One(waiter, permit)]);
        state.push(frame);
        drop(state);
        self.shared.filled.notify_one();
        Ok(PendingReceipt::new(id, outcome))
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
        let mut state = self.shared.state.lock();
        match state.session() {
            Ok(session) => {
                let frame = session.send(records, waiters);
                state.push(frame);
                drop(state);
                self.shared.filled.notify_one();
            }
            Err(refusal) => {
                waiters.for_each(|waiter| waiter.tell(Err(refusal.clone())));
            }
        }
        PendingBatch { ids, outcomes }
    }

    /// Asks a question.
    pub(super) async fn query(&self, query: Query) -> Result<Answer, Refusal> {
        let (waiter, answer) = oneshot::channel();
        {
            let mut state = self.shared.state.lock();
            let frame = state.session()?.query(query, waiter);
            state.push(frame);
        }
        self.shared.filled.notify_one();
        answer.await.unwrap_or_else(|_| Err(lost()))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reading.abort();
        self.writing.abort();
        self.shared
            .end(Refusal::new(Code::Disconnected, "the client was closed"));
    }
}

impl State {
    /// The session, while something can still be sent.
    fn session(&mut self) -> Result<&mut Session, Refusal> {
        match (&mut self.session, &self.ended) {
            (Some(session), None) => Ok(session),
            // Nothing was sent, so the reason must not sound as if something had been.
            (_, Some(refusal)) => Err(Refusal::new(Code::Disconnected, refusal.message.clone())),
            (None, None) => Err(Refusal::new(Code::Disconnected, "the connection is closed")),
        }
    }

    /// Queues a frame; sends that follow each other become one frame.
    fn push(&mut self, frame: Frame) {
        if let Frame::Send { records: more, .. } = &frame {
            let bytes = more
                .iter()
                .map(|record| record.as_bytes().len())
                .sum::<usize>();
            if let Some(Frame::Send { records, .. }) = self.outgoing.last_mut()
                && self.joined_bytes + bytes <= self.joined_bytes_max
                && let Frame::Send { records: more, .. } = frame
            {
                // Tags are given out in order, under the lock that is held here.
                records.extend(more);
                self.joined_bytes += bytes;
                return;
            }
            self.joined_bytes = bytes;
        }
        self.outgoing.push(frame);
    }
}

impl Shared {
    /// Nothing more can be sent. Whoever waits goes on waiting: the answer may have come already,
    /// and the reader finds the end of what has.
    fn end_of_sending(&self, refusal: Refusal) {
        let mut state = self.state.lock();
        state.ended.get_or_insert(refusal);
        state.outgoing.clear();
    }

    /// The connection is lost: whoever waits hears of it. The first reason counts.
    fn end(&self, refusal: Refusal) {
        let session = {
            let mut state = self.state.lock();
            state.ended.get_or_insert(refusal);
            state.outgoing.clear();
            state.session.take()
        };
        self.filled.notify_one();
        if let Some(session) = session {
            let waiting = session.close();
            for waiter in waiting.sends {
                waiter.tell(Err(lost()));
            }
            for waiter in waiting.questions.into_iter().chain(waiting.replies) {
                // Whoever asked may have gone.
                let _ = waiter.send(Err(lost()));
            }
        }
    }
}

async fn write_all(mut writer: Writer, shared: Arc<Shared>) {
    loop {
        let frames = {
            let mut state = shared.state.lock();
            if state.ended.is_some() {
                break;
            }
            std::mem::take(&mut state.outgoing)
        };
        if frames.is_empty() {
            shared.filled.notified().await;
        } else if let Err(error) = writer.write(frames).await {
            shared.end_of_sending(Refusal::new(Code::Disconnected, error.to_string()));
        }
    }
    writer.close().await;
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
    shared.end(refusal);
}

/// Acts on what was read; waiters are told outside the lock.
fn act(shared: &Shared, frames: &mut Vec<Frame>) -> Result<(), Refusal> {
    let mut sent: Vec<(SendWaiter, Outcome)> = Vec::new();
    let mut answered = Vec::new();
    let mut replied = false;
    let ended = {
        let mut state = shared.state.lock();
        let State {
            session, outgoing, ..
        } = &mut *state;
        let Some(session) = session else {
            return Ok(());
        };
        frames.drain(..).try_for_each(|frame| {
            session.on_frame(frame, |event| match event {
                ClientEvent::Sent(waiter, outcome) => sent.push((waiter, outcome)),
                ClientEvent::Page(waiter, page) => answered.push((waiter, Ok(Answer::Page(page)))),
                ClientEvent::Stats(waiter, stats) => {
                    answered.push((waiter, Ok(Answer::Stats(stats))))
                }
                ClientEvent::Refused(waiter, refusal) => answered.push((waiter, Err(refusal))),
                ClientEvent::Reply(frame) => {
                    replied = true;
                    outgoing.push(frame);
                }
                _ => {}
            })
        })
    };
    sent.into_iter()
        .for_each(|(waiter, outcome)| waiter.tell(outcome));
    for (waiter, answer) in answered {
        // Whoever asked may have gone.
        let _ = waiter.send(answer);
    }
    if replied {
        shared.filled.notify_one();
    }
    ended
}
