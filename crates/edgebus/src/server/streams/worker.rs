//! A worker at the other end, and what of its messages has not left yet: so much the engine gives
//! it at most.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use edgebus_core::consumer::CREDIT_MAX;
use edgebus_core::wire::Frame;
use parking_lot::Mutex;

use super::super::clients::Figures;
use super::super::outgoing::{Held, Room, Sharing};
use crate::bus::WorkerHandle;

/// Messages that are asked of the engine ahead of the writer, whatever their size.
pub(super) const SLICE: u64 = 4096;

/// A frame of a stream, and what it holds until it is written.
#[derive(Debug)]
pub(in crate::server) struct Push {
    pub(in crate::server) frame: Frame,
    pub(in crate::server) holds: Holds,
}

/// What a frame holds until it is written or thrown away. Never read.
#[derive(Debug)]
pub(in crate::server) struct Holds {
    _room: Room,
    _sent: Option<Sent>,
}

impl Push {
    /// A frame that holds nothing.
    pub(super) fn of(frame: Frame) -> Self {
        Self::holding(frame, None)
    }

    /// A frame that takes room.
    pub(super) fn holding(frame: Frame, room: Room) -> Self {
        let holds = Holds {
            _room: room,
            _sent: None,
        };
        Self { frame, holds }
    }

    /// How many messages for a worker are in it.
    pub(super) fn messages(&self) -> usize {
        size_of(&self.frame).0
    }
}
/// A worker at the other end, as this end knows it.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) handle: WorkerHandle,
    figures: Arc<Figures>,
    /// Messages it was sent and has not settled.
    held: AtomicU64,
    credit: Mutex<Credit>,
    sharing: Sharing,
}

/// How many messages may come, as the client sees it: in two parts. And how many bytes.
#[derive(Debug)]
pub(super) struct Credit {
    /// What the engine was not told of yet.
    pub(super) client: u64,
    /// What the engine was told of and has not used, or what it used is not written yet.
    pub(super) engine: u64,
    /// Bytes that the engine was told of and has not used, or what used them is not written yet.
    pub(super) room: u64,
}

impl Credit {
    /// What the engine is to be told now, with a stream's share as it is at present; in parts that
    /// are worth it.
    fn top_up(&mut self, share: u64) -> Option<(u32, u64)> {
        let messages = SLICE.saturating_sub(self.engine).min(self.client);
        let bytes = share.saturating_sub(self.room);
        let worth = messages > 0 && (messages == self.client || messages >= SLICE / 4);
        if !worth && bytes < share / 4 {
            return None;
        }
        self.client -= messages;
        self.engine += messages;
        self.room += bytes;
        Some((u32::try_from(messages).unwrap_or(u32::MAX), bytes))
    }
}

impl Worker {
    /// One that was given so much credit, and nothing yet.
    pub(super) fn new(
        handle: WorkerHandle,
        figures: Arc<Figures>,
        credit: Credit,
        sharing: Sharing,
    ) -> Self {
        Self {
            handle,
            figures,
            held: AtomicU64::new(0),
            credit: Mutex::new(credit),
            sharing,
        }
    }

    /// Lets so many more messages come.
    pub(super) fn allow(&self, messages: u32) {
        let more = {
            let mut credit = self.credit.lock();
            let sum = credit.client + u64::from(messages);
            credit.client = sum.min(u64::from(CREDIT_MAX));
            credit.top_up(self.sharing.bytes())
        };
        self.tell(more);
    }

    /// So many messages, of so many bytes, are with the client's system.
    fn written(&self, messages: u64, bytes: u64) {
        let more = {
            let mut credit = self.credit.lock();
            credit.engine = credit.engine.saturating_sub(messages);
            credit.room = credit.room.saturating_sub(bytes);
            credit.top_up(self.sharing.bytes())
        };
        self.tell(more);
    }

    fn tell(&self, more: Option<(u32, u64)>) {
        if let Some((messages, bytes)) = more {
            self.handle.take_more(messages, bytes);
        }
    }

    /// A frame of messages that came for it.
    pub(super) fn push(self: &Arc<Self>, frame: Frame) -> Push {
        let (messages, bytes) = size_of(&frame);
        let sent = Sent {
            worker: self.clone(),
            messages: messages as u64,
            bytes: bytes as u64,
            _held: self.sharing.hold(bytes),
        };
        let holds = Holds {
            _room: None,
            _sent: Some(sent),
        };
        Push { frame, holds }
    }

    /// It was sent so many messages.
    pub(super) fn give_out(&self, messages: usize) {
        // In this order: what is taken back was counted here before.
        self.figures.hold(messages as u64);
        self.held.fetch_add(messages as u64, Ordering::Relaxed);
    }

    /// What is settled twice, or by someone else, is not counted twice.
    pub(super) fn take_back(&self, messages: usize) {
        let less = |held: u64| Some(held.saturating_sub(messages as u64));
        let relaxed = Ordering::Relaxed;
        if let Ok(held) = self.held.fetch_update(relaxed, relaxed, less) {
            self.figures.release(held.min(messages as u64));
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.figures.release(self.held.load(Ordering::Relaxed));
    }
}

/// Messages on their way to the client, until they are written.
#[derive(Debug)]
struct Sent {
    worker: Arc<Worker>,
    messages: u64,
    bytes: u64,
    _held: Held,
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.worker.written(self.messages, self.bytes);
    }
}

/// Messages in a frame, and their bytes.
fn size_of(frame: &Frame) -> (usize, usize) {
    match frame {
        Frame::Deliver { deliveries, .. } => {
            let bytes = deliveries.iter().map(|d| d.entry.as_bytes().len());
            (deliveries.len(), bytes.sum())
        }
        _ => (0, 0),
    }
}
