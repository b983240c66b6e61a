//! Consumers: who works on what is in the log, what they were given, and what is done.
//!
//! In reading order: [`config`] what a consumer wants; [`token`] what a worker holds; [`reply`]
//! what a responder answers; [`delivery`] what a worker is given; [`settlement`] what it says;
//! [`op`] the changes that are journaled.
//!
//! Invariants: everything durable about a consumer changes by an [`ConsumerOp`]; times are store
//! time, handed in; nothing here reads a clock.

pub mod config;
pub mod delivery;
pub mod op;
pub mod reply;
pub mod settlement;
pub mod token;

pub use config::{ConsumerConfig, ConsumerMode, Hold, Start};
pub use delivery::{CREDIT_MAX, Delivery};
pub use op::{Attempt, ConsumerOp, Failure, PlaceKind};
pub use reply::{Answer, Reply};
pub use settlement::{AttemptError, DeadLetterCode, Settlement};
pub use token::LeaseToken;
