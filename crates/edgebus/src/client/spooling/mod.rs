//! A client that keeps requests on its own disk while no server is there.
//!
//! In reading order: [`SpoolingClient`] the handle; [`queue`] what is on its way to the spool, out
//! of it, or past it, under the lock of the client's state; [`mod@shared`] the way between it and the
//! rest; [`driver`] the task that writes and reads the spool.
//!
//! Invariants: a request is sent past the spool only while nothing is in it, so that order is kept;
//! it is removed from the spool only after a server's receipt; `Spooled` is told only after the
//! sync.

mod driver;
mod queue;
mod shared;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use edgebus_core::{Code, Message, Receipt, Record, Refusal, RequestId, Seq, Topic};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::builder::ClientBuilder;
use super::dial::Dialer;
use super::link::Shared;
use super::pending::{Room, SendWaiter, lost};
use super::{Client, ConnectError, Window};
use crate::clock::{Clock, SystemClock};
use crate::error::SendError;
use crate::files::{Files, RealFiles};
use crate::host;
use crate::ids::new_message;
use crate::spool::{Spool, SpoolConfig, TornTail};
use driver::Opens;
pub(super) use queue::{Origin, SpoolQueue, Taken};

/// How often a folder that another process has is looked at.
const FOLDER_LOOK: Duration = Duration::from_millis(20);

/// What took a request into its keeping.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Accepted {
    /// The server: it is on the server's disk.
    Stored(Receipt),
    /// The spool: it is on this machine's disk and will be sent when a server is there.
    Spooled(Spooled),
}

/// A request that is on this machine's disk, and not on the server's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Spooled {
    /// The request.
    pub request_id: RequestId,
    /// Its place in the spool: no sequence number of the server's log.
    pub number: u64,
}

impl Accepted {
    /// The request.
    pub fn request_id(&self) -> RequestId {
        match self {
            Self::Stored(receipt) => receipt.request_id,
            Self::Spooled(spooled) => spooled.request_id,
        }
    }

    /// The server's receipt, if it is the server that has it.
    pub fn receipt(&self) -> Option<&Receipt> {
        match self {
            Self::Stored(receipt) => Some(receipt),
            Self::Spooled(_) => None,
        }
    }
}

/// Sets up a client with a spool. Made by [`ClientBuilder::spool`].
#[derive(Clone, Debug)]
#[must_use]
pub struct SpoolingBuilder {
    client: ClientBuilder,
    dir: PathBuf,
    config: SpoolConfig,
    server_within: Option<Duration>,
    folder_within: Duration,
    files: Arc<dyn Files>,
    clock: Arc<dyn Clock>,
}

impl ClientBuilder {
    /// Keeps requests in a folder on this machine's disk while no server is there; one process at
    /// a time may use it.
    pub fn spool(self, dir: impl Into<PathBuf>) -> SpoolingBuilder {
        SpoolingBuilder {
            client: self,
            dir: dir.into(),
            config: SpoolConfig::default(),
            server_within: None,
            folder_within: Duration::ZERO,
            files: Arc::new(RealFiles),
            clock: Arc::new(SystemClock::default()),
        }
    }
}

impl SpoolingBuilder {
    /// Sets how many bytes of requests the spool may hold; what is more is refused.
    pub fn bytes_max(mut self, bytes: u64) -> Self {
        self.config = self.config.bytes_max(bytes);
        self
    }

    /// Sets how long [`SpoolingBuilder::connect`] looks for a server before the client begins
    /// without one; the search goes on then. If not set, until each server was tried once.
    pub fn server_within(mut self, time: Duration) -> Self {
        self.server_within = Some(time);
        self
    }

    /// Sets how long [`SpoolingBuilder::connect`] waits for a folder that another process has. If
    /// not set, not at all.
    pub fn folder_within(mut self, time: Duration) -> Self {
        self.folder_within = time;
        self
    }

    /// Sets the spool's limits and sizes, one of them [`SpoolingBuilder::bytes_max`].
    pub fn config(mut self, config: SpoolConfig) -> Self {
        self.config = config;
        self
    }

    /// Keeps the spool on other files than the machine's, by another clock.
    pub fn on(mut self, files: Arc<dyn Files>, clock: Arc<dyn Clock>) -> Self {
        self.files = files;
        self.clock = clock;
        self
    }

    /// Looks for a server, once, and opens the spool. When no server is there the client begins
    /// without. A future that is dropped closes the spool again, perhaps a moment later.
    ///
    /// # Errors
    /// [`ConnectError::Spool`]; [`ConnectError::Refused`] when there is a server that will never
    /// talk to this client.
    pub async fn connect(self) -> Result<SpoolingClient, ConnectError> {
        let (servers, config) = self.client.into_parts()?;
        let dialer = Dialer::new(servers, config.reconnect(true)).for_ever();
        // Before the folder is taken: whoever waits for that does not wait for a server as well.
        let connected = match self.server_within {
            None => Some(dialer.connect().await),
            Some(time) => tokio::time::timeout(time, dialer.connect()).await.ok(),
        };
        let (connected, refused) = match connected {
            Some(Ok(connected)) => (Some(connected), None),
            Some(Err(error)) if error.is_final() => return Err(error),
            Some(Err(ConnectError::Refused(refusal))) => (None, Some(refusal)),
            Some(Err(_)) | None => (None, None),
        };
        let (dir, config) = (self.dir, self.config);
        let (files, clock) = (self.files, self.clock);
        let opens = move || Spool::open_with(&dir, config, files.clone(), clock.clone());
        let until = Instant::now() + self.folder_within;
        let spool = open(opens.clone(), until).await?;
        let torn = spool.torn_tail().cloned().map(Arc::new);
        let queue = SpoolQueue::new(spool.waiting(), spool.dead());
        let shared = Shared::spooling(&dialer.config, queue);
        if let Some(refusal) = refused {
            shared.not_let_in(&refusal);
        }
        tokio::spawn(driver::run(spool, opens, shared.clone()));
        Ok(SpoolingClient {
            window: Arc::new(Window::new(&dialer.config)),
            client: Client::start_with(connected, dialer, shared),
            torn,
        })
    }
}

/// Opens a spool, waiting until then for another process that has it.
async fn open(opens: impl Opens + Clone, until: Instant) -> Result<Spool, ConnectError> {
    loop {
        let error = match host::blocking(opens.clone()).await {
            Ok(Ok(spool)) => return Ok(spool),
            Ok(Err(error)) => Refusal::from(&error),
            Err(_) => Refusal::new(Code::ShuttingDown, "the runtime is shutting down"),
        };
        if error.code != Code::DataInUse || Instant::now() >= until {
            return Err(ConnectError::Spool(error));
        }
        tokio::time::sleep(FOLDER_LOOK).await;
    }
}

/// A client with a spool. Cheap to clone; clones share connection and spool.
///
/// What it is given to send is stored by the server when one is there, and on this machine's disk
/// when not; either way it is on a disk before the answer, and [`Accepted`] says on whose. The
/// spool is forwarded in its order as soon as a server is there, and what is sent meanwhile waits
/// behind it. What a server refuses for good goes to the spool's own dead letters.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use edgebus::{Accepted, Client};
///
/// let till = Client::builder("tcp://10.0.0.2:7411").spool("/var/lib/till/spool").connect().await?;
/// match till.send("orders.created", r#"{"order":1}"#).await? {
///     Accepted::Stored(receipt) => println!("seq {}", receipt.seq),
///     Accepted::Spooled(spooled) => println!("kept here as {}", spooled.number),
///     _ => {}
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SpoolingClient {
    client: Client,
    /// Of its own: what waits for a server holds up nothing that a spool can take.
    window: Arc<Window>,
    torn: Option<Arc<TornTail>>,
}

impl SpoolingClient {
    /// What could not be read at the end of the spool when it was opened. After a power cut nobody
    /// had been told that it is there; damage to the very end looks the same.
    pub fn torn_tail(&self) -> Option<&TornTail> {
        self.torn.as_deref()
    }

    /// The client itself, for everything else: requests whose replies are waited for, news,
    /// consumers, questions. What is sent with it does not go through the spool.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Stores a request under a new version 7 id. On a disk when this returns.
    ///
    /// Waits while the window is full. A future that is dropped may or may not have stored the
    /// request; use [`SpoolingClient::send_message`] with an id of your own to be able to ask again.
    ///
    /// # Errors
    /// [`SendError`]: refused, or unknown.
    pub async fn send<T>(&self, topic: T, payload: impl Into<Bytes>) -> Result<Accepted, SendError>
    where
        T: TryInto<Topic>,
        Refusal: From<T::Error>,
    {
        self.send_message(new_message(topic, payload)?).await
    }

    /// Stores a request under the id it has. On a disk when this returns.
    ///
    /// A future that is dropped while the window is full has sent nothing; later, the request goes
    /// its way whether or not anybody waits, and asking again with its id tells.
    ///
    /// # Errors
    /// [`SendError`]: refused, or unknown.
    pub async fn send_message(&self, message: Message) -> Result<Accepted, SendError> {
        self.enqueue(message).await?.await
    }

    /// Sends a request, waiting only while the window is full. What it returns waits until it is on
    /// a disk; order of calls is order in the log.
    ///
    /// Cancel-safe: a future that is dropped has sent nothing.
    ///
    /// # Errors
    /// [`SendError::Refused`]: nothing was sent.
    pub async fn enqueue(&self, message: Message) -> Result<PendingAccepted, SendError> {
        let id = message.id;
        let failed = |refusal| SendError::new(id, refusal);
        let record = self.client.encode(message).map_err(failed)?;
        let room = self.window.room(1, record.as_bytes().len()).await;
        self.send_record(record, room).map_err(failed)
    }

    /// As [`SpoolingClient::enqueue`], but says [`Code::Busy`] instead of waiting when the window
    /// is full.
    ///
    /// # Errors
    /// [`SendError::Refused`]: nothing was sent.
    pub fn try_send(&self, message: Message) -> Result<PendingAccepted, SendError> {
        let id = message.id;
        let failed = |refusal| SendError::new(id, refusal);
        let record = self.client.encode(message).map_err(failed)?;
        let room = self.window.try_room_for(&record).map_err(failed)?;
        self.send_record(record, room).map_err(failed)
    }

    fn send_record(&self, record: Record, room: Room) -> Result<PendingAccepted, Refusal> {
        let id = record.id();
        let (waiter, outcome) = oneshot::channel();
        let waiter = SendWaiter::Spooling(waiter, room);
        self.client.link.send_spooling(record, waiter)?;
        Ok(PendingAccepted { id, outcome })
    }

    /// Stores many requests; one result for each, in their order. Requests that are refused do not
    /// keep the others back.
    ///
    /// A future that is dropped has sent those that had room in the window, in their order, and none
    /// of the others; asking again with their ids tells.
    pub async fn send_batch(&self, messages: Vec<Message>) -> Vec<Result<Accepted, SendError>> {
        let mut pending = Vec::with_capacity(messages.len());
        for message in messages {
            pending.push(self.enqueue(message).await);
        }
        let mut results = Vec::with_capacity(pending.len());
        for pending in pending {
            results.push(match pending {
                Ok(pending) => pending.await,
                Err(refused) => Err(refused),
            });
        }
        results
    }

    /// How many requests wait in the spool, or on their way to it.
    pub fn waiting(&self) -> u64 {
        self.client.link.spooled()
    }

    /// How many requests in the spool no server will take: its dead letters.
    pub fn dead(&self) -> u64 {
        self.client.link.dead()
    }

    /// Waits until nothing waits in the spool: everything is on the server's disk, or among the
    /// spool's dead letters. Cancel-safe.
    ///
    /// # Errors
    /// [`Code::Disconnected`]: the client was closed.
    pub async fn flush(&self) -> Result<(), Refusal> {
        self.client.link.flush().await
    }

    /// As [`Client::drain`], also when it is dropped. What is in the spool stays there.
    pub async fn drain(&self) {
        self.client.drain().await;
    }
}

/// A request that was sent; waits until it is on a disk. Dropping it changes nothing for the
/// request.
#[derive(Debug)]
pub struct PendingAccepted {
    id: RequestId,
    outcome: oneshot::Receiver<Result<Taken, Refusal>>,
}

impl PendingAccepted {
    /// The request's id.
    pub fn request_id(&self) -> RequestId {
        self.id
    }
}

impl Future for PendingAccepted {
    type Output = Result<Accepted, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let request_id = self.id;
        Pin::new(&mut self.outcome).poll(cx).map(|told| {
            match told.unwrap_or_else(|_| Err(lost())) {
                Ok(Taken::Stored(seq, duplicate)) => {
                    let receipt = Receipt::new(request_id, Seq(seq), duplicate);
                    Ok(Accepted::Stored(receipt))
                }
                Ok(Taken::Spooled(number)) => Ok(Accepted::Spooled(Spooled { request_id, number })),
                Err(refusal) => Err(SendError::new(request_id, refusal)),
            }
        })
    }
}
