//! The way to a server.

use std::path::{Path, PathBuf};

use edgebus::{Client, ClientConfig, RequestId, ServerUrl};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{Global, Proof};
use crate::error::CliError;
use crate::output::say;

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
    warn_of_proof_without_tls(&url, &global.proof);
    Ok(Client::connect_with(&url, with_proof(config, &global.proof)?).await?)
}

/// Says which options that were typed do nothing, as there is no TLS. Variables are set for every
/// command alike, and for every server.
pub(crate) fn warn_of_proof_without_tls(url: &ServerUrl, proof: &Proof) {
    if url.is_encrypted() {
        return;
    }
    let given = [
        ("--ca", "EDGEBUS_CA", &proof.ca),
        ("--cert", "EDGEBUS_CERT", &proof.cert),
        ("--key", "EDGEBUS_KEY", &proof.key),
    ];
    let typed: Vec<&str> = given
        .into_iter()
        .filter(|(_, variable, path)| {
            path.as_ref().is_some_and(|path| {
                !path.as_os_str().is_empty()
                    && std::env::var_os(variable).as_deref() != Some(path.as_os_str())
            })
        })
        .map(|(option, ..)| option)
        .collect();
    let does = match typed.as_slice() {
        [] => return,
        [_] => "does",
        _ => "do",
    };
    let typed = typed.join(", ");
    say!(
        "edgebus: {typed} {does} nothing at {url}: there is no TLS; write tls:// if there is to be"
    );
}

/// Adds whom the command trusts, and how it proves who it is.
///
/// # Errors
/// A certificate without its key, or a key without its certificate.
pub(crate) fn with_proof(
    mut config: ClientConfig,
    proof: &Proof,
) -> Result<ClientConfig, CliError> {
    // An empty variable counts as not set.
    let given = |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
    if let Some(ca) = given(&proof.ca) {
        config = config.ca(ca);
    }
    config = match (given(&proof.cert), given(&proof.key)) {
        (Some(cert), Some(key)) => config.certificate(cert, key),
        (None, None) => config,
        (Some(_), None) => {
            return Err(CliError::usage(
                "--cert needs --key, its private key (or EDGEBUS_KEY)",
            ));
        }
        (None, Some(_)) => {
            return Err(CliError::usage(
                "--key needs --cert, which it is the key of (or EDGEBUS_CERT)",
            ));
        }
    };
    if let Some(file) = given(&proof.token_file) {
        config = config.token_file(file);
    }
    if let Some(name) = proof.server_name.as_ref().filter(|name| !name.is_empty()) {
        config = config.server_name(name);
    }
    Ok(config)
}

/// Done when the server has read all that was said on this connection. What is written when a
/// command ends may otherwise not leave.
pub(crate) async fn all_said(client: &Client) {
    // The connection keeps the order. A server that is gone has nothing to read. Nobody needs a
    // right to ask for a request of one's own that was never sent.
    let _ = client.find(RequestId::from_bytes([0; 16])).await;
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
