//! One end of a connection, as the product reads and writes it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::net::{Connection, Side, lock};
use super::pipe::{End, Found};

/// One end of a connection; dropped, the other end finds out.
#[derive(Debug)]
pub(crate) struct Wire {
    connection: Arc<Mutex<Connection>>,
    side: Side,
    /// Wakes the reader when the next piece has arrived.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Wire {
    pub(super) fn new(connection: Arc<Mutex<Connection>>, side: Side) -> Self {
        Self {
            connection,
            side,
            timer: None,
        }
    }

    /// Whether it is time; if not, wakes the task then.
    fn is_time(&mut self, at: Instant, cx: &mut Context<'_>) -> bool {
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(cx).is_ready()
    }
}

fn reset() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionReset,
        "simulated: connection reset",
    )
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let side = self.side;
            let found = {
                let mut connection = lock(&self.connection);
                let connection = &mut *connection;
                if connection.is_gone(side) {
                    return Poll::Ready(Err(reset()));
                }
                let pipe = &mut connection.pipes[side.inbound()];
                let found = pipe.receive(buffer.initialize_unfilled(), &mut connection.rng);
                pipe.reader_waits(cx.waker());
                found
            };
            match found {
                Found::Bytes(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Found::Ended(End::Closed) => return Poll::Ready(Ok(())),
                Found::Ended(End::Reset) => return Poll::Ready(Err(reset())),
                Found::Nothing => return Poll::Pending,
                Found::NotBefore(at) => {
                    if !self.is_time(at, cx) {
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let side = self.side;
        let mut connection = lock(&self.connection);
        let connection = &mut *connection;
        connection.said_to_nobody(side);
        let is_gone = connection.is_gone(side);
        let out = &mut connection.pipes[side.out()];
        if out.has_ended() || is_gone {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let count = out.send(bytes, &mut connection.rng);
        if count == 0 {
            out.writer_waits(cx.waker());
            return Poll::Pending;
        }
        connection.sent(side.out());
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut connection = lock(&self.connection);
        if !connection.is_gone(self.side) {
            connection.pipes[self.side.out()].close();
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let mut connection = lock(&self.connection);
        if !connection.is_gone(self.side) {
            connection.leave(self.side);
        }
    }
}
