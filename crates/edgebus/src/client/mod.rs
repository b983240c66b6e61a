//! The client: everything a server does, over TCP or in memory.
//!
//! In reading order: [`Client`] the handle, with [`requests`] and [`consuming`]; [`connection`] the
//! tasks that move its frames; [`mod@state`] what they share; [`mod@stream`] what a worker says;
//! [`pending`] who waits for what.
//!
//! Invariants: a request that left, or may have left, without an answer is `Unknown`, never
//! refused, and is never sent again under a new id. What is undecided is bounded by the window,
//! what workers hold by their credit, notifications by their buffers: nobody who does not read
//! holds up the others on the connection. What was said before the last handle is dropped is
//! still written.

mod connection;
mod consuming;
mod pending;
mod requests;
mod state;
mod stream;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use edgebus_core::query::{LogPage, LogQuery, Query, Stats};
use edgebus_core::wire::control::Welcome;
use edgebus_core::{
    Code, Entry, Message, Receipt, Record, RecordLimits, Refusal, RequestId, Seq, Topic,
};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::SendError;
use crate::ids::new_request_id;
use crate::transport::{Reader, ServerUrl, Writer, over_tcp};
use connection::Connection;
pub use pending::PendingReceipt;

/// How a client is set up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientConfig {
    /// The name it gives itself; it becomes the source of messages that have none.
    pub name: String,
    /// Most requests that may be undecided, at least 1; further sends wait.
    pub window: usize,
    /// How long connecting may take, with the handshake.
    pub connect_timeout: Duration,
    /// Largest frame taken from the server, in bytes; raised to what the server itself takes.
    pub frame_bytes_max: usize,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            window: 1024,
            connect_timeout: Duration::from_secs(5),
            frame_bytes_max: 2 * edgebus_core::wire::FRAME_BYTES_MAX,
        }
    }
}

impl ClientConfig {
    /// Sets the name the client gives itself.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets how many requests may be undecided; at least 1.
    #[must_use]
    pub fn window(mut self, requests: usize) -> Self {
        self.window = requests.max(1);
        self
    }
}

/// The largest window.
const WINDOW_MAX: usize = 16 * 1024 * 1024;

/// Bytes of records that are put into one frame, if there is more than one: well within the
/// server's limit.
fn frame_bytes_for(welcome: &Welcome) -> usize {
    usize::try_from(welcome.frame_bytes_max / 4).unwrap_or(usize::MAX)
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The server cannot be reached.
    #[error("cannot connect to {url}: {reason}")]
    Unreachable {
        /// Where.
        url: ServerUrl,
        /// What went wrong.
        reason: String,
    },
    /// The server was reached and said no.
    #[error("the server refused the connection: {0}")]
    Refused(Refusal),
}

/// A connection to a server. Cheap to clone; clones share the connection, its order and its
/// window. The connection closes when the last clone is gone.
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
    connection: Arc<Connection>,
    window: Arc<Semaphore>,
    window_size: usize,
    name: Arc<str>,
    limits: RecordLimits,
    batch_bytes_max: usize,
}

impl Client {
    /// Connects to a server, given as `tcp://HOST:PORT`.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        let url = url.parse().map_err(ConnectError::Refused)?;
        Self::connect_with(&url, ClientConfig::default()).await
    }

    /// Connects to a server.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect_with(url: &ServerUrl, config: ClientConfig) -> Result<Self, ConnectError> {
        let unreachable = |reason: String| ConnectError::Unreachable {
            url: url.clone(),
            reason,
        };
        let timeout = config.connect_timeout;
        let connect = async {
            let stream = TcpStream::connect(url.authority())
                .await
                .map_err(|e| unreachable(e.to_string()))?;
            let halves = over_tcp(stream, config.frame_bytes_max);
            let (reader, writer) = halves.map_err(|e| unreachable(e.to_string()))?;
            Self::over(reader, writer, config).await
        };
        match tokio::time::timeout(timeout, connect).await {
            Ok(Err(ConnectError::Refused(refusal))) if refusal.code == Code::Disconnected => {
                Err(unreachable(refusal.message))
            }
            Ok(connected) => connected,
            Err(_) => Err(unreachable(format!(
                "no answer within {} s",
                timeout.as_secs_f32()
            ))),
        }
    }

    /// A client over a transport that is connected.
    pub(crate) async fn over(
        reader: Reader,
        writer: Writer,
        config: ClientConfig,
    ) -> Result<Self, ConnectError> {
        let opened = Connection::open(reader, writer, &config.name).await;
        let (connection, welcome) = opened.map_err(ConnectError::Refused)?;
        let window = config.window.clamp(1, WINDOW_MAX);
        Ok(Self {
            connection: Arc::new(connection),
            window: Arc::new(Semaphore::new(window)),
            window_size: window,
            name: config.name.into(),
            limits: RecordLimits {
                payload_bytes_max: welcome.payload_bytes_max as usize,
            },
            batch_bytes_max: frame_bytes_for(&welcome),
        })
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
        let id = new_request_id();
        let topic = topic
            .try_into()
            .map_err(|e| SendError::new(id, Refusal::from(e)))?;
        self.send_message(Message::new(id, topic, payload)).await
    }

    /// Stores a request under the id it has. On the server's disk when this returns.
    ///
    /// # Errors
    /// [`SendError`]: refused, or unknown.
    pub async fn send_message(&self, message: Message) -> Result<Receipt, SendError> {
        self.enqueue(message).await?.await
    }

    /// Sends a request, waiting only while the window is full. What it returns waits for the
    /// receipt; order of calls is order in the log.
    ///
    /// Cancel-safe: a future that is dropped has sent nothing.
    ///
    /// # Errors
    /// [`SendError::Refused`]: nothing was sent.
    pub async fn enqueue(&self, message: Message) -> Result<PendingReceipt, SendError> {
        let id = message.id;
        let record = self
            .encode(message)
            .map_err(|refusal| SendError::new(id, refusal))?;
        let permit = self.permits(1).await;
        self.connection
            .send(id, record, permit)
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
        let permit = self.window.clone().try_acquire_owned().map_err(|_| {
            failed(
                Refusal::new(Code::Busy, "the window is full: wait for a receipt")
                    .retry_after_ms(10),
            )
        })?;
        self.connection
            .send(id, record, Some(permit))
            .map_err(failed)
    }

    /// Stores many requests; one result for each, in their order. Requests that are refused do not
    /// keep the others back.
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
                    let full = bytes + record.as_bytes().len() > self.batch_bytes_max;
                    if !part.is_empty() && (full || part.len() >= self.window_size) {
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
        let permit = self.permits(part.len()).await;
        let places: Vec<_> = part.iter().map(|(index, id, _)| (*index, *id)).collect();
        let records = part
            .into_iter()
            .map(|(_, id, record)| (id, record))
            .collect();
        (places, self.connection.send_batch(records, permit))
    }

    async fn permits(&self, count: usize) -> Option<OwnedSemaphorePermit> {
        // The window is never closed, so there always is a permit in the end.
        self.window
            .clone()
            .acquire_many_owned(count as u32)
            .await
            .ok()
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
        Record::encode(&message, &self.limits)
    }

    /// One page of the log.
    ///
    /// # Errors
    /// Why not.
    pub async fn log(&self, query: LogQuery) -> Result<LogPage, Refusal> {
        self.connection.query(Query::Log(query)).await?.into_page()
    }

    /// The request with a sequence number.
    ///
    /// # Errors
    /// Why not; `None` when there is no such request.
    pub async fn get(&self, seq: Seq) -> Result<Option<Entry>, Refusal> {
        let mut query = LogQuery::from(seq);
        query.to = Some(seq);
        Ok(self.log(query).await?.entries.pop())
    }

    /// The request with an id.
    ///
    /// # Errors
    /// Why not; `None` when there is no such request.
    pub async fn find(&self, id: RequestId) -> Result<Option<Entry>, Refusal> {
        Ok(self
            .connection
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

    /// The server's figures.
    ///
    /// # Errors
    /// Why not.
    pub async fn stats(&self) -> Result<Stats, Refusal> {
        self.connection.query(Query::Stats).await?.into_stats()
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
    /// The next request; `None` at the end of the log. Cancel-safe.
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
