//! edgebus: a durable message bus for edge servers.
//!
//! A request is acknowledged only when it is on disk, and is stored once however often it is
//! sent.
//!
//! In reading order:
//! - [`files`], [`clock`]: the outside world behind two small traits; [`mod@host`]: chance, and what may block
//! - [`store`]: what is on disk: journal, tables, and the way from one to the other
//! - [`spool`]: a client's requests on its own disk, until a server has them
//! - [`bus`]: the engine that writes, and the lanes that lead to it
//! - [`access`]: who a client is, and the files that say so
//! - [`tls`]: certificates, and who is trusted by them
//! - [`transport`]: frames over TCP, TLS, Unix sockets or in memory
//! - [`delivery`]: what an application holds while it works on messages
//! - [`client`], [`server`]: the two ends of a connection
//! - [`blocking`]: the client for programs without async

pub mod files;

pub mod clock;

#[doc(hidden)]
pub mod host;

pub mod store;

pub mod spool;

pub mod bus;

mod error;
mod flag;
mod ids;

pub mod access;

pub mod tls;

pub mod delivery;

pub mod transport;

pub mod client;

pub mod server;

pub mod blocking;

pub use access::Identity;
pub use bus::{BusState, MessageBus};
pub use client::{
    Accepted, Client, ClientBuilder, ClientConfig, ConnectError, Connecting, ConnectionState,
    ConnectionStates, Connector, PendingAccepted, PendingReceipt, Spooled, SpoolingBuilder,
    SpoolingClient,
};
pub use delivery::{
    ConsumeConfig, Delivered, Handled, Handler, Incoming, Messages, Notification, Notifications,
    RequestError, Response, Subscription,
};
#[cfg(edgebus_plant)]
pub use edgebus_core::plant;
pub use edgebus_core::query::{LogPage, LogQuery, Stats};
pub use edgebus_core::{
    Code, ConsumerName, Entry, Kind, Lsn, Message, Receipt, Record, RecordLimits, Refusal,
    RequestId, Scope, Seq, Topic, TopicPattern, admin, consumer, query, stream, wire,
};
pub use error::SendError;
pub use ids::new_request_id;
pub use server::{Limits, ServeError, Server, ServerConfig, ServerHandle};
pub use spool::{Spool, SpoolConfig};
pub use store::{RequestStore, StoreConfig, StoreError, StoreReader};
pub use tls::{ClientAuth, ServerTls, TlsClientConfig, TlsServerConfig, TlsVersion};
pub use transport::ServerUrl;
