//! Where notifications come from: a live subscription, or a durable consumer that is named.

use std::collections::HashSet;
use std::time::Duration;

use edgebus::consumer::{ConsumerConfig, Start};
use edgebus::{
    Client, Code, ConsumeConfig, ConsumerName, Delivered, Entry, Kind, Messages, Notification,
    Notifications, Refusal, Subscription,
};
use tokio::task::JoinSet;

use super::Options;
use crate::remote;

/// A message is printed within moments, so a lease ends only with its connection: a terminal that
/// is held must not turn messages into dead letters.
const ACK_WAIT_MS: u64 = 60 * 60 * 1000;
/// How long the last acks may take.
const FINISH_TIME: Duration = Duration::from_secs(2);

pub(super) enum Feed {
    Live(Notifications),
    Named(Messages),
}

/// What came.
pub(super) enum Came {
    Live(Entry),
    Lease(Delivered),
    Lagged(u64),
    /// The connection was lost here, and is back.
    Interrupted,
    /// Nothing more does, and why if that is known.
    End(Option<Refusal>),
}

impl Feed {
    pub(super) async fn open(client: &Client, options: &Options) -> Result<Self, Refusal> {
        match &options.name {
            Some(name) => {
                let config = named(name.clone(), options);
                Ok(Self::Named(client.consumer(config).await?))
            }
            None => {
                let mut subscription = Subscription::to(options.patterns[0].clone());
                subscription.patterns.clone_from(&options.patterns);
                let subscription = subscription.buffer(options.buffer as usize);
                Ok(Self::Live(client.subscribe(subscription).await?))
            }
        }
    }

    /// Cancel-safe.
    pub(super) async fn next(&mut self) -> Came {
        match self {
            Self::Live(notifications) => match notifications.next().await {
                Some(Notification::Message(entry)) => Came::Live(entry),
                Some(Notification::Lagged(missed)) => Came::Lagged(missed),
                Some(Notification::Interrupted) => Came::Interrupted,
                _ => Came::End(notifications.why_ended().cloned()),
            },
            Self::Named(messages) => match messages.next().await {
                Some(Ok(delivered)) => Came::Lease(delivered),
                Some(Err(refusal)) => Came::End(Some(refusal)),
                None => Came::End(None),
            },
        }
    }
}

/// The durable consumer that a named subscription is, as [`Client::subscribe_named`] makes it.
/// Printing cannot fail, so no number of attempts makes a dead letter.
fn named(name: ConsumerName, options: &Options) -> ConsumeConfig {
    let mut config = ConsumerConfig::listener(options.patterns[0].clone())
        .kind(Kind::Notification)
        .start(Start::New)
        .target(options.client.as_str())
        .ack_wait_ms(ACK_WAIT_MS)
        .max_attempts(u32::MAX);
    config.patterns.clone_from(&options.patterns);
    let wanted = options
        .count
        .map_or(u32::MAX, |count| u32::try_from(count).unwrap_or(u32::MAX));
    ConsumeConfig::new(name)
        .config(config)
        .credit(options.buffer.min(wanted))
}

/// What was printed and is not known to be acked.
#[derive(Default)]
pub(super) struct Acks {
    going: JoinSet<(Key, Result<(), Refusal>)>,
    /// Bounded by the credit: what was acked is taken out.
    printed: HashSet<Key>,
}

/// The epoch of the consumer and the sequence number: a reset is meant to print again.
type Key = (u32, u64);

fn key(delivered: &Delivered) -> Key {
    (delivered.token().epoch, delivered.seq().0)
}

impl Acks {
    /// Whether it was printed, and came again because its ack did not arrive.
    pub(super) fn is_known(&self, delivered: &Delivered) -> bool {
        self.printed.contains(&key(delivered))
    }

    pub(super) fn ack(&mut self, delivered: Delivered) {
        let key = key(&delivered);
        self.printed.insert(key);
        self.going
            .spawn(async move { (key, delivered.ack_durable().await) });
        while let Some(acked) = self.going.try_join_next() {
            if let Ok(acked) = acked {
                self.take(acked);
            }
        }
    }

    fn take(&mut self, (key, acked): (Key, Result<(), Refusal>)) {
        match acked {
            Ok(()) => drop(self.printed.remove(&key)),
            Err(refusal) if refusal.code == Code::AlreadyCompleted => {
                self.printed.remove(&key);
            }
            // It comes again, and is acked then.
            Err(_) => {}
        }
    }

    /// Waits for the acks on their way, and until the server has got back what was not printed.
    pub(super) async fn finish(&mut self, client: &Client) {
        let finish = async {
            while self.going.join_next().await.is_some() {}
            remote::all_said(client).await;
        };
        // A server that is gone gives it back by itself.
        let _ = tokio::time::timeout(FINISH_TIME, finish).await;
    }
}
