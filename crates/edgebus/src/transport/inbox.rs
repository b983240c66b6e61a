//! Memory for what is received: a little for each connection, the rest out of what all share.
//!
//! Invariants: what all connections together hold beyond their own [`OWN_BYTES`] is within the
//! bound, whatever lengths are announced. A frame that is larger gets all it needs before more of
//! it is read; if parts of frames wait for each other, they give up in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use edgebus_core::{Code, Refusal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that each connection may hold in any case.
pub(super) const OWN_BYTES: usize = 16 * 1024;

/// How long a frame may wait for room.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// What all connections share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Inbox(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    free: Arc<Semaphore>,
    bytes_max: usize,
    /// Connections that wait for a part.
    waiting: AtomicUsize,
}

/// What one connection may hold.
#[derive(Debug)]
pub(super) struct Share {
    inbox: Inbox,
    /// Beyond its own.
    more: Option<OwnedSemaphorePermit>,
}

impl Inbox {
    /// Memory for so many bytes; at least for a frame of the largest size.
    pub fn new(bytes_max: usize, frame_bytes_max: usize) -> Self {
        let bytes_max = bytes_max.max(frame_bytes_max.saturating_add(4));
        let bytes_max = bytes_max.min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Shared {
            free: Arc::new(Semaphore::new(bytes_max)),
            bytes_max,
            waiting: AtomicUsize::new(0),
        }))
    }

    /// Bytes that are held.
    pub fn held_bytes(&self) -> usize {
        self.0.bytes_max - self.0.free.available_permits()
    }

    /// Whether somebody waits for memory that others hold.
    pub(super) fn is_wanted(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed) > 0
    }

    pub(super) fn share(&self) -> Share {
        Share {
            inbox: self.clone(),
            more: None,
        }
    }
}

impl Share {
    /// How many bytes may be held.
    pub(super) fn bytes(&self) -> usize {
        OWN_BYTES
            + self
                .more
                .as_ref()
                .map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// Whether others wait for what is held in here.
    pub(super) fn is_wanted(&self) -> bool {
        self.more.is_some() && self.inbox.is_wanted()
    }

    /// As many bytes, if they are free; says whether they may be held.
    pub(super) fn try_grow(&mut self, bytes: usize) -> bool {
        let Some(missing) = self.missing(bytes) else {
            return true;
        };
        let free = self.inbox.0.free.clone();
        match free.try_acquire_many_owned(missing) {
            Ok(more) => self.add(more),
            Err(_) => return false,
        }
        true
    }

    /// As many bytes, as soon as they are free. Cancel-safe; whoever gives up loses the place in
    /// the line.
    ///
    /// # Errors
    /// [`Code::Busy`]: they were not free in time.
    pub(super) async fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        let Some(missing) = self.missing(bytes) else {
            return Ok(());
        };
        let waits = Waits::new(&self.inbox.0.waiting);
        let free = self.inbox.0.free.clone().acquire_many_owned(missing);
        let free = tokio::time::timeout(WAIT_MAX, free).await;
        drop(waits);
        // Nobody closes it, so it is time that has run out.
        let more = free.ok().and_then(Result::ok);
        self.add(more.ok_or_else(|| no_room(bytes))?);
        Ok(())
    }

    /// Gives back what is beyond so many bytes.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let over = self.bytes().saturating_sub(bytes.max(OWN_BYTES));
        if let Some(more) = &mut self.more {
            drop(more.split(over));
            if more.num_permits() == 0 {
                self.more = None;
            }
        }
    }

    fn missing(&self, bytes: usize) -> Option<u32> {
        let missing = bytes.saturating_sub(self.bytes());
        (missing > 0).then(|| u32::try_from(missing).unwrap_or(u32::MAX))
    }

    fn add(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.more {
            Some(all) => all.merge(more),
            none => *none = Some(more),
        }
    }
}

fn no_room(bytes: usize) -> Refusal {
    let message = format!(
        "others hold the memory that a frame of {bytes} bytes needs: try again, or send smaller frames"
    );
    Refusal::new(Code::Busy, message).retry_after_ms(1000)
}

/// Somebody waits, for as long as this lives.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_shared_is_never_exceeded_and_comes_back() {
        let inbox = Inbox::new(100_000, 0);
        let (mut one, mut other) = (inbox.share(), inbox.share());
        assert!(one.try_grow(OWN_BYTES) && inbox.held_bytes() == 0);
        assert!(one.try_grow(OWN_BYTES + 60_000));
        assert!(!other.try_grow(OWN_BYTES + 60_000) && other.bytes() == OWN_BYTES);
        assert!(!one.is_wanted());
        {
            let mut waits = Box::pin(other.grow(OWN_BYTES + 60_000));
            assert!(waits.as_mut().now_or_never().is_none());
            assert!(one.is_wanted());
            one.shrink(OWN_BYTES + 40_000);
            assert_eq!(waits.as_mut().now_or_never(), Some(Ok(())));
        }
        assert!(!one.is_wanted());
        assert_eq!(inbox.held_bytes(), 100_000);
        one.shrink(0);
        drop(other);
        assert_eq!((inbox.held_bytes(), one.bytes()), (0, OWN_BYTES));
    }

    #[tokio::test(start_paused = true)]
    async fn parts_that_wait_for_each_other_give_up_in_time() {
        let inbox = Inbox::new(100_000, 0);
        let (mut one, mut other) = (inbox.share(), inbox.share());
        assert!(one.try_grow(OWN_BYTES + 50_000) && other.try_grow(OWN_BYTES + 50_000));
        let (first, second) = tokio::join!(one.grow(90_000), other.grow(90_000));
        assert_eq!(first.map_err(|r| r.code), Err(Code::Busy));
        assert_eq!(second.map_err(|r| r.code), Err(Code::Busy));
    }

    #[tokio::test]
    async fn frame_of_any_allowed_size_finds_room() {
        let inbox = Inbox::new(0, 1 << 20);
        let mut share = inbox.share();
        assert_eq!(share.grow(4 + (1 << 20)).await, Ok(()));
    }
}
