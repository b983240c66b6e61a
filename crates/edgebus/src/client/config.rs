//! How a client is set up, and why it may not come to be.

use std::fmt::Debug;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use edgebus_core::{Code, Refusal};

use crate::tls::TlsClientConfig;
use crate::transport::{ByteStream, ServerUrl};

/// A way of its own to servers: through a tunnel, or a simulated network.
pub trait Connector: Debug + Send + Sync + 'static {
    /// Connects to a server. Dropped when it takes too long.
    fn connect<'a>(&'a self, server: &'a ServerUrl) -> Connecting<'a>;
}

/// What comes of [`Connector::connect`].
pub type Connecting<'a> =
    Pin<Box<dyn Future<Output = io::Result<Box<dyn ByteStream>>> + Send + 'a>>;

/// How a client is set up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientConfig {
    /// The name it gives itself; it becomes the source of messages that have none.
    pub name: String,
    /// Most requests that may be undecided, at least 1; further sends wait.
    pub window: usize,
    /// Most bytes of requests that may be undecided; further sends wait. One request always may.
    pub window_bytes: usize,
    /// How long connecting to one server may take, with the handshake.
    pub connect_timeout: Duration,
    /// Largest frame taken from the server, in bytes; raised to what the server itself takes.
    pub frame_bytes_max: usize,
    /// Whether a connection that is lost is made again. If not, everyone who waits is told at once,
    /// and the client is of no more use.
    pub reconnect: bool,
    /// How long what is undecided waits for a server that is away. `None`: for ever.
    pub give_up_after: Option<Duration>,
    /// How long a server may say nothing before it is asked for a sign of life; one that says
    /// nothing for three times that is taken for lost. From 10 ms to a year.
    pub heartbeat: Duration,
    /// Whom it trusts where the URL is `tls://`, and how it proves who it is.
    pub tls: Option<TlsClientConfig>,
    /// How `tcp://` servers are reached, if not over TCP.
    pub connector: Option<Arc<dyn Connector>>,
    /// The file with its token, which nobody else may read. It is read for each connection.
    pub token_file: Option<PathBuf>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            window: 1024,
            window_bytes: 64 * 1024 * 1024,
            connect_timeout: Duration::from_secs(5),
            frame_bytes_max: 2 * edgebus_core::wire::FRAME_BYTES_MAX,
            reconnect: true,
            give_up_after: Some(Duration::from_secs(30)),
            heartbeat: Duration::from_secs(5),
            tls: None,
            connector: None,
            token_file: None,
        }
    }
}

impl ClientConfig {
    /// Sets the name the client gives itself.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets how many requests may be undecided; at least 1.
    #[must_use]
    pub fn window(mut self, requests: usize) -> Self {
        self.window = requests.max(1);
        self
    }

    /// Sets how many bytes of requests may be undecided.
    #[must_use]
    pub fn window_bytes(mut self, bytes: usize) -> Self {
        self.window_bytes = bytes;
        self
    }

    /// Sets how long connecting to one server may take.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets whether a connection that is lost is made again.
    #[must_use]
    pub fn reconnect(mut self, reconnect: bool) -> Self {
        self.reconnect = reconnect;
        self
    }

    /// Sets how long what is undecided waits for a server that is away; `None` for ever.
    #[must_use]
    pub fn give_up_after(mut self, after: Option<Duration>) -> Self {
        self.give_up_after = after;
        self
    }

    /// Sets how long a server may say nothing before it is asked for a sign of life.
    #[must_use]
    pub fn heartbeat(mut self, every: Duration) -> Self {
        self.heartbeat = every;
        self
    }

    /// Sets the file of the CAs whose certificates servers may have, as PEM. `tls://` needs it.
    #[must_use]
    pub fn ca(mut self, file: impl Into<PathBuf>) -> Self {
        self.tls.get_or_insert_default().ca = Some(file.into());
        self
    }

    /// Sets the files of the client's own certificate and its key, as PEM; nobody else may read the
    /// latter. Both are read for each connection, so they can be replaced at any time.
    #[must_use]
    pub fn certificate(mut self, file: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls.get_or_insert_default().certificate = Some((file.into(), key.into()));
        self
    }

    /// Sets the name that the server's certificate must be for, if not the one in the URL.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.tls.get_or_insert_default().server_name = Some(name.into());
        self
    }

    /// Sets how `tcp://` servers are reached, if not over TCP.
    #[must_use]
    pub fn connector(mut self, connector: Arc<dyn Connector>) -> Self {
        self.connector = Some(connector);
        self
    }

    /// Sets the file with the client's token, which nobody else may read. It is read for each
    /// connection, so it can be replaced at any time.
    #[must_use]
    pub fn token_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.token_file = Some(file.into());
        self
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The server cannot be reached.
    #[error("cannot connect to {url}: {reason}")]
    Unreachable {
        /// Where.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// The spool cannot be used.
    #[error("{0}")]
    Spool(Refusal),
    /// The server was reached and said no, or what was asked for makes no sense.
    #[error("{}", refused(.0))]
    Refused(Refusal),
}

/// No server says that something makes no sense, and of certificates it is said who refused whose.
fn refused(refusal: &Refusal) -> String {
    match refusal.code {
        Code::BadConfig | Code::Unauthenticated => refusal.to_string(),
        _ => format!("the server refused the connection: {refusal}"),
    }
}

impl ConnectError {
    /// Whether asking again leads to nothing, once a connection was there: files that could be used
    /// then are being replaced.
    pub(super) fn is_final_after_all(&self) -> bool {
        let own_files = matches!(self, Self::Refused(refusal) if refusal.code == Code::BadConfig);
        self.is_final() && !own_files
    }

    /// Whether asking again leads to nothing.
    pub(super) fn is_final(&self) -> bool {
        // What cannot be understood may be another program on the port, for a while.
        let transient = [
            Code::FrameTooLarge,
            Code::UnknownFrame,
            Code::UnexpectedFrame,
        ];
        match self {
            Self::Unreachable { .. } => false,
            Self::Refused(refusal) | Self::Spool(refusal) => {
                !refusal.code.is_retryable() && !transient.contains(&refusal.code)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_that_was_connected_goes_on_where_its_files_or_its_name_may_be_mended() {
        for (code, first, later) in [
            (Code::Unauthenticated, false, false),
            (Code::BadConfig, true, false),
            (Code::WrongVersion, true, true),
            (Code::TooManyConnections, false, false),
        ] {
            let error = ConnectError::Refused(Refusal::new(code, "no"));
            let is = (error.is_final(), error.is_final_after_all());
            assert_eq!(is, (first, later), "{code}");
        }
    }
}
