//! The client with a spool.

use std::time::Duration;

use bytes::Bytes;
use edgebus_core::{Message, Refusal, Topic};

use super::client::Client;
use super::pending::PendingAccepted;
use super::runtime::{Runtime, TimedOut};
use crate::client::{self, Accepted};
use crate::error::SendError;

/// A client that keeps requests on this machine's disk while no server is there, for programs
/// without async. Cheap to clone; clones share connection and spool.
///
/// Each call is what the call of the same name on [`crate::SpoolingClient`] is. The spool's folder is
/// free again when the last clone is dropped, and with it [`SpoolingClient::client`] and all that
/// was made from it.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use edgebus::Accepted;
/// use edgebus::blocking::Client;
///
/// let till = Client::builder("tcp://10.0.0.2:7411").spool("/var/lib/till/spool").connect()?;
/// match till.send("orders.created", r#"{"order":1}"#)? {
///     Accepted::Stored(receipt) => println!("seq {}", receipt.seq),
///     Accepted::Spooled(spooled) => println!("kept here as {}", spooled.number),
///     _ => {}
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SpoolingClient {
    spooling: client::SpoolingClient,
    client: Client,
    /// Last, as in [`Client`].
    runtime: Runtime,
}

impl SpoolingClient {
    pub(super) fn new(spooling: client::SpoolingClient, runtime: Runtime) -> Self {
        Self {
            client: Client::new(spooling.client().clone(), runtime.clone()),
            spooling,
            runtime,
        }
    }

    /// The client itself, for everything else: requests whose replies are waited for, news,
    /// consumers, questions. What is sent with it does not go through the spool.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Stores a request under a new version 7 id. On a disk when this returns.
    ///
    /// # Errors
    /// [`SendError`]: refused, or unknown.
    pub fn send<T>(&self, topic: T, payload: impl Into<Bytes>) -> Result<Accepted, SendError>
    where
        T: TryInto<Topic>,
        Refusal: From<T::Error>,
    {
        self.runtime.wait(self.spooling.send(topic, payload))
    }

    /// Stores a request under the id it has. On a disk when this returns.
    ///
    /// # Errors
    /// [`SendError`]: refused, or unknown.
    pub fn send_message(&self, message: Message) -> Result<Accepted, SendError> {
        self.runtime.wait(self.spooling.send_message(message))
    }

    /// Sends a request, waiting only while the window is full. What it returns waits until it is on
    /// a disk; order of calls is order in the log.
    ///
    /// # Errors
    /// [`SendError::Refused`]: nothing was sent.
    pub fn enqueue(&self, message: Message) -> Result<PendingAccepted, SendError> {
        let pending = self.runtime.wait(self.spooling.enqueue(message))?;
        Ok(PendingAccepted::new(pending, &self.runtime))
    }

    /// As [`SpoolingClient::enqueue`], but says [`edgebus_core::Code::Busy`] instead of waiting when
    /// the window is full.
    ///
    /// # Errors
    /// [`SendError::Refused`]: nothing was sent.
    pub fn try_send(&self, message: Message) -> Result<PendingAccepted, SendError> {
        let pending = self.spooling.try_send(message)?;
        Ok(PendingAccepted::new(pending, &self.runtime))
    }

    /// Stores many requests; one result for each, in their order. Requests that are refused do not
    /// keep the others back.
    pub fn send_batch(&self, messages: Vec<Message>) -> Vec<Result<Accepted, SendError>> {
        self.runtime.wait(self.spooling.send_batch(messages))
    }

    /// How many requests wait in the spool, or on their way to it.
    pub fn waiting(&self) -> u64 {
        self.spooling.waiting()
    }

    /// How many requests in the spool no server will take: its dead letters.
    pub fn dead(&self) -> u64 {
        self.spooling.dead()
    }

    /// Waits until nothing waits in the spool: everything is on the server's disk, or among the
    /// spool's dead letters. As long as it takes.
    ///
    /// # Errors
    /// [`edgebus_core::Code::Disconnected`]: the client was closed.
    pub fn flush(&self) -> Result<(), Refusal> {
        self.runtime.wait(self.spooling.flush())
    }

    /// As [`SpoolingClient::flush`], but waits only so long.
    ///
    /// # Errors
    /// [`TimedOut`] when something waits then, which goes on waiting.
    pub fn flush_timeout(&self, time: Duration) -> Result<Result<(), Refusal>, TimedOut> {
        self.runtime.wait_at_most(time, self.spooling.flush())
    }

    /// As [`Client::drain`]. What is in the spool stays there.
    pub fn drain(&self) {
        self.runtime.wait(self.spooling.drain());
    }
}
