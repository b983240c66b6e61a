//! Bytes that many lanes share.
//!
//! Each lane has a little of its own beside, so that nobody is shut out by others that take all
//! there is; what it wants beyond that waits in line.
//!
//! Invariant: what all lanes together have undecided is within the pool and their own parts. What
//! is in here comes back when the engine has decided, whatever clients do or leave.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that each lane has of its own.
const OWN_BYTES: usize = 64 * 1024;

/// What lanes share. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    free: Arc<Semaphore>,
    bytes_max: usize,
}

/// One lane's way to draw from it.
#[derive(Debug)]
pub(super) struct Drawing {
    pool: Pool,
    own: Arc<Semaphore>,
}

/// Bytes that are taken, until it is dropped.
pub(super) type Share = OwnedSemaphorePermit;

impl Pool {
    /// A pool of so many bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        // What is larger than all of it takes all of it, so it must not be nothing.
        let bytes_max = bytes_max.clamp(1, u32::MAX as usize >> 3);
        Self {
            free: Arc::new(Semaphore::new(bytes_max)),
            bytes_max,
        }
    }

    /// Bytes that are taken, lanes' own not counted.
    pub(crate) fn taken_bytes(&self) -> usize {
        self.bytes_max - self.free.available_permits()
    }

    pub(super) fn drawing(&self) -> Drawing {
        Drawing {
            pool: self.clone(),
            own: Arc::new(Semaphore::new(OWN_BYTES)),
        }
    }
}

impl Drawing {
    /// Waits for bytes: the lane's own or the pool's, whichever are free first. `None` never
    /// happens as long as nobody closes the pool. Cancel-safe.
    pub(super) async fn draw(&self, bytes: usize) -> Option<Share> {
        if let Some(share) = self.try_draw(bytes) {
            return Some(share);
        }
        let pool = self
            .pool
            .free
            .clone()
            .acquire_many_owned(self.of_pool(bytes));
        if bytes > OWN_BYTES {
            return pool.await.ok();
        }
        let own = self.own.clone().acquire_many_owned(bytes as u32);
        tokio::select! {
            share = own => share.ok(),
            share = pool => share.ok(),
        }
    }

    /// As [`Drawing::draw`], without waiting.
    pub(super) fn try_draw(&self, bytes: usize) -> Option<Share> {
        if bytes <= OWN_BYTES
            && let Ok(share) = self.own.clone().try_acquire_many_owned(bytes as u32)
        {
            return Some(share);
        }
        let pool = self.pool.free.clone();
        pool.try_acquire_many_owned(self.of_pool(bytes)).ok()
    }

    fn of_pool(&self, bytes: usize) -> u32 {
        bytes.min(self.pool.bytes_max) as u32
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn lane_has_its_own_when_the_pool_is_empty() {
        let pool = Pool::new(300_000);
        let (hog, lone) = (pool.drawing(), pool.drawing());
        let mut taken = Vec::new();
        while let Some(share) = hog.try_draw(60_000) {
            taken.push(share);
        }
        assert_eq!((taken.len(), pool.taken_bytes()), (6, 300_000));
        let own = lone.try_draw(OWN_BYTES).expect("its own");
        assert!(lone.try_draw(1).is_none());
        drop(own);
        assert!(lone.try_draw(OWN_BYTES).is_some());
    }

    #[test]
    fn what_waits_takes_what_is_free_first() {
        let pool = Pool::new(100_000);
        let (hog, lone) = (pool.drawing(), pool.drawing());
        let all = hog.try_draw(100_000).expect("all of it");
        let own = lone.try_draw(50_000).expect("its own");
        let mut waits = Box::pin(lone.draw(50_000));
        assert!(waits.as_mut().now_or_never().is_none());
        drop(own);
        assert!(waits.as_mut().now_or_never().is_some());
        let mut large = Box::pin(lone.draw(90_000));
        assert!(large.as_mut().now_or_never().is_none());
        drop(all);
        assert!(large.as_mut().now_or_never().is_some());
    }

    #[test]
    fn what_is_larger_than_the_pool_takes_all_of_it() {
        let pool = Pool::new(1);
        assert!(pool.drawing().try_draw(1 << 20).is_some());
        assert_eq!(pool.taken_bytes(), 0);
    }
}
