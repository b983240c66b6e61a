//! Streams of messages and notifications, and calls for operators.

use std::sync::Arc;

use edgebus_core::admin::{Admin, BackupPart, Managed};
use edgebus_core::consumer::LeaseToken;
use edgebus_core::stream::{Consume, Open, Subscribe};
use edgebus_core::{Code, ConsumerName, Refusal, TopicPattern};
use tokio::sync::mpsc;

use super::Client;
use super::stream::Stream;
use super::streams::StreamEnd;
use crate::delivery::{
    ConsumeConfig, Handled, Handler, Incoming, Messages, Notifications, Subscription, admin,
    notifications, run,
};

impl Client {
    /// Works for a consumer, message by message.
    ///
    /// A lost connection changes nothing for whoever reads: when there is another one, the worker
    /// takes up its place again, keeps what it was working on if it came back in time (5 seconds,
    /// unless the server says otherwise), and what it said meanwhile is said then. A message whose
    /// lease was not kept may be with someone else as well; the first completion wins.
    ///
    /// Leases of another client, of an earlier run or one that does not reconnect, can be named and
    /// taken over:
    ///
    /// ```no_run
    /// # use edgebus::{Client, ConsumeConfig, Delivered, Refusal};
    /// # async fn example(again: Client, config: ConsumeConfig, working_on: Vec<Delivered>)
    /// # -> Result<(), Refusal> {
    /// let tokens: Vec<_> = working_on.iter().map(|message| message.token()).collect();
    /// let messages = again.consumer(config.held(tokens)).await?;
    /// for message in working_on {
    ///     // Settled over the new connection; nobody else was given what it kept.
    ///     messages.adopt(message).ack();
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A future that is dropped leaves the consumer again, if it was opened meanwhile.
    ///
    /// # Errors
    /// [`Code::NoSuchConsumer`] when there is none and no configuration is given,
    /// [`Code::ConsumerExists`], [`Code::ResponderOverlap`] and others. [`Code::Disconnected`] when
    /// no server was there for [`super::ClientConfig::give_up_after`]; once it is open, it outlasts
    /// that.
    pub async fn consumer(&self, config: ConsumeConfig) -> Result<Messages, Refusal> {
        let credit = config.credit_or_default();
        let mut consume = Consume::new(config.consumer, credit);
        consume.config = config.config;
        consume.held = config.held;
        let (events, receiver) = mpsc::unbounded_channel();
        let open = Open::Consume(consume);
        let (stream, kept) = self.open_stream(open, StreamEnd::Worker(events)).await?;
        Ok(Messages::new(Arc::new(stream), receiver, credit, kept))
    }

    /// Runs a function on each message of a consumer of requests that match a pattern; so many at
    /// a time as the configuration says. The consumer is made as a responder, unless the
    /// configuration says how.
    ///
    /// What the function returns is what becomes of the message: a [`edgebus_core::consumer::Reply`] or
    /// `()` is done, an error is tried again, as is a panic; [`Handled`] says everything.
    ///
    /// ```no_run
    /// # async fn example(client: edgebus::Client) -> Result<(), edgebus::Refusal> {
    /// use edgebus::ConsumeConfig;
    /// use edgebus::consumer::Reply;
    ///
    /// let config = ConsumeConfig::new("prices".parse()?).concurrency(8);
    /// let handler = client
    ///     .handle("prices.ask".parse()?, config, |request| async move {
    ///         Reply::new(format!("{:?} cost 2.49", request.payload()))
    ///     })
    ///     .await?;
    /// // ...
    /// handler.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A future that is dropped runs nothing, and leaves the consumer as [`Client::consumer`] does.
    ///
    /// # Errors
    /// As [`Client::consumer`].
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
        Ok(run(messages, concurrency, handler))
    }

    /// Listens to notifications from now on, as this client. A future that is dropped stops
    /// listening again, if that had begun.
    ///
    /// # Errors
    /// Why not; [`Code::Disconnected`] when no server was there for
    /// [`super::ClientConfig::give_up_after`]. Once it listens it outlasts that.
    pub async fn subscribe(&self, subscription: Subscription) -> Result<Notifications, Refusal> {
        let buffer = subscription.buffer.clamp(1, Subscription::BUFFER_MAX);
        let (notifier, notifications) = notifications(buffer);
        let open = Open::Subscribe(Subscribe {
            patterns: subscription.patterns,
            buffer: buffer as u32,
        });
        let (stream, _) = self
            .open_stream(open, StreamEnd::Subscriber(notifier))
            .await?;
        Ok(notifications.holding(Box::new(stream)))
    }

    /// Listens to stored notifications under a name: what comes while nobody listens waits, and
    /// is told when the name is used again. What is handed over is done. Dropped, as
    /// [`Client::consumer`].
    ///
    /// # Errors
    /// As [`Client::consumer`].
    pub async fn subscribe_named(
        &self,
        name: ConsumerName,
        subscription: Subscription,
    ) -> Result<Notifications, Refusal> {
        let config = subscription.client(&*self.name).as_consumer(name)?;
        Ok(Notifications::of(self.consumer(config).await?))
    }

    /// Asks what operators ask. The methods below do so with the right types.
    ///
    /// A future that is dropped once it was polled has asked all the same: a change may be made, and
    /// messages that were asked for are leased to nobody until their time is over.
    ///
    /// # Errors
    /// Why not; [`Code::Unknown`] when it may have been done.
    pub async fn admin(&self, admin: Admin) -> Result<Managed, Refusal> {
        self.link.manage(admin).await
    }

    /// The next part of a backup of the server's store; the first one with nothing before it. They
    /// are asked for one at a time, over a connection that lasts.
    ///
    /// # Errors
    /// [`Code::Busy`] while another backup is taken there; [`Code::NotFound`] when this one has ended;
    /// why the store cannot be read.
    pub async fn backup_part(&self, before: Option<&BackupPart>) -> Result<BackupPart, Refusal> {
        let (id, offset) = before.map_or((0, 0), |part| {
            (part.id, part.offset + part.bytes.len() as u64)
        });
        match self.admin(Admin::Backup { id, offset }).await? {
            Managed::Backup(part) if part.offset == offset => Ok(part),
            other => Err(admin::mismatch(other)),
        }
    }

    async fn open_stream(
        &self,
        open: Open,
        end: StreamEnd,
    ) -> Result<(Stream, Vec<LeaseToken>), Refusal> {
        open.check()?;
        let (number, opened) = self.link.open_stream(open, end)?;
        // From here on it is closed again, should nobody wait for it any more.
        let stream = Stream::new(self.link.clone(), number);
        let kept = opened
            .await
            .unwrap_or_else(|_| Err(Refusal::new(Code::Disconnected, "the connection was lost")))?;
        Ok((stream, kept))
    }
}

admin::admin_calls!(Client, [async] [.await]);
