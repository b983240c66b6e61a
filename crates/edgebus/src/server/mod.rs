//! The server: listens, and carries each connection's frames to the bus and back.
//!
//! In reading order: [`config`] how it is set up; [`Server`] runs it; [`listening`] where clients
//! come in, with [`handshake`] where that is by TLS; [`guest`] who came, [`guard`] who may, read
//! again by [`reload`]; [`connection`] reads one client's frames and acts on them, for an
//! [`asker`] as far as [`mod@authorize`] and [`permits`] let it; [`streams`] carries messages and
//! notifications to it; [`reply`] writes what comes back, [`outgoing`] what memory there is for it;
//! [`answers`] keeps replies that are waited for; [`queries`] and [`operators`] answer questions, with
//! [`backups`] for a copy of the store;
//! [`clients`] knows who is connected, [`places`] how many may be; [`memory`] connects clients of
//! the same process; [`descriptors`] sees to it that connections leave the store its files;
//! [`counters`] and [`log_budget`] tell operators what was refused.
//!
//! Invariants: a connection has one lane of its own, so its backlog is nobody else's latency; a
//! client that says nothing within the handshake time is cut; what was accepted is answered, also
//! while shutting down. A client that does not read holds no more memory than its bounds allow,
//! and is cut in the end; its workers may come back for their leases, unless it closed them.

mod answers;
mod asker;
mod authorize;
mod backups;
mod clients;
mod config;
mod connection;
mod counters;
mod descriptors;
mod guard;
mod guest;
mod handshake;
mod listening;
mod log_budget;
mod memory;
mod operators;
mod outgoing;
mod permits;
mod places;
mod queries;
mod reload;
mod reply;
mod streams;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use edgebus_core::Refusal;
use edgebus_core::query::Stats;
use edgebus_core::session::ServerLimits;
use edgebus_core::wire::{Frame, TAG_CONNECTION};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::access::Identity;
use crate::bus::{MessageBus, Pool};
use crate::flag::Flag;
use crate::transport::{ByteStream, Inbox, Reader, Receive, ServerUrl, Writer};
use asker::Asker;
use config::BESIDE_PAYLOAD_BYTES;
pub use config::{Limits, ServeError, ServerConfig};
use counters::Counters;
use guard::Guard;
use guest::{Guest, Peer};
use listening::{Arrived, Listeners};
use log_budget::LogBudget;
use outgoing::Outgoing;
use places::{Origin, Places, Seat};

/// Clients that may be told at the same time that there is no place for them.
const TURNED_AWAY_MAX: usize = 64;
/// Largest first frame: a Hello needs no more.
const FIRST_FRAME_BYTES_MAX: usize = 8 * 1024;
/// Which part of the bytes that may be undecided may be taken by frames that have not come whole,
/// beside them.
const RECEIVING_SHARE: usize = 4;
/// How long a client that was told goodbye may take to hang up.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    listeners: Listeners,
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) bus: MessageBus,
    pub(crate) config: ServerConfig,
    guard: Guard,
    pub(crate) counters: Counters,
    /// For lines about what was refused.
    log: LogBudget,
    places: Arc<Places>,
    receive: Receive,
    /// Bytes of requests that may be undecided.
    undecided: Pool,
    outgoing: Outgoing,
    clients: clients::Clients,
    backups: backups::Backups,
    turned_away: Semaphore,
    stopping: Flag,
    started: Instant,
}

impl Server {
    /// Binds every address. Clients can connect from here on and are served once
    /// [`Server::run`] is called.
    ///
    /// # Errors
    /// [`ServeError`]; nothing is left listening.
    pub async fn bind(bus: MessageBus, mut config: ServerConfig) -> Result<Self, ServeError> {
        let (guard, read) = Guard::read(config).await?;
        config = read;
        let listeners = Listeners::bind(&config).await?;
        config.limits.connections_max = descriptors::make_room_for(config.limits.connections_max);
        Ok(Self {
            shared: Shared::new(bus, config, guard),
            listeners,
        })
    }

    /// The addresses that are listened on.
    pub fn urls(&self) -> Vec<ServerUrl> {
        self.listeners.urls()
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
        let mut arrivals = self.listeners.accept(&mut acceptors);
        if self.shared.guard.watches() {
            acceptors.spawn(reload::keep_looking(self.shared.clone()));
        }
        tokio::pin!(stop);
        let mut settle_log = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                _ = settle_log.tick() => self.shared.log.settle(),
                Some(_) = connections.join_next() => {}
                Some(arrived) = arrivals.recv() => {
                    connections.spawn(listening::welcome(self.shared.clone(), arrived));
                }
            }
        }
        acceptors.shutdown().await;
        drop(arrivals);
        self.shared.stopping.raise();
        while connections.join_next().await.is_some() {}
    }
}

async fn serve(
    shared: &Arc<Shared>,
    mut reader: Reader,
    writer: Writer,
    mut guest: Guest,
    mut seat: Seat,
) {
    reader.guard(&shared.receive);
    let served = connection::run(shared.clone(), reader, writer, &mut guest, &mut seat);
    if let Err(refusal) = served.await {
        shared.counters.cut(&refusal);
        shared.log_refused(&guest.peer, Some(&guest.identity), &refusal);
    }
}

/// What clients may have the server receive.
fn receive(limits: &Limits) -> Receive {
    let share = limits.in_flight_bytes_max / RECEIVING_SHARE;
    Receive {
        first_frame_bytes_max: FIRST_FRAME_BYTES_MAX,
        bytes_per_second_min: limits.frame_bytes_per_second_min,
        inbox: Inbox::new(share, limits.frame_bytes_max),
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

impl Shared {
    fn new(bus: MessageBus, mut config: ServerConfig, guard: Guard) -> Arc<Self> {
        config.limits.frame_bytes_max = config
            .limits
            .frame_bytes_max
            .max(ServerConfig::FRAME_BYTES_MIN);
        Arc::new(Self {
            bus,
            guard,
            counters: Counters::default(),
            log: LogBudget::default(),
            places: Arc::new(Places::new(&config.limits)),
            receive: receive(&config.limits),
            undecided: Pool::new(config.limits.in_flight_bytes_max),
            outgoing: Outgoing::new(config.limits.outgoing_bytes_max),
            config,
            clients: clients::Clients::default(),
            backups: backups::Backups::default(),
            turned_away: Semaphore::new(TURNED_AWAY_MAX),
            stopping: Flag::default(),
            started: Instant::now(),
        })
    }

    /// One line about a connection that was refused or cut, as long as there is room for it.
    fn log_refused(&self, peer: &dyn fmt::Display, identity: Option<&Identity>, refusal: &Refusal) {
        let Refusal { code, message, .. } = refusal;
        let identity = identity.map(tracing::field::display);
        self.log
            .line(|| tracing::info!(%peer, identity, %code, "connection ended: {message}"));
    }

    /// So many things were refused to somebody who has no right to them: counts them, and logs one
    /// line about the first.
    fn forbid(&self, asker: &Asker, count: usize, refusal: &Refusal) {
        self.counters.forbid(count);
        let (peer, message) = (&asker.peer, &refusal.message);
        self.log.line(|| match count {
            1 => tracing::info!(%peer, code = %refusal.code, "refused: {message}"),
            _ => tracing::info!(%peer, code = %refusal.code, count, "refused: {message}, and more"),
        });
    }

    /// Waits until the server stops.
    async fn stopped(&self) {
        self.stopping.raised().await;
    }

    /// Until when it must be known who somebody is that came at some time.
    fn handshake_until(&self, since: Instant) -> Instant {
        since + self.config.limits.handshake_timeout
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
            consumers_max: self.config.limits.consumers_max,
            subscriptions_max: self.config.limits.subscriptions_max,
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let (connections, connections_new) = self.places.figures();
        self.counters.add_to(Stats {
            uptime_ms: self.started.elapsed().as_millis() as u64,
            connections,
            connections_new,
            undecided_bytes: self.undecided.taken_bytes() as u64,
            outgoing_bytes: self.outgoing.bytes(),
            receiving_bytes: self.receive.inbox.held_bytes() as u64,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..self.bus.stats()
        })
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

    /// Serves a client over a stream of bytes that the caller has, to its end: one that was accepted
    /// elsewhere, or comes through a tunnel. It counts as a connection from that address, whoever is at its
    /// other end has not proven anything yet, and it ends with the server.
    pub async fn serve_stream(&self, stream: impl ByteStream, from: SocketAddr) {
        let arrived = Arrived::over(Box::new(stream), from);
        listening::welcome(self.shared.clone(), arrived).await;
    }
}
