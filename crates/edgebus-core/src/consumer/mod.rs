//! Consumers: who works on what is in the log, what they were given, and what is done.
//!
//! In reading order: [`config`] what a consumer wants; [`token`] what a worker holds; [`reply`]
//! what a responder answers; [`delivery`] what a worker is given; [`settlement`] what it says;
//! [`op`] the changes that are journaled; [`ledger`] what is durable, changed by ops alone;
//! [`places`] who may crash together; [`machine`] what decides who gets what, and when.
//!
//! Invariants: everything durable about a consumer changes by an [`ConsumerOp`]; times are store
//! time, handed in; nothing here reads a clock.

pub mod config;
pub mod delivery;
pub mod op;
pub mod reply;
pub mod settlement;
pub mod token;

mod expiry;
pub mod ledger;
mod ledger_bytes;
mod op_bytes;
mod ranges;

pub mod machine;
pub mod places;

pub use config::{ConsumerConfig, ConsumerMode, Hold, Start};
pub use delivery::{CREDIT_MAX, Delivery};
pub use ledger::{Gaps, Ledger};
pub use machine::{
    Consumer, ConsumerFigures, Left, MachineLimits, Moment, Offer, Output, PauseReason,
    REASON_BYTES_MAX,
};
pub use op::{Attempt, ConsumerOp, Failure, PlaceKind};
pub use places::{Place, Places};
pub use reply::{Answer, Reply};
pub use settlement::{AttemptError, DeadLetterCode, Settlement};
pub use token::LeaseToken;
