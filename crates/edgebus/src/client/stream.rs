//! An open stream: what a worker or a subscriber says over its client's connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use edgebus_core::consumer::{LeaseToken, Settlement};
use edgebus_core::{RecordLimits, Refusal};
use tokio::sync::oneshot;

use super::connection::Connection;
use super::pending::lost;
use crate::delivery::{BoxFuture, Settle, within_limits};

/// A stream; closed when it is dropped. It keeps the connection open.
#[derive(Debug)]
pub(super) struct Stream {
    connection: Arc<Connection>,
    number: u64,
    limits: RecordLimits,
    closed: AtomicBool,
}

impl Stream {
    pub(super) fn new(connection: Arc<Connection>, number: u64, limits: RecordLimits) -> Self {
        Self {
            connection,
            number,
            limits,
            closed: AtomicBool::new(false),
        }
    }
}

impl Settle for Stream {
    fn settle(&self, token: LeaseToken, settlement: Settlement) {
        let (settlement, _) = within_limits(settlement, &self.limits);
        // Without a connection, the lease ends by itself.
        let _ = self.connection.settle(self.number, token, settlement, None);
    }

    fn settle_wait(
        &self,
        token: LeaseToken,
        settlement: Settlement,
    ) -> BoxFuture<Result<(), Refusal>> {
        let (settlement, fits) = within_limits(settlement, &self.limits);
        let (waiter, settled) = oneshot::channel();
        let said = self
            .connection
            .settle(self.number, token, settlement, Some(waiter));
        // The answer still comes when the last stream and client are gone meanwhile.
        let connection = self.connection.clone();
        Box::pin(async move {
            said?;
            let settled = settled.await.unwrap_or_else(|_| Err(lost()));
            drop(connection);
            fits.and(settled)
        })
    }

    fn credit(&self, messages: u32) {
        self.connection.credit(self.number, messages);
    }

    fn close(&self) {
        if !self.closed.swap(true, Ordering::AcqRel) {
            self.connection.close_stream(self.number);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.close();
    }
}
