//! The server: listens, and carries each connection's frames to the bus and back.
//!
//! In reading order: [`config`] how it is set up; [`Server`] accepts; [`guest`] who came, [`guard`] who may;
//! [`connection`] reads one client's frames and acts on
//! them; [`streams`] carries messages and notifications to it; [`reply`] writes what comes back;
//! [`answers`] keeps replies that are waited for; [`queries`] and [`operators`] answer questions;
//! [`clients`] knows who is connected; [`memory`] connects clients of the same process;
//! [`descriptors`] sees to it that connections leave the store its files.
//!
//! Invariants: a connection has one lane of its own, so its backlog is nobody else's latency; a
//! client that says nothing within the handshake time is cut; what was accepted is answered, also
//! while shutting down. A client that does not read holds no more memory than its bounds allow,
//! and is cut in the end; its workers may come back for their leases, unless it closed them.

mod answers;
mod clients;
mod config;
mod connection;
mod descriptors;
mod guard;
mod guest;
mod memory;
mod operators;
mod queries;
mod reply;
mod streams;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use edgebus_core::query::Stats;
use edgebus_core::session::ServerLimits;
use edgebus_core::wire::{Frame, TAG_CONNECTION};
use edgebus_core::{Code, Refusal};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::access::Identity;
use crate::bus::MessageBus;
use crate::transport::{Reader, ServerUrl, Writer, over_tcp};
use config::BESIDE_PAYLOAD_BYTES;
pub use config::{Limits, ServeError, ServerConfig};
use guest::{Guest, Peer};

/// Clients that may be told at the same time that there is no place for them.
const TURNED_AWAY_MAX: usize = 64;
/// How long a client that was told goodbye may take to hang up.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    listeners: Vec<TcpListener>,
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) bus: MessageBus,
    pub(crate) config: ServerConfig,
    pub(crate) counters: Counters,
    clients: clients::Clients,
    turned_away: Semaphore,
    stopping: watch::Sender<bool>,
    started: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    open: AtomicU64,
    accepted: AtomicU64,
    cut: AtomicU64,
    /// Requests that were refused before the bus saw them.
    refused: AtomicU64,
}

impl Server {
    /// Binds every address. Clients can connect from here on and are served once
    /// [`Server::run`] is called.
    ///
    /// # Errors
    /// [`ServeError`]; nothing is left listening.
    pub async fn bind(bus: MessageBus, mut config: ServerConfig) -> Result<Self, ServeError> {
        let mut listeners = Vec::new();
        for url in &config.listen {
            if !url.is_loopback() && !config.insecure {
                return Err(ServeError::Insecure(url.clone()));
            }
            let bound = TcpListener::bind(url.authority()).await;
            listeners.push(bound.map_err(|source| ServeError::Listen {
                url: url.clone(),
                source,
            })?);
        }
        config.limits.connections_max = descriptors::make_room_for(config.limits.connections_max);
        Ok(Self {
            shared: Shared::new(bus, config),
            listeners,
        })
    }

    /// The addresses that are listened on.
    pub fn urls(&self) -> Vec<ServerUrl> {
        let address = |listener: &TcpListener| listener.local_addr().ok().map(ServerUrl::of);
        self.listeners.iter().filter_map(address).collect()
    }

    /// Figures and handle for other services of the same process.
    pub fn handle(&self) -> ServerHandle {
        ServerHandle {
            shared: self.shared.clone(),
        }
    }

    /// Serves until `stop` is done. Then: takes no new connection and no new request, answers
    /// what was accepted, and returns. The bus goes on; shut it down next.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let mut connections = JoinSet::new();
        let mut acceptors = JoinSet::new();
        let (accepted, mut streams) = tokio::sync::mpsc::channel(16);
        for listener in self.listeners {
            acceptors.spawn(accept(listener, accepted.clone()));
        }
        drop(accepted);
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some((stream, peer)) = streams.recv() => {
                    connections.spawn(welcome(self.shared.clone(), stream, peer));
                }
                Some(_) = connections.join_next() => {}
            }
        }
        acceptors.shutdown().await;
        self.shared.stopping.send_replace(true);
        while connections.join_next().await.is_some() {}
    }
}

/// Accepts for as long as the process lives. Errors of single connections pass; running out of
/// descriptors is waited out.
async fn accept(
    listener: TcpListener,
    accepted: tokio::sync::mpsc::Sender<(TcpStream, SocketAddr)>,
) {
    loop {
        match listener.accept().await {
            Ok(stream) => {
                if accepted.send(stream).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn welcome(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    let Ok((mut reader, writer)) = over_tcp(stream, shared.config.limits.frame_bytes_max) else {
        return;
    };
    shared.counters.accepted.fetch_add(1, Ordering::Relaxed);
    let Some(_place) = shared.take_place() else {
        shared.counters.cut.fetch_add(1, Ordering::Relaxed);
        // Beyond that many they find out by themselves: telling them takes room as well.
        if let Ok(_turn) = shared.turned_away.try_acquire() {
            let max = shared.config.limits.connections_max;
            let message =
                format!("the server has {max} connections, as many as it takes: try again");
            let refusal = Refusal::new(Code::TooManyConnections, message).retry_after_ms(1000);
            say_goodbye(&mut reader, writer, refusal).await;
        }
        return;
    };
    let guest = Guest::new(Peer::Remote(peer), Identity::anonymous());
    serve(&shared, reader, writer, guest).await;
}

async fn serve(shared: &Arc<Shared>, reader: Reader, writer: Writer, guest: Guest) {
    let peer = guest.peer;
    if let Err(refusal) = connection::run(shared.clone(), reader, writer, guest).await {
        shared.counters.cut.fetch_add(1, Ordering::Relaxed);
        tracing::info!(%peer, code = %refusal.code, "connection ended: {}", refusal.message);
    }
}

/// Tells a client why the connection ends, and lets it read that.
async fn say_goodbye(reader: &mut Reader, mut writer: Writer, refusal: Refusal) {
    let last = Frame::Error {
        tag: TAG_CONNECTION,
        refusal,
    };
    let said = async {
        if writer.write(vec![last]).await.is_ok() {
            writer.close().await;
            drop(writer);
            reader.discard().await;
        }
    };
    // The connection ends either way.
    let _ = tokio::time::timeout(GOODBYE_TIMEOUT, said).await;
}

/// A place among the connections; free again when the connection ends, however it does.
struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.counters.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    fn new(bus: MessageBus, mut config: ServerConfig) -> Arc<Self> {
        config.limits.frame_bytes_max = config
            .limits
            .frame_bytes_max
            .max(ServerConfig::FRAME_BYTES_MIN);
        Arc::new(Self {
            bus,
            config,
            counters: Counters::default(),
            clients: clients::Clients::default(),
            turned_away: Semaphore::new(TURNED_AWAY_MAX),
            stopping: watch::Sender::new(false),
            started: Instant::now(),
        })
    }

    fn take_place(self: &Arc<Self>) -> Option<Place> {
        let max = self.config.limits.connections_max as u64;
        let one_more = |open| (open < max).then_some(open + 1);
        let open = &self.counters.open;
        open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .is_ok()
            .then(|| Place(self.clone()))
    }

    fn limits(&self) -> ServerLimits {
        let frame_bytes_max = self.config.limits.frame_bytes_max;
        let mut record = self.bus.record_limits();
        record.payload_bytes_max = record
            .payload_bytes_max
            .min(frame_bytes_max - BESIDE_PAYLOAD_BYTES);
        ServerLimits {
            frame_bytes_max,
            record,
            streams_max: self.config.limits.consumers_max + self.config.limits.subscriptions_max,
        }
    }

    fn count_refused(&self, requests: usize) {
        let refused = &self.counters.refused;
        refused.fetch_add(requests as u64, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let of_bus = self.bus.stats();
        Stats {
            refused: of_bus.refused + get(&self.counters.refused),
            uptime_ms: self.started.elapsed().as_millis() as u64,
            connections: get(&self.counters.open),
            connections_accepted: get(&self.counters.accepted),
            connections_cut: get(&self.counters.cut),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..of_bus
        }
    }
}

/// A server seen from elsewhere in the same process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ServerHandle {
    shared: Arc<Shared>,
}

impl ServerHandle {
    /// The server's figures.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }
}
