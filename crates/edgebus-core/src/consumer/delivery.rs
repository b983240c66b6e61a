//! A message on its way to a worker: in a stream's deliveries, and as an answer to `next`.

use super::token::LeaseToken;
use crate::entry::Entry;

/// Most messages that may be on their way to one worker. A worker that allows more counts as one
/// that allows this many.
pub const CREDIT_MAX: u32 = 65_536;

/// A message that was given to a worker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// What the worker holds while it works on it.
    pub token: LeaseToken,
    /// Which try this is, 1 for the first; what was not charged does not count.
    pub attempt: u32,
    /// The message.
    pub entry: Entry,
}
