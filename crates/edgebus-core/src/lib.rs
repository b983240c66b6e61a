//! Messages, wire format and protocol state machines of edgebus.
//!
//! Everything here is pure: no I/O, no clock, no threads. Bytes and the current time come in as
//! arguments, frames and decisions come out as values, so that the same code runs under tokio, in
//! a test without sleeps, and in a simulator.
//!
//! In reading order:
//! - [`id`], [`topic`], [`message`]: the words of the field as types that cannot hold a bad value
//! - [`record`]: how a client's request is laid out in bytes: the same on the wire, in the journal
//!   and in a stored block
//! - [`entry`]: a record with what the server adds to it (sequence number, receive time, identity)
//! - [`consumer`]: who works on what is in the log
//! - [`query`]: what may be asked of a server's log, and the figures it answers with
//! - [`admin`]: what operators ask a server to do, and what it answers
//! - [`access`]: who may do what
//! - [`stream`]: what a client asks to be sent as it comes
//! - [`wire`]: frames on a byte stream
//! - [`session`]: who may say what when on a connection, for both ends
//! - [`plant`]: bugs on purpose, for the simulator; nothing in a normal build
//!
//! Architecture invariant: this crate depends on no runtime, no file and no socket. It decides;
//! others act.

pub mod id;
pub mod topic;

pub mod code;
pub mod message;

pub mod record;

pub mod entry;

pub mod query;

pub mod consumer;

pub mod admin;

pub mod access;

pub mod stream;

pub mod wire;

pub mod session;

pub mod plant;

pub use code::{Code, Refusal};
pub use entry::Entry;
pub use id::{ConsumerName, Lsn, RequestId, Scope, Seq};
pub use message::{Kind, Message, Receipt};
pub use record::{Record, RecordLimits};
pub use topic::{Topic, TopicPattern};
