//! The server: listens, and carries each connection's frames to the bus and back.
//!
//! In reading order: [`Server`] accepts; [`connection`] reads one client's frames and acts on
//! them; [`reply`] writes what comes back; [`queries`] answers questions about the log.
//!
//! Invariants: a connection has one lane of its own, so its backlog is nobody else's latency; a
//! client that says nothing within the handshake time is cut; what was accepted is answered, also
//! while shutting down.

mod connection;
mod queries;
mod reply;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use edgebus_core::query::Stats;
use edgebus_core::session::ServerLimits;
use edgebus_core::wire::{Frame, TAG_CONNECTION};
use edgebus_core::{Code, Refusal};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::bus::{LaneConfig, MessageBus};
use crate::client::{Client, ClientConfig, ConnectError};
use crate::transport::{Reader, ServerUrl, Writer, over_tcp, pair};

/// How a server is set up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerConfig {
    /// Where to listen.
    pub listen: Vec<ServerUrl>,
    /// Whether plain TCP may be reached from other machines.
    pub insecure: bool,
    /// Most connections; more are told [`Code::TooManyConnections`].
    pub connections_max: usize,
    /// How long a client may take until its first frame has come whole.
    pub handshake_timeout: Duration,
    /// Largest frame, in bytes, length field not counted.
    pub frame_bytes_max: usize,
    /// How much of one connection may be undecided.
    pub lane: LaneConfig,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: vec![ServerUrl::default()],
            insecure: false,
            connections_max: 1024,
            handshake_timeout: Duration::from_secs(5),
            frame_bytes_max: edgebus_core::wire::FRAME_BYTES_MAX,
            lane: LaneConfig::default(),
        }
    }
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Plain TCP would be open to other machines.
    #[error(
        "{0} can be reached from other machines without encryption: listen on 127.0.0.1, or set `insecure` if that is what you want"
    )]
    Insecure(ServerUrl),
    /// The address cannot be listened on.
    #[error("cannot listen on {url}: {source}")]
    Listen {
        /// The address.
        url: ServerUrl,
        /// What the operating system says.
        source: io::Error,
    },
}

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
    stopping: watch::Sender<bool>,
    started: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    open: AtomicU64,
    accepted: AtomicU64,
    cut: AtomicU64,
}

impl Server {
    /// Binds every address. Clients can connect from here on and are served once
    /// [`Server::run`] is called.
    ///
    /// # Errors
    /// [`ServeError`]; nothing is left listening.
    pub async fn bind(bus: MessageBus, config: ServerConfig) -> Result<Self, ServeError> {
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
        let shared = Shared {
            bus,
            config,
            counters: Counters::default(),
            stopping: watch::Sender::new(false),
            started: Instant::now(),
        };
        Ok(Self {
            shared: Arc::new(shared),
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
    let Ok((reader, mut writer)) = over_tcp(stream, shared.config.frame_bytes_max) else {
        return;
    };
    shared.counters.accepted.fetch_add(1, Ordering::Relaxed);
    let open = shared.counters.open.fetch_add(1, Ordering::Relaxed);
    if open >= shared.config.connections_max as u64 {
        shared.counters.cut.fetch_add(1, Ordering::Relaxed);
        let message = format!("the server has {open} connections, as many as it takes: try again");
        let refusal = Refusal::new(Code::TooManyConnections, message).retry_after_ms(1000);
        let goodbye = Frame::Error {
            tag: TAG_CONNECTION,
            refusal,
        };
        let said = writer.write(vec![goodbye]);
        let _ = tokio::time::timeout(Duration::from_secs(1), said).await;
        writer.close().await;
    } else {
        serve(&shared, reader, writer, &peer.to_string()).await;
    }
    shared.counters.open.fetch_sub(1, Ordering::Relaxed);
}

async fn serve(shared: &Arc<Shared>, reader: Reader, writer: Writer, peer: &str) {
    if let Err(refusal) = connection::run(shared.clone(), reader, writer).await {
        shared.counters.cut.fetch_add(1, Ordering::Relaxed);
        tracing::info!(peer, code = %refusal.code, "connection ended: {}", refusal.message);
    }
}

impl Shared {
    fn limits(&self) -> ServerLimits {
        ServerLimits {
            frame_bytes_max: self.config.frame_bytes_max,
            record: self.bus.record_limits(),
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            uptime_ms: self.started.elapsed().as_millis() as u64,
            connections: get(&self.counters.open),
            connections_accepted: get(&self.counters.accepted),
            connections_cut: get(&self.counters.cut),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..self.bus.stats()
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

impl MessageBus {
    /// A client of this bus within the same process: the same API and the same rules as over the
    /// network, without encoding frames.
    ///
    /// # Errors
    /// [`ConnectError`] when the bus is shutting down.
    pub async fn client(&self, config: ClientConfig) -> Result<Client, ConnectError> {
        let (server, client) = pair();
        let shared = Arc::new(Shared {
            bus: self.clone(),
            config: ServerConfig::default(),
            counters: Counters::default(),
            stopping: watch::Sender::new(false),
            started: Instant::now(),
        });
        tokio::spawn(async move { serve(&shared, server.0, server.1, "memory").await });
        Client::over(client.0, client.1, config).await
    }
}
