//! One connection: reads the client's frames, decides with the session, acts on the bus.

use std::sync::Arc;

use edgebus_core::session::{Outcome, ServerSession, Step};
use edgebus_core::wire::Frame;
use edgebus_core::{Code, Record, Refusal, Scope};
use tokio::sync::mpsc;

use super::reply::{self, Reply};
use super::{Shared, say_goodbye};
use crate::bus::Lane;
use crate::transport::{Reader, TransportError, Writer};

/// Replies that may wait for the client to take them; then no more of its frames are read.
const REPLIES: usize = 256;

/// Serves one connection to its end.
///
/// # Errors
/// Why it was cut; `Ok` when the client left or the server stopped.
pub(super) async fn run(
    shared: Arc<Shared>,
    mut reader: Reader,
    writer: Writer,
) -> Result<(), Refusal> {
    let (replies, replies_out) = mpsc::channel(REPLIES);
    let writing = tokio::spawn(reply::write_all(shared.clone(), writer, replies_out));
    let ended = converse(&shared, &mut reader, &replies).await;
    drop(replies);
    // What was accepted is answered before the connection closes. The reason comes last, as a
    // client that reads it reads no further.
    if let Ok(Some(mut writer)) = writing.await {
        match &ended {
            Ok(()) => writer.close().await,
            Err(refusal) => say_goodbye(&mut reader, writer, refusal.clone()).await,
        }
    }
    match ended {
        Err(refusal) if matches!(refusal.code, Code::ShuttingDown | Code::Disconnected) => Ok(()),
        other => other,
    }
}

async fn converse(
    shared: &Arc<Shared>,
    reader: &mut Reader,
    replies: &mpsc::Sender<Reply>,
) -> Result<(), Refusal> {
    let software = concat!("edgebus ", env!("CARGO_PKG_VERSION"));
    let mut session = ServerSession::new(shared.limits(), software);
    let lane = shared.bus.lane("", Scope::default(), shared.config.lane);
    let mut stopping = shared.stopping.subscribe();
    let handshake = tokio::time::sleep(shared.config.handshake_timeout);
    tokio::pin!(handshake);
    let mut frames = Vec::new();
    loop {
        let came = tokio::select! {
            came = reader.read(&mut frames) => came,
            () = &mut handshake, if session.client().is_none() => return Err(timeout(shared)),
            // An error would mean that the server is gone, which is the same.
            _ = stopping.wait_for(|stopping| *stopping) => return Err(stopped()),
        };
        // Frames that came whole count, even when a bad one follows.
        act(&mut session, &lane, &mut frames, replies).await?;
        match came {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(TransportError::Protocol(refusal)) => return Err(refusal),
            Err(TransportError::Io(error)) => {
                tracing::debug!(%error, "a client went away");
                return Ok(());
            }
        }
    }
}

/// Acts on what was read. All sends among it become one submission.
async fn act(
    session: &mut ServerSession,
    lane: &Lane,
    frames: &mut Vec<Frame>,
    replies: &mpsc::Sender<Reply>,
) -> Result<(), Refusal> {
    let mut sends = Sends::default();
    for frame in frames.drain(..) {
        let step = session.on_frame(frame);
        if !matches!(step, Ok(Step::Append { .. })) {
            sends.submit(lane, replies).await?;
        }
        match step? {
            Step::Append {
                records, refused, ..
            } => sends.add(records, refused),
            Step::Opened(frame) | Step::Reply(frame) => reply(replies, Reply::Frame(frame)).await?,
            Step::Query { tag, query } => {
                reply(replies, Reply::Query { tag, query }).await?;
            }
            _ => {}
        }
    }
    sends.submit(lane, replies).await
}

/// Sends that were read together.
#[derive(Default)]
struct Sends {
    tags: Vec<u64>,
    records: Vec<Record>,
    refused: Vec<Outcome>,
}

impl Sends {
    fn add(&mut self, records: Vec<(u64, Record)>, refused: Vec<Outcome>) {
        self.refused.extend(refused);
        for (tag, record) in records {
            self.tags.push(tag);
            self.records.push(record);
        }
    }

    /// Hands them to the engine, waiting while the lane is full, and has their outcomes told.
    async fn submit(&mut self, lane: &Lane, replies: &mpsc::Sender<Reply>) -> Result<(), Refusal> {
        let Self {
            tags,
            records,
            refused,
        } = std::mem::take(self);
        if !refused.is_empty() {
            reply(replies, Reply::Refused(refused)).await?;
        }
        if records.is_empty() {
            return Ok(());
        }
        let submitted = lane.submit(records).await;
        reply(replies, Reply::Outcomes { tags, submitted }).await
    }
}

async fn reply(replies: &mpsc::Sender<Reply>, reply: Reply) -> Result<(), Refusal> {
    let gone = |_| Refusal::new(Code::Disconnected, "the client takes no replies any more");
    replies.send(reply).await.map_err(gone)
}

fn timeout(shared: &Shared) -> Refusal {
    let seconds = shared.config.handshake_timeout.as_secs_f32();
    Refusal::new(
        Code::HandshakeTimeout,
        format!("no Hello came within {seconds} s"),
    )
}

fn stopped() -> Refusal {
    Refusal::new(
        Code::ShuttingDown,
        "the server is shutting down: connect again later",
    )
    .retry_after_ms(1000)
}
