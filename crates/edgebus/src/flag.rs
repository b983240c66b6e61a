//! Something that happens once and stays so, for many who wait for it.
//!
//! Like a watched `bool`, but whoever waits is woken in the order in which they began to: a
//! [`tokio::sync::watch`] wakes them in an order by chance, which no simulation could repeat.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Down, until it is raised for good. Clones are the same flag.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flag(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    raised: AtomicBool,
    waiting: Notify,
}

/// Raises a flag when it is dropped.
#[derive(Debug)]
pub(crate) struct RaisedOnDrop(Flag);

impl Flag {
    /// From here on it is raised.
    pub(crate) fn raise(&self) {
        self.0.raised.store(true, Ordering::Release);
        self.0.waiting.notify_waiters();
    }

    /// Raises it when what this returns is dropped.
    pub(crate) fn raised_on_drop(&self) -> RaisedOnDrop {
        RaisedOnDrop(self.clone())
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.0.raised.load(Ordering::Acquire)
    }

    /// Waits until it is raised. Cancel-safe.
    pub(crate) async fn raised(&self) {
        // Made before it is looked, so that nothing is missed between the two.
        let waiting = self.0.waiting.notified();
        if !self.is_raised() {
            waiting.await;
        }
    }
}

impl Drop for RaisedOnDrop {
    fn drop(&mut self) {
        self.0.raise();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everyone_who_waits_is_woken_and_so_is_who_comes_later() {
        let flag = Flag::default();
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let flag = flag.clone();
                tokio::spawn(async move { flag.raised().await })
            })
            .collect();
        tokio::task::yield_now().await;
        assert!(!flag.is_raised());
        drop(flag.raised_on_drop());
        for waiting in waiting {
            waiting.await.expect("it does not panic");
        }
        flag.raised().await;
    }
}
