//! The server's end of a connection: [`step`] what it decides, [`frames`] what it says in frames within the limit,
//! [`streams`] which streams are open.
//!
//! Invariant: bad content of a sound frame costs what it names and nothing else: a tag, an item or
//! a stream. Only a frame that may not be said at all ends the connection.

mod frames;
mod step;
mod streams;

pub use frames::{deliver_frames, frames_for, notify_frames};
pub use step::{Outcome, SettleAnswer, Step};

use bytes::Bytes;

use crate::access::AccessToken;
use crate::admin::Admin;
use crate::code::{Code, Refusal};
use crate::consumer::{CREDIT_MAX, Settlement};
use crate::message::Kind;
use crate::record::{Record, RecordLimits};
use crate::stream::Open;
use crate::wire::admin::WireAdmin;
use crate::wire::control::{Hello, Welcome};
use crate::wire::settle::SettleItem;
use crate::wire::stream::WireOpen;
use crate::wire::{FRAME_BYTES_MAX, Frame, PROTOCOL_VERSION, TAG_CONNECTION};
use streams::Streams;

/// What a server allows on a connection.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Largest frame, in bytes, length field not counted.
    pub frame_bytes_max: usize,
    /// How large a record, or a reply, may be.
    pub record: RecordLimits,
    /// Most streams of workers that are open at a time.
    pub consumers_max: usize,
    /// Most live subscriptions that are open at a time.
    pub subscriptions_max: usize,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            frame_bytes_max: FRAME_BYTES_MAX,
            record: RecordLimits::default(),
            consumers_max: 512,
            subscriptions_max: 512,
        }
    }
}

/// The server's end of one connection.
#[derive(Debug)]
pub struct ServerSession {
    limits: ServerLimits,
    software: String,
    store_id: Bytes,
    client: Option<String>,
    streams: Streams,
    /// Why the client is not listened to any more.
    ended: Option<Refusal>,
}

impl ServerSession {
    /// A connection on which nothing was said yet. `software` is told to the client.
    pub fn new(limits: ServerLimits, software: impl Into<String>) -> Self {
        Self {
            limits,
            software: software.into(),
            store_id: Bytes::new(),
            client: None,
            streams: Streams::default(),
            ended: None,
        }
    }

    /// Tells the client which store this is.
    pub fn store_id(self, id: [u8; 16]) -> Self {
        let store_id = Bytes::copy_from_slice(&id);
        Self { store_id, ..self }
    }

    /// The name the client gave itself, once it did.
    pub fn client(&self) -> Option<&str> {
        self.client.as_deref()
    }

    /// How many streams are open.
    pub fn streams(&self) -> usize {
        self.streams.open()
    }

    /// The server ends a stream, or cannot open it: its last frame, to be said after everything
    /// else on it. `None` when it has ended already, as the client wanted.
    pub fn end_stream(&mut self, stream: u64, refusal: Option<Refusal>) -> Option<Frame> {
        let was_open = self.streams.end(stream);
        was_open.then_some(Frame::Close { stream, refusal })
    }

    /// Takes a frame.
    ///
    /// # Errors
    /// A breach of the protocol: say so with [`crate::wire::TAG_CONNECTION`], then close. After one
    /// every frame is refused for the same: what comes behind it was said to someone who listened.
    pub fn on_frame(&mut self, frame: Frame) -> Result<Step, Refusal> {
        if let Some(refusal) = &self.ended {
            return Err(refusal.clone());
        }
        let step = self.step(frame);
        if let Err(refusal) = &step {
            self.ended = Some(refusal.clone());
        }
        step
    }

    fn step(&mut self, frame: Frame) -> Result<Step, Refusal> {
        if self.client.is_none() {
            return match frame {
                Frame::Hello(hello) => self.on_hello(hello),
                _ => Err(unexpected("the first frame of a client is Hello")),
            };
        }
        match frame {
            Frame::Send { first_tag, records } => self.on_send(first_tag, records, false),
            Frame::Request { first_tag, records } => self.on_send(first_tag, records, true),
            Frame::Publish { first_tag, records } => self.on_publish(first_tag, records),
            Frame::Query { tag, .. } | Frame::Settle { tag, .. } | Frame::Admin { tag, .. }
                if tag == TAG_CONNECTION =>
            {
                Err(unexpected(
                    "the tag of a question stands for the connection",
                ))
            }
            Frame::Open { stream, open } => self.on_open(stream, *open),
            Frame::Credit { stream, credit } => self.on_credit(stream, credit),
            Frame::Settle { stream, tag, items } => Ok(self.on_settle(stream, tag, items)),
            Frame::Close { stream, .. } => self.on_close(stream),
            Frame::Admin { tag, admin } => Ok(self.on_admin(tag, *admin)),
            // A question that makes no sense is refused alone: sends are on their way beside it.
            Frame::Query { tag, query } => Ok(match query.try_into() {
                Ok(query) => Step::Query { tag, query },
                Err(refusal) => Step::Reply(Frame::Error { tag, refusal }),
            }),
            Frame::Ping { token } => Ok(Step::Reply(Frame::Pong { token })),
            Frame::Pong { .. } => Ok(Step::Nothing),
            Frame::Hello(_) => Err(unexpected("Hello is said once")),
            _ => Err(unexpected("only a server sends this frame")),
        }
    }

    fn on_hello(&mut self, hello: Hello) -> Result<Step, Refusal> {
        if !(hello.version_min..=hello.version_max).contains(&PROTOCOL_VERSION) {
            return Err(Refusal::new(
                Code::WrongVersion,
                format!(
                    "the client speaks protocol versions {} to {}, this server speaks {PROTOCOL_VERSION}: \
                     update the older one",
                    hello.version_min, hello.version_max
                ),
            ));
        }
        if hello.client.len() > 255 {
            return Err(unexpected("a client name has at most 255 bytes"));
        }
        self.client = Some(hello.client);
        Ok(Step::Opened {
            welcome: Frame::Welcome(Welcome {
                version: PROTOCOL_VERSION,
                software: self.software.clone(),
                frame_bytes_max: self.limits.frame_bytes_max as u64,
                payload_bytes_max: self.limits.record.payload_bytes_max as u64,
                store_id: self.store_id.clone(),
            }),
            token: hello.token.map(AccessToken::new),
        })
    }

    fn on_send(
        &self,
        first_tag: u64,
        records: Vec<Record>,
        wants_reply: bool,
    ) -> Result<Step, Refusal> {
        let Sorted { records, refused } = sort_out(first_tag, records, |record| {
            record.verify(&self.limits.record)?;
            if wants_reply && record.kind() != Kind::Request {
                return Err(wrong_kind(
                    record,
                    "nobody replies to a notification: send it",
                ));
            }
            Ok(())
        })?;
        Ok(Step::Append {
            records,
            refused,
            wants_reply,
        })
    }

    fn on_publish(&self, first_tag: u64, records: Vec<Record>) -> Result<Step, Refusal> {
        let Sorted { records, refused } = sort_out(first_tag, records, |record| {
            record.verify(&self.limits.record)?;
            if record.kind() != Kind::Notification {
                return Err(wrong_kind(
                    record,
                    "only notifications are published: send it",
                ));
            }
            Ok(())
        })?;
        Ok(Step::Publish { records, refused })
    }

    fn on_open(&mut self, stream: u64, open: WireOpen) -> Result<Step, Refusal> {
        self.streams.number(stream)?;
        let close = |refusal| {
            Step::Reply(Frame::Close {
                stream,
                refusal: Some(refusal),
            })
        };
        Ok(match Open::try_from(open) {
            Ok(open) => match self.room_for(&open) {
                Ok(()) => {
                    self.streams.add(stream, &open);
                    Step::Open { stream, open }
                }
                Err(refusal) => close(refusal),
            },
            Err(refusal) => close(refusal),
        })
    }

    fn room_for(&self, open: &Open) -> Result<(), Refusal> {
        let (what, max) = match open {
            Open::Consume(_) => ("workers", self.limits.consumers_max),
            Open::Subscribe(_) => ("subscriptions", self.limits.subscriptions_max),
        };
        match self.streams.open_like(open) < max {
            true => Ok(()),
            false => Err(too_many_streams(what, max)),
        }
    }

    /// More credit than there may be counts as the most: the rest could not be used.
    fn on_credit(&self, stream: u64, credit: u32) -> Result<Step, Refusal> {
        let credit = credit.min(CREDIT_MAX);
        match self.streams.takes_credit(stream)? {
            true if credit > 0 => Ok(Step::Credit { stream, credit }),
            _ => Ok(Step::Nothing),
        }
    }

    fn on_settle(&self, stream: u64, tag: u64, items: Vec<SettleItem>) -> Step {
        if let Err(refusal) = self.streams.settles(stream) {
            return match tag {
                // The stream may just have ended, with these on their way.
                0 => Step::Nothing,
                tag => Step::Reply(Frame::Error { tag, refusal }),
            };
        }
        let mut passed = Vec::with_capacity(items.len());
        let mut sound = Vec::with_capacity(items.len());
        let mut refused = Vec::new();
        for (at, SettleItem { token, settlement }) in (0..).zip(items) {
            let settlement = Settlement::try_from(settlement)
                .and_then(|settlement| settlement.bounded(&self.limits.record));
            match settlement {
                Ok(settlement) => {
                    passed.push(at);
                    sound.push((token, settlement));
                }
                Err(refusal) => refused.push((at, refusal)),
            }
        }
        Step::Settle {
            stream,
            items: sound,
            answer: SettleAnswer {
                tag,
                passed,
                refused,
            },
        }
    }

    fn on_close(&mut self, stream: u64) -> Result<Step, Refusal> {
        match self.streams.close(stream)? {
            true => Ok(Step::CloseStream { stream }),
            // It ended from this side, with the client's Close on its way.
            false => Ok(Step::Nothing),
        }
    }

    fn on_admin(&self, tag: u64, admin: WireAdmin) -> Step {
        let admin = Admin::try_from(admin).and_then(|admin| match admin {
            Admin::Settle {
                name,
                token,
                settlement,
            } => Ok(Admin::Settle {
                name,
                token,
                settlement: settlement.bounded(&self.limits.record)?,
            }),
            admin => Ok(admin),
        });
        match admin {
            Ok(admin) => Step::Admin { tag, admin },
            Err(refusal) => Step::Reply(Frame::Error { tag, refusal }),
        }
    }
}

/// Records with their tags: those that pass, and what the others are refused for.
#[derive(Default)]
struct Sorted {
    records: Vec<(u64, Record)>,
    refused: Vec<Outcome>,
}

fn sort_out(
    first_tag: u64,
    records: Vec<Record>,
    check: impl Fn(&Record) -> Result<(), Refusal>,
) -> Result<Sorted, Refusal> {
    if first_tag.checked_add(records.len() as u64).is_none() {
        return Err(unexpected("tags of a send run over the end"));
    }
    let mut sorted = Sorted::default();
    for (tag, record) in (first_tag..).zip(records) {
        match check(&record) {
            Ok(()) => sorted.records.push((tag, record)),
            Err(refusal) => sorted.refused.push(Outcome {
                tag,
                result: Err(refusal),
            }),
        }
    }
    Ok(sorted)
}

#[cold]
fn wrong_kind(record: &Record, what: &str) -> Refusal {
    Refusal::new(
        Code::BadRecord,
        format!("request {} is of the wrong kind: {what}", record.id()),
    )
}

#[cold]
fn too_many_streams(what: &str, max: usize) -> Refusal {
    let message =
        format!("{max} {what} of this connection are open, as many as there may be: close one");
    Refusal::new(Code::Busy, message).retry_after_ms(1000)
}

#[cold]
fn unexpected(what: &str) -> Refusal {
    Refusal::new(Code::UnexpectedFrame, what.to_owned())
}

#[cfg(test)]
mod tests;
