//! Sets up a client, piece by piece.

use std::path::PathBuf;
use std::time::Duration;

use super::runtime::Runtime;
use super::{Client, SpoolingClient};
use crate::client::{self, ClientConfig, ConnectError};

/// Sets up a client.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = edgebus::blocking::Client::builder("tcp://10.0.0.2:7411")
///     .server("tcp://10.0.1.2:7411") // another way to it
///     .name("till-7")
///     .give_up_after(None) // requests wait for a server for as long as it takes
///     .connect()?;
/// # drop(client);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientBuilder(client::ClientBuilder);

impl Client {
    /// Sets up a client of a server, given as `tcp://HOST:PORT`.
    pub fn builder(server: &str) -> ClientBuilder {
        ClientBuilder(client::Client::builder(server))
    }
}

impl ClientBuilder {
    /// As [`client::ClientBuilder::server`].
    pub fn server(self, url: &str) -> Self {
        Self(self.0.server(url))
    }

    /// Sets everything but the servers.
    pub fn config(self, config: ClientConfig) -> Self {
        Self(self.0.config(config))
    }

    /// As [`ClientConfig::name`].
    pub fn name(self, name: impl Into<String>) -> Self {
        Self(self.0.name(name))
    }

    /// As [`ClientConfig::window`].
    pub fn window(self, requests: usize) -> Self {
        Self(self.0.window(requests))
    }

    /// As [`ClientConfig::heartbeat`].
    pub fn heartbeat(self, every: Duration) -> Self {
        Self(self.0.heartbeat(every))
    }

    /// As [`ClientConfig::give_up_after`].
    pub fn give_up_after(self, after: Option<Duration>) -> Self {
        Self(self.0.give_up_after(after))
    }

    /// As [`ClientConfig::reconnect`].
    pub fn reconnect(self, reconnect: bool) -> Self {
        Self(self.0.reconnect(reconnect))
    }

    /// As [`ClientConfig::ca`].
    pub fn ca(self, file: impl Into<PathBuf>) -> Self {
        Self(self.0.ca(file))
    }

    /// As [`ClientConfig::certificate`].
    pub fn certificate(self, file: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self(self.0.certificate(file, key))
    }

    /// As [`ClientConfig::server_name`].
    pub fn server_name(self, name: impl Into<String>) -> Self {
        Self(self.0.server_name(name))
    }

    /// As [`ClientConfig::token_file`].
    pub fn token_file(self, file: impl Into<PathBuf>) -> Self {
        Self(self.0.token_file(file))
    }

    /// Connects to the first server that is there.
    ///
    /// # Errors
    /// [`ConnectError`]: none is, or one says no; also when the operating system gives no thread.
    pub fn connect(self) -> Result<Client, ConnectError> {
        let runtime = self.thread()?;
        let client = runtime.wait(self.0.connect())?;
        Ok(Client::new(client, runtime))
    }

    /// Keeps requests in a folder on this machine's disk while no server is there; one process at
    /// a time may use it.
    pub fn spool(self, dir: impl Into<PathBuf>) -> SpoolingBuilder {
        SpoolingBuilder {
            spooling: self.0.clone().spool(dir),
            client: self,
        }
    }

    fn thread(&self) -> Result<Runtime, ConnectError> {
        Runtime::start(&self.0.settings().name).map_err(|error| ConnectError::Unreachable {
            url: "any server".to_owned(),
            reason: format!("the client's thread cannot be started: {error}"),
        })
    }
}

/// Sets up a client with a spool. Made by [`ClientBuilder::spool`].
#[derive(Clone, Debug)]
#[must_use]
pub struct SpoolingBuilder {
    spooling: client::SpoolingBuilder,
    client: ClientBuilder,
}

impl SpoolingBuilder {
    /// As [`client::SpoolingBuilder::bytes_max`].
    pub fn bytes_max(mut self, bytes: u64) -> Self {
        self.spooling = self.spooling.bytes_max(bytes);
        self
    }

    /// As [`client::SpoolingBuilder::server_within`].
    pub fn server_within(mut self, time: Duration) -> Self {
        self.spooling = self.spooling.server_within(time);
        self
    }

    /// As [`client::SpoolingBuilder::folder_within`].
    pub fn folder_within(mut self, time: Duration) -> Self {
        self.spooling = self.spooling.folder_within(time);
        self
    }

    /// Looks for a server, once, and opens the spool. When no server is there the client begins
    /// without.
    ///
    /// # Errors
    /// As [`client::SpoolingBuilder::connect`]; also when the operating system gives no thread.
    pub fn connect(self) -> Result<SpoolingClient, ConnectError> {
        let runtime = self.client.thread()?;
        let spooling = runtime.wait(self.spooling.connect())?;
        Ok(SpoolingClient::new(spooling, runtime))
    }
}
