//! The client: everything a server does, over TCP or in memory.
//!
//! In reading order: [`Client`] the handle, with [`requests`] and [`consuming`], made by
//! [`mod@builder`] as [`config`] says; [`mod@link`] what its clones share; [`mod@state`] what is
//! kept over its connections, out of [`undecided`], [`outgoing`] and [`streams`]; [`dial`],
//! with [`reach`] and [`token`], and [`connection`] the tasks that find a server and move frames; [`pending`] and [`telling`] who
//! waits for what, and is told; [`mod@states`] how the connection fares; [`mod@stream`] what a
//! worker says; [`spooling`] a client with a spool.
//!
//! Invariants: a request that left, or may have left, without an answer is `Unknown`, never
//! refused, and is never sent again under a new id. What is undecided is bounded by the window,
//! also while no server is there; what workers hold by their credit, notifications by their
//! buffers: nobody who does not read holds up the others on the connection. What was said before
//! the last handle is dropped is still written; the tasks end with it.

mod builder;
mod config;
mod connection;
mod consuming;
mod dial;
mod link;
mod outgoing;
mod pending;
mod reach;
mod requests;
mod spooling;
mod state;
mod states;
mod stream;
mod streams;
mod telling;
mod token;
mod undecided;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use edgebus_core::query::{LogPage, LogQuery, Query, Stats};
use edgebus_core::{Code, Entry, Message, Receipt, Record, Refusal, RequestId, Seq, Topic};
use tokio::sync::Semaphore;

use crate::error::SendError;
use crate::ids::new_message;
use crate::transport::{Reader, ServerUrl, Writer};
pub use builder::ClientBuilder;
pub use config::{ClientConfig, ConnectError, Connecting, Connector};
use connection::Connected;
use dial::{Dialer, keep_connected};
use link::{Link, Shared};
pub use pending::PendingReceipt;
use pending::Room;
pub use spooling::{Accepted, PendingAccepted, Spooled, SpoolingBuilder, SpoolingClient};
pub use states::{ConnectionState, ConnectionStates};

/// How long a client that is drained waits for messages that are held.
const DRAIN_HELD_MAX: Duration = Duration::from_secs(30);
/// The largest windows.
const WINDOW_MAX: usize = 16 * 1024 * 1024;
const WINDOW_BYTES_MAX: usize = u32::MAX as usize / 2;

/// A connection to a server, made again whenever it is lost. Cheap to clone; clones share the
/// connection, its order and its window. It ends when the last clone is gone, with everything that
/// runs for it: at once, or within a second when the server does not take what was said last.
///
/// While no server is there, requests wait, as many as the window holds; everything that was not
/// answered is sent again, in its order and under its ids, and streams are opened again.
/// [`ClientConfig::give_up_after`] bounds how long that may take.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = edgebus::Client::connect("tcp://127.0.0.1:7411").await?;
/// let receipt = client.send("orders.created", r#"{"order":1}"#).await?; // on the server's disk
/// println!("{} is seq {}", receipt.request_id, receipt.seq);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    link: Arc<Link>,
    window: Arc<Window>,
    name: Arc<str>,
}

/// What may be undecided.
#[derive(Debug)]
struct Window {
    count: Arc<Semaphore>,
    count_max: usize,
    bytes: Arc<Semaphore>,
    bytes_max: usize,
}

impl Client {
    /// Connects to a server, given as `tcp://HOST:PORT` or `unix:///PATH`. Cancel-safe: a future that is dropped leaves
    /// nothing behind.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        Self::builder(url).connect().await
    }

    /// Connects to a server. Cancel-safe as [`Client::connect`] is.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect_with(url: &ServerUrl, config: ClientConfig) -> Result<Self, ConnectError> {
        Self::connect_to(vec![url.clone()], config).await
    }

    async fn connect_to(
        servers: Vec<ServerUrl>,
        config: ClientConfig,
    ) -> Result<Self, ConnectError> {
        let dialer = Dialer::new(servers, config);
        let connected = dialer.connect().await?;
        Ok(Self::start(connected, dialer))
    }

    /// A client over a transport that is connected, for as long as that lasts.
    pub(crate) async fn over(
        reader: Reader,
        writer: Writer,
        config: ClientConfig,
    ) -> Result<Self, ConnectError> {
        let opened = Connected::open("memory".to_owned(), reader, writer, &config.name, None).await;
        let dialer = Dialer::new(Vec::new(), config.reconnect(false));
        let connected = opened.map_err(ConnectError::Refused)?;
        Ok(Self::start(connected, dialer))
    }

    fn start(connected: Connected, dialer: Dialer) -> Self {
        let shared = Shared::new(&dialer.config);
        Self::start_with(Some(connected), dialer, shared)
    }

    fn start_with(connected: Option<Connected>, dialer: Dialer, shared: Arc<Shared>) -> Self {
        let config = &dialer.config;
        let client = Self {
            link: Arc::new(Link::new(shared.clone())),
            window: Arc::new(Window::new(config)),
            name: config.name.as_str().into(),
        };
        let attached = connected.map(|connected| connected.attach(&shared));
        tokio::spawn(keep_connected(attached, shared, dialer));
        client
    }

    /// How it stands with its servers.
    pub fn state(&self) -> ConnectionState {
        self.link.state()
    }

    /// How it stands with its servers, now and whenever that changes.
    pub fn states(&self) -> ConnectionStates {
        self.link.states()
    }

    /// Takes nothing new from here on, waits for the answers to everything that was said, and
    /// closes the connection. Streams end; messages that are held can still be settled, and are
    /// waited for, 30 seconds at most; then they are given back. What is said meanwhile is refused
    /// with [`Code::ShuttingDown`].
    ///
    /// While no server is there that takes until one is, or until [`ClientConfig::give_up_after`].
    /// Replies that nobody waits for any more are not waited for.
    ///
    /// A future that is dropped leaves the client draining; asking again goes on with it.
    pub async fn drain(&self) {
        self.link.drain(DRAIN_HELD_MAX).await;
    }

    /// Stores a request under a new version 7 id. On the server's disk when this returns.
    ///
    /// Waits while the window is full. A future that is dropped may or may not have stored the
    /// request; use [`Client::send_message`] with an id of your own to be able to ask again.
    ///
    /// # Errors
    /// [`SendError`]: refused, or unknown.
    pub async fn send<T>(&self, topic: T, payload: impl Into<Bytes>) -> Result<Receipt, SendError>
    where
        T: TryInto<Topic>,
        Refusal: From<T::Error>,
    {
        self.send_message(new_message(topic, payload)?).await
    }

    /// Stores a request under the id it has. On the server's disk when this returns.
    ///
    /// A future that is dropped while the window is full has sent nothing; later, the request goes
    /// its way whether or not anybody waits, and asking again with its id tells.
    ///
    /// # Errors
    /// [`SendError`]: refused, or unknown.
    pub async fn send_message(&self, message: Message) -> Result<Receipt, SendError> {
        self.enqueue(message).await?.await
    }

    /// Sends a request, waiting only while the window is full. What it returns waits for the
    /// receipt; order of calls is order in the log.
    ///
    /// While no server is there it waits in its place. Cancel-safe: a future that is dropped has
    /// sent nothing.
    ///
    /// # Errors
    /// [`SendError::Refused`]: nothing was sent.
    pub async fn enqueue(&self, message: Message) -> Result<PendingReceipt, SendError> {
        let id = message.id;
        let record = self
            .encode(message)
            .map_err(|refusal| SendError::new(id, refusal))?;
        let room = self.window.room(1, record.as_bytes().len()).await;
        self.link
            .send(id, record, room)
            .map_err(|refusal| SendError::new(id, refusal))
    }

    /// As [`Client::enqueue`], but says [`Code::Busy`] instead of waiting when the window is full.
    ///
    /// # Errors
    /// [`SendError::Refused`]: nothing was sent.
    pub fn try_send(&self, message: Message) -> Result<PendingReceipt, SendError> {
        let id = message.id;
        let failed = |refusal| SendError::new(id, refusal);
        let record = self.encode(message).map_err(failed)?;
        let room = self.window.try_room_for(&record).map_err(failed)?;
        self.link.send(id, record, room).map_err(failed)
    }

    /// Stores many requests; one result for each, in their order. Requests that are refused do not
    /// keep the others back.
    ///
    /// A future that is dropped has sent those that had room in the window, in their order, and none
    /// of the others; asking again with their ids tells.
    pub async fn send_batch(&self, messages: Vec<Message>) -> Vec<Result<Receipt, SendError>> {
        let mut results: Vec<Option<Result<Receipt, SendError>>> =
            Vec::with_capacity(messages.len());
        let mut parts = Vec::new();
        let mut part: Vec<(usize, RequestId, Record)> = Vec::new();
        let mut bytes = 0;
        for (index, message) in messages.into_iter().enumerate() {
            let id = message.id;
            match self.encode(message) {
                Err(refusal) => results.push(Some(Err(SendError::new(id, refusal)))),
                Ok(record) => {
                    let full = bytes + record.as_bytes().len() > self.link.batch_bytes_max();
                    if !part.is_empty() && (full || part.len() >= self.window.count_max) {
                        parts.push(self.send_part(std::mem::take(&mut part)).await);
                        bytes = 0;
                    }
                    bytes += record.as_bytes().len();
                    part.push((index, id, record));
                    results.push(None);
                }
            }
        }
        if !part.is_empty() {
            parts.push(self.send_part(part).await);
        }
        for (places, pending) in parts {
            for ((index, _), result) in places.into_iter().zip(pending.results().await) {
                results[index] = Some(result);
            }
        }
        results.into_iter().flatten().collect()
    }

    async fn send_part(
        &self,
        part: Vec<(usize, RequestId, Record)>,
    ) -> (Vec<(usize, RequestId)>, pending::PendingBatch) {
        let bytes = part
            .iter()
            .map(|(_, _, record)| record.as_bytes().len())
            .sum();
        let room = self.window.room(part.len(), bytes).await;
        let places: Vec<_> = part.iter().map(|(index, id, _)| (*index, *id)).collect();
        let records = part
            .into_iter()
            .map(|(_, id, record)| (id, record))
            .collect();
        (places, self.link.send_batch(records, room))
    }

    fn encode(&self, mut message: Message) -> Result<Record, Refusal> {
        if message.source.is_empty() {
            message.source = self.name.to_string();
        }
        if message.time_ms == 0 {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            message.time_ms = now.as_millis() as u64;
        }
        Record::encode(&message, &self.link.limits())
    }

    /// One page of the log. Cancel-safe, as asking changes nothing.
    ///
    /// # Errors
    /// Why not.
    pub async fn log(&self, query: LogQuery) -> Result<LogPage, Refusal> {
        self.link.query(Query::Log(query)).await?.into_page()
    }

    /// The request with a sequence number. Cancel-safe.
    ///
    /// # Errors
    /// Why not; `None` when there is no such request.
    pub async fn get(&self, seq: Seq) -> Result<Option<Entry>, Refusal> {
        let mut query = LogQuery::from(seq);
        query.to = Some(seq);
        Ok(self.log(query).await?.entries.pop())
    }

    /// The request with an id. Cancel-safe.
    ///
    /// # Errors
    /// Why not; `None` when there is no such request.
    pub async fn find(&self, id: RequestId) -> Result<Option<Entry>, Refusal> {
        Ok(self
            .link
            .query(Query::ById(id))
            .await?
            .into_page()?
            .entries
            .pop())
    }

    /// Everything a query selects, page by page.
    pub fn replay(&self, query: LogQuery) -> Replay {
        Replay {
            client: self.clone(),
            query: Some(query),
            page: Vec::new().into_iter(),
        }
    }

    /// The server's figures. Cancel-safe.
    ///
    /// # Errors
    /// Why not.
    pub async fn stats(&self) -> Result<Stats, Refusal> {
        self.link.query(Query::Stats).await?.into_stats()
    }
}

impl Window {
    fn new(config: &ClientConfig) -> Self {
        let count_max = config.window.clamp(1, WINDOW_MAX);
        let bytes_max = config.window_bytes.clamp(1, WINDOW_BYTES_MAX);
        Self {
            count: Arc::new(Semaphore::new(count_max)),
            count_max,
            bytes: Arc::new(Semaphore::new(bytes_max)),
            bytes_max,
        }
    }

    /// Waits for room for so many requests. One that is larger than the window fills it alone.
    async fn room(&self, count: usize, bytes: usize) -> Room {
        // The window is never closed, so there always is room in the end.
        let (count, bytes) = self.permits(count, bytes);
        let count = self.count.clone().acquire_many_owned(count).await.ok();
        let bytes = self.bytes.clone().acquire_many_owned(bytes).await.ok();
        Room {
            _count: count,
            _bytes: bytes,
        }
    }

    /// Room for one request, if there is some now.
    fn try_room(&self, bytes: usize) -> Option<Room> {
        let (count, bytes) = self.permits(1, bytes);
        let count = self.count.clone().try_acquire_many_owned(count).ok()?;
        let bytes = self.bytes.clone().try_acquire_many_owned(bytes).ok()?;
        Some(Room {
            _count: Some(count),
            _bytes: Some(bytes),
        })
    }

    /// As [`Window::try_room`], for a record; or why not.
    fn try_room_for(&self, record: &Record) -> Result<Room, Refusal> {
        let room = self.try_room(record.as_bytes().len());
        room.ok_or_else(|| {
            let full = "the window is full: wait for a receipt";
            Refusal::new(Code::Busy, full).retry_after_ms(10)
        })
    }

    fn permits(&self, count: usize, bytes: usize) -> (u32, u32) {
        // Both bounds fit.
        (count as u32, bytes.min(self.bytes_max) as u32)
    }
}

/// The log from some point on, pulled page by page: a slow reader holds nothing at the server.
#[derive(Debug)]
pub struct Replay {
    client: Client,
    query: Option<LogQuery>,
    page: std::vec::IntoIter<Entry>,
}

impl Replay {
    /// The next request; `None` at the end of the log. Cancel-safe: a future that is dropped has
    /// taken none, and the page it asked for is asked for again.
    pub async fn next(&mut self) -> Option<Result<Entry, Refusal>> {
        loop {
            if let Some(entry) = self.page.next() {
                return Some(Ok(entry));
            }
            let mut query = self.query.clone()?;
            match self.client.log(query.clone()).await {
                Ok(page) => {
                    self.query = page.next.map(|next| {
                        query.from = next;
                        query
                    });
                    self.page = page.entries.into_iter();
                }
                Err(refusal) => {
                    self.query = None;
                    return Some(Err(refusal));
                }
            }
        }
    }
}
