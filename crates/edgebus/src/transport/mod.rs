//! Ways to move frames between two ends: bytes over TCP, a Unix socket or TLS, or frames handed over
//! in memory.
//!
//! Used by the server and the client alike. A transport knows nothing of what frames mean, of
//! stores or of buses.
//!
//! In reading order: [`url`] where a server is; [`byte_stream`] and [`halves`] bytes, whatever they go over;
//! [`metered`] counts them below TLS; [`mod@stream`] frames over bytes, [`pace`] how fast they have
//! to come and [`inbox`] what memory there is for them; [`tcp`] what the operating system has to know;
//! [`memory`] frames without bytes; [`Reader`] and [`Writer`] either of them.

mod byte_stream;
mod halves;
mod inbox;
mod memory;
mod metered;
mod pace;
mod stream;
mod tcp;
mod url;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;
use edgebus_core::wire::{Frame, encode};
use edgebus_core::{Code, Refusal};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsStream;

pub use byte_stream::{ByteStream, over_stream};
pub use inbox::Inbox;
pub use memory::pair;
pub(crate) use metered::Metered;
pub use url::ServerUrl;
pub(crate) use url::without_brackets;

use halves::{ReadHalf, WriteHalf};
use stream::StreamReader;
use tcp::prepare;

/// Why no further frame comes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The other end broke the protocol; it should be told why.
    #[error(transparent)]
    Protocol(#[from] Refusal),
    /// The other end is something else; its protocol.
    #[error("the other end speaks {0}, not edgebus")]
    OtherProtocol(&'static str),
    /// The connection was lost.
    #[error("the connection was lost: {0}")]
    Io(#[from] io::Error),
}

impl From<TransportError> for Refusal {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Protocol(refusal) => refusal,
            TransportError::OtherProtocol(_) => Self::new(Code::UnknownFrame, error.to_string()),
            TransportError::Io(_) => Self::new(Code::Disconnected, error.to_string()),
        }
    }
}

/// What a server lets the other end of a connection do.
#[derive(Clone, Debug)]
pub struct Receive {
    /// Largest first frame, in bytes, length field not counted.
    pub first_frame_bytes_max: usize,
    /// Bytes a second that must come of a frame that has begun; 0: any pace will do.
    pub bytes_per_second_min: usize,
    /// Memory for what is received.
    pub inbox: Inbox,
}

/// The receiving half of a connection.
#[derive(Debug)]
pub struct Reader(Receiving);

#[derive(Debug)]
enum Receiving {
    Stream(StreamReader),
    Memory(mpsc::Receiver<Vec<Frame>>),
}

/// The sending half of a connection.
#[derive(Debug)]
pub struct Writer(Sending);

#[derive(Debug)]
enum Sending {
    Stream {
        half: WriteHalf,
        buffer: BytesMut,
        crawled: Arc<AtomicU64>,
    },
    Memory(mpsc::Sender<Vec<Frame>>),
}

/// Both halves of a TCP connection. Frames over the limit, in bytes, are refused.
///
/// # Errors
/// When the socket's options cannot be set.
pub fn over_tcp(stream: TcpStream, frame_bytes_max: usize) -> io::Result<(Reader, Writer)> {
    prepare(&stream)?;
    let (read, write) = stream.into_split();
    let (read, write) = (ReadHalf::Tcp(read), WriteHalf::Tcp(write));
    Ok(over(read, write, Arc::default(), frame_bytes_max))
}

/// Both halves of a connection over a Unix socket. Frames over the limit, in bytes, are refused.
pub fn over_unix(stream: UnixStream, frame_bytes_max: usize) -> (Reader, Writer) {
    let (read, write) = stream.into_split();
    let (read, write) = (ReadHalf::Unix(read), WriteHalf::Unix(write));
    over(read, write, Arc::default(), frame_bytes_max)
}

/// A TCP connection on which TLS is to be spoken.
///
/// # Errors
/// When the socket's options cannot be set.
pub(crate) fn below_tls(stream: TcpStream) -> io::Result<Metered> {
    prepare(&stream)?;
    Ok(Metered::new(stream))
}

/// Both halves of a TLS connection. Frames over the limit, in bytes, are refused.
pub(crate) fn over_tls(stream: TlsStream<Metered>, frame_bytes_max: usize) -> (Reader, Writer) {
    let meter = stream.get_ref().0.meter();
    let (half, write) = tokio::io::split(stream);
    let read = ReadHalf::Tls {
        half,
        came: meter.came,
        in_record: meter.in_record,
    };
    let write = WriteHalf::Tls(write);
    over(read, write, meter.crawled, frame_bytes_max)
}

fn over(
    read: ReadHalf,
    write: WriteHalf,
    crawled: Arc<AtomicU64>,
    frame_bytes_max: usize,
) -> (Reader, Writer) {
    let reader = Reader(Receiving::Stream(StreamReader::new(read, frame_bytes_max)));
    let writer = Writer(Sending::Stream {
        half: write,
        buffer: BytesMut::new(),
        crawled,
    });
    (reader, writer)
}

impl Reader {
    /// Waits for at least one frame and adds it, and all others that have come whole, to the
    /// list. `false` when the other end closed the connection between two frames. Cancel-safe.
    ///
    /// # Errors
    /// [`TransportError`]; frames before the fault are in the list.
    pub async fn read(&mut self, frames: &mut Vec<Frame>) -> Result<bool, TransportError> {
        match &mut self.0 {
            Receiving::Stream(stream) => stream.read(frames).await,
            Receiving::Memory(channel) => match channel.recv().await {
                Some(came) => {
                    frames.extend(came);
                    Ok(true)
                }
                None => Ok(false),
            },
        }
    }

    /// Has the other end keep to limits, from before the first frame on. Nothing comes in parts
    /// within one process.
    pub fn guard(&mut self, limits: &Receive) {
        if let Receiving::Stream(stream) = &mut self.0 {
            stream.guard(limits);
        }
    }

    /// Bytes that have come so far, also those of a frame that has not come whole. Nothing comes in
    /// parts within one process.
    pub fn bytes_came(&self) -> u64 {
        match &self.0 {
            Receiving::Stream(stream) => stream.bytes_came(),
            Receiving::Memory(_) => 0,
        }
    }

    /// Whether the other end may be gone without a word. Within one process it cannot.
    pub fn is_remote(&self) -> bool {
        matches!(self.0, Receiving::Stream(_))
    }

    /// Takes frames of at least this many bytes from now on.
    pub fn allow_frame_bytes(&mut self, bytes: usize) {
        if let Receiving::Stream(stream) = &mut self.0 {
            stream.allow_frame_bytes(bytes);
        }
    }

    /// Throws away what still comes, until the other end closes the connection. A socket that is
    /// closed with unread bytes in it resets the connection, and what was last written may then
    /// never be read.
    pub async fn discard(&mut self) {
        match &mut self.0 {
            Receiving::Stream(stream) => stream.discard().await,
            Receiving::Memory(channel) => while channel.recv().await.is_some() {},
        }
    }
}

impl Writer {
    /// Sends frames, waiting while the other end does not take them. Not cancel-safe: a frame may
    /// have left in part, so the connection must be closed then.
    ///
    /// # Errors
    /// When the connection was lost.
    pub async fn write(&mut self, frames: Vec<Frame>) -> io::Result<()> {
        match &mut self.0 {
            Sending::Stream {
                half,
                buffer,
                crawled,
            } => {
                buffer.clear();
                frames.iter().for_each(|frame| encode(frame, buffer));
                let written = write_counting(half, buffer, crawled).await;
                if buffer.capacity() > KEEP_BYTES {
                    *buffer = BytesMut::new();
                }
                written
            }
            Sending::Memory(channel) => channel
                .send(frames)
                .await
                .map_err(|_| io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Bytes that could not leave at once and have left since, which goes up while a slow way
    /// carries them: the other end, or its system, takes them.
    pub fn crawled(&self) -> Arc<AtomicU64> {
        match &self.0 {
            Sending::Stream { crawled, .. } => crawled.clone(),
            Sending::Memory(_) => Arc::default(),
        }
    }

    /// Tells the other end that nothing more comes.
    pub async fn close(&mut self) {
        if let Sending::Stream { half, .. } = &mut self.0 {
            // Whether the other end hears of it makes no difference here.
            let _ = half.shutdown().await;
        }
    }
}

/// Writes all of it, and counts what could not leave at once.
async fn write_counting(half: &mut WriteHalf, bytes: &[u8], crawled: &AtomicU64) -> io::Result<()> {
    if let WriteHalf::Tls(half) = half {
        // Counted at the socket. What is encrypted waits in a buffer, so it has to be pushed out.
        half.write_all(bytes).await?;
        return half.flush().await;
    }
    let mut bytes = bytes;
    let mut waited = false;
    while !bytes.is_empty() {
        let left = half.write(bytes).await?;
        if left == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[left..];
        if std::mem::replace(&mut waited, true) {
            crawled.fetch_add(left as u64, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Memory kept for the next write.
const KEEP_BYTES: usize = 512 * 1024;
