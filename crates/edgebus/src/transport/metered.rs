//! A socket below TLS, whose bytes are counted.
//!
//! What goes in above is encrypted and leaves in other pieces, so only here it can be seen whether a
//! slow way still carries something.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What has gone over a socket.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter {
    /// Bytes that have come.
    pub(super) came: Arc<AtomicU64>,
    /// The last of them are part of a record whose rest has not come.
    pub(super) in_record: Arc<AtomicBool>,
    /// As [`super::Writer::crawled`].
    pub(super) crawled: Arc<AtomicU64>,
}

/// Where one record of TLS ends and the next begins: it says so in five bytes, of which the last two
/// are the length of the rest.
#[derive(Debug, Default)]
struct Records {
    header: [u8; 5],
    header_bytes: usize,
    left: usize,
}

impl Records {
    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            self.header[self.header_bytes] = bytes[0];
            self.header_bytes += 1;
            bytes = &bytes[1..];
            if self.header_bytes == self.header.len() {
                self.header_bytes = 0;
                self.left = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
            }
        }
    }

    fn is_within(&self) -> bool {
        self.header_bytes > 0 || self.left > 0
    }
}

/// A socket whose bytes are counted.
#[derive(Debug)]
pub(crate) struct Metered {
    socket: TcpStream,
    meter: Meter,
    records: Records,
    /// Not all of what was last written left at once.
    waits: bool,
}

impl Metered {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            meter: Meter::default(),
            records: Records::default(),
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
        let came = &buffer.filled()[before..];
        this.records.take(came);
        let Meter {
            came: all,
            in_record,
            ..
        } = &this.meter;
        all.fetch_add(came.len() as u64, Ordering::Relaxed);
        in_record.store(this.records.is_within(), Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_end_where_their_headers_say_however_they_come() {
        let one = [23, 3, 3, 1, 2].into_iter().chain([7; 258]);
        let none = [20, 3, 3, 0, 0];
        let all: Vec<u8> = one.clone().chain(none).chain(one).collect();
        let ends = [263, 268, 531];
        for step in [1, 2, 5, 100, 531] {
            let (mut records, mut came) = (Records::default(), 0);
            for part in all.chunks(step) {
                records.take(part);
                came += part.len();
                assert_eq!(records.is_within(), !ends.contains(&came), "{step} {came}");
            }
        }
    }
}
