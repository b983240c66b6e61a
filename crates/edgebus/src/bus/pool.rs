//! Bytes that many lanes share.
//!
//! Each lane has a little of its own beside, so that nobody is shut out by others that take all
//! there is; what it wants beyond that waits in line, in which owners take turns: whoever wants one
//! thing does not wait behind all that another wants.
//!
//! Invariant: what all lanes together have undecided is within the pool and their own parts. What
//! is in here comes back when the engine has decided, whatever clients do or leave.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::turns::{Account, Party, Turns};

/// Bytes that each lane has of its own.
const OWN_BYTES: usize = 64 * 1024;

/// What lanes share. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Pool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    line: Turns<Waiter>,
}

/// Somebody in line. Whoever gave up stays in it until its turn comes.
#[derive(Debug)]
struct Waiter {
    account: Account,
    bytes: usize,
    to: Mutex<Option<oneshot::Sender<Share>>>,
}

/// One lane's way to draw from it.
#[derive(Debug)]
pub(super) struct Drawing {
    pool: Pool,
    owner: Arc<str>,
    own: Arc<Semaphore>,
}

/// Bytes that are taken, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share(Taken);

#[derive(Debug)]
enum Taken {
    /// Of the lane's own.
    Own {
        _permit: OwnedSemaphorePermit,
    },
    Pool {
        shared: Arc<Shared>,
        bytes: usize,
    },
}

/// Waits in line for a part of the pool, until it is dropped.
struct InLine {
    shared: Arc<Shared>,
    share: oneshot::Receiver<Share>,
}

impl Pool {
    /// A pool of so many bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        // What is larger than all of it takes all of it, so it must not be nothing.
        let bytes_max = bytes_max.max(1);
        let state = State {
            free: bytes_max,
            line: Turns::default(),
        };
        Self(Arc::new(Shared {
            bytes_max,
            state: Mutex::new(state),
        }))
    }

    /// Bytes that are taken, lanes' own not counted.
    pub(crate) fn taken_bytes(&self) -> usize {
        self.0.bytes_max - self.0.state.lock().free
    }

    /// For a lane of an owner.
    pub(super) fn drawing(&self, owner: Arc<str>) -> Drawing {
        Drawing {
            pool: self.clone(),
            owner,
            own: Arc::new(Semaphore::new(OWN_BYTES)),
        }
    }
}

impl Shared {
    fn try_take(self: &Arc<Self>, bytes: usize) -> Option<Share> {
        let bytes = bytes.min(self.bytes_max);
        let mut state = self.state.lock();
        if !state.line.is_empty() || state.free < bytes {
            return None;
        }
        state.free -= bytes;
        drop(state);
        Some(Share::of(self, bytes))
    }

    fn wait(self: &Arc<Self>, owner: Arc<str>, bytes: usize) -> InLine {
        let (to, share) = oneshot::channel();
        let waiter = Waiter {
            account: Account::of(owner),
            bytes: bytes.min(self.bytes_max),
            to: Mutex::new(Some(to)),
        };
        let mut state = self.state.lock();
        state.line.wait(Arc::new(waiter));
        self.give(&mut state);
        drop(state);
        InLine {
            shared: self.clone(),
            share,
        }
    }

    /// Gives to those in line as long as there is enough for the next.
    fn give(self: &Arc<Self>, state: &mut State) {
        while let Some(first) = state.line.peek() {
            let gone = first
                .to
                .lock()
                .as_ref()
                .is_none_or(oneshot::Sender::is_closed);
            if !gone && first.bytes > state.free {
                return;
            }
            let Some(first) = state.line.next() else {
                return;
            };
            let bytes = match first.to.lock().take() {
                Some(to) if !gone => self.hand(to, first.bytes),
                _ => 0,
            };
            state.free -= bytes;
            state.line.served(&first, bytes as u64, false);
        }
    }

    /// Says how many bytes were taken.
    fn hand(self: &Arc<Self>, to: oneshot::Sender<Share>, bytes: usize) -> usize {
        match to.send(Share::of(self, bytes)) {
            Ok(()) => bytes,
            Err(mut share) => {
                share.forget();
                0
            }
        }
    }
}

impl Share {
    fn of(shared: &Arc<Shared>, bytes: usize) -> Self {
        Self(Taken::Pool {
            shared: shared.clone(),
            bytes,
        })
    }

    /// It gives nothing back.
    fn forget(&mut self) {
        if let Taken::Pool { bytes, .. } = &mut self.0 {
            *bytes = 0;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Taken::Pool { shared, bytes } = &self.0
            && *bytes > 0
        {
            let mut state = shared.state.lock();
            state.free += bytes;
            shared.give(&mut state);
        }
    }
}

impl Future for InLine {
    type Output = Option<Share>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Share>> {
        Pin::new(&mut self.share).poll(cx).map(Result::ok)
    }
}

impl Drop for InLine {
    /// What was given and not taken goes back; who was first in line lets the next one go.
    fn drop(&mut self) {
        self.share.close();
        drop(self.share.try_recv());
        self.shared.give(&mut self.shared.state.lock());
    }
}

impl Party for Waiter {
    fn account(&self) -> &Account {
        &self.account
    }
}

impl Drawing {
    /// Waits for bytes: the lane's own or the pool's, whichever are free first. `None` never
    /// happens as long as nobody closes the lane's own. Cancel-safe.
    pub(super) async fn draw(&self, bytes: usize) -> Option<Share> {
        if let Some(share) = self.try_draw(bytes) {
            return Some(share);
        }
        let pool = self.pool.0.wait(self.owner.clone(), bytes);
        if bytes > OWN_BYTES {
            return pool.await;
        }
        let own = self.own.clone().acquire_many_owned(bytes as u32);
        tokio::select! {
            biased;
            permit = own => permit.ok().map(of_own),
            share = pool => share,
        }
    }

    /// As [`Drawing::draw`], without waiting.
    pub(super) fn try_draw(&self, bytes: usize) -> Option<Share> {
        if bytes <= OWN_BYTES
            && let Ok(permit) = self.own.clone().try_acquire_many_owned(bytes as u32)
        {
            return Some(of_own(permit));
        }
        self.pool.0.try_take(bytes)
    }
}

fn of_own(permit: OwnedSemaphorePermit) -> Share {
    Share(Taken::Own { _permit: permit })
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn lane_has_its_own_when_the_pool_is_empty() {
        let pool = Pool::new(300_000);
        let (hog, lone) = (pool.drawing("hog".into()), pool.drawing("lone".into()));
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
        let (hog, lone) = (pool.drawing("hog".into()), pool.drawing("lone".into()));
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
        assert!(pool.drawing("".into()).try_draw(1 << 20).is_some());
        assert_eq!(pool.taken_bytes(), 0);
    }

    #[test]
    fn one_who_wants_one_thing_does_not_wait_behind_all_that_another_wants() {
        let pool = Pool::new(1_000_000);
        let hogs: Vec<_> = (0..100).map(|_| pool.drawing("hog".into())).collect();
        let lone = pool.drawing("lone".into());
        let mut taken = Vec::from([hogs[0].try_draw(1_000_000).expect("all of it")]);
        let mut waiting: Vec<_> = hogs.iter().map(|h| Box::pin(h.draw(900_000))).collect();
        for draw in &mut waiting {
            assert!(draw.as_mut().now_or_never().is_none());
        }
        let mut single = Box::pin(lone.draw(900_000));
        assert!(single.as_mut().now_or_never().is_none());
        taken.clear();
        let mut before = 0;
        while single.as_mut().now_or_never().is_none() {
            let at = waiting
                .iter_mut()
                .position(|draw| draw.now_or_never().is_some());
            let at = at.expect("one of them");
            drop(waiting.remove(at));
            before += 1;
        }
        assert!(before <= 1, "{before}");
    }

    #[test]
    fn whoever_gives_up_holds_up_nobody_and_keeps_nothing() {
        let pool = Pool::new(200_000);
        let (one, other) = (pool.drawing("one".into()), pool.drawing("other".into()));
        let half = one.try_draw(100_000).expect("half");
        let mut large = Box::pin(one.draw(200_000));
        assert!(large.as_mut().now_or_never().is_none());
        let mut small = Box::pin(other.draw(100_000));
        assert!(
            small.as_mut().now_or_never().is_none(),
            "it is not its turn"
        );
        drop(large);
        drop(small.as_mut().now_or_never().expect("its turn"));
        // One that was given its share and never took it.
        let mut never = Box::pin(one.draw(200_000));
        assert!(never.as_mut().now_or_never().is_none());
        drop(half);
        assert_eq!(pool.taken_bytes(), 200_000);
        drop(never);
        assert_eq!(pool.taken_bytes(), 0);
        assert!(pool.0.state.lock().line.is_empty());
    }
}
