//! The consumers of a world, and how they are set up.

use edgebus::consumer::{ConsumerConfig, ConsumerMode};
use edgebus::{ConsumerName, Kind};

use crate::history::{Setup, Start};

/// Requests are answered here.
pub(super) const ORDERS: &str = "orders";
/// Requests are listened to here, and here.
pub(super) const AUDIT: &str = "audit";
pub(super) const MIRROR: &str = "mirror";
/// Notifications are listened to here.
pub(super) const NEWS: &str = "news";

pub(super) const ALL: [&str; 4] = [ORDERS, AUDIT, MIRROR, NEWS];

/// How long a lease lasts, in milliseconds.
pub(super) const ACK_WAIT_MS: u64 = 900;

pub(super) fn name(of: &str) -> ConsumerName {
    of.parse().expect("a name")
}

/// How a consumer is set up.
pub(super) fn config(of: &str) -> ConsumerConfig {
    let pattern = |text: &str| text.parse().expect("a pattern");
    let config = match of {
        ORDERS => ConsumerConfig::responder(pattern("orders.*")),
        AUDIT => ConsumerConfig::listener(pattern("events.>")),
        NEWS => ConsumerConfig::listener(pattern("news.*")).kind(Kind::Notification),
        _ => ConsumerConfig::listener(pattern(">")),
    };
    config
        .ack_wait_ms(ACK_WAIT_MS)
        .max_attempts(4)
        .backoff_ms([30, 200, 900])
        .max_in_flight(if of == AUDIT { 8 } else { 64 })
}

/// The same as the checker knows it.
pub(super) fn setup(config: &ConsumerConfig) -> Setup {
    Setup {
        responder: config.mode == ConsumerMode::Responder,
        notifications: config.kind == Kind::Notification,
        patterns: config
            .patterns
            .iter()
            .map(|pattern| pattern.to_string().into())
            .collect(),
        start: Start::All,
        attempts_max: config.max_attempts,
    }
}
