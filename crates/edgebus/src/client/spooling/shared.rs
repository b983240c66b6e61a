//! The spool's side of what a client shares: between its handles, its connection and the task that
//! owns the spool.

use std::sync::Arc;

use edgebus_core::{Code, Record, Refusal};
use tokio::time::Instant;

use super::queue::{SpoolQueue, Work, to_send};
use crate::client::config::ClientConfig;
use crate::client::link::{Link, Shared, tell};
use crate::client::pending::SendWaiter;
use crate::client::telling::Telling;
use crate::client::undecided::Sent;
use crate::spool::Waiting;

impl Shared {
    /// Without a connection so far, and with a spool.
    pub(super) fn spooling(config: &ClientConfig, spool: SpoolQueue) -> Arc<Self> {
        Self::with(config, Some(spool))
    }

    /// What is to be done with the spool now, and over which connection.
    pub(super) fn spool_work(&self) -> (Work, u64) {
        let mut state = self.state.lock();
        let connection = state.connection();
        // What is not on its way when the client is drained stays in the spool.
        let forwards = connection.is_some() && !state.is_draining();
        let work = state.spool.as_mut().map(|spool| spool.take_work(forwards));
        (work.unwrap_or_default(), connection.unwrap_or_default())
    }

    /// Waits until there may be something to be done, at the latest until then.
    pub(super) async fn wait_for_spool_work(&self, until: Option<Instant>) {
        let filled = self.spool_filled.notified();
        match until {
            Some(until) => drop(tokio::time::timeout_at(until, filled).await),
            None => filled.await,
        }
    }

    /// What was to be written is written, or not; what was read is to be sent over a connection. So
    /// many requests wait in the spool now, and are dead there.
    pub(super) fn spool_done(
        &self,
        written: Vec<(Sent, Result<u64, Refusal>)>,
        read: Option<Vec<Waiting>>,
        counts: (u64, u64),
        connection: u64,
    ) {
        let max = self.record_bytes_max();
        let mut state = self.state.lock();
        if let Some(spool) = &mut state.spool {
            spool.written(counts);
        }
        if let Some(read) = read {
            let any = !read.is_empty();
            let mut sends = Vec::with_capacity(read.len());
            if let Some(spool) = &mut state.spool {
                for waiting in read {
                    let origin = spool.origin(waiting.number);
                    match to_send(waiting, origin, max) {
                        Ok(sent) => sends.push(sent),
                        Err(settled) => spool.settle(settled),
                    }
                }
            }
            let count = sends.len();
            let sent = count == 0 || state.forward(connection, sends);
            if let Some(spool) = &mut state.spool {
                spool.found(any);
                match sent {
                    true => spool.sending(count),
                    false => spool.read_again(),
                }
            }
        }
        let empty = state.spool.as_ref().is_none_or(SpoolQueue::is_empty);
        drop(state);
        let told = written.into_iter();
        tell(
            told.map(|(sent, written)| Telling::Written(sent, written))
                .collect(),
        );
        self.filled.notify_one();
        if empty {
            self.spool_emptied.notify_waiters();
        }
    }

    /// The spool cannot be used: whoever waits for it is told.
    pub(super) fn refuse_spooling(&self, reason: &Refusal) {
        let waiting = {
            let mut state = self.state.lock();
            state.spool.as_mut().map(SpoolQueue::refuse)
        };
        let told = waiting.into_iter().flatten();
        tell(
            told.map(|sent| Telling::Written(sent, Err(reason.clone())))
                .collect(),
        );
    }
}

impl Link {
    /// Sends a record, or has it go to the spool.
    pub(super) fn send_spooling(&self, record: Record, waiter: SendWaiter) -> Result<(), Refusal> {
        let said = self.say(|state| {
            let sent = Sent::new(state.next_ordinal(), record, waiter);
            state.send_spooling(sent)
        });
        self.shared().spool_filled.notify_one();
        said
    }

    /// Requests in the spool, or on their way there.
    pub(super) fn spooled(&self) -> u64 {
        let state = self.shared().state.lock();
        state.spool.as_ref().map_or(0, SpoolQueue::count)
    }

    /// Dead letters in the spool.
    pub(super) fn dead(&self) -> u64 {
        let state = self.shared().state.lock();
        state.spool.as_ref().map_or(0, SpoolQueue::dead)
    }

    /// Waits until nothing is in the spool.
    pub(super) async fn flush(&self) -> Result<(), Refusal> {
        loop {
            let emptied = self.shared().spool_emptied.notified();
            if self.spooled() == 0 {
                return Ok(());
            }
            if self.shared().is_closed() {
                let closed = "the client was closed; what is in the spool stays there";
                return Err(Refusal::new(Code::Disconnected, closed));
            }
            emptied.await;
        }
    }
}
