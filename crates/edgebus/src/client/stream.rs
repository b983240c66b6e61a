//! An open stream: what a worker or a subscriber says over its client's connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use edgebus_core::Refusal;
use edgebus_core::consumer::{LeaseToken, Settlement};
use tokio::sync::oneshot;

use super::link::Link;
use super::pending::lost;
use crate::delivery::{BoxFuture, Settle, within_limits};

/// A stream; closed when it is dropped. It keeps the client alive.
#[derive(Debug)]
pub(super) struct Stream {
    link: Arc<Link>,
    number: u64,
    closed: AtomicBool,
}

impl Stream {
    pub(super) fn new(link: Arc<Link>, number: u64) -> Self {
        Self {
            link,
            number,
            closed: AtomicBool::new(false),
        }
    }
}

impl Settle for Stream {
    fn settle(&self, token: LeaseToken, settlement: Settlement) {
        let (settlement, _) = within_limits(settlement, &self.link.limits());
        // When the client is closed, the lease ends by itself.
        let _ = self.link.settle(self.number, token, settlement, None);
    }

    fn settle_wait(
        &self,
        token: LeaseToken,
        settlement: Settlement,
    ) -> BoxFuture<Result<(), Refusal>> {
        let (settlement, fits) = within_limits(settlement, &self.link.limits());
        let (waiter, settled) = oneshot::channel();
        let said = self
            .link
            .settle(self.number, token, settlement, Some(waiter));
        // The answer still comes when the last stream and client are gone meanwhile.
        let link = self.link.clone();
        Box::pin(async move {
            said?;
            let settled = settled.await.unwrap_or_else(|_| Err(lost()));
            drop(link);
            fits.and(settled)
        })
    }

    fn credit(&self, messages: u32) {
        self.link.credit(self.number, messages);
    }

    fn close(&self) {
        if !self.closed.swap(true, Ordering::AcqRel) {
            self.link.close_stream(self.number);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.close();
    }
}
