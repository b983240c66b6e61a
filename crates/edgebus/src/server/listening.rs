//! Where clients come in: listeners, and what makes a connection of whoever knocks.
//!
//! Invariants: a server listens on all it was told to, or on nothing. One client that is slow to
//! come in holds up no other.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use edgebus_core::Refusal;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::config::{ServeError, ServerConfig};
use super::guest::{Guest, Peer};
use super::{Shared, handshake, places, say_goodbye, serve};
use crate::access::Identity;
use crate::files::socket::{self, SocketName};
use crate::transport::{ByteStream, Reader, ServerUrl, Writer, over_stream, over_tcp, over_unix};

/// Clients of a Unix socket that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// Connections that were accepted and wait for a task.
const ACCEPTED: usize = 16;
/// How long to wait when none can be accepted: for descriptors, say.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// How often it is said that none can be accepted.
const TELL_AGAIN: Duration = Duration::from_secs(10);

/// All that a server listens on.
#[derive(Debug)]
pub(super) struct Listeners(Vec<Listener>);

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Tls(TcpListener),
    Unix {
        listener: UnixListener,
        url: ServerUrl,
        /// Removed with the listener.
        _name: SocketName,
    },
}

/// Somebody who knocked.
pub(super) struct Arrived {
    socket: Socket,
    peer: Peer,
}

enum Socket {
    Tcp(TcpStream),
    Tls(TcpStream),
    Unix(UnixStream),
    /// What the process itself connected.
    Stream(Box<dyn ByteStream>),
}

/// A connection, and who is at its other end.
pub(super) type Entered = (Reader, Writer, Guest);

impl Listeners {
    /// Listens on every address.
    ///
    /// # Errors
    /// [`ServeError`]; nothing is left listening.
    pub(super) async fn bind(config: &ServerConfig) -> Result<Self, ServeError> {
        let mut listeners = Vec::new();
        for url in &config.listen {
            let plain = !url.is_loopback() && !url.is_encrypted();
            if plain && !config.insecure {
                return Err(ServeError::Insecure(url.clone()));
            }
            if url.is_encrypted() && config.tls.is_none() {
                return Err(ServeError::NoCertificate(url.clone()));
            }
        }
        for url in &config.listen {
            listeners.push(Listener::bind(url, config).await?);
        }
        Ok(Self(listeners))
    }

    /// The addresses that are listened on.
    pub(super) fn urls(&self) -> Vec<ServerUrl> {
        self.0.iter().filter_map(Listener::url).collect()
    }

    /// Accepts on all of them for as long as the set lives.
    pub(super) fn accept(self, acceptors: &mut JoinSet<()>) -> mpsc::Receiver<Arrived> {
        let (accepted, arrivals) = mpsc::channel(ACCEPTED);
        for listener in self.0 {
            acceptors.spawn(accept(listener, accepted.clone()));
        }
        arrivals
    }
}

impl Listener {
    async fn bind(url: &ServerUrl, config: &ServerConfig) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Listen {
            url: url.clone(),
            source,
        };
        match url {
            ServerUrl::Tcp { .. } | ServerUrl::Tls { .. } => {
                let bound = TcpListener::bind(url.authority()).await;
                let listener = bound.map_err(failed)?;
                Ok(match url.is_encrypted() {
                    true => Self::Tls(listener),
                    false => Self::Tcp(listener),
                })
            }
            ServerUrl::Unix { path } => {
                let bound = socket::listen(path, config.unix_mode, BACKLOG);
                let (listener, name) = bound.map_err(failed)?;
                let listener = UnixListener::from_std(listener).map_err(failed)?;
                Ok(Self::Unix {
                    listener,
                    url: url.clone(),
                    _name: name,
                })
            }
        }
    }

    fn url(&self) -> Option<ServerUrl> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok().map(ServerUrl::of),
            Self::Tls(listener) => listener.local_addr().ok().map(ServerUrl::of_tls),
            Self::Unix { url, .. } => Some(url.clone()),
        }
    }

    async fn next(&self) -> std::io::Result<Arrived> {
        let (socket, peer) = match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                (Socket::Tcp(stream), Peer::Remote(address))
            }
            Self::Tls(listener) => {
                let (stream, address) = listener.accept().await?;
                (Socket::Tls(stream), Peer::Remote(address))
            }
            Self::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred()?.uid();
                (Socket::Unix(stream), Peer::Unix { uid })
            }
        };
        Ok(Arrived { socket, peer })
    }
}

/// Accepts for as long as the process lives. Errors of single connections pass; running out of
/// descriptors is waited out.
async fn accept(listener: Listener, accepted: mpsc::Sender<Arrived>) {
    let mut told: Option<Instant> = None;
    loop {
        match listener.next().await {
            Ok(arrived) => {
                if accepted.send(arrived).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // It may go on for long, and the disk that the log fills is that of the store.
                if told.is_none_or(|told| told.elapsed() >= TELL_AGAIN) {
                    told = Some(Instant::now());
                    tracing::warn!(%error, "cannot accept connections");
                }
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// Lets somebody in and serves them to the end, or turns them away.
pub(super) async fn welcome(shared: Arc<Shared>, arrived: Arrived) {
    shared.counters.accept();
    let peer = arrived.peer;
    match shared.places.take(peer.origin()) {
        Ok(mut seat) => {
            let until = shared.handshake_until(seat.since());
            let entered = tokio::select! {
                biased;
                entered = arrived.enter(&shared, until) => entered,
                () = seat.pushed_out() => Err(Some(places::pushed_out())),
                () = shared.stopped() => Err(None),
            };
            match entered {
                Ok((reader, writer, guest)) => serve(&shared, reader, writer, guest, seat).await,
                Err(Some(refusal)) => {
                    shared.counters.cut(&refusal);
                    shared.counters.fail_handshake();
                    shared.log_refused(&peer, None, &refusal);
                }
                Err(None) => {}
            }
        }
        Err((full, refusal)) => {
            shared.counters.turn_away(full);
            shared.log_refused(&peer, None, &refusal);
            // Beyond that many they find out by themselves: telling them takes room as well.
            if let Ok(_turn) = shared.turned_away.try_acquire()
                && let until = shared.handshake_until(Instant::now())
                && let Ok((mut reader, writer, _)) = (tokio::select! {
                    biased;
                    entered = arrived.enter(&shared, until) => entered,
                    () = shared.stopped() => Err(None),
                })
            {
                say_goodbye(&mut reader, writer, refusal).await;
            }
        }
    }
}

impl Arrived {
    /// Over a stream that the process itself has, from an address.
    pub(super) fn over(stream: Box<dyn ByteStream>, from: SocketAddr) -> Self {
        Self {
            socket: Socket::Stream(stream),
            peer: Peer::Remote(from),
        }
    }

    /// Makes a connection of it and finds out who it is, until some time.
    ///
    /// # Errors
    /// Why it is not let in, which it was told; nothing when it is gone.
    async fn enter(self, shared: &Shared, until: Instant) -> Result<Entered, Option<Refusal>> {
        let frame_bytes_max = shared.config.limits.frame_bytes_max;
        let ((reader, writer), identity) = match self.socket {
            Socket::Tcp(stream) => {
                let halves = over_tcp(stream, frame_bytes_max).map_err(|_| None)?;
                (halves, Identity::anonymous())
            }
            Socket::Tls(stream) => return handshake::enter(shared, stream, self.peer, until).await,
            Socket::Unix(stream) => {
                let identity = match self.peer {
                    Peer::Unix { uid } => Identity::unix(uid),
                    _ => Identity::anonymous(),
                };
                (over_unix(stream, frame_bytes_max), identity)
            }
            Socket::Stream(stream) => (over_stream(stream, frame_bytes_max), Identity::anonymous()),
        };
        Ok((reader, writer, Guest::new(self.peer, identity)))
    }
}

impl fmt::Debug for Arrived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Arrived({})", self.peer)
    }
}
