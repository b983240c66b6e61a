//! What an embedding application asks of a running bus beside storing: replies, messages to work
//! on, notifications.

use bytes::Bytes;
use edgebus_core::consumer::{ConsumerConfig, Place};
use edgebus_core::entry::Envelope;
use edgebus_core::{
    Code, ConsumerName, Entry, Kind, Message, Receipt, Record, Refusal, Scope, Seq, Topic,
    TopicPattern,
};
use tokio::sync::oneshot;

use super::dispatch::commands::{Begin, OpenWorker, begin};
use super::lane::engine_gone;
use super::message_bus::{MessageBus, receipt};
use super::queue::Command;
use super::worker::Worker;
use crate::delivery::{
    self, ConsumeConfig, Handled, Handler, Incoming, Messages, Notifications, RequestError,
    Response, Subscription,
};
use crate::error::SendError;
use crate::ids::{new_message, new_request_id};
use std::sync::Arc;

impl MessageBus {
    /// Stores a request under a fresh id and waits for its reply. A program that may be restarted in
    /// between uses [`MessageBus::request_message`] with an id of its own.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn request<T>(
        &self,
        topic: T,
        payload: impl Into<Bytes>,
    ) -> Result<Response, RequestError>
    where
        T: TryInto<Topic>,
        Refusal: From<T::Error>,
    {
        self.request_message(new_message(topic, payload)?).await
    }

    /// Stores a request and waits for its reply. Sent again with the same id, it gets the stored
    /// reply, byte for byte, or waits for the one that is running.
    ///
    /// Waits as long as it takes. A future that is dropped changes nothing about the request:
    /// asking again with the same id tells how it ended.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn request_message(&self, message: Message) -> Result<Response, RequestError> {
        let id = message.id;
        let failed = |refusal| SendError::new(id, refusal);
        let record = Record::encode(&message, &self.record_limits()).map_err(failed)?;
        let mut submitted = self.own_lane().submit_requesting(vec![record]).await;
        let answer = submitted.answers().pop();
        let receipt = receipt(&message, submitted.outcomes().await.pop()).map_err(failed)?;
        let answer = match answer {
            Some(answer) => answer.await.ok(),
            None => None,
        };
        RequestError::from_answer(receipt, answer)
    }

    /// Tells everyone who listens at this moment; nothing is stored. Returns how many were
    /// reached, counting those whose buffer was full.
    ///
    /// # Errors
    /// What is wrong with the message, or [`Code::ShuttingDown`].
    pub async fn publish<T>(&self, topic: T, payload: impl Into<Bytes>) -> Result<u64, Refusal>
    where
        T: TryInto<Topic>,
        Refusal: From<T::Error>,
    {
        let message = Message::new(new_request_id(), topic.try_into()?, payload);
        self.publish_message(message).await
    }

    /// As [`MessageBus::publish`], for a message with headers or a target.
    ///
    /// # Errors
    /// As [`MessageBus::publish`].
    pub async fn publish_message(&self, message: Message) -> Result<u64, Refusal> {
        let message = message.kind(Kind::Notification);
        let record = Record::encode(&message, &self.record_limits())?;
        self.publish_record(&record, "")
    }

    /// Stores a notification, then tells everyone who listens. On disk when this returns.
    ///
    /// # Errors
    /// [`SendError`]: refused, or unknown.
    pub async fn publish_persisted(&self, message: Message) -> Result<Receipt, SendError> {
        self.send_to_server(message.kind(Kind::Notification)).await
    }

    /// Tells one client, if it listens at this moment; nothing is stored. Returns how many of its
    /// subscriptions were reached.
    ///
    /// # Errors
    /// As [`MessageBus::publish`].
    pub async fn send_to_client(&self, client: &str, message: Message) -> Result<u64, Refusal> {
        self.publish_message(message.target(client)).await
    }

    /// Listens to notifications from now on.
    ///
    /// # Errors
    /// [`Code::Busy`] when there are too many subscriptions already; [`Code::ShuttingDown`].
    pub async fn subscribe(&self, subscription: Subscription) -> Result<Notifications, Refusal> {
        self.queue().board.hub.subscribe(subscription)
    }

    /// Listens to stored notifications as a durable consumer: what came while nobody listened
    /// under this name comes first. A name that is new begins now.
    ///
    /// # Errors
    /// [`Code::ConsumerExists`] and others.
    pub async fn subscribe_named(
        &self,
        name: ConsumerName,
        subscription: Subscription,
    ) -> Result<Notifications, Refusal> {
        let consume = subscription.as_consumer(name)?;
        Ok(Notifications::of(self.consumer(consume).await?))
    }

    /// Works for a consumer: a stream of its messages, each with a lease.
    ///
    /// # Errors
    /// [`Code::NoSuchConsumer`], [`Code::ConsumerExists`], [`Code::ResponderOverlap`] and others.
    pub async fn consumer(&self, config: ConsumeConfig) -> Result<Messages, Refusal> {
        let credit = config.credit_or_default();
        let open = OpenWorker {
            consumer: config.consumer,
            config: config.config,
            credit,
            held: config.held,
            place: Place::Process,
            owner: "".into(),
            room: None,
        };
        let worker = self.open_worker(open).await?;
        let settle = Arc::new(worker.handle);
        Ok(Messages::new(settle, worker.events, credit, worker.kept))
    }

    /// Runs a handler on every request that matches, so many at a time. What it returns is stored
    /// with the request in one piece, and only then told to whoever asked. Needs a tokio runtime.
    ///
    /// # Errors
    /// As [`MessageBus::consumer`].
    pub async fn handle<H, F>(
        &self,
        pattern: TopicPattern,
        config: ConsumeConfig,
        handler: H,
    ) -> Result<Handler, Refusal>
    where
        H: Fn(Incoming) -> F + Send + Sync + 'static,
        F: Future + Send + 'static,
        F::Output: Into<Handled>,
    {
        let config = config.for_handler(pattern);
        let concurrency = config.concurrency;
        let messages = self.consumer(config).await?;
        Ok(delivery::run(messages, concurrency, handler))
    }

    /// Takes a worker on, wherever it runs.
    pub(crate) async fn open_worker(&self, open: OpenWorker) -> Result<Worker, Refusal> {
        let begin = match &open.config {
            None => Begin::New,
            Some(config) => self.begin_of(config).await?,
        };
        let (done, opened) = oneshot::channel();
        let open = Box::new(open);
        self.queue().control(Command::Open { open, begin, done })?;
        opened.await.unwrap_or_else(|_| Err(engine_gone()))
    }

    /// Where a consumer begins; a time is looked up in the log.
    pub(super) async fn begin_of(&self, config: &ConsumerConfig) -> Result<Begin, Refusal> {
        match begin(config.start) {
            Ok(begin) => Ok(begin),
            Err(position) => Ok(self.seq_at(position).await?.map_or(Begin::New, Begin::At)),
        }
    }

    /// Tells everyone who listens what a client published.
    pub(crate) fn publish_record(&self, record: &Record, identity: &str) -> Result<u64, Refusal> {
        if self.is_stopping() {
            return Err(Refusal::new(
                Code::ShuttingDown,
                "the server is shutting down",
            ));
        }
        let envelope = Envelope {
            seq: Seq(0),
            received_ms: self.clock().now().wall_ms,
            store_time_ms: 0,
            scope: Scope::default(),
            identity,
        };
        let mut bytes = Vec::new();
        Entry::encode(&mut bytes, &envelope, record);
        let entry = Entry::from_bytes(Bytes::from(bytes))?;
        Ok(self.queue().board.hub.publish(&entry))
    }
}
