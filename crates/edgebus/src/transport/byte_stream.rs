//! Bytes over what the caller has: a serial line, a tunnel, a simulated network.

use std::fmt::Debug;

use tokio::io::{AsyncRead, AsyncWrite};

use super::halves::{ReadHalf, WriteHalf};
use super::{Reader, Writer, over};

/// A connection that carries bytes in both directions, in order, and each of them once.
pub trait ByteStream: AsyncRead + AsyncWrite + Debug + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Debug + Send + Unpin + 'static> ByteStream for S {}

/// Both halves of a connection over any stream of bytes. Frames over the limit, in bytes, are refused.
pub fn over_stream(stream: Box<dyn ByteStream>, frame_bytes_max: usize) -> (Reader, Writer) {
    let (read, write) = tokio::io::split(stream);
    let (read, write) = (ReadHalf::Stream(read), WriteHalf::Stream(write));
    over(read, write, Default::default(), frame_bytes_max)
}
