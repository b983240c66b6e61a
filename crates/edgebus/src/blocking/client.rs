//! The client, call by call.

use std::time::Duration;

use bytes::Bytes;
use edgebus_core::admin::{Admin, Managed};
use edgebus_core::query::{LogPage, LogQuery, Stats};
use edgebus_core::{
    ConsumerName, Entry, Message, Receipt, Refusal, RequestId, Seq, Topic, TopicPattern,
};

use super::delivered::Incoming;
use super::handler::{Handler, on_a_thread};
use super::messages::Messages;
use super::notifications::Notifications;
use super::pending::PendingReceipt;
use super::replay::Replay;
use super::runtime::Runtime;
use super::states::ConnectionStates;
use crate::ServerUrl;
use crate::client::{self, ClientConfig, ConnectError, ConnectionState};
use crate::delivery::{ConsumeConfig, Handled, RequestError, Response, Subscription, admin};
use crate::error::SendError;

/// A connection to a server, made again whenever it is lost, for programs without async. Cheap to
/// clone; clones share the connection, its order and its window, and the thread underneath.
///
/// Each call is what the call of the same name on [`crate::Client`] is, and returns when it is done.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = edgebus::blocking::Client::connect("tcp://127.0.0.1:7411")?;
/// let receipt = client.send("orders.created", r#"{"order":1}"#)?; // on the server's disk
/// println!("{} is seq {}", receipt.request_id, receipt.seq);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    client: client::Client,
    /// Last, so that the thread is still there when the client says its last words.
    runtime: Runtime,
}

impl Client {
    pub(super) fn new(client: client::Client, runtime: Runtime) -> Self {
        Self { client, runtime }
    }

    /// Connects to a server, given as `tcp://HOST:PORT`.
    ///
    /// # Errors
    /// [`ConnectError`]; also when the operating system gives no thread.
    pub fn connect(url: &str) -> Result<Self, ConnectError> {
        Self::builder(url).connect()
    }

    /// Connects to a server.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect_with(url: &ServerUrl, config: ClientConfig) -> Result<Self, ConnectError> {
        Self::builder(&url.to_string()).config(config).connect()
    }

    /// How it stands with its servers.
    pub fn state(&self) -> ConnectionState {
        self.client.state()
    }

    /// How it stands with its servers, now and whenever that changes.
    pub fn states(&self) -> ConnectionStates {
        ConnectionStates::new(self.client.states())
    }

    /// Takes nothing new from here on, waits for the answers to everything that was said, and
    /// closes the connection. Streams end; messages that are held can still be settled, by
    /// another thread if not before, and are waited for, 30 seconds at most; then they are given
    /// back. Without a server it takes as long as `give_up_after`: for ever, if that is `None` and
    /// something is not answered.
    pub fn drain(&self) {
        self.runtime.wait(self.client.drain());
    }

    /// Stores a request under a new version 7 id. On the server's disk when this returns.
    ///
    /// # Errors
    /// [`SendError`]: refused, or unknown.
    pub fn send<T>(&self, topic: T, payload: impl Into<Bytes>) -> Result<Receipt, SendError>
    where
        T: TryInto<Topic>,
        Refusal: From<T::Error>,
    {
        self.runtime.wait(self.client.send(topic, payload))
    }

    /// Stores a request under the id it has. On the server's disk when this returns.
    ///
    /// # Errors
    /// [`SendError`]: refused, or unknown.
    pub fn send_message(&self, message: Message) -> Result<Receipt, SendError> {
        self.runtime.wait(self.client.send_message(message))
    }

    /// Sends a request, waiting only while the window is full. What it returns waits for the
    /// receipt; order of calls is order in the log.
    ///
    /// # Errors
    /// [`SendError::Refused`]: nothing was sent.
    pub fn enqueue(&self, message: Message) -> Result<PendingReceipt, SendError> {
        let pending = self.runtime.wait(self.client.enqueue(message))?;
        Ok(PendingReceipt::new(pending, &self.runtime))
    }

    /// As [`Client::enqueue`], but says [`edgebus_core::Code::Busy`] instead of waiting when the
    /// window is full.
    ///
    /// # Errors
    /// [`SendError::Refused`]: nothing was sent.
    pub fn try_send(&self, message: Message) -> Result<PendingReceipt, SendError> {
        let pending = self.client.try_send(message)?;
        Ok(PendingReceipt::new(pending, &self.runtime))
    }

    /// Stores many requests; one result for each, in their order. Requests that are refused do not
    /// keep the others back.
    pub fn send_batch(&self, messages: Vec<Message>) -> Vec<Result<Receipt, SendError>> {
        self.runtime.wait(self.client.send_batch(messages))
    }

    /// Stores a request under a new version 7 id and waits until it is done, as long as it takes.
    /// [`Client::request_timeout`] gives up waiting.
    ///
    /// # Errors
    /// [`RequestError`]: refused, failed for good, or nobody is left to tell.
    pub fn request<T>(&self, topic: T, payload: impl Into<Bytes>) -> Result<Response, RequestError>
    where
        T: TryInto<Topic>,
        Refusal: From<T::Error>,
    {
        self.runtime.wait(self.client.request(topic, payload))
    }

    /// Stores a request under the id it has and waits until it is done, as long as it takes. Asked
    /// again with the same id, at any time, it is not run again and brings the same reply.
    ///
    /// # Errors
    /// [`RequestError`]: refused, failed for good, or nobody is left to tell.
    pub fn request_message(&self, message: Message) -> Result<Response, RequestError> {
        self.runtime.wait(self.client.request_message(message))
    }

    /// As [`Client::request_message`], but waits only so long. The request may be stored all the
    /// same, and then goes on: ask again with its id.
    ///
    /// # Errors
    /// [`RequestError`]; [`SendError::Unknown`] when the time is over.
    pub fn request_timeout(
        &self,
        message: Message,
        time: Duration,
    ) -> Result<Response, RequestError> {
        let request_id = message.id;
        let asked = self.client.request_message(message);
        self.runtime.wait_at_most(time, asked).unwrap_or_else(|_| {
            let reason = format!("no reply within {} s", time.as_secs_f32());
            Err(SendError::Unknown { request_id, reason }.into())
        })
    }

    /// Tells everyone who listens now; says how many subscribers that were. Nothing is stored.
    ///
    /// # Errors
    /// Why not; [`edgebus_core::Code::Unknown`] when it may have been told.
    pub fn publish<T>(&self, topic: T, payload: impl Into<Bytes>) -> Result<u64, Refusal>
    where
        T: TryInto<Topic>,
        Refusal: From<T::Error>,
    {
        self.runtime.wait(self.client.publish(topic, payload))
    }

    /// As [`Client::publish`], for a message with headers, or with a target that alone is to hear
    /// of it.
    ///
    /// # Errors
    /// As [`Client::publish`].
    pub fn publish_message(&self, message: Message) -> Result<u64, Refusal> {
        self.runtime.wait(self.client.publish_message(message))
    }

    /// Tells one client, if it listens now; says to how many subscriptions of it.
    ///
    /// # Errors
    /// As [`Client::publish`].
    pub fn send_to_client(&self, client: &str, message: Message) -> Result<u64, Refusal> {
        self.runtime
            .wait(self.client.send_to_client(client, message))
    }

    /// Stores a notification, and tells everyone who listens now and every named subscription,
    /// whenever it comes back. On the server's disk when this returns.
    ///
    /// # Errors
    /// [`SendError`]: refused, or unknown.
    pub fn publish_persisted(&self, message: Message) -> Result<Receipt, SendError> {
        self.runtime.wait(self.client.publish_persisted(message))
    }

    /// Listens to notifications from now on, as this client.
    ///
    /// # Errors
    /// Why not.
    pub fn subscribe(&self, subscription: Subscription) -> Result<Notifications, Refusal> {
        let notifications = self.runtime.wait(self.client.subscribe(subscription))?;
        Ok(Notifications::new(notifications, &self.runtime))
    }

    /// Listens to stored notifications under a name: what comes while nobody listens waits, and
    /// is told when the name is used again. What is handed over is done.
    ///
    /// # Errors
    /// As [`Client::consumer`].
    pub fn subscribe_named(
        &self,
        name: ConsumerName,
        subscription: Subscription,
    ) -> Result<Notifications, Refusal> {
        let subscribed = self.client.subscribe_named(name, subscription);
        let notifications = self.runtime.wait(subscribed)?;
        Ok(Notifications::new(notifications, &self.runtime))
    }

    /// Works for a consumer, message by message.
    ///
    /// # Errors
    /// As [`crate::Client::consumer`].
    pub fn consumer(&self, config: ConsumeConfig) -> Result<Messages, Refusal> {
        let messages = self.runtime.wait(self.client.consumer(config))?;
        Ok(Messages::new(messages, &self.runtime))
    }

    /// Runs a function on each message of a consumer of requests that match a pattern; so many at
    /// a time as the configuration says, each on a thread of its own, where it may block and use
    /// this client. The consumer is made as a responder, unless the configuration says how.
    ///
    /// What the function returns is what becomes of the message: a [`edgebus_core::consumer::Reply`] or
    /// `()` is done, an error is tried again, as is a panic; [`Handled`] says everything.
    ///
    /// ```no_run
    /// # fn example(client: edgebus::blocking::Client) -> Result<(), edgebus::Refusal> {
    /// use edgebus::ConsumeConfig;
    /// use edgebus::consumer::Reply;
    ///
    /// let config = ConsumeConfig::new("prices".parse()?).concurrency(4);
    /// let handler = client.handle("prices.ask".parse()?, config, |request| {
    ///     Reply::new(format!("{:?} cost 2.49", request.payload()))
    /// })?;
    /// // ...
    /// handler.stop();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Client::consumer`].
    pub fn handle<H, T>(
        &self,
        pattern: TopicPattern,
        config: ConsumeConfig,
        handler: H,
    ) -> Result<Handler, Refusal>
    where
        H: Fn(Incoming) -> T + Send + Sync + 'static,
        T: Into<Handled>,
    {
        let handler = on_a_thread(handler, self.runtime.clone());
        let handling = self.client.handle(pattern, config, handler);
        Ok(Handler::new(self.runtime.wait(handling)?, &self.runtime))
    }

    /// One page of the log.
    ///
    /// # Errors
    /// Why not.
    pub fn log(&self, query: LogQuery) -> Result<LogPage, Refusal> {
        self.runtime.wait(self.client.log(query))
    }

    /// The request with a sequence number.
    ///
    /// # Errors
    /// Why not; `None` when there is no such request.
    pub fn get(&self, seq: Seq) -> Result<Option<Entry>, Refusal> {
        self.runtime.wait(self.client.get(seq))
    }

    /// The request with an id.
    ///
    /// # Errors
    /// Why not; `None` when there is no such request.
    pub fn find(&self, id: RequestId) -> Result<Option<Entry>, Refusal> {
        self.runtime.wait(self.client.find(id))
    }

    /// Everything a query selects, page by page.
    pub fn replay(&self, query: LogQuery) -> Replay {
        Replay::new(self.client.replay(query), &self.runtime)
    }

    /// The server's figures.
    ///
    /// # Errors
    /// Why not.
    pub fn stats(&self) -> Result<Stats, Refusal> {
        self.runtime.wait(self.client.stats())
    }

    /// Asks what operators ask. The methods below do so with the right types.
    ///
    /// # Errors
    /// Why not; [`edgebus_core::Code::Unknown`] when it may have been done.
    pub fn admin(&self, admin: Admin) -> Result<Managed, Refusal> {
        self.runtime.wait(self.client.admin(admin))
    }
}

admin::admin_calls!(Client, [] []);
