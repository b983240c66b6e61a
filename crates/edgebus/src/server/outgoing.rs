//! Memory for what waits until clients take it.
//!
//! One half is for messages on their way to workers: each stream is given a share, the smaller the
//! more streams there are. The other half is for everything else: whoever wants to say something
//! large waits until there is room for it.
//!
//! Invariant: what is held is within the bound, but for a little that each connection has of its
//! own: [`OWN_BYTES`] of a stream of messages, and one message that is larger. Frames count twice,
//! as they are encoded while they are written.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a stream of messages may hold in any case.
const OWN_BYTES: u64 = 64 * 1024;
/// What one stream of messages may hold at most.
const STREAM_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Frames that are smaller are not worth waiting for.
const SMALL_BYTES: usize = 4 * 1024;

/// What all connections of a server share. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Outgoing(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// For messages on their way to workers.
    messages_max: u64,
    streams: AtomicU64,
    /// Bytes of messages that are held.
    messages: AtomicU64,
    /// For everything else.
    free: Arc<Semaphore>,
    free_max: usize,
    waiting: AtomicUsize,
}

/// Room that is taken, until it is dropped; `None` for what is small.
pub(super) type Room = Option<OwnedSemaphorePermit>;

/// A stream of messages among the others, until it is dropped.
#[derive(Debug)]
pub(super) struct Sharing(Outgoing);

/// Messages that are held, until they are written or thrown away.
#[derive(Debug)]
pub(super) struct Held {
    outgoing: Outgoing,
    bytes: u64,
}

impl Outgoing {
    /// Room for so many bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        let half = (bytes_max / 2).clamp(1, Semaphore::MAX_PERMITS);
        Self(Arc::new(Inner {
            messages_max: half as u64,
            streams: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            free: Arc::new(Semaphore::new(half)),
            free_max: half,
            waiting: AtomicUsize::new(0),
        }))
    }

    /// Bytes that are held.
    pub(super) fn bytes(&self) -> u64 {
        let taken = self.0.free_max - self.0.free.available_permits();
        self.0.messages.load(Ordering::Relaxed) + taken as u64
    }

    /// Whether others wait for what is held.
    pub(super) fn is_wanted(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed) > 0 || self.is_full()
    }

    /// Whether as many messages are held as may be.
    fn is_full(&self) -> bool {
        self.0.messages.load(Ordering::Relaxed) >= self.0.messages_max
    }

    /// Waits for room for something of so many bytes. Cancel-safe.
    pub(super) async fn room(&self, bytes: usize) -> Room {
        if bytes <= SMALL_BYTES {
            return None;
        }
        if let Some(room) = self.try_room(bytes) {
            return room;
        }
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
        let _waits = Waits(&self.0.waiting);
        // Nobody closes it.
        let free = self.0.free.clone();
        free.acquire_many_owned(self.wanted(bytes)).await.ok()
    }

    /// Room for something of so many bytes, if there is any now.
    pub(super) fn try_room(&self, bytes: usize) -> Option<Room> {
        if bytes <= SMALL_BYTES {
            return Some(None);
        }
        let free = self.0.free.clone();
        let room = free.try_acquire_many_owned(self.wanted(bytes));
        room.ok().map(Some)
    }

    /// What something takes: it is there twice while it is encoded.
    fn wanted(&self, bytes: usize) -> u32 {
        let wanted = bytes.saturating_mul(2).min(self.0.free_max);
        u32::try_from(wanted).unwrap_or(u32::MAX)
    }

    /// A stream of messages more.
    pub(super) fn share(&self) -> Sharing {
        self.0.streams.fetch_add(1, Ordering::Relaxed);
        Sharing(self.clone())
    }
}

impl Sharing {
    /// How many bytes of messages the stream may hold at present.
    pub(super) fn bytes(&self) -> u64 {
        let inner = &*self.0.0;
        if self.0.is_full() {
            return OWN_BYTES;
        }
        let streams = inner.streams.load(Ordering::Relaxed).max(1);
        (inner.messages_max / 2 / streams).clamp(OWN_BYTES, STREAM_BYTES_MAX)
    }

    /// So many bytes came and are held from now on.
    pub(super) fn hold(&self, bytes: usize) -> Held {
        let bytes = 2 * bytes as u64;
        self.0.0.messages.fetch_add(bytes, Ordering::Relaxed);
        Held {
            outgoing: self.0.clone(),
            bytes,
        }
    }
}

impl Drop for Sharing {
    fn drop(&mut self) {
        self.0.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let messages = &self.outgoing.0.messages;
        messages.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Somebody waits, until this is dropped.
struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn more_streams_have_less_each_and_never_nothing() {
        let outgoing = Outgoing::new(64 * 1024 * 1024);
        let one = outgoing.share();
        assert_eq!(one.bytes(), STREAM_BYTES_MAX);
        let more: Vec<_> = (0..15).map(|_| outgoing.share()).collect();
        assert_eq!(one.bytes(), 1024 * 1024);
        let held = one.hold(16 * 1024 * 1024);
        assert!(outgoing.is_wanted());
        assert_eq!(one.bytes(), OWN_BYTES);
        drop((more, held));
        assert_eq!((one.bytes(), outgoing.bytes()), (STREAM_BYTES_MAX, 0));
    }

    #[test]
    fn what_is_large_waits_for_room_and_what_is_small_does_not() {
        let outgoing = Outgoing::new(400_000);
        let first = outgoing.room(100_000).now_or_never().expect("room");
        let mut second = Box::pin(outgoing.room(100_000));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(outgoing.is_wanted());
        assert!(outgoing.room(100).now_or_never().expect("small").is_none());
        drop(first);
        assert!(second.as_mut().now_or_never().is_some());
        drop(second);
        assert!(!outgoing.is_wanted());
    }
}
