//! One connection: reads the client's frames, decides with the session, acts on the bus; [`sends`] what
//! it does about messages.

mod sends;

use std::sync::Arc;

use edgebus_core::access::{AccessToken, Verb};
use edgebus_core::consumer::{LeaseToken, Place, Settlement};
use edgebus_core::session::{ServerSession, Step};
use edgebus_core::wire::Frame;
use edgebus_core::wire::admin::WireAdmin;
use edgebus_core::{Code, Refusal};
use prost::Message as _;
use tokio::sync::{Semaphore, mpsc};

use super::answers;
use super::asker::Standing;
use super::authorize::verb_to_send;
use super::clients::Figures;
use super::outgoing::Room;
use super::places::{self, Full, Seat};
use super::reply::{self, Queued, Reply};
use super::streams::{EndedStreams, Left, Runs, Streams};
use super::{GOODBYE_TIMEOUT, Guest, Peer, Shared, say_goodbye};
use crate::bus::Lane;
use crate::flag::Flag;
use crate::transport::{Reader, TransportError, Writer};
use sends::Sends;

/// Replies that may wait for the client to take them; then no more of its frames are read.
const REPLIES: usize = 256;
/// Bytes of settlements and of operators' questions of one connection that may be undecided; then no
/// more of its frames are read. One frame always may.
const HEARD_BYTES: usize = 8 * 1024 * 1024;
/// Settlements that are smaller need no room among what all connections have undecided: what waits
/// of them is few.
const SMALL_BYTES: usize = 4 * 1024;
/// What a settlement takes beside its reply, about.
const SETTLEMENT_BYTES: usize = 128;

/// Serves one connection to its end.
///
/// # Errors
/// Why it was cut; `Ok` when the client left or the server stopped.
pub(super) async fn run(
    shared: Arc<Shared>,
    mut reader: Reader,
    writer: Writer,
    guest: &mut Guest,
    seat: &mut Seat,
) -> Result<(), Refusal> {
    let peer = guest.peer;
    let listed = shared
        .clients
        .list(&peer.to_string(), guest.identity.clone());
    let figures = listed.figures.clone();
    let place = match peer {
        Peer::Remote(_) | Peer::Unix { .. } => Place::Connection(figures.id()),
        // It dies with the server.
        Peer::SameProcess => Place::Process,
    };
    let frame_bytes_max = shared.config.limits.frame_bytes_max;
    let standing = Standing::new(guest);
    let runs = Runs {
        place,
        owner: standing.asker.owner(),
    };
    let (bus, outgoing) = (shared.bus.clone(), shared.outgoing.clone());
    let (streams, pushes, ended_streams) =
        Streams::new(bus, figures.clone(), runs, outgoing, frame_bytes_max);
    let sender = standing.asker.sender(shared.undecided.clone());
    let (replies, replies_out) = mpsc::channel(REPLIES);
    let ending = Flag::default();
    let ends = ending.raised_on_drop();
    let writing = reply::write_all(shared.clone(), writer, replies_out, pushes, ending);
    let writing = tokio::spawn(writing);
    let mut conversation = Conversation {
        session: ServerSession::new(
            shared.limits(),
            concat!("edgebus ", env!("CARGO_PKG_VERSION")),
        )
        .store_id(shared.bus.store_id()),
        lane: shared.bus.lane_of(sender, shared.config.limits.lane),
        shared: &shared,
        standing,
        seat,
        figures,
        streams,
        replies,
        places: Arc::new(Semaphore::new(
            shared
                .config
                .limits
                .replies_waiting_max
                .min(Semaphore::MAX_PERMITS),
        )),
        heard: Arc::new(Semaphore::new(HEARD_BYTES)),
    };
    let ended = conversation
        .converse(&mut reader, ended_streams, guest)
        .await;
    // Whoever waits for messages must not be given those that come back now.
    drop(ends);
    // Workers of this process that are gone were dropped, which is as good as a word. Others may
    // come back for their leases, also after a restart of the server.
    conversation.streams.leave(match peer {
        Peer::Remote(_) | Peer::Unix { .. } => Left::Lost,
        Peer::SameProcess => Left::Closed,
    });
    if ended.is_err() && conversation.session.client().is_none() {
        shared.counters.fail_handshake();
    }
    guest
        .identity
        .clone_from(&conversation.standing.asker.identity);
    drop(conversation);
    // What was accepted is answered before the connection closes. The reason comes last, as a
    // client that reads it reads no further.
    if let Ok(Some(mut writer)) = writing.await {
        match &ended {
            // Over TLS that is something to be written, which the client may not take.
            Ok(()) => drop(tokio::time::timeout(GOODBYE_TIMEOUT, writer.close()).await),
            Err(refusal) => say_goodbye(&mut reader, writer, refusal.clone()).await,
        }
    }
    match ended {
        Err(refusal) if matches!(refusal.code, Code::ShuttingDown | Code::Disconnected) => Ok(()),
        other => other,
    }
}

/// What a connection waits for.
enum Came {
    Frames(Result<bool, TransportError>),
    EndOfStream(u64, Refusal),
    /// Something about what the client may do.
    Change,
    /// Nothing that is written arrives.
    NothingTaken,
}

/// What is known of a connection while its client speaks.
struct Conversation<'a> {
    shared: &'a Shared,
    standing: Standing,
    seat: &'a mut Seat,
    session: ServerSession,
    lane: Lane,
    figures: Arc<Figures>,
    streams: Streams,
    replies: mpsc::Sender<Queued>,
    /// For requests whose replies are waited for.
    places: Arc<Semaphore>,
    /// Bytes of what is neither a send nor a question about the log.
    heard: Arc<Semaphore>,
}

impl Conversation<'_> {
    async fn converse(
        &mut self,
        reader: &mut Reader,
        mut ended_streams: EndedStreams,
        guest: &mut Guest,
    ) -> Result<(), Refusal> {
        let stopping = self.shared.stopping.clone();
        let handshake = self.shared.handshake_until(self.seat.since());
        let handshake = tokio::time::sleep_until(handshake);
        tokio::pin!(handshake);
        let mut frames = Vec::new();
        loop {
            let came = tokio::select! {
                // A client that never stops talking holds up nothing else.
                biased;
                () = &mut handshake, if self.session.client().is_none() => {
                    return Err(timeout(self.shared));
                }
                () = self.seat.pushed_out() => return Err(places::pushed_out()),
                () = stopping.raised() => return Err(stopped()),
                refusal = guest.revoked() => return Err(refusal),
                () = self.standing.changed() => Came::Change,
                Some((stream, why)) = ended_streams.recv() => Came::EndOfStream(stream, why),
                // The client takes nothing, or is gone: its leases must not wait for it.
                () = self.replies.closed() => Came::NothingTaken,
                came = reader.read(&mut frames) => Came::Frames(came),
            };
            let came = match came {
                Came::Frames(came) => came,
                Came::EndOfStream(stream, why) => {
                    self.end_stream(stream, Some(why)).await;
                    continue;
                }
                Came::Change => {
                    self.renew().await?;
                    continue;
                }
                Came::NothingTaken => {
                    let _ = tokio::time::timeout(GOODBYE_TIMEOUT, self.hear_out(reader)).await;
                    return Err(gone());
                }
            };
            // Frames that came whole count, even when a bad one follows.
            self.act(&mut frames).await?;
            match came {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(TransportError::Protocol(refusal)) => return Err(refusal),
                Err(TransportError::OtherProtocol(other)) => return Err(guest.not_edgebus(other)),
                Err(TransportError::Io(error)) => {
                    tracing::debug!(%error, "a client went away");
                    return Ok(());
                }
            }
        }
    }

    /// Acts on what a client said before it went, which nothing can be answered to any more: it may
    /// have settled messages as its last words.
    async fn hear_out(&mut self, reader: &mut Reader) -> Result<(), Refusal> {
        let mut frames = Vec::new();
        loop {
            let came = reader.read(&mut frames).await;
            self.act(&mut frames).await?;
            if !matches!(came, Ok(true)) {
                return Ok(());
            }
        }
    }

    /// Acts on what was read. Sends that follow each other become one submission.
    async fn act(&mut self, frames: &mut Vec<Frame>) -> Result<(), Refusal> {
        if !frames.is_empty() {
            self.renew().await?;
        }
        let mut sends = Sends::default();
        for frame in frames.drain(..) {
            match self.session.on_frame(frame) {
                Ok(Step::Append {
                    mut records,
                    mut refused,
                    wants_reply,
                }) => {
                    self.sort_out(&mut records, &mut refused, |kind| match wants_reply {
                        true => Verb::Request,
                        false => verb_to_send(kind),
                    });
                    if wants_reply != sends.want_replies {
                        self.submit(std::mem::take(&mut sends)).await;
                    }
                    sends.add(records, refused, wants_reply);
                }
                // What came before a frame that ends the connection counts.
                step => {
                    self.submit(std::mem::take(&mut sends)).await;
                    self.take(step?).await?;
                }
            }
        }
        self.submit(sends).await;
        Ok(())
    }

    /// It is known now who the client is.
    async fn enter(&mut self, welcome: Frame, token: Option<AccessToken>) -> Result<(), Refusal> {
        self.standing
            .introduce(&self.shared.guard, token.as_ref())?;
        let asker = &self.standing.asker;
        if let Err(refusal) = self.seat.settle(&asker.identity) {
            self.shared.counters.full(Full::Identity);
            return Err(refusal);
        }
        let config = self.shared.config.limits.lane;
        let sender = asker.sender(self.shared.undecided.clone());
        self.lane = self.shared.bus.lane_of(sender, config);
        self.streams.belong_to(asker.owner());
        self.figures
            .set_name(self.session.client().unwrap_or_default());
        self.figures.set_identity(&asker.identity);
        self.reply(Reply::Frames(vec![welcome])).await;
        Ok(())
    }

    /// Takes in what has changed about what the client may do: streams that it may not have any
    /// more end.
    async fn renew(&mut self) -> Result<(), Refusal> {
        if self.standing.renew()? {
            for (stream, why) in self.streams.forbidden(&self.standing.asker) {
                self.shared.forbid(&self.standing.asker, 1, &why);
                self.end_stream(stream, Some(why)).await;
            }
        }
        Ok(())
    }

    async fn take(&mut self, step: Step) -> Result<(), Refusal> {
        match step {
            Step::Opened { welcome, token } => self.enter(welcome, token).await?,
            Step::Reply(frame) => self.reply(Reply::Frames(vec![frame])).await,
            Step::Query { tag, query } => {
                let asker = self.standing.asker.clone();
                self.reply(Reply::Query { asker, tag, query }).await;
            }
            Step::Admin { tag, admin } => {
                let heard = self.hear(WireAdmin::from(&admin).encoded_len()).await;
                let asker = self.standing.asker.clone();
                self.reply(Reply::Admin {
                    asker,
                    tag,
                    admin,
                    heard,
                })
                .await;
            }
            Step::Publish { records, refused } => self.publish(records, refused).await,
            Step::Open { stream, open } => {
                let client = self.session.client().unwrap_or_default().to_owned();
                let asker = &self.standing.asker;
                if let Err(refusal) = self.streams.open(stream, open, asker, &client).await {
                    if refusal.code == Code::Forbidden {
                        self.shared.forbid(asker, 1, &refusal);
                    }
                    self.end_stream(stream, Some(refusal)).await;
                }
            }
            Step::Credit { stream, credit } => self.streams.credit(stream, credit),
            Step::Settle {
                stream,
                items,
                answer,
            } => {
                let bytes = bytes_of(&items);
                let heard = self.hear(bytes).await;
                let room = match bytes {
                    ..SMALL_BYTES => None,
                    bytes => self.lane.room_beside(bytes).await,
                };
                if let Some(settling) = self.streams.settle(stream, items, room) {
                    let settled = Box::pin(async move {
                        let settled = answer.frame(settling.await);
                        drop(heard);
                        settled
                    });
                    self.reply(Reply::Settling(settled)).await;
                }
            }
            Step::CloseStream { stream } => {
                let refusal = None;
                self.streams
                    .end(stream, Frame::Close { stream, refusal })
                    .await;
            }
            _ => {}
        }
        Ok(())
    }

    async fn end_stream(&mut self, stream: u64, refusal: Option<Refusal>) {
        if let Some(last) = self.session.end_stream(stream, refusal) {
            self.streams.end(stream, last).await;
        }
    }

    /// Has something told. What is large waits for room, as the client may read nothing of it.
    async fn reply(&self, reply: Reply) {
        // Once nothing is written any more the connection ends, after what has come was acted on.
        tokio::select! {
            biased;
            room = self.shared.outgoing.room(reply.bytes()) => {
                let _ = self.replies.send(Queued { reply, room }).await;
            }
            () = self.replies.closed() => {}
        }
    }

    /// Waits until so many bytes more may be undecided.
    async fn hear(&self, bytes: usize) -> Room {
        let bytes = bytes.min(HEARD_BYTES) as u32;
        // Nobody closes it.
        self.heard.clone().acquire_many_owned(bytes).await.ok()
    }
}

/// What settlements take until they are decided, about.
fn bytes_of(items: &[(LeaseToken, Settlement)]) -> usize {
    let bytes = items.iter().map(|(_, settlement)| match settlement {
        Settlement::Complete(reply) => SETTLEMENT_BYTES + answers::size_of(reply),
        _ => SETTLEMENT_BYTES,
    });
    bytes.sum()
}

fn gone() -> Refusal {
    Refusal::new(Code::Disconnected, "the client takes no replies any more")
}

fn timeout(shared: &Shared) -> Refusal {
    let seconds = shared.config.limits.handshake_timeout.as_secs_f32();
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
