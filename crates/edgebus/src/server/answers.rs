//! Replies that a connection's client waits for.
//!
//! Tens of thousands of requests may be waited for, and each reply may be as large as a request.
//! What comes while the client does not read is kept up to [`READY_BYTES`], and as far as there is
//! room among all connections; of the rest only the place is kept, and the reply is read again from
//! the store when its turn comes.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use edgebus_core::consumer::{Answer, Reply};
use edgebus_core::wire::Frame;
use edgebus_core::wire::stream::WireAnswer;
use edgebus_core::{Code, Refusal, Seq};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::outgoing::{Outgoing, Room};
use crate::bus::MessageBus;
use crate::host;

/// Bytes of replies that may wait to be written.
const READY_BYTES: usize = 1024 * 1024;
/// Bytes of replies that are written at a time.
const WRITE_BYTES: usize = 256 * 1024;

/// Replies that are waited for, and those that came.
#[derive(Debug, Default)]
pub(super) struct Answers {
    waiting: FuturesUnordered<Waiting>,
    ready: VecDeque<Ready>,
    ready_bytes: usize,
}

/// A request that was stored and is not answered.
#[derive(Debug)]
struct Waiting {
    tag: u64,
    seq: Seq,
    answer: oneshot::Receiver<Answer>,
    /// Its place among those that may wait.
    permit: Option<OwnedSemaphorePermit>,
}

/// A request that is answered.
#[derive(Debug)]
struct Ready {
    tag: u64,
    seq: Seq,
    answer: Kept,
    _permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
enum Kept {
    Whole(Answer, Room),
    /// A reply that is to be read again.
    InStore,
    /// Nobody is left to answer.
    Nobody,
}

impl Future for Waiting {
    type Output = Ready;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ready> {
        let answer = ready!(Pin::new(&mut self.answer).poll(cx));
        Poll::Ready(Ready {
            tag: self.tag,
            seq: self.seq,
            answer: answer.map_or(Kept::Nobody, |answer| Kept::Whole(answer, None)),
            _permit: self.permit.take(),
        })
    }
}

impl Answers {
    /// Waits for the answer to a request whose receipt is told before.
    pub(super) fn wait_for(
        &mut self,
        tag: u64,
        seq: Seq,
        answer: oneshot::Receiver<Answer>,
        permit: OwnedSemaphorePermit,
    ) {
        self.waiting.push(Waiting {
            tag,
            seq,
            answer,
            permit: Some(permit),
        });
    }

    /// Whether something is there to be written.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes in the next answer; never done while nothing is waited for. Cancel-safe.
    pub(super) async fn take_in(&mut self, outgoing: &Outgoing) {
        let Some(mut ready) = self.waiting.next().await else {
            return std::future::pending().await;
        };
        if let Kept::Whole(Answer::Reply(reply), room) = &mut ready.answer {
            let bytes = size_of(reply);
            let fits = self.ready_bytes + bytes <= READY_BYTES || self.ready.is_empty();
            match outgoing.try_room(bytes).filter(|_| fits) {
                Some(free) => {
                    *room = free;
                    self.ready_bytes += bytes;
                }
                None => ready.answer = Kept::InStore,
            }
        }
        self.ready.push_back(ready);
    }

    /// Frames of answers that came, as many as are written at a time, and the room they take until
    /// then. Not cancel-safe.
    pub(super) async fn frames(
        &mut self,
        bus: &MessageBus,
        outgoing: &Outgoing,
    ) -> (Vec<Frame>, Vec<Room>) {
        let mut frames = Vec::new();
        let mut rooms = Vec::new();
        let mut bytes = 0;
        while bytes < WRITE_BYTES
            && let Some(ready) = self.ready.pop_front()
        {
            let tag = ready.tag;
            let answer = match ready.answer {
                Kept::Whole(answer, room) => {
                    if let Answer::Reply(reply) = &answer {
                        self.ready_bytes -= size_of(reply);
                    }
                    rooms.push(room);
                    Ok(answer)
                }
                Kept::InStore => {
                    let answer = reread(bus, ready.seq).await;
                    // One at a time is told in any case, as waiting for room with others of one's
                    // own in hand might be for ever.
                    if let Ok(Answer::Reply(reply)) = &answer {
                        match outgoing.try_room(size_of(reply)) {
                            Some(room) => rooms.push(room),
                            None => bytes = WRITE_BYTES,
                        }
                    }
                    answer
                }
                Kept::Nobody => Err(Refusal::new(
                    Code::ShuttingDown,
                    "the bus has stopped: ask again after the restart",
                )),
            };
            frames.push(match answer {
                Ok(answer) => {
                    if let Answer::Reply(reply) = &answer {
                        bytes += size_of(reply);
                    }
                    let answer = WireAnswer::from(&answer);
                    Frame::Answer { tag, answer }
                }
                Err(refusal) => Frame::Error { tag, refusal },
            });
        }
        (frames, rooms)
    }
}

/// What a reply takes, about.
pub(super) fn size_of(reply: &Reply) -> usize {
    let headers = reply.headers.iter();
    reply.payload.len() + headers.map(|h| h.name.len() + h.value.len()).sum::<usize>()
}

/// The reply to a request that was answered a moment ago; it may be trimmed since.
async fn reread(bus: &MessageBus, seq: Seq) -> Result<Answer, Refusal> {
    let reader = bus.reader();
    match host::blocking(move || reader.reply(seq)).await {
        Ok(Ok(reply)) => Ok(reply.map_or(Answer::Expired, Answer::Reply)),
        Ok(Err(error)) => Err(Refusal::from(&error)),
        Err(_) => {
            let failed = "reading the reply failed: see the server's log";
            Err(Refusal::new(Code::Corrupt, failed))
        }
    }
}
