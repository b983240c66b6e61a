//! Finds out that nobody will do what was asked for.
//!
//! Invariant: this is a hint beside what was done. It never fails a command, and holds it up for
//! a moment at most.

use std::time::Duration;

use edgebus::admin::ConsumerInfo;
use edgebus::{Client, Kind, Topic};

/// How long a command waits for the hint.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// What to tell when no consumer takes requests with this topic.
pub(crate) async fn none_takes(client: &Client, topic: &Topic) -> Option<String> {
    let consumers = tokio::time::timeout(WAIT_MAX, client.consumers()).await;
    let consumers = consumers.ok()?.ok()?;
    let taken = consumers.iter().any(|consumer| takes(consumer, topic));
    (!taken).then(|| format!("stored, no consumer takes {topic}"))
}

fn takes(consumer: &ConsumerInfo, topic: &Topic) -> bool {
    consumer.config.as_ref().is_some_and(|config| {
        config.kind == Kind::Request
            && config
                .patterns
                .iter()
                .any(|pattern| pattern.matches(topic.as_str()))
    })
}
