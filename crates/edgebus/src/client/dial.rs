//! The way to a server, and back to one that went away.

use std::sync::Arc;
use std::time::Duration;

use edgebus_core::{Code, Refusal};
use tokio::time::Instant;

use super::config::{ClientConfig, ConnectError};
use super::connection::{Attached, Connected};
use super::link::Shared;
use super::reach;
use super::token::token;
use crate::host;
use crate::transport::ServerUrl;

/// How often what waits for a server is looked at while there is none.
const LOOK_MAX: Duration = Duration::from_millis(250);
const LOOK_MIN: Duration = Duration::from_millis(5);
/// A year is as good as never, and can be added to any time.
const BEAT_MIN: Duration = Duration::from_millis(10);
const BEAT_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The servers of a client, in the order in which they are tried.
#[derive(Clone, Debug)]
pub(super) struct Dialer {
    servers: Vec<ServerUrl>,
    pub(super) config: ClientConfig,
    /// No refusal is final.
    for_ever: bool,
}

impl Dialer {
    pub(super) fn new(servers: Vec<ServerUrl>, config: ClientConfig) -> Self {
        Self {
            servers,
            config,
            for_ever: false,
        }
    }

    /// Goes on asking servers that said no for good: they may be replaced, and what waits for
    /// them is on a disk.
    pub(super) fn for_ever(mut self) -> Self {
        self.for_ever = true;
        self
    }

    /// Connects to the first server that is there.
    ///
    /// # Errors
    /// [`ConnectError`]: none is. A refusal only when none of the others can be reached either.
    pub(super) async fn connect(&self) -> Result<Connected, ConnectError> {
        let mut failed: Option<ConnectError> = None;
        for server in &self.servers {
            match self.connect_to(server).await {
                Ok(connected) => return Ok(connected),
                Err(error) => failed = Some(join(failed, error)),
            }
        }
        Err(failed.unwrap_or_else(|| {
            let none = "name at least one server";
            ConnectError::Refused(Refusal::new(Code::BadConfig, none))
        }))
    }

    async fn connect_to(&self, server: &ServerUrl) -> Result<Connected, ConnectError> {
        let connect = async {
            let (reader, writer) = reach::reach(server, &self.config).await?;
            let token = token(&self.config).await.map_err(ConnectError::Refused)?;
            let name = &self.config.name;
            let opened = Connected::open(server.to_string(), reader, writer, name, token);
            opened
                .await
                .map_err(|refusal| reach::failed(server, refusal))
        };
        let timeout = self.config.connect_timeout;
        let connected = tokio::time::timeout(timeout, connect).await;
        connected.unwrap_or_else(|_| {
            let seconds = timeout.as_secs_f32();
            Err(reach::unreachable(
                server,
                format!("no answer within {seconds} s"),
            ))
        })
    }
}

/// What two servers said comes to: a server that may be there later counts for more than one that
/// never will.
fn join(first: Option<ConnectError>, next: ConnectError) -> ConnectError {
    match (first, next) {
        (
            Some(ConnectError::Unreachable { url, reason }),
            ConnectError::Unreachable {
                url: other,
                reason: why,
            },
        ) => ConnectError::Unreachable {
            url: format!("{url}, {other}"),
            reason: format!("{reason}; {why}"),
        },
        (Some(first), next) if next.is_final() => first,
        (_, next) => next,
    }
}

/// Keeps a client connected until it is closed.
pub(super) async fn keep_connected(
    mut attached: Option<Attached>,
    shared: Arc<Shared>,
    dialer: Dialer,
) {
    let mut backoff = Backoff::default();
    let heartbeat = dialer.config.heartbeat.clamp(BEAT_MIN, BEAT_MAX);
    loop {
        let found = match attached.take() {
            Some(attached) => attached,
            None => match find(&shared, &dialer, &mut backoff).await {
                Some(connected) => connected.attach(&shared),
                None => return,
            },
        };
        let since = Instant::now();
        let reason = found.carry(&shared, heartbeat).await;
        if shared.is_closed() {
            return;
        }
        if !dialer.config.reconnect || dialer.servers.is_empty() {
            return shared.close(&reason);
        }
        shared.lost(&reason);
        backoff.ended(since.elapsed(), shared.take_answered());
    }
}

/// Looks for a server for as long as it takes; `None` when there will be no connection any more.
async fn find(shared: &Shared, dialer: &Dialer, backoff: &mut Backoff) -> Option<Connected> {
    let search = async {
        let mut after = None;
        loop {
            backoff.wait(after.take()).await;
            match dialer.connect().await {
                Ok(connected) => return Ok(connected),
                Err(error) if error.is_final_after_all() && !dialer.for_ever => {
                    return Err(error);
                }
                Err(ConnectError::Refused(refusal)) => {
                    shared.not_let_in(&refusal);
                    after = refusal.retry_after_ms.map(Duration::from_millis);
                }
                Err(_) => {}
            }
        }
    };
    let look = dialer.config.give_up_after.unwrap_or(LOOK_MAX) / 8;
    let give_up = async {
        loop {
            // At once as well: where connections come and go, a search may never last that long.
            shared.give_up();
            tokio::time::sleep(look.clamp(LOOK_MIN, LOOK_MAX)).await;
        }
    };
    tokio::select! {
        biased;
        () = shared.closing.notified() => None,
        found = search => match found {
            Ok(connected) => Some(connected),
            Err(ConnectError::Refused(refusal)) => {
                shared.close(&refusal);
                None
            }
            Err(_) => None,
        },
        () = give_up => None,
    }
}

/// How long to wait between tries: longer each time up to a limit, and never the same for two
/// clients that were cut off together.
#[derive(Clone, Copy, Debug)]
struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: Self::FIRST }
    }
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(25);
    /// A server that comes back keeps a worker's leases for 5 s: it must be found before.
    const LONGEST: Duration = Duration::from_secs(2);
    /// A connection that lasted so long was a good one, as is one over which something was answered:
    /// after those the next search begins anew. So a network that carries little at a time costs
    /// little more than that.
    const LASTING: Duration = Duration::from_secs(10);

    /// A connection was lost after so long, and something was answered on it or not.
    fn ended(&mut self, lasted: Duration, answered: bool) {
        if answered || lasted >= Self::LASTING {
            self.next = Self::FIRST;
        }
    }

    /// Waits for the next try, and at least as long as a server has said.
    async fn wait(&mut self, at_least: Option<Duration>) {
        let wait = self.next;
        self.next = (wait * 2).min(Self::LONGEST);
        let chance = host::random_bits() % 256;
        let wait = wait * (256 + chance as u32) / 512;
        tokio::time::sleep(wait.max(at_least.unwrap_or_default())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_grow_up_to_a_limit_and_begin_anew_after_a_good_connection() {
        let mut backoff = Backoff::default();
        let mut waits = Vec::new();
        for _ in 0..12 {
            let before = Instant::now();
            backoff.wait(None).await;
            waits.push(before.elapsed());
        }
        assert!(waits[0] <= Backoff::FIRST);
        assert!(waits[11] >= Backoff::LONGEST / 2 && waits[11] <= Backoff::LONGEST);
        backoff.ended(Backoff::LASTING / 2, false);
        assert!(backoff.next > Backoff::FIRST, "a short one changes nothing");
        backoff.ended(Backoff::LASTING, false);
        assert_eq!(backoff.next, Backoff::FIRST);
        backoff.wait(None).await;
        backoff.ended(Duration::from_millis(1), true);
        assert_eq!(backoff.next, Backoff::FIRST, "it was of use");
        let before = Instant::now();
        backoff.wait(Some(Duration::from_secs(7))).await;
        assert!(before.elapsed() >= Duration::from_secs(7));
    }
}
