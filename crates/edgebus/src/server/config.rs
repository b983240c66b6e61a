//! How a server is set up, what it gives to clients at most, and why it may not start.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use edgebus_core::Refusal;

use crate::bus::LaneConfig;
use crate::tls::TlsServerConfig;
use crate::transport::ServerUrl;

/// How a server is set up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerConfig {
    /// Where to listen.
    pub listen: Vec<ServerUrl>,
    /// Whether plain TCP may be reached from other machines.
    pub insecure: bool,
    /// How the server proves who it is where it listens on `tls://`, and what it asks of clients.
    pub tls: Option<TlsServerConfig>,
    /// The file of who may do what; see [`crate::access::RightsFile`]. `None`: everyone may do
    /// everything.
    pub rights: Option<PathBuf>,
    /// The file of who has which token; see [`crate::access::Tokens`].
    pub tokens: Option<PathBuf>,
    /// How often it is looked whether certificates, tokens or rights have changed. At least 10 ms.
    pub reload_every: Duration,
    /// The permissions that Unix sockets get.
    pub unix_mode: u32,
    /// What clients may take of it.
    pub limits: Limits,
    /// How long a client that waits for answers may hear nothing before it is given a sign of life:
    /// while much is undecided its own questions are not read. At least 1 ms.
    pub sign_of_life: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: vec![ServerUrl::default()],
            insecure: false,
            tls: None,
            rights: None,
            tokens: None,
            reload_every: Duration::from_secs(2),
            unix_mode: 0o660,
            limits: Limits::default(),
            sign_of_life: Duration::from_secs(2),
        }
    }
}

/// What clients may take of a server. None of them is harmed by another that wants more.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Most connections; more are told [`edgebus_core::Code::TooManyConnections`].
    pub connections_max: usize,
    /// Most connections from one address; more are told the same.
    pub connections_per_address_max: usize,
    /// Most connections of one identity that was proven; more are told the same.
    pub connections_per_identity_max: usize,
    /// How long a client may take until it is known who it is and its first frame has come whole.
    pub handshake_timeout: Duration,
    /// How long a client may take nothing of what is sent to it, or less than
    /// `frame_bytes_per_second_min`; then it is cut, and its receipts are there when it asks again.
    /// While others wait for the memory that it holds, or the server stops, it may not take longer
    /// for any one write.
    pub write_timeout: Duration,
    /// Largest frame, in bytes, length field not counted; at least [`ServerConfig::FRAME_BYTES_MIN`].
    /// Payloads are limited to what fits it, whatever the store takes.
    pub frame_bytes_max: usize,
    /// Bytes a second that must come of a frame that has begun, looked at every five seconds. A
    /// client that is slower is told [`edgebus_core::Code::TooSlow`] and cut; 0 lets all be as slow
    /// as they like.
    pub frame_bytes_per_second_min: usize,
    /// How much of one connection may be undecided; it is read no further meanwhile.
    pub lane: LaneConfig,
    /// How many bytes of all connections together may be undecided. Beyond that each has a little
    /// of its own, and is slowed to that.
    pub in_flight_bytes_max: usize,
    /// How many bytes of messages, notifications and answers may wait for all connections together
    /// to take them. Beyond that what is large waits, and those who take nothing are cut sooner.
    pub outgoing_bytes_max: usize,
    /// Most consumers that one connection may work for at a time; more are told
    /// [`edgebus_core::Code::Busy`].
    pub consumers_max: usize,
    /// Most live subscriptions of one connection; more are told [`edgebus_core::Code::Busy`].
    pub subscriptions_max: usize,
    /// Most requests of one connection whose replies may be waited for; more are told
    /// [`edgebus_core::Code::Busy`].
    pub replies_waiting_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 16_384,
            connections_per_address_max: 12_288,
            connections_per_identity_max: 1024,
            handshake_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(30),
            frame_bytes_max: edgebus_core::wire::FRAME_BYTES_MAX,
            frame_bytes_per_second_min: 1024,
            lane: LaneConfig::default(),
            in_flight_bytes_max: 256 * 1024 * 1024,
            outgoing_bytes_max: 128 * 1024 * 1024,
            consumers_max: 512,
            subscriptions_max: 512,
            replies_waiting_max: 65_536,
        }
    }
}

impl ServerConfig {
    /// The smallest limit for frames: room for a topic and headers of any allowed size, and as
    /// much payload.
    pub const FRAME_BYTES_MIN: usize = 2 * BESIDE_PAYLOAD_BYTES;
}

/// Room in a frame for what is not payload.
pub(super) const BESIDE_PAYLOAD_BYTES: usize = 32 * 1024;
/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Plain TCP would be open to other machines.
    #[error(
        "{0} can be reached from other machines without encryption: listen on 127.0.0.1, or set `insecure` if that is what you want"
    )]
    Insecure(ServerUrl),
    /// A certificate, a key, tokens or rights cannot be used; the refusal names the file.
    #[error("{}", .0.message)]
    Files(Refusal),
    /// It is to listen on `tls://`, and there is no certificate.
    #[error("{0} needs a certificate: set `certificate` and `key` of `tls`")]
    NoCertificate(ServerUrl),
    /// The address cannot be listened on.
    #[error("cannot listen on {url}: {source}")]
    Listen {
        /// The address.
        url: ServerUrl,
        /// What the operating system says.
        source: io::Error,
    },
}
