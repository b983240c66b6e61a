//! Connections without a client behind them: they say what they like, when they like.
//!
//! Each scenario comes from an address of its own in 127.0.0.0/8, as one that floods does, so that
//! what a server allows an address is not what stops it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use edgebus_core::wire::control::Hello;
use edgebus_core::wire::{
    Decoder, FRAME_BYTES_MAX, Frame, PROTOCOL_VERSION, TAG_CONNECTION, encode,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// How long a connection may take until it is made and welcomed.
const CONNECT_TIME: Duration = Duration::from_secs(30);

/// A frame as bytes.
pub(super) fn bytes_of(frame: &Frame) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode(frame, &mut bytes);
    bytes
}

/// How a connection ended.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Goodbye {
    /// With a word: its code.
    Told(String),
    /// Without one.
    Closed,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) stream: TcpStream,
    buffer: BytesMut,
    /// Why the server ends it, once it has said so.
    told: Option<String>,
}

impl Raw {
    /// Connects from an address of 127.0.0.0/8, and says nothing.
    pub(super) async fn connect(from: Ipv4Addr, to: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(IpAddr::V4(from), 0))?;
        let stream = tokio::time::timeout(CONNECT_TIME, socket.connect(to)).await??;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: BytesMut::new(),
            told: None,
        })
    }

    /// Connects and is welcomed.
    pub(super) async fn open(from: Ipv4Addr, to: SocketAddr) -> io::Result<Self> {
        let mut raw = Self::connect(from, to).await?;
        let hello = Frame::Hello(Hello {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            client: "flood".into(),
            ..Hello::default()
        });
        raw.say(&bytes_of(&hello)).await?;
        match tokio::time::timeout(CONNECT_TIME, raw.hear()).await?? {
            Some(Frame::Welcome(_)) => Ok(raw),
            Some(Frame::Error { refusal, .. }) => Err(io::Error::other(refusal.code.as_str())),
            other => Err(io::Error::other(format!("welcomed with {other:?}"))),
        }
    }

    /// Writes bytes.
    pub(super) async fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The next frame; `None` when the other end closed.
    pub(super) async fn hear(&mut self) -> io::Result<Option<Frame>> {
        let decoder = Decoder::new(2 * FRAME_BYTES_MAX);
        loop {
            let frame = decoder.decode(&mut self.buffer);
            if let Some(frame) = frame.map_err(|refusal| io::Error::other(refusal.message))? {
                return Ok(Some(frame));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Reads until the other end closes, and how it said goodbye. When this is dropped before,
    /// nothing is lost.
    pub(super) async fn goodbye(&mut self) -> Goodbye {
        while let Ok(Some(frame)) = self.hear().await {
            if let Frame::Error { tag, refusal } = frame
                && tag == TAG_CONNECTION
            {
                self.told = Some(refusal.code.as_str().to_owned());
            }
        }
        self.told.take().map_or(Goodbye::Closed, Goodbye::Told)
    }
}
