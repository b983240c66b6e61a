//! What a client asks to be sent as it comes: a consumer's messages, or live notifications.
//!
//! Made by clients and by the server's end of a connection; what exists has passed
//! [`Open::check`] there.

use crate::code::{Code, Refusal};
use crate::consumer::{ConsumerConfig, LeaseToken};
use crate::id::ConsumerName;
use crate::topic::TopicPattern;

/// Most tokens that a worker may bring back.
pub const HELD_MAX: usize = 65_536;
/// Most patterns of one subscription.
pub const PATTERNS_MAX: usize = 64;
/// Most notifications that may wait for one subscriber; one that asks for more gets this many.
pub const BUFFER_MAX: u32 = 65_536;

/// What a stream carries.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Open {
    /// Messages of a durable consumer, as leases.
    Consume(Consume),
    /// Notifications from now on; what a subscriber is too slow for is counted and dropped.
    Subscribe(Subscribe),
}

/// Work for a consumer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Consume {
    /// Whose messages.
    pub consumer: ConsumerName,
    /// Makes the consumer, or fails when it is there with another mode, kind or patterns. `None`:
    /// it has to be there.
    pub config: Option<ConsumerConfig>,
    /// How many messages may be sent at first; more are allowed as they are worked on.
    pub credit: u32,
    /// What the worker still holds from a connection that was lost.
    pub held: Vec<LeaseToken>,
}

impl Consume {
    /// Work for a consumer that is there.
    pub fn new(consumer: ConsumerName, credit: u32) -> Self {
        Self {
            consumer,
            config: None,
            credit,
            held: Vec::new(),
        }
    }
}

/// Live notifications.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subscribe {
    /// Topics; at least one pattern.
    pub patterns: Vec<TopicPattern>,
    /// How many notifications may wait for the subscriber; at least 1.
    pub buffer: u32,
}

impl Open {
    /// Fails when a value makes no sense.
    ///
    /// # Errors
    /// [`Code::BadConfig`] for the configuration of a consumer, [`Code::BadQuery`] otherwise.
    pub fn check(&self) -> Result<(), Refusal> {
        let problem = match self {
            Self::Consume(consume) => {
                consume
                    .config
                    .as_ref()
                    .map_or(Ok(()), ConsumerConfig::check)?;
                if consume.held.len() <= HELD_MAX {
                    return Ok(());
                }
                "a worker brings back at most 65536 leases"
            }
            Self::Subscribe(subscribe) => {
                if !(1..=PATTERNS_MAX).contains(&subscribe.patterns.len()) {
                    "a subscription has from 1 to 64 patterns"
                } else if subscribe.buffer == 0 {
                    "a subscription needs room for at least one notification"
                } else {
                    return Ok(());
                }
            }
        };
        Err(Refusal::new(Code::BadQuery, problem))
    }
}
