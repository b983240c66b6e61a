//! What a client's connection holds under its lock: the session, what waits to be written, and
//! where streams end.

use std::collections::HashMap;

use edgebus_core::consumer::{LeaseToken, Settlement};
use edgebus_core::session::ClientSession;
use edgebus_core::wire::Frame;
use edgebus_core::{Code, Entry, Refusal};
use tokio::sync::mpsc;

use super::pending::{Asked, ReplyWaiter, SendWaiter, SettleWaiter};
use crate::delivery::{Notifier, WorkerEvent};

pub(super) type Session = ClientSession<SendWaiter, Asked, ReplyWaiter>;

/// Settlements of a stream are joined to earlier ones so many frames back.
const LOOK_BACK: usize = 8;
/// What a settlement takes in a frame, beside its reply or reason.
const SETTLE_BYTES: usize = 32;

#[derive(Debug)]
pub(super) struct State {
    /// `None` once the connection is lost.
    pub(super) session: Option<Session>,
    outgoing: Vec<Outgoing>,
    /// Bytes of records in the last outgoing frame, if it carries records.
    joined_bytes: usize,
    /// Up to which others are joined to it.
    joined_bytes_max: usize,
    /// Why nothing more is sent. Answers to what left before may still come.
    pub(super) ended: Option<Refusal>,
    streams: HashMap<u64, StreamEnd>,
}

/// Something that waits to be written.
#[derive(Debug)]
enum Outgoing {
    Frame(Frame),
    Settle(Settling),
    Credit { stream: u64, messages: u32 },
}

/// Settlements that will share a frame.
#[derive(Debug)]
struct Settling {
    stream: u64,
    items: Vec<(LeaseToken, Settlement)>,
    bytes: usize,
    waiters: Vec<(u32, SettleWaiter)>,
}

/// Where what comes on a stream is wanted.
#[derive(Debug)]
pub(super) enum StreamEnd {
    Worker(mpsc::UnboundedSender<WorkerEvent>),
    Subscriber(Notifier),
}

impl State {
    pub(super) fn new(session: Session, joined_bytes_max: usize) -> Self {
        Self {
            session: Some(session),
            outgoing: Vec::new(),
            joined_bytes: 0,
            joined_bytes_max,
            ended: None,
            streams: HashMap::new(),
        }
    }

    /// The session, while something can still be sent.
    pub(super) fn session(&mut self) -> Result<&mut Session, Refusal> {
        match (&mut self.session, &self.ended) {
            (Some(session), None) => Ok(session),
            // Nothing was sent, so the reason must not sound as if something had been.
            (_, Some(refusal)) => Err(Refusal::new(Code::Disconnected, refusal.message.clone())),
            (None, None) => Err(Refusal::new(Code::Disconnected, "the connection is closed")),
        }
    }

    /// Queues a frame; records that follow each other, for the same end, become one frame.
    pub(super) fn push(&mut self, frame: Frame) {
        match self.join(frame) {
            None => {}
            Some(frame) => self.outgoing.push(Outgoing::Frame(frame)),
        }
    }

    /// Adds the records of a frame to those of the last one, if that is possible.
    fn join(&mut self, mut frame: Frame) -> Option<Frame> {
        let Some((_, more)) = records_of(&mut frame) else {
            return Some(frame);
        };
        let more: usize = more.iter().map(|record| record.as_bytes().len()).sum();
        if let Some(Outgoing::Frame(last)) = self.outgoing.last_mut()
            && std::mem::discriminant(last) == std::mem::discriminant(&frame)
            && self.joined_bytes + more <= self.joined_bytes_max
            && let Some((first_tag, records)) = records_of(last)
            && let Some((next_tag, added)) = records_of(&mut frame)
            // Tags are given out in order, under the lock that is held here; but others may ask
            // between two of those that publish.
            && *first_tag + records.len() as u64 == *next_tag
        {
            records.append(added);
            self.joined_bytes += more;
            return None;
        }
        self.joined_bytes = more;
        Some(frame)
    }

    /// Queues what is said about a message.
    pub(super) fn settle(
        &mut self,
        stream: u64,
        token: LeaseToken,
        settlement: Settlement,
        waiter: Option<SettleWaiter>,
    ) {
        let bytes = SETTLE_BYTES + bytes_of(&settlement);
        let room = self.joined_bytes_max;
        let mut last = self.outgoing.iter_mut().rev().take(LOOK_BACK);
        let joined = last.find_map(|outgoing| match outgoing {
            Outgoing::Settle(settling) if settling.stream == stream => Some(settling),
            _ => None,
        });
        match joined {
            Some(settling) if settling.bytes + bytes <= room => {
                settling.add(token, settlement, bytes, waiter);
            }
            _ => {
                let mut settling = Settling {
                    stream,
                    items: Vec::new(),
                    bytes: 0,
                    waiters: Vec::new(),
                };
                settling.add(token, settlement, bytes, waiter);
                self.outgoing.push(Outgoing::Settle(settling));
            }
        }
    }

    /// Queues credit.
    pub(super) fn credit(&mut self, stream: u64, more: u32) {
        let mut last = self.outgoing.iter_mut().rev().take(LOOK_BACK);
        let joined = last.find_map(|outgoing| match outgoing {
            Outgoing::Credit {
                stream: other,
                messages,
            } if *other == stream => Some(messages),
            _ => None,
        });
        match joined {
            Some(messages) => *messages = messages.saturating_add(more),
            None => self.outgoing.push(Outgoing::Credit {
                stream,
                messages: more,
            }),
        }
    }

    /// What is to be written now.
    pub(super) fn take_frames(&mut self) -> Vec<Frame> {
        let outgoing = std::mem::take(&mut self.outgoing);
        let Some(session) = &mut self.session else {
            // They were made while there was one.
            let frames = outgoing.into_iter().filter_map(|outgoing| match outgoing {
                Outgoing::Frame(frame) => Some(frame),
                _ => None,
            });
            return frames.collect();
        };
        let frames = outgoing.into_iter().filter_map(|outgoing| match outgoing {
            Outgoing::Frame(frame) => Some(frame),
            Outgoing::Credit { stream, messages } => session.credit(stream, messages),
            Outgoing::Settle(settling) => {
                let items = settling.items.iter().map(|(token, said)| (*token, said));
                let waiters = settling.waiters;
                let waiter = (!waiters.is_empty()).then_some(Asked::Settle(waiters));
                Some(session.settle(settling.stream, items, waiter))
            }
        });
        frames.collect()
    }

    /// Nothing of what waits to be written will be.
    pub(super) fn clear_outgoing(&mut self) {
        self.outgoing.clear();
    }

    /// Makes everything that waits to be written independent of the session.
    pub(super) fn finish_outgoing(&mut self) {
        let frames = self.take_frames();
        self.outgoing = frames.into_iter().map(Outgoing::Frame).collect();
    }

    /// A stream is open and what comes on it is wanted here.
    pub(super) fn add_stream(&mut self, stream: u64, end: StreamEnd) {
        self.streams.insert(stream, end);
    }

    /// Messages came; says whether there is something to be written about them.
    pub(super) fn deliver(&mut self, stream: u64, event: WorkerEvent) -> bool {
        let Some(StreamEnd::Worker(worker)) = self.streams.get(&stream) else {
            return false;
        };
        let Err(mpsc::error::SendError(WorkerEvent::Deliveries(deliveries))) = worker.send(event)
        else {
            return false;
        };
        // It takes nothing more, but has not left yet.
        for delivery in deliveries {
            self.settle(stream, delivery.token, Settlement::Release, None);
        }
        true
    }

    /// Notifications came, or were missed.
    pub(super) fn notify(&self, stream: u64, entries: Vec<Entry>, missed: u64) {
        let Some(StreamEnd::Subscriber(notifier)) = self.streams.get(&stream) else {
            return;
        };
        for entry in entries {
            notifier.notify(entry);
        }
        if missed > 0 {
            notifier.lagged(missed);
        }
    }

    /// Nothing more comes on a stream.
    pub(super) fn end_stream(&mut self, stream: u64, why: Option<Refusal>) {
        if let Some(end) = self.streams.remove(&stream) {
            end.tell(why);
        }
    }

    /// Nothing more comes on any stream.
    pub(super) fn end_streams(&mut self, why: &Refusal) {
        for (_, end) in self.streams.drain() {
            end.tell(Some(why.clone()));
        }
    }
}

impl Settling {
    fn add(
        &mut self,
        token: LeaseToken,
        settlement: Settlement,
        bytes: usize,
        waiter: Option<SettleWaiter>,
    ) {
        let waiter = waiter.map(|waiter| (self.items.len() as u32, waiter));
        self.waiters.extend(waiter);
        self.items.push((token, settlement));
        self.bytes += bytes;
    }
}

impl StreamEnd {
    fn tell(self, why: Option<Refusal>) {
        match (self, why) {
            (Self::Worker(worker), Some(why)) => drop(worker.send(WorkerEvent::Ended(why))),
            (Self::Worker(_), None) => {}
            (Self::Subscriber(notifier), why) => notifier.end(why),
        }
    }
}

/// The first tag and the records of a frame that may be joined with others.
fn records_of(frame: &mut Frame) -> Option<(&u64, &mut Vec<edgebus_core::Record>)> {
    match frame {
        Frame::Send { first_tag, records }
        | Frame::Request { first_tag, records }
        | Frame::Publish { first_tag, records } => Some((first_tag, records)),
        _ => None,
    }
}

/// About what a settlement takes beside its header.
fn bytes_of(settlement: &Settlement) -> usize {
    match settlement {
        Settlement::Complete(reply) => {
            let headers = reply.headers.iter();
            reply.payload.len()
                + headers
                    .map(|header| header.name.len() + header.value.len() + 8)
                    .sum::<usize>()
        }
        Settlement::Nak { reason, .. } | Settlement::Term { reason } => reason.len(),
        _ => 0,
    }
}
