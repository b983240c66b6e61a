//! What an application asks for when it consumes or subscribes.

use edgebus_core::consumer::{ConsumerConfig, LeaseToken, Start};
use edgebus_core::{Code, ConsumerName, Kind, Refusal, TopicPattern};

/// How a worker takes part in a consumer.
///
/// ```
/// use edgebus::consumer::ConsumerConfig;
/// use edgebus::delivery::ConsumeConfig;
///
/// let orders = ConsumerConfig::responder("orders.*".parse()?).max_attempts(3);
/// let config = ConsumeConfig::new("orders".parse()?).config(orders).credit(64);
/// # Ok::<(), edgebus::Refusal>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConsumeConfig {
    /// The consumer.
    pub consumer: ConsumerName,
    /// Makes the consumer if it is new. If there is one, mode, kind and patterns must be these and
    /// the rest is set anew. `None`: there must be one.
    pub config: Option<ConsumerConfig>,
    /// Most messages that this worker holds unsettled, waiting ones included; from 1 to
    /// [`ConsumeConfig::CREDIT_MAX`]. `None`: 256, or for a handler twice its concurrency, so that
    /// leases are not spent on waiting.
    pub credit: Option<u32>,
    /// Messages a handler works on at a time; at least 1.
    pub concurrency: usize,
    /// Leases still held from an earlier connection; those that can be are kept.
    pub held: Vec<LeaseToken>,
}

impl ConsumeConfig {
    /// Most credit.
    pub const CREDIT_MAX: u32 = edgebus_core::consumer::CREDIT_MAX;
    const CREDIT: u32 = 256;

    /// A worker of this consumer.
    pub fn new(consumer: ConsumerName) -> Self {
        Self {
            consumer,
            config: None,
            credit: None,
            concurrency: 16,
            held: Vec::new(),
        }
    }

    /// Makes the consumer if it is new, and checks it if not.
    #[must_use]
    pub fn config(mut self, config: ConsumerConfig) -> Self {
        self.config = Some(config);
        self
    }

    /// Sets how many messages this worker may hold unsettled.
    #[must_use]
    pub fn credit(mut self, messages: u32) -> Self {
        self.credit = Some(messages);
        self
    }

    /// Sets how many messages a handler works on at a time.
    #[must_use]
    pub fn concurrency(mut self, messages: usize) -> Self {
        self.concurrency = messages;
        self
    }

    /// Names leases that are still held from an earlier connection, to go on working under them.
    /// [`super::Messages::kept`] tells which were kept.
    #[must_use]
    pub fn held(mut self, tokens: impl Into<Vec<LeaseToken>>) -> Self {
        self.held = tokens.into();
        self
    }

    /// The credit to open with, for a stream of messages.
    pub(crate) fn credit_or_default(&self) -> u32 {
        let credit = self.credit.unwrap_or(Self::CREDIT);
        credit.clamp(1, Self::CREDIT_MAX)
    }

    /// The same for a handler of messages that match a pattern.
    pub(crate) fn for_handler(mut self, pattern: TopicPattern) -> Self {
        self.concurrency = self.concurrency.clamp(1, Self::CREDIT_MAX as usize);
        self.credit
            .get_or_insert((self.concurrency as u32).saturating_mul(2));
        let config = match self.config.take() {
            None => ConsumerConfig::responder(pattern),
            Some(config) if config.patterns.contains(&pattern) => config,
            Some(config) => config.pattern(pattern),
        };
        self.config = Some(config);
        self
    }
}

/// Which notifications to hear of.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Subscription {
    /// Topics; at least one pattern.
    pub patterns: Vec<TopicPattern>,
    /// Most notifications that may wait to be read; from 1 to [`Subscription::BUFFER_MAX`]. What
    /// comes when it is full is missed, counted and told.
    pub buffer: usize,
    /// The client it belongs to: what is sent to that client alone comes too. A client sets its
    /// own name.
    pub client: String,
}

const HOUR_MS: u64 = 60 * 60 * 1000;

impl Subscription {
    /// Most notifications that may wait.
    pub const BUFFER_MAX: usize = edgebus_core::stream::BUFFER_MAX as usize;

    /// Notifications on topics that match.
    pub fn to(pattern: TopicPattern) -> Self {
        Self::of(vec![pattern])
    }

    /// Notifications on topics that match one of these.
    pub(crate) fn of(patterns: Vec<TopicPattern>) -> Self {
        Self {
            patterns,
            buffer: 1024,
            client: String::new(),
        }
    }

    /// The durable consumer that a named subscription is.
    pub(crate) fn as_consumer(&self, name: ConsumerName) -> Result<ConsumeConfig, Refusal> {
        let Some((first, others)) = self.patterns.split_first() else {
            let none = "a subscription has at least one pattern";
            return Err(Refusal::new(Code::BadQuery, none));
        };
        let mut config = ConsumerConfig::listener(first.clone())
            .kind(Kind::Notification)
            .start(Start::New)
            // What is handed over is done; until then a slow reader is no failure.
            .ack_wait_ms(HOUR_MS)
            .max_attempts(u32::MAX)
            .target(&self.client);
        config.patterns.extend_from_slice(others);
        let credit = u32::try_from(self.buffer).unwrap_or(u32::MAX);
        Ok(ConsumeConfig::new(name).config(config).credit(credit))
    }

    /// Adds a pattern.
    #[must_use]
    pub fn pattern(mut self, pattern: TopicPattern) -> Self {
        self.patterns.push(pattern);
        self
    }

    /// Sets how many may wait to be read.
    #[must_use]
    pub fn buffer(mut self, notifications: usize) -> Self {
        self.buffer = notifications;
        self
    }

    /// Sets the client it belongs to.
    #[must_use]
    pub fn client(mut self, name: impl Into<String>) -> Self {
        self.client = name.into();
        self
    }
}
