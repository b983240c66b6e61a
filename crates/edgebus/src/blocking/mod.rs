//! The client for programs without async: the same calls under the same names, each of which
//! returns when it is done. No runtime is needed, and none shows in a signature.
//!
//! In reading order: [`mod@builder`], [`mod@client`] and [`spooling`] the calls, with [`pending`] for
//! what is waited for later; [`messages`], [`delivered`] and [`handler`] for work;
//! [`mod@notifications`], [`mod@replay`] and [`mod@states`], which are iterators as [`messages`] is;
//! [`runtime`] the thread underneath.
//!
//! Each [`Client`] that is connected has one thread of its own, which all its clones and everything
//! made from them share. It is gone with the last of them. When that one is dropped, what was
//! said before is still written: outside of a runtime the drop waits for it, for a second or two
//! with a server that does not read; inside of one it does not wait.
//!
//! A call inside an async task works. It blocks the thread it is made on, as any blocking call
//! does, so there the async [`crate::Client`] is the better choice.
//!
//! Invariants: thin. What a call means is decided in [`crate::client`] and [`crate::delivery`] only.
//! No code of the application runs on the client's own thread.

mod builder;
mod client;
mod delivered;
mod handler;
mod messages;
mod notifications;
mod pending;
mod replay;
mod runtime;
mod spooling;
mod states;

pub use builder::{ClientBuilder, SpoolingBuilder};
pub use client::Client;
pub use delivered::{Delivered, Incoming};
pub use handler::Handler;
pub use messages::Messages;
pub use notifications::Notifications;
pub use pending::{PendingAccepted, PendingReceipt};
pub use replay::Replay;
pub use runtime::TimedOut;
pub use spooling::SpoolingClient;
pub use states::ConnectionStates;
