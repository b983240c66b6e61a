//! Finds the way back to a server that went away.
//!
//! Invariant: whoever waits is told once that the connection is gone, and once that it is back.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use edgebus::{Client, ClientConfig, ConnectError, Refusal};

use crate::args::Global;
use crate::error::CliError;
use crate::output::say;
use crate::remote;

/// How long to wait between tries: longer each time up to a limit, and never the same for two
/// that were cut off together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    next: Duration,
    connected_at: Option<Instant>,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    /// A server that comes back keeps a worker's leases for 5 s: it must be found before.
    const LONGEST: Duration = Duration::from_secs(2);
    /// A connection that lasted so long was a good one.
    const LASTING: Duration = Duration::from_secs(10);

    pub(crate) fn new() -> Self {
        Self {
            next: Self::FIRST,
            connected_at: None,
        }
    }

    /// It worked; if that lasts, the next search begins anew.
    pub(crate) fn connected(&mut self) {
        self.connected_at = Some(Instant::now());
    }

    /// Waits for the next try.
    pub(crate) async fn wait(&mut self) {
        let lasted = self.connected_at.take().map(|at| at.elapsed());
        if lasted.is_some_and(|lasted| lasted >= Self::LASTING) {
            self.next = Self::FIRST;
        }
        let wait = self.next;
        self.next = (wait * 2).min(Self::LONGEST);
        // A hasher of std is seeded by chance.
        let chance = RandomState::new().build_hasher().finish() % 256;
        tokio::time::sleep(wait * (256 + chance as u32) / 512).await;
    }
}

/// Whether the same may work over another connection, or with another run of the server.
pub(crate) fn may_come_back(refusal: &Refusal) -> bool {
    refusal.code.is_retryable()
}

/// Connects, however long it takes.
///
/// # Errors
/// When a server is there and will never talk to us.
pub(crate) async fn connect_again(
    global: &Global,
    config: &ClientConfig,
    backoff: &mut Backoff,
) -> Result<Client, CliError> {
    loop {
        backoff.wait().await;
        match remote::try_connect(global, config.clone()).await {
            Ok(client) => return Ok(client),
            Err(ConnectError::Refused(refusal)) if !may_come_back(&refusal) => {
                return Err(ConnectError::Refused(refusal).into());
            }
            Err(_) => {}
        }
    }
}

/// Says that the connection is gone.
pub(crate) fn say_lost(refusal: Option<&Refusal>) {
    let why = refusal.map_or("the connection was closed", |refusal| &refusal.message);
    say!("edgebus: the server went away ({why}); trying to connect again");
}

/// Says that the connection is back.
pub(crate) fn say_back(what: &str) {
    say!("edgebus: connected again; {what}");
}
