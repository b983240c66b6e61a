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
    /// Why it was lost.
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
        let state = State {
            session: Some(session),
            outgoing: Vec::new(),
            joined_bytes: 0,
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
        Ok((connection, welcome.unwrap_or_default()))
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
        let State { session, ended, .. } = &mut *state;
        let Some(session) = session else {
            return Err(ended_refusal(ended));
        };
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
        let State { session, ended, .. } = &mut *state;
        match session {
            Some(session) => {
                let frame = session.send(records, waiters);
                state.push(frame);
                drop(state);
                self.shared.filled.notify_one();
            }
            None => {
                let refusal = ended_refusal(ended);
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
            let State { session, ended, .. } = &mut *state;
            let Some(session) = session else {
                return Err(ended_refusal(ended));
            };
            let frame = session.query(query, waiter);
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
    /// Queues a frame; sends that follow each other become one frame.
    fn push(&mut self, frame: Frame) {
        if let Frame::Send { records: more, .. } = &frame {
            let bytes = more
                .iter()
                .map(|record| record.as_bytes().len())
                .sum::<usize>();
            if let Some(Frame::Send { records, .. }) = self.outgoing.last_mut()
                && self.joined_bytes + bytes <= JOIN_BYTES
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
            let (sends, queries) = session.close();
            sends.for_each(|waiter| waiter.tell(Err(lost())));
            queries.for_each(|waiter| drop(waiter.send(Err(lost()))));
        }
    }
}

async fn write_all(mut writer: Writer, shared: Arc<Shared>) {
    loop {
        let frames = {
            let mut state = shared.state.lock();
            if state.session.is_none() {
                break;
            }
            std::mem::take(&mut state.outgoing)
        };
        if frames.is_empty() {
            shared.filled.notified().await;
        } else if let Err(error) = writer.write(frames).await {
            shared.end(Refusal::new(Code::Disconnected, error.to_string()));
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

fn ended_refusal(ended: &Option<Refusal>) -> Refusal {
    match ended {
        // Nothing was sent, so the reason must not sound as if something had been.
        Some(refusal) => Refusal::new(Code::Disconnected, refusal.message.clone()),
        None => Refusal::new(Code::Disconnected, "the connection is closed"),
    }
}
