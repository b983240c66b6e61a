//! How a command ends early: a signal drops what it was doing, and with it all that it owns.

use std::future::Future;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;

/// Runs a command until it ends or a signal comes (SIGINT, SIGTERM, SIGHUP). Its future is dropped
/// then, so that the guards in it end whatever it had begun. It must not block for long.
///
/// # Errors
/// The command's own, or [`Failure::Interrupted`].
pub fn run<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::broken("no runtime", e))?;
    runtime.block_on(async {
        let mut interrupt = on(SignalKind::interrupt())?;
        let mut terminate = on(SignalKind::terminate())?;
        let mut hangup = on(SignalKind::hangup())?;
        tokio::select! {
            biased;
            _ = interrupt.recv() => Err(Failure::Interrupted),
            _ = terminate.recv() => Err(Failure::Interrupted),
            _ = hangup.recv() => Err(Failure::Interrupted),
            ended = command => ended,
        }
    })
}

fn on(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|e| Failure::broken("signals cannot be watched", e))
}
