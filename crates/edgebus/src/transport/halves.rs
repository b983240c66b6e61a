//! The two directions of a connection that carries bytes, whatever it goes over.
//!
//! TCP and Unix sockets keep the halves the system gives them: no lock and no copy. TLS has one
//! state for both directions, so its halves share a lock.
//!
//! Invariant: what is counted is counted at the socket, below any encryption, so that it goes up
//! while a slow way carries part of something.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{self, AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{tcp, unix};
use tokio_rustls::TlsStream;

use super::byte_stream::ByteStream;
use super::metered::Metered;

/// What bytes come from.
#[derive(Debug)]
pub(super) enum ReadHalf {
    Tcp(tcp::OwnedReadHalf),
    Unix(unix::OwnedReadHalf),
    Stream(io::ReadHalf<Box<dyn ByteStream>>),
    Tls {
        half: io::ReadHalf<TlsStream<Metered>>,
        /// Bytes that have come at the socket.
        came: Arc<AtomicU64>,
        /// The last of them are part of a record.
        in_record: Arc<AtomicBool>,
    },
}

/// What bytes go to.
#[derive(Debug)]
pub(super) enum WriteHalf {
    Tcp(tcp::OwnedWriteHalf),
    Unix(unix::OwnedWriteHalf),
    Stream(io::WriteHalf<Box<dyn ByteStream>>),
    Tls(io::WriteHalf<TlsStream<Metered>>),
}

impl ReadHalf {
    /// Bytes that have come below what is read, where that is something else.
    pub(super) fn came_below(&self) -> Option<u64> {
        match self {
            Self::Tls { came, .. } => Some(came.load(Ordering::Relaxed)),
            Self::Tcp(_) | Self::Unix(_) | Self::Stream(_) => None,
        }
    }

    /// Whether something has come below that is part of a record. Whole records may bring no byte:
    /// TLS has some of its own.
    pub(super) fn is_within_record(&self) -> bool {
        match self {
            Self::Tls { in_record, .. } => in_record.load(Ordering::Relaxed),
            Self::Tcp(_) | Self::Unix(_) | Self::Stream(_) => false,
        }
    }

    /// Waits for the first bytes and reads them; `None` when something has come below that is no
    /// byte yet: part of a record. Cancel-safe.
    pub(super) async fn begin(&mut self, buffer: &mut BytesMut) -> io::Result<Option<usize>> {
        let Self::Tls { in_record, .. } = &self else {
            return self.read_buf(buffer).await.map(Some);
        };
        let in_record = in_record.clone();
        let mut reading = pin!(self.read_buf(buffer));
        poll_fn(|cx| match reading.as_mut().poll(cx) {
            Poll::Ready(read) => Poll::Ready(read.map(Some)),
            Poll::Pending if in_record.load(Ordering::Relaxed) => Poll::Ready(Ok(None)),
            Poll::Pending => Poll::Pending,
        })
        .await
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(half) => Pin::new(half).poll_read(cx, buffer),
            Self::Unix(half) => Pin::new(half).poll_read(cx, buffer),
            Self::Stream(half) => Pin::new(half).poll_read(cx, buffer),
            Self::Tls { half, .. } => {
                let read = Pin::new(half).poll_read(cx, buffer);
                read.map_err(|error| match error.kind() {
                    // In our words.
                    io::ErrorKind::UnexpectedEof => {
                        io::Error::new(error.kind(), "the other end went away without a word")
                    }
                    _ => error,
                })
            }
        }
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(half) => Pin::new(half).poll_write(cx, bytes),
            Self::Unix(half) => Pin::new(half).poll_write(cx, bytes),
            Self::Stream(half) => Pin::new(half).poll_write(cx, bytes),
            Self::Tls(half) => Pin::new(half).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(half) => Pin::new(half).poll_flush(cx),
            Self::Unix(half) => Pin::new(half).poll_flush(cx),
            Self::Stream(half) => Pin::new(half).poll_flush(cx),
            Self::Tls(half) => Pin::new(half).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(half) => Pin::new(half).poll_shutdown(cx),
            Self::Unix(half) => Pin::new(half).poll_shutdown(cx),
            Self::Stream(half) => Pin::new(half).poll_shutdown(cx),
            Self::Tls(half) => Pin::new(half).poll_shutdown(cx),
        }
    }
}
