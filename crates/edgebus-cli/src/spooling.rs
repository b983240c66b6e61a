//! The way to a server past a spool on this machine's disk.
//!
//! Invariants: a server that is not there costs a command about a second, and a folder that another
//! command has a few. A command that ends leaves no write to the spool half done.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use edgebus::{
    Client, ClientConfig, Code, ConnectError, ConnectionState, Refusal, ServerUrl, SpoolingClient,
};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::args::Global;
use crate::error::CliError;
use crate::output::{self, say};
use crate::remote::{self, CLIENT_NAME};

/// How long a command looks for a server before it goes on without one.
pub(crate) const SERVER_WITHIN: Duration = Duration::from_secs(1);
/// How long a command waits for another one that has the folder.
pub(crate) const FOLDER_WITHIN: Duration = Duration::from_secs(5);
/// How often to look whether anything is forwarded.
pub(crate) const LOOK: Duration = Duration::from_millis(100);
/// A server that took nothing for so long may take nothing for long.
const STILL: Duration = Duration::from_secs(1);
/// How long the last word to the server and to the spool may take.
const END_WITHIN: Duration = Duration::from_secs(1);

/// Which spool, and how large it may become.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    pub(crate) dir: PathBuf,
    /// `None`: as the library says.
    pub(crate) bytes_max: Option<u64>,
}

/// Opens a spool, and connects to the server if it is there.
pub(crate) async fn connect(
    folder: &Folder,
    server_within: Duration,
    config: ClientConfig,
    global: &Global,
) -> Result<SpoolingClient, CliError> {
    let server = global.server.clone().unwrap_or_default();
    remote::warn_of_proof_without_tls(&server, &global.proof);
    let url = server.to_string();
    let mut builder = Client::builder(&url)
        .config(remote::with_proof(config.name(CLIENT_NAME), &global.proof)?)
        .spool(&folder.dir)
        .server_within(server_within)
        .folder_within(FOLDER_WITHIN);
    if let Some(bytes) = folder.bytes_max {
        builder = builder.bytes_max(bytes);
    }
    let client = builder.connect().await.map_err(|error| match error {
        ConnectError::Spool(refusal) if refusal.code == Code::DataInUse => in_use(&folder.dir),
        other => other.into(),
    })?;
    if let Some(torn) = client.torn_tail() {
        say!("edgebus: {}", output::torn_tail(torn));
    }
    Ok(client)
}

/// Another command or program has a spool.
pub(crate) fn in_use(dir: &Path) -> CliError {
    let message = format!(
        "spool {} is in use: a client has it; end that one first (`spool ls` works meanwhile)",
        dir.display()
    );
    Refusal::new(Code::DataInUse, message).into()
}

/// Whether a server is there.
pub(crate) fn is_connected(client: &SpoolingClient) -> bool {
    matches!(client.client().state(), ConnectionState::Connected { .. })
}

/// Why requests go to the spool for now: there is no server, or the one that is there says no.
pub(crate) fn why_away(client: &SpoolingClient, url: &ServerUrl) -> String {
    match client.client().state() {
        ConnectionState::Lost { reason } if reason.code != Code::Disconnected => {
            let Refusal { code, message, .. } = reason;
            format!("the server at {url} does not let this client in: {message} ({code})")
        }
        _ => format!("there is no server at {url}"),
    }
}

/// Waits while the server takes what is in the spool: until that is empty, nothing moves, or the
/// time is over.
pub(crate) async fn forward(client: &SpoolingClient, until: Instant) {
    let mut flushed = pin!(client.flush());
    let mut waiting = client.waiting();
    let mut moved = Instant::now();
    while is_connected(client) && waiting > 0 && Instant::now() < until {
        if tokio::time::timeout(LOOK, &mut flushed).await.is_ok() {
            return;
        }
        let left = client.waiting();
        if left != waiting {
            (waiting, moved) = (left, Instant::now());
        } else if moved.elapsed() >= STILL {
            return;
        }
    }
}

/// Lets a client finish what it is writing.
pub(crate) async fn end(client: SpoolingClient) {
    // What is on its way to the server and not answered stays in the spool.
    let _ = tokio::time::timeout(END_WITHIN, client.drain()).await;
}

/// Ends a runtime though a name may still be looked up on it, which can take long without a
/// network.
pub(crate) fn end_runtime(runtime: Runtime) {
    runtime.shutdown_timeout(Duration::from_millis(10));
}

/// Says what a server has refused for good since there were so many.
pub(crate) fn say_dead(dead: u64, before: u64, dir: &Path) {
    if dead > before {
        say!("edgebus: {}", dead_text(dead, before, dir));
    }
}

/// What to tell about dead letters in a spool.
pub(crate) fn dead_text(dead: u64, before: u64, dir: &Path) -> String {
    let new = dead.saturating_sub(before);
    let all = match before {
        0 => String::new(),
        _ => format!(" ({dead} with those from before)"),
    };
    format!(
        "{} refused for good{all}: see `edgebus spool ls --dead --spool {}`",
        were(new),
        dir.display()
    )
}

fn were(count: u64) -> String {
    match count {
        1 => "1 request was".to_owned(),
        _ => format!("{count} requests were"),
    }
}

/// `1 request waits`, `2 requests wait`.
pub(crate) fn wait_text(count: u64) -> String {
    match count {
        1 => "1 request waits".to_owned(),
        _ => format!("{count} requests wait"),
    }
}
