//! The stream that messages come over, and what is told of its connection.

use std::time::Duration;

use edgebus::consumer::ConsumerConfig;
use edgebus::{
    Client, ClientConfig, Code, ConsumeConfig, ConsumerName, Delivered, Messages, Refusal,
    TopicPattern,
};

use crate::args::Global;
use crate::consumer::{Mode, Settings};
use crate::error::CliError;
use crate::reconnect::{Change, Watch};
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
    pub(super) link: Link,
    /// How long a message may take without the lease being extended.
    pub(super) ack_wait: Duration,
}

/// The way to the server. The client finds it again by itself when it is lost.
pub(super) enum Link {
    Open {
        client: Client,
        watch: Watch,
        /// `None`: nothing more is taken.
        messages: Option<Messages>,
    },
    /// Lost for good.
    Gone,
}

/// What came over it.
pub(super) enum Came {
    Message(Delivered),
    /// The connection is lost, or back.
    Changed(Change),
    /// Nothing more comes, and why if that is known.
    End(Option<Refusal>),
}

impl Link {
    /// The next thing that comes. Cancel-safe.
    pub(super) async fn next(&mut self) -> Came {
        let Self::Open {
            watch, messages, ..
        } = self
        else {
            return std::future::pending().await;
        };
        let message = async {
            match messages {
                Some(messages) => messages.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            change = watch.next() => Came::Changed(change),
            message = message => match message {
                Some(Ok(delivered)) => Came::Message(delivered),
                Some(Err(refusal)) => Came::End(Some(refusal)),
                None => Came::End(None),
            },
        }
    }

    /// The client, unless it is lost for good.
    pub(super) fn client(&self) -> Option<&Client> {
        match self {
            Self::Open { client, .. } => Some(client),
            Self::Gone => None,
        }
    }

    /// Whether the server is there, as far as is known.
    pub(super) fn is_up(&self) -> bool {
        matches!(self, Self::Open { watch, .. } if !watch.is_lost())
    }

    /// Takes nothing more; what was not handed over is given back.
    pub(super) fn stop_taking(&mut self) {
        if let Self::Open { messages, .. } = self {
            *messages = None;
        }
    }
}

impl Post {
    /// Connects, and opens the stream.
    ///
    /// # Errors
    /// There is no server, or it says no.
    pub(super) async fn open(&self) -> Result<Opened, CliError> {
        // A worker waits for its server for as long as it takes.
        let config = ClientConfig::default().give_up_after(None);
        let client = remote::connect_lasting(&self.global, config).await?;
        let watch = Watch::over(&client);
        let config = self.config(&client).await?;
        let ack_wait = Duration::from_millis(config.ack_wait_ms);
        let consume = ConsumeConfig::new(self.consumer.clone())
            .config(config)
            .credit(self.credit);
        let messages = Some(client.consumer(consume).await?);
        let link = Link::Open {
            client,
            watch,
            messages,
        };
        Ok(Opened { link, ack_wait })
    }

    /// The consumer as it is, with what was typed; as it is when new, if it is. A worker that opens
    /// only makes what is not there, so what was typed for another is said before.
    async fn config(&self, client: &Client) -> Result<ConsumerConfig, Refusal> {
        let there = match client.consumer_info(self.consumer.clone()).await {
            Ok(info) => info.config,
            // Who may not see all consumers is told the same of one that is not there as of another's;
            // opening tells which.
            Err(refusal) if matches!(refusal.code, Code::NoSuchConsumer | Code::Forbidden) => None,
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
