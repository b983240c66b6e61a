//! Sets up a client, piece by piece.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use edgebus_core::Refusal;

use super::{Client, ClientConfig, ConnectError, Connector};
use crate::transport::ServerUrl;

/// Sets up a client.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = edgebus::Client::builder("tcp://10.0.0.2:7411")
///     .server("tcp://10.0.1.2:7411") // another way to it
///     .name("till-7")
///     .give_up_after(None) // requests wait for a server for as long as it takes
///     .connect()
///     .await?;
/// # drop(client);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientBuilder {
    servers: Result<Vec<ServerUrl>, Refusal>,
    config: ClientConfig,
}

impl Client {
    /// Sets up a client of a server, given as `tcp://HOST:PORT`, `tls://HOST:PORT` or `unix:///PATH`.
    pub fn builder(server: &str) -> ClientBuilder {
        let builder = ClientBuilder {
            servers: Ok(Vec::new()),
            config: ClientConfig::default(),
        };
        builder.server(server)
    }
}

impl ClientBuilder {
    /// A further server, tried when those before it cannot be reached. Where it has another store,
    /// what may have reached the first one is [`edgebus_core::Code::Unknown`] and is not sent to it,
    /// and the streams of workers end.
    pub fn server(mut self, url: &str) -> Self {
        let url = url.parse();
        self.servers = self.servers.and_then(|mut servers| {
            servers.push(url?);
            Ok(servers)
        });
        self
    }

    /// Sets everything but the servers.
    pub fn config(mut self, config: ClientConfig) -> Self {
        self.config = config;
        self
    }

    /// As [`ClientConfig::name`].
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config = self.config.name(name);
        self
    }

    /// As [`ClientConfig::window`].
    pub fn window(mut self, requests: usize) -> Self {
        self.config = self.config.window(requests);
        self
    }

    /// As [`ClientConfig::heartbeat`].
    pub fn heartbeat(mut self, every: Duration) -> Self {
        self.config = self.config.heartbeat(every);
        self
    }

    /// As [`ClientConfig::give_up_after`].
    pub fn give_up_after(mut self, after: Option<Duration>) -> Self {
        self.config = self.config.give_up_after(after);
        self
    }

    /// As [`ClientConfig::reconnect`].
    pub fn reconnect(mut self, reconnect: bool) -> Self {
        self.config = self.config.reconnect(reconnect);
        self
    }

    /// As [`ClientConfig::ca`].
    pub fn ca(mut self, file: impl Into<PathBuf>) -> Self {
        self.config = self.config.ca(file);
        self
    }

    /// As [`ClientConfig::certificate`].
    pub fn certificate(mut self, file: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.config = self.config.certificate(file, key);
        self
    }

    /// As [`ClientConfig::server_name`].
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.config = self.config.server_name(name);
        self
    }

    /// As [`ClientConfig::connector`].
    pub fn connector(mut self, connector: Arc<dyn Connector>) -> Self {
        self.config = self.config.connector(connector);
        self
    }

    /// As [`ClientConfig::token_file`].
    pub fn token_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.config = self.config.token_file(file);
        self
    }

    /// Everything but the servers.
    pub(crate) fn settings(&self) -> &ClientConfig {
        &self.config
    }

    /// Connects to the first server that is there. Cancel-safe: a future that is dropped leaves
    /// nothing behind.
    ///
    /// # Errors
    /// [`ConnectError`]: none is, or one says no.
    pub async fn connect(self) -> Result<Client, ConnectError> {
        let (servers, config) = self.into_parts()?;
        Client::connect_to(servers, config).await
    }

    pub(super) fn into_parts(self) -> Result<(Vec<ServerUrl>, ClientConfig), ConnectError> {
        let servers = self.servers.map_err(ConnectError::Refused)?;
        Ok((servers, self.config))
    }
}
