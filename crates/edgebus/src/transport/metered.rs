//! A socket below TLS, whose bytes are counted.
//!
//! What goes in above is encrypted and leaves in other pieces, so only here it can be seen whether a
//! slow way still carries something.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What has gone over a socket.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter {
    /// Bytes that have come.
    pub(super) came: Arc<AtomicU64>,
    /// As [`super::Writer::crawled`].
    pub(super) crawled: Arc<AtomicU64>,
}

/// A socket whose bytes are counted.
#[derive(Debug)]
pub(crate) struct Metered {
    socket: TcpStream,
    meter: Meter,
    /// Not all of what was last written left at once.
    waits: bool,
}

impl Metered {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            meter: Meter::default(),
            waits: false,
        }
    }

    pub(super) fn meter(&self) -> Meter {
        self.meter.clone()
    }

    fn wrote(&mut self, of: usize, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let left = match &written {
            Poll::Ready(Ok(left)) => *left,
            _ => 0,
        };
        if std::mem::replace(&mut self.waits, left < of) {
            self.meter.crawled.fetch_add(left as u64, Ordering::Relaxed);
        }
        written
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.socket).poll_read(cx, buffer);
        let came = buffer.filled().len() - before;
        this.meter.came.fetch_add(came as u64, Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write(cx, bytes);
        this.wrote(bytes.len(), written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write_vectored(cx, slices);
        this.wrote(slices.iter().map(|slice| slice.len()).sum(), written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
