//! TLS: certificates and keys out of files, who may connect, and what went wrong in words.
//!
//! In reading order: [`config`] which files; [`pem`] reads them; [`certificate`] what stands in one:
//! a name, an end; [`server`] and [`client`] the two ends of a connection, as those files say;
//! [`words`] why an end was refused, and [`claims`] with which certificate.
//!
//! Used by the server and the client; knows neither, and no frames.
//!
//! Invariants: TLS 1.3, unless a server is told to take 1.2 as well. No session is ever resumed, as
//! that would skip the look at certificates and revocation lists. A name is taken from a
//! certificate's URI or DNS names, never from its subject. No key is ever shown.

mod certificate;
mod claims;
mod client;
mod config;
mod pem;
mod server;
mod words;

pub(crate) use claims::{claimed, remembering};
pub(crate) use client::ClientTls;
pub use config::{ClientAuth, TlsClientConfig, TlsServerConfig, TlsVersion};
pub use server::ServerTls;
pub(crate) use words::{seen_by_client, seen_by_server};

use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};

/// How things are encrypted and signed.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
