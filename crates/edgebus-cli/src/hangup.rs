//! What a running server does on SIGHUP: reads its certificates, tokens and rights again, and says
//! what in its configuration a restart would change.
//!
//! Invariant: nothing that is read then can stop the server or cut a client that is still welcome.

use std::path::Path;

use edgebus::ServerHandle;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{self, Config, Value};
use crate::error::CliError;

/// The signals, from now on.
pub(crate) fn watch() -> Result<Signal, CliError> {
    signal(SignalKind::hangup()).map_err(|e| CliError::io("watch", Path::new("signals"), e))
}

/// Acts on each signal for as long as the runtime lasts.
pub(crate) async fn serve(
    mut hangups: Signal,
    server: ServerHandle,
    running: Config,
    options: Vec<(&'static str, Value)>,
) {
    while hangups.recv().await.is_some() {
        tracing::info!("SIGHUP: reading certificates, tokens and rights again");
        // The server says in the log what it has read and what it could not.
        server.reload().await;
        let file = running.file.clone();
        let options = options.clone();
        let read = move || Config::load(file.as_deref(), config::sources(options));
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok(now)) => {
                for change in running.changes(&now) {
                    tracing::warn!("{change}; that takes a restart");
                }
            }
            Ok(Err(problems)) => {
                for problem in problems.lines() {
                    tracing::warn!("a restart would fail: {problem}");
                }
            }
            // The runtime ends.
            Err(_) => return,
        }
    }
}
