//! One message that was given to a worker.

use std::ops::Deref;
use std::time::Duration;

use edgebus_core::Refusal;
use edgebus_core::consumer::Reply;

use super::runtime::Runtime;
use crate::delivery;

/// A message as its handler sees it; tells all that [`delivery::Incoming`] does. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Incoming {
    incoming: delivery::Incoming,
    runtime: Runtime,
}

impl Deref for Incoming {
    type Target = delivery::Incoming;

    fn deref(&self) -> &delivery::Incoming {
        &self.incoming
    }
}

impl Incoming {
    pub(super) fn new(incoming: delivery::Incoming, runtime: &Runtime) -> Self {
        Self {
            incoming,
            runtime: runtime.clone(),
        }
    }

    /// Asks for as much time again as the consumer gives. The server knows when this returns.
    ///
    /// # Errors
    /// As [`delivery::Incoming::extend`].
    pub fn extend(&self) -> Result<(), Refusal> {
        self.runtime.wait(self.incoming.extend())
    }
}

/// A message that is to be settled by whoever holds this. Dropped, it is given back: someone gets
/// it again, and no attempt is charged.
///
/// Tells all that [`delivery::Incoming`] does. At least once: a message whose settlement did not
/// reach the disk comes again.
#[derive(Debug)]
pub struct Delivered {
    delivered: delivery::Delivered,
    runtime: Runtime,
}

impl Deref for Delivered {
    type Target = delivery::Incoming;

    fn deref(&self) -> &delivery::Incoming {
        &self.delivered
    }
}

impl Delivered {
    pub(super) fn new(delivered: delivery::Delivered, runtime: &Runtime) -> Self {
        Self {
            delivered,
            runtime: runtime.clone(),
        }
    }

    pub(super) fn into_async(self) -> delivery::Delivered {
        self.delivered
    }

    /// The message alone, to be handed around.
    pub fn incoming(&self) -> Incoming {
        Incoming::new(self.delivered.incoming().clone(), &self.runtime)
    }

    /// Asks for as much time again as the consumer gives. The server knows when this returns.
    ///
    /// # Errors
    /// As [`delivery::Incoming::extend`].
    pub fn extend(&self) -> Result<(), Refusal> {
        self.runtime.wait(self.delivered.extend())
    }

    /// Done. Told without waiting for the disk.
    pub fn ack(self) {
        self.delivered.ack();
    }

    /// Done, and on disk when this returns.
    ///
    /// # Errors
    /// As [`delivery::Delivered::ack_durable`].
    pub fn ack_durable(self) -> Result<(), Refusal> {
        self.runtime.wait(self.delivered.ack_durable())
    }

    /// Done, with a reply, and on disk when this returns. A listener's reply is not kept.
    ///
    /// # Errors
    /// As [`delivery::Delivered::ack_durable`].
    pub fn complete(self, reply: Reply) -> Result<(), Refusal> {
        self.runtime.wait(self.delivered.complete(reply))
    }

    /// Done, with a reply. Told without waiting for the disk; the reply goes out only once it is
    /// there.
    pub fn complete_now(self, reply: Reply) {
        self.delivered.complete_now(reply);
    }

    /// Failed: to be tried again after a while, a year at most, or when `delay` is `None` after the
    /// next step of the consumer's backoff. The attempt is charged.
    pub fn nak(self, delay: Option<Duration>, reason: impl Into<String>) {
        self.delivered.nak(delay, reason);
    }

    /// Failed for good: a dead letter at once.
    pub fn term(self, reason: impl Into<String>) {
        self.delivered.term(reason);
    }

    /// Given back untouched. The same as dropping it.
    pub fn release(self) {
        self.delivered.release();
    }
}
