//! The connection that messages come over, and the way back to it.

use std::pin::Pin;
use std::time::Duration;

use edgebus::consumer::{ConsumerConfig, LeaseToken};
use edgebus::{
    Client, ClientConfig, Code, ConsumeConfig, ConsumerName, Delivered, Messages, Refusal,
    TopicPattern,
};

use crate::args::Global;
use crate::consumer::{Mode, Settings};
use crate::error::CliError;
use crate::reconnect::{Backoff, connect_again, may_come_back};
use crate::remote;

/// Where the worker works, and how.
#[derive(Clone, Debug)]
pub(super) struct Post {
    pub(super) global: Global,
    pub(super) consumer: ConsumerName,
    pub(super) pattern: TopicPattern,
    pub(super) mode: Mode,
    pub(super) settings: Settings,
    pub(super) credit: u32,
}

/// An open stream.
pub(super) struct Opened {
    pub(super) client: Client,
    pub(super) messages: Messages,
    /// How long a message may take without the lease being extended.
    pub(super) ack_wait: Duration,
    /// For when it is lost again.
    pub(super) backoff: Backoff,
}

type Opening = Pin<Box<dyn Future<Output = Result<Opened, CliError>>>>;

/// The connection as it is.
pub(super) enum Link {
    Up {
        client: Client,
        /// `None`: nothing more is taken.
        messages: Option<Messages>,
    },
    /// Lost; this brings it back.
    Down(Opening),
    /// Lost for good.
    Gone,
}

/// What came over it.
pub(super) enum Came {
    Message(Delivered),
    /// It is lost, and why if that is known.
    Lost(Option<Refusal>),
    Opened(Box<Result<Opened, CliError>>),
}

impl Link {
    /// The next thing that comes. Cancel-safe.
    pub(super) async fn next(&mut self) -> Came {
        match self {
            Self::Up {
                messages: Some(messages),
                ..
            } => match messages.next().await {
                Some(Ok(delivered)) => Came::Message(delivered),
                Some(Err(refusal)) => Came::Lost(Some(refusal)),
                None => Came::Lost(None),
            },
            Self::Down(opening) => Came::Opened(Box::new(opening.await)),
            Self::Up { messages: None, .. } | Self::Gone => std::future::pending().await,
        }
    }

    /// The connection, if there is one.
    pub(super) fn client(&self) -> Option<&Client> {
        match self {
            Self::Up { client, .. } => Some(client),
            _ => None,
        }
    }

    /// Takes nothing more; what was not handed over is given back.
    pub(super) fn stop_taking(&mut self) {
        if let Self::Up { messages, .. } = self {
            *messages = None;
        }
    }
}

impl Post {
    /// Connects for the first time.
    pub(super) async fn open_first(&self) -> Result<Opened, CliError> {
        let client = remote::connect(&self.global, ClientConfig::default()).await?;
        Ok(self.open(client, Vec::new(), &mut Backoff::new()).await?)
    }

    /// Connects again, however long it takes, to go on under the leases that are held.
    pub(super) fn open_again(&self, held: Vec<LeaseToken>, mut backoff: Backoff) -> Opening {
        let post = self.clone();
        Box::pin(async move {
            loop {
                let config = ClientConfig::default();
                let client = connect_again(&post.global, &config, &mut backoff).await?;
                match post.open(client, held.clone(), &mut backoff).await {
                    Err(refusal) if may_come_back(&refusal) => {}
                    opened => return Ok(opened?),
                }
            }
        })
    }

    async fn open(
        &self,
        client: Client,
        held: Vec<LeaseToken>,
        backoff: &mut Backoff,
    ) -> Result<Opened, Refusal> {
        let config = self.config(&client).await?;
        let ack_wait = Duration::from_millis(config.ack_wait_ms);
        let consume = ConsumeConfig::new(self.consumer.clone())
            .config(config)
            .credit(self.credit)
            .held(held);
        let messages = client.consumer(consume).await?;
        backoff.connected();
        Ok(Opened {
            client,
            messages,
            ack_wait,
            backoff: *backoff,
        })
    }

    /// The consumer as it is, with what was typed; as it is when new, if it is. A worker that opens
    /// only makes what is not there, so what was typed for another is said before.
    async fn config(&self, client: &Client) -> Result<ConsumerConfig, Refusal> {
        let there = match client.consumer_info(self.consumer.clone()).await {
            Ok(info) => info.config,
            Err(refusal) if refusal.code == Code::NoSuchConsumer => None,
            Err(refusal) => return Err(refusal),
        };
        let fresh = ConsumerConfig::responder(self.pattern.clone());
        let mut config = there.clone().unwrap_or_else(|| fresh.clone());
        // If these are others, it is another consumer, and the server says so.
        config.mode = self.mode.into();
        config.patterns = fresh.patterns;
        config.kind = fresh.kind;
        config.target = fresh.target;
        let config = self.settings.apply(config);
        if there.is_some_and(|there| there != config) {
            client
                .consumer_add(self.consumer.clone(), config.clone())
                .await?;
        }
        Ok(config)
    }
}
