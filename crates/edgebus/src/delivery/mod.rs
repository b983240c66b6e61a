//! What an application holds while it works on messages: the same types whether the bus runs in
//! its own process or at the other end of a connection.
//!
//! In reading order: [`config`] what is asked for; [`messages`] the stream of a consumer's
//! messages; [`delivered`] one message with the lease on it; [`handler`] runs a function on each
//! of them; [`mod@notifications`] the stream of a subscription; [`response`] the end of a request;
//! [`admin`] typed calls for operators.
//!
//! The bus and the client each implement [`Settle`] and feed [`WorkerEvent`]s; nothing in here
//! knows which of them it is talking to.
//!
//! Invariants: a message that was given out is settled exactly once: by what its holder says, or as
//! released when the holder drops it. Credit is returned only for messages that are settled, so it
//! bounds what one worker holds. A slow reader of notifications loses them in counted gaps and
//! holds up nobody.

pub(crate) mod admin;
mod config;
mod delivered;
mod handler;
mod messages;
mod notifications;
mod response;

use std::fmt::Debug;
use std::pin::Pin;

use edgebus_core::admin::Delivery;
use edgebus_core::consumer::{LeaseToken, Settlement};
use edgebus_core::{RecordLimits, Refusal};

pub use admin::{DeadLetterPage, Trimmed};
pub use config::{ConsumeConfig, Subscription};
pub use delivered::{Delivered, Incoming};
pub(crate) use handler::run;
pub use handler::{Handled, Handler};
pub use messages::Messages;
pub use notifications::{Notification, Notifications};
pub(crate) use notifications::{Notifier, Put, notifications, notifications_beside};
pub use response::{RequestError, Response};

/// A future that may be kept anywhere.
pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What comes to a worker.
#[derive(Debug)]
pub enum WorkerEvent {
    /// Messages, each with a lease.
    Deliveries(Vec<Delivery>),
    /// The connection was lost and is back, and these leases were kept. What came before and was
    /// not handed over is done by others, but for these.
    Resumed(Vec<LeaseToken>),
    /// Nothing more comes, and here is why. Leases that are held end with it.
    Ended(Refusal),
}

/// One worker's way back to whoever gave it its messages.
///
/// When the receiver of its [`WorkerEvent`]s is gone, the worker takes nothing more but may still
/// hold leases: whoever feeds it releases what could not be handed over, and waits for
/// [`Settle::close`].
pub(crate) trait Settle: Send + Sync + Debug {
    /// Says what became of a message, without waiting. What is refused is of no interest.
    fn settle(&self, token: LeaseToken, settlement: Settlement);

    /// Says what became of a message; done when that is on disk. Said at once, whether or not the
    /// future is polled.
    ///
    /// The future fails with [`edgebus_core::Code::StaleLease`],
    /// [`edgebus_core::Code::AlreadyCompleted`] and others; [`edgebus_core::Code::Unknown`] when
    /// it may be on disk.
    fn settle_wait(
        &self,
        token: LeaseToken,
        settlement: Settlement,
    ) -> BoxFuture<Result<(), Refusal>>;

    /// Lets so many more messages come.
    fn credit(&self, messages: u32);

    /// The worker leaves: what it still holds is given back, and no attempt is charged.
    fn close(&self);
}

/// What is said about a message, within limits. A reply over them is a failure of the attempt, so
/// that the message is neither lost nor done; whoever said it hears why.
pub(crate) fn within_limits(
    settlement: Settlement,
    limits: &RecordLimits,
) -> (Settlement, Result<(), Refusal>) {
    match settlement.bounded(limits) {
        Ok(settlement) => (settlement, Ok(())),
        Err(refusal) => {
            let nak = Settlement::Nak {
                delay_ms: None,
                reason: refusal.message.clone(),
            };
            (nak, Err(refusal))
        }
    }
}

#[cfg(test)]
mod tests;
