//! What is sent: messages that differ, and can be sent again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edgebus::{Kind as MessageKind, Message, RequestError, RequestId, Scope, SendError, Topic};

use super::World;
use crate::history::{Asked, Call, Client, Digest, Event, Kind, Outcome};
use crate::rng::SimRng;

/// Topics of requests that are answered, of requests that are listened to, of requests that nobody
/// takes, and of notifications.
pub(super) const ORDERS: [&str; 3] = ["orders.new", "orders.paid", "orders.sent"];
pub(super) const EVENTS: [&str; 2] = ["events.door", "events.till"];
pub(super) const IDLE: &str = "idle.lamp";
pub(super) const NEWS: [&str; 2] = ["news.price", "news.stock"];

/// A message, to be sent once or more often.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) id: RequestId,
    pub(crate) scope: Scope,
    pub(crate) topic: &'static str,
    pub(crate) payload: Bytes,
    pub(crate) notification: bool,
    pub(crate) expires: Option<Duration>,
}

impl Sent {
    /// One that was never sent before, on one of these topics.
    pub(super) fn new(world: &World, rng: &mut SimRng, scope: Scope, topic: &'static str) -> Self {
        let mut id = [0; 16];
        rng.fill(&mut id);
        if rng.chance(0.5) {
            // As clients make them: first the time, by which they are in order.
            let ms = world.time().as_millis() as u64;
            id[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
        }
        Self {
            id: RequestId::from_bytes(id),
            scope,
            topic,
            payload: payload(rng),
            notification: topic.starts_with("news."),
            expires: None,
        }
    }

    /// Another one under the same id.
    pub(super) fn forged(&self, rng: &mut SimRng) -> Self {
        Self {
            payload: payload(rng),
            ..self.clone()
        }
    }

    /// Whether there is somebody who answers it.
    pub(super) fn is_answered(&self) -> bool {
        self.topic.starts_with("orders.")
    }

    pub(super) fn message(&self) -> Message {
        let topic: Topic = self.topic.try_into().expect("a topic");
        let message = Message::new(self.id, topic, self.payload.clone());
        let kind = match self.notification {
            true => MessageKind::Notification,
            false => MessageKind::Request,
        };
        let expires = self.expires.unwrap_or_default();
        // A time of its own, as the library would ask the machine for one.
        message
            .kind(kind)
            .time_ms(1)
            .expires_ms(expires.as_millis() as u64)
    }

    /// Notes that somebody asks for it to be stored.
    pub(super) fn ask(&self, world: &World, client: Client, kind: Kind) -> Call {
        let call = world.recorder.call();
        world.recorder.note(Event::Asked(Asked {
            call,
            client,
            kind: if self.notification {
                Kind::Publish
            } else {
                kind
            },
            id: self.id,
            scope: self.scope,
            topic: Arc::from(self.topic),
            payload: Digest::of(&self.payload),
            expires: self.expires,
        }));
        call
    }
}

/// Content that no other message has: mostly small, sometimes as much as there may be.
fn payload(rng: &mut SimRng) -> Bytes {
    let most = *rng.pick(&[24, 24, 24, 200, 1_000, 3_500]);
    let mut bytes = vec![0; 16 + rng.below(most) as usize];
    let (unique, filling) = bytes.split_at_mut(16);
    rng.fill(unique);
    filling.fill(b'x');
    bytes.into()
}

/// How a send ended.
pub(super) fn outcome(sent: &Result<edgebus::Receipt, SendError>) -> Outcome {
    match sent {
        Ok(receipt) => Outcome::Stored {
            seq: receipt.seq,
            duplicate: receipt.duplicate,
        },
        Err(error) => refused(error),
    }
}

pub(super) fn refused(error: &SendError) -> Outcome {
    match error {
        SendError::Refused { refusal, .. } => Outcome::Refused(refusal.code),
        _ => Outcome::Unknown,
    }
}

/// How a request ended that brought no reply.
pub(super) fn unanswered(error: &RequestError) -> Outcome {
    match error {
        RequestError::Send(error) => refused(error),
        RequestError::DeadLettered { .. } => Outcome::DeadLettered,
        RequestError::ReplyExpired { .. } => Outcome::ReplyExpired,
        _ => Outcome::Unknown,
    }
}

/// Whether it is to be asked again until it is known how it ended.
pub(super) fn is_open(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Unknown | Outcome::TimedOut => true,
        Outcome::Refused(code) => code.is_retryable(),
        _ => false,
    }
}
