//! One connection: the handshake, and the two tasks that move its frames: one writes, one reads,
//! so that neither end ever waits for the other to read first.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use edgebus_core::access::AccessToken;
use edgebus_core::session::ClientEvent;
use edgebus_core::wire::control::Welcome;
use edgebus_core::{Code, Refusal};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::link::Shared;
use super::state::Session;
use crate::tls;
use crate::transport::{Reader, TransportError, Writer};

/// How long a server may take nothing of what was said before the client was dropped.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// How long answers may still come when nothing more can be sent.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Beats without a word after which the other end is taken for dead.
const SILENT_BEATS: u32 = 3;

/// A connection that a client has taken into use.
pub(super) struct Attached {
    reader: Reader,
    writer: Writer,
    connection: u64,
}

/// A connection that the server has welcomed.
pub(super) struct Connected {
    /// As it was named.
    pub(super) server: String,
    reader: Reader,
    writer: Writer,
    session: Session,
    welcome: Welcome,
}

impl Connected {
    /// Opens the conversation and waits for the server's welcome.
    pub(super) async fn open(
        server: String,
        mut reader: Reader,
        mut writer: Writer,
        name: &str,
        token: Option<AccessToken>,
    ) -> Result<Self, Refusal> {
        let software = concat!("edgebus-rust ", env!("CARGO_PKG_VERSION"));
        let (mut session, hello) = Session::open(name, software, token);
        let disconnected = |e: io::Error| Refusal::new(Code::Disconnected, e.to_string());
        // A server that is full says so and closes: then there is something to read all the same.
        let written = writer.write(vec![hello]).await;
        let mut frames = Vec::new();
        let mut welcome = None;
        while welcome.is_none() {
            let came = reader.read(&mut frames).await;
            if !came.map_err(no_server)? {
                written.map_err(disconnected)?;
                return Err(Refusal::new(
                    Code::Disconnected,
                    "the server closed the connection",
                ));
            }
            for frame in frames.drain(..) {
                session.on_frame(frame, |event| {
                    if let ClientEvent::Opened(opened) = event {
                        welcome = Some(opened);
                    }
                })?;
            }
        }
        let welcome = welcome.unwrap_or_default();
        // One request of the log has to fit, however large the server lets them be.
        let frame_bytes_max = usize::try_from(welcome.frame_bytes_max).unwrap_or(usize::MAX);
        reader.allow_frame_bytes(frame_bytes_max);
        Ok(Self {
            server,
            reader,
            writer,
            session,
            welcome,
        })
    }

    /// Takes it into use: what is said from here on goes over it.
    pub(super) fn attach(self, shared: &Shared) -> Attached {
        Attached {
            connection: shared.resume(&self.server, self.session, &self.welcome),
            reader: self.reader,
            writer: self.writer,
        }
    }
}

impl Attached {
    /// Carries what is said until the connection is lost, or nothing more is to be said; why.
    pub(super) async fn carry(self, shared: &Arc<Shared>, heartbeat: Duration) -> Refusal {
        let crawled = self.writer.crawled();
        let writing = write_all(self.writer, shared.clone(), self.connection);
        let mut writing = Task(tokio::spawn(writing));
        let watch = Watch {
            heartbeat,
            crawled,
            moved: (0, 0),
        };
        let mut reading = pin!(read_all(self.reader, shared, self.connection, watch));
        tokio::select! {
            biased;
            refusal = &mut reading => refusal,
            written = &mut writing.0 => match written {
                Ok(Err(error)) => {
                    // What left before may still be answered.
                    let last = tokio::time::timeout(LAST_WORDS, reading).await;
                    last.unwrap_or_else(|_| Refusal::new(Code::Disconnected, error.to_string()))
                }
                _ => closed(),
            },
            () = shared.closing.notified() => {
                // Nobody is left to wait for more than that.
                let _ = tokio::time::timeout(FLUSH_TIMEOUT, &mut writing.0).await;
                closed()
            }
        }
    }
}

/// What it means that the first frame of a server cannot be read.
fn no_server(error: TransportError) -> Refusal {
    let answered = |what: String| {
        let what = format!("this is not an edgebus server: it answered with {what}");
        Refusal::new(Code::Disconnected, what)
    };
    match error {
        TransportError::OtherProtocol("TLS") => {
            answered("TLS; for one that speaks edgebus over TLS write tls://".to_owned())
        }
        TransportError::OtherProtocol(other) => answered(other.to_owned()),
        // Only now it is told what the server thinks of this client's certificate.
        TransportError::Io(error) => {
            tls::seen_by_client(&error).unwrap_or_else(|| TransportError::Io(error).into())
        }
        error => error.into(),
    }
}

fn closed() -> Refusal {
    Refusal::new(Code::Disconnected, "the client was closed")
}

/// Ends with whoever started it.
struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Writes until nothing more is to be said and all of it has left.
async fn write_all(
    mut writer: Writer,
    shared: Arc<Shared>,
    connection: u64,
) -> Result<(), io::Error> {
    while let Some(frames) = shared.take_frames(connection) {
        if frames.is_empty() {
            shared.filled.notified().await;
        } else {
            writer.write(frames).await?;
        }
    }
    writer.close().await;
    Ok(())
}

/// Looks whether a connection moves at all. A large frame over a slow way takes its time, in either
/// direction, and nothing is answered before it is whole.
struct Watch {
    heartbeat: Duration,
    /// As [`Writer::crawled`].
    crawled: Arc<AtomicU64>,
    /// Bytes that had come, and had crawled away, at the last look.
    moved: (u64, u64),
}

impl Watch {
    fn moves(&mut self, reader: &Reader) -> bool {
        let moved = (reader.bytes_came(), self.crawled.load(Ordering::Relaxed));
        std::mem::replace(&mut self.moved, moved) != moved
    }
}

/// Reads until the connection is lost, and watches over it.
async fn read_all(
    mut reader: Reader,
    shared: &Shared,
    connection: u64,
    mut watch: Watch,
) -> Refusal {
    let heartbeat = watch.heartbeat;
    let mut beats = tokio::time::interval_at(Instant::now() + heartbeat, heartbeat);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut frames = Vec::new();
    let (mut heard, mut silent, mut ends) = (false, 0, false);
    loop {
        tokio::select! {
            // What has come counts, however late this task gets to look.
            biased;
            came = reader.read(&mut frames) => {
                heard = true;
                if let Err(refusal) = shared.on_frames(connection, &mut frames) {
                    return refusal;
                }
                match came {
                    Ok(true) => {}
                    Ok(false) => {
                        let closed = "the server closed the connection";
                        return Refusal::new(Code::Disconnected, closed);
                    }
                    Err(error) => return error.into(),
                }
            }
            _ = beats.tick() => {
                let moves = watch.moves(&reader);
                silent = if std::mem::take(&mut heard) || moves { 0 } else { silent + 1 };
                let remote = reader.is_remote();
                if remote && silent >= SILENT_BEATS {
                    let dead = format!("the server said nothing for {:?}", silent * heartbeat);
                    return Refusal::new(Code::Disconnected, dead);
                }
                let ended = std::mem::replace(&mut ends, shared.beat(remote && silent > 0));
                if ended {
                    return Refusal::new(Code::ShuttingDown, "the server is shutting down");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
