//! edgebus: a durable message bus for edge servers.
//!
//! A request is acknowledged only when it is on disk, and is stored once however often it is
//! sent.
//!
//! In reading order:
//! - [`files`], [`clock`]: the outside world behind two small traits
//! - [`store`]: what is on disk: journal, tables, and the way from one to the other

pub mod files;

pub mod clock;

pub mod store;

pub use edgebus_core::query::{LogPage, LogQuery, Stats};
pub use edgebus_core::{
    Code, ConsumerName, Entry, Kind, Lsn, Message, Receipt, Record, RecordLimits, Refusal,
    RequestId, Scope, Seq, Topic, TopicPattern, query, wire,
};
pub use store::{RequestStore, StoreConfig, StoreError, StoreReader};
