//! One message that was given to a worker.

use std::ops::Deref;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use edgebus_core::admin::Delivery;
use edgebus_core::consumer::{LeaseToken, Reply, Settlement};
use edgebus_core::{Code, Entry, Refusal, RequestId, Seq};

use super::BoxFuture;
use super::messages::Leases;

/// A message as its handler sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Incoming {
    delivery: Delivery,
    leases: Weak<Leases>,
}

impl Incoming {
    /// The message with what the server wrote beside it.
    pub fn entry(&self) -> &Entry {
        &self.delivery.entry
    }

    /// Its place in the log.
    pub fn seq(&self) -> Seq {
        self.entry().seq()
    }

    /// Its id: the same for every attempt, and so the key for effects that must happen once.
    pub fn request_id(&self) -> RequestId {
        self.entry().record().id()
    }

    /// Its topic.
    pub fn topic(&self) -> &str {
        self.entry().record().topic_str()
    }

    /// Who sent it, as proven to the server; `anonymous` when nothing was proven, empty for the
    /// server's own process.
    pub fn identity(&self) -> &str {
        self.entry().identity()
    }

    /// Its content, sharing the message's memory.
    pub fn payload(&self) -> Bytes {
        self.entry().record().payload()
    }

    /// Which attempt this is: 1, and one more for each that failed and was charged.
    pub fn attempt(&self) -> u32 {
        self.delivery.attempt
    }

    /// Names the lease.
    pub fn token(&self) -> LeaseToken {
        self.delivery.token
    }

    /// Asks for as much time again as the consumer gives. On disk, or at least known to the
    /// server, when this returns.
    ///
    /// Cancel-safe: a future that is dropped before it was polled asks for nothing; later, what was
    /// asked goes on, and may or may not count.
    ///
    /// # Errors
    /// [`Code::StaleLease`]: it was given to someone else, or the worker has left;
    /// [`Code::AlreadyCompleted`]; [`Code::Disconnected`].
    pub async fn extend(&self) -> Result<(), Refusal> {
        let extending = match self.leases.upgrade() {
            Some(leases) => leases
                .settle()
                .settle_wait(self.token(), Settlement::Extend),
            None => {
                let left = "the worker that held the lease has left";
                return Err(Refusal::new(Code::StaleLease, left));
            }
        };
        extending.await
    }
}

/// A message that is to be settled by whoever holds this. Dropped, it is given back: someone gets
/// it again, and no attempt is charged.
///
/// Everything that [`Incoming`] tells can be asked here too. At least once: a message whose
/// settlement did not reach the disk comes again. To settle it twice does not compile:
///
/// ```compile_fail,E0382
/// fn twice(message: edgebus::delivery::Delivered) {
///     message.ack();
///     message.nak(None, "too late");
/// }
/// ```
#[derive(Debug)]
pub struct Delivered {
    incoming: Incoming,
    leases: Arc<Leases>,
    /// It took credit of the stream it is settled on.
    took_credit: bool,
    settled: bool,
}

impl Deref for Delivered {
    type Target = Incoming;

    fn deref(&self) -> &Incoming {
        &self.incoming
    }
}

impl Delivered {
    pub(super) fn new(delivery: Delivery, leases: Arc<Leases>) -> Self {
        Self {
            incoming: Incoming {
                delivery,
                leases: Arc::downgrade(&leases),
            },
            leases,
            took_credit: true,
            settled: false,
        }
    }

    /// The message alone, to be handed around.
    pub fn incoming(&self) -> &Incoming {
        &self.incoming
    }

    /// Done. Told without waiting for the disk.
    pub fn ack(self) {
        self.settle(Settlement::Ack);
    }

    /// Done, and on disk when this returns.
    ///
    /// Cancel-safe: a future that is dropped before it was polled gives the message back; later,
    /// the message is done whether or not anybody waits.
    ///
    /// # Errors
    /// [`Code::AlreadyCompleted`], [`Code::StaleLease`]: somebody else did it, or will.
    /// [`Code::Unknown`]: it may be on disk, now or later, or not; if not, the message comes again.
    /// [`Code::Disconnected`]: the client was closed, and it was not said.
    pub async fn ack_durable(self) -> Result<(), Refusal> {
        self.settle_wait(Settlement::Ack).await
    }

    /// Done, with a reply, and on disk when this returns. A listener's reply is not kept.
    ///
    /// Cancel-safe as [`Delivered::ack_durable`] is.
    ///
    /// # Errors
    /// As [`Delivered::ack_durable`]. [`Code::AlreadyCompleted`] may also mean that this reply is on
    /// disk, where the connection was lost before the answer came: the message then says so.
    pub async fn complete(self, reply: Reply) -> Result<(), Refusal> {
        self.settle_wait(Settlement::Complete(reply)).await
    }

    /// Done, with a reply. Told without waiting for the disk; the reply goes out only once it is
    /// there.
    pub fn complete_now(self, reply: Reply) {
        self.settle(Settlement::Complete(reply));
    }

    /// Failed: to be tried again after a while, a year at most, or when `delay` is `None` after the
    /// next step of the consumer's backoff. The attempt is charged.
    pub fn nak(self, delay: Option<Duration>, reason: impl Into<String>) {
        let ms = |delay: Duration| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.settle(Settlement::Nak {
            delay_ms: delay.map(|delay| ms(delay).min(Settlement::DELAY_MS_MAX)),
            reason: reason.into(),
        });
    }

    /// Failed for good: a dead letter at once.
    pub fn term(self, reason: impl Into<String>) {
        self.settle(Settlement::Term {
            reason: reason.into(),
        });
    }

    /// Given back untouched. The same as dropping it.
    pub fn release(self) {
        drop(self);
    }

    pub(super) fn settle(mut self, settlement: Settlement) {
        self.settled = true;
        self.leases.settle().settle(self.token(), settlement);
        self.return_credit();
    }

    /// Settles at once; what it returns waits for the disk.
    pub(super) fn settle_wait(mut self, settlement: Settlement) -> BoxFuture<Result<(), Refusal>> {
        self.settled = true;
        let settling = self.leases.settle().settle_wait(self.token(), settlement);
        self.return_credit();
        settling
    }

    /// The same message, settled with another worker.
    pub(super) fn moved_to(mut self, leases: &Arc<Leases>) -> Self {
        if Arc::ptr_eq(&self.leases, leases) {
            return self;
        }
        // On the old worker nothing is to be said any more.
        self.settled = true;
        Self {
            incoming: Incoming {
                delivery: self.incoming.delivery.clone(),
                leases: Arc::downgrade(leases),
            },
            leases: leases.clone(),
            took_credit: false,
            settled: false,
        }
    }

    fn return_credit(&self) {
        if self.took_credit {
            self.leases.return_credit();
        }
    }
}

impl Drop for Delivered {
    fn drop(&mut self) {
        if !self.settled {
            let settle = self.leases.settle();
            settle.settle(self.token(), Settlement::Release);
            self.return_credit();
        }
    }
}
