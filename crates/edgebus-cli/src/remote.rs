//! The way to a server.

use std::path::Path;

use edgebus::{Client, ClientConfig};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Global;
use crate::error::CliError;

/// A runtime for a command: one thread, as a command does one thing at a time.
pub(crate) fn runtime() -> Result<Runtime, CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::io("start", Path::new("the runtime"), e))
}

/// How commands are called, unless they are told otherwise.
pub(crate) const CLIENT_NAME: &str = "edgebus-cli";

/// Connects to the server that was named, or to the default one, for as long as that lasts.
pub(crate) async fn connect(global: &Global, config: ClientConfig) -> Result<Client, CliError> {
    connect_with(global, config.reconnect(false)).await
}

/// As [`connect`], but a connection that is lost later is made again.
pub(crate) async fn connect_lasting(
    global: &Global,
    config: ClientConfig,
) -> Result<Client, CliError> {
    connect_with(global, config.reconnect(true)).await
}

async fn connect_with(global: &Global, mut config: ClientConfig) -> Result<Client, CliError> {
    if config.name.is_empty() {
        config = config.name(CLIENT_NAME);
    }
    let url = global.server.clone().unwrap_or_default();
    Ok(Client::connect_with(&url, config).await?)
}

/// Done when the server has read all that was said on this connection. What is written when a
/// command ends may otherwise not leave.
pub(crate) async fn all_said(client: &Client) {
    // The connection keeps the order. A server that is gone has nothing to read.
    let _ = client.stats().await;
}

/// Watches, from this call on, for the user's or the system's wish that the command ends; done
/// when it comes.
///
/// # Panics
/// Outside a runtime.
pub(crate) fn interrupted() -> impl Future<Output = ()> {
    let signals = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    );
    async move {
        let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
            // Without handlers the signals end the process as ever.
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}
