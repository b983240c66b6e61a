//! A server on a free port, clients of it, and a bare socket that may say what it likes.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use edgebus::bus::LaneConfig;
use edgebus::wire::control::Hello;
use edgebus::wire::{Decoder, Frame, TAG_CONNECTION, encode};
use edgebus::{
    Client, ClientConfig, Code, ConnectError, MessageBus, Record, Refusal, Server, ServerConfig,
    ServerHandle, ServerUrl, StoreConfig,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::bus::files::TestFiles;
use crate::bus::fixture::{TestBus, within};

/// A running server; its bus and files are within reach.
pub(crate) struct TestServer {
    pub(crate) on: TestBus,
    pub(crate) url: ServerUrl,
    pub(crate) handle: ServerHandle,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<()>>,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    pub(crate) async fn start_with(set_up: impl FnOnce(&mut ServerConfig)) -> Self {
        Self::start_on(TestBus::start_with(StoreConfig::default()), set_up).await
    }

    pub(crate) async fn start_on(on: TestBus, set_up: impl FnOnce(&mut ServerConfig)) -> Self {
        let mut config = ServerConfig::default();
        config.listen = vec!["tcp://127.0.0.1:0".parse().unwrap()];
        set_up(&mut config);
        let server = Server::bind(on.bus.clone(), config).await.unwrap();
        let url = server.urls().remove(0);
        let handle = server.handle();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        Self {
            on,
            url,
            handle,
            stop: Some(stop),
            running: Some(running),
        }
    }

    pub(crate) fn bus(&self) -> &MessageBus {
        &self.on.bus
    }

    pub(crate) fn files(&self) -> &TestFiles {
        &self.on.files
    }

    pub(crate) async fn connect(&self, config: ClientConfig) -> Client {
        self.try_connect(config).await.unwrap()
    }

    pub(crate) async fn try_connect(&self, config: ClientConfig) -> Result<Client, ConnectError> {
        within(Client::connect_with(&self.url, config)).await
    }

    /// Tells the server to stop; what it returns waits until it has.
    pub(crate) fn stop(&mut self) -> impl Future<Output = ()> + Unpin + use<> {
        drop(self.stop.take());
        let running = self.running.take().unwrap();
        Box::pin(async { within(running).await.unwrap() })
    }

    /// A connection on which nothing was said yet.
    pub(crate) async fn socket(&self) -> Socket {
        Socket::connect(&self.url).await
    }

    /// A connection that the server has welcomed.
    pub(crate) async fn welcomed(&self) -> Socket {
        let mut socket = self.socket().await;
        socket.send(&hello(1, 1)).await;
        let frame = socket.frame().await;
        assert!(matches!(frame, Some(Frame::Welcome(_))), "{frame:?}");
        socket
    }
}

/// One end of a connection, frame by frame or byte by byte.
pub(crate) struct Socket {
    pub(crate) stream: TcpStream,
    came: BytesMut,
}

impl Socket {
    pub(crate) async fn connect(url: &ServerUrl) -> Self {
        Self::over(TcpStream::connect(url.authority()).await.unwrap())
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            came: BytesMut::new(),
        }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        within(self.stream.write_all(bytes)).await.unwrap();
    }

    pub(crate) async fn send(&mut self, frame: &Frame) {
        self.write(&bytes_of(frame)).await;
    }

    /// Says that nothing more comes.
    pub(crate) async fn end(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// The next frame; `None` when the other end has closed the connection.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        within(async {
            loop {
                let decoder = Decoder::new(16 << 20);
                if let Some(frame) = decoder.decode(&mut self.came).unwrap() {
                    return Some(frame);
                }
                match self.stream.read_buf(&mut self.came).await {
                    Ok(1..) => {}
                    Ok(0) => {
                        assert!(self.came.is_empty(), "a frame is cut short");
                        return None;
                    }
                    Err(error) => panic!("reset instead of closed: {error}"),
                }
            }
        })
        .await
    }

    /// What came until the other end closed the connection.
    pub(crate) async fn frames(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.frame().await {
            frames.push(frame);
        }
        frames
    }

    /// Why the other end closed the connection, when that is all it still says.
    pub(crate) async fn goodbye(&mut self) -> Refusal {
        let mut frames = self.frames().await;
        assert_eq!(frames.len(), 1, "{frames:?}");
        goodbye(frames.pop())
    }
}

/// The reason in a last frame.
pub(crate) fn goodbye(frame: Option<Frame>) -> Refusal {
    match frame {
        Some(Frame::Error {
            tag: TAG_CONNECTION,
            refusal,
        }) => refusal,
        other => panic!("no goodbye: {other:?}"),
    }
}

/// A tag; its sequence number and whether it was stored before, or why it was refused.
pub(crate) type Told = (u64, Result<(u64, bool), Code>);

/// The outcomes that frames tell, in the order in which they came.
pub(crate) fn outcomes(frames: &[Frame]) -> Vec<Told> {
    let mut told = Vec::new();
    for frame in frames {
        match frame {
            Frame::Receipts(ranges) => told.extend(ranges.iter().flat_map(|range| {
                (0..u64::from(range.count)).map(|n| {
                    let stored = (range.first_seq + n, range.duplicate);
                    (range.first_tag + n, Ok(stored))
                })
            })),
            Frame::Error { tag, refusal } => told.push((*tag, Err(refusal.code))),
            other => panic!("{other:?}"),
        }
    }
    told
}

pub(crate) fn bytes_of(frame: &Frame) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode(frame, &mut bytes);
    bytes
}

/// A frame of any type and body, with a right header.
pub(crate) fn frame_of(kind: u8, body: &[u8]) -> Vec<u8> {
    let covered = [&[kind, 0, 0, 0], body].concat();
    let mut bytes = (covered.len() as u32 + 4).to_le_bytes().to_vec();
    bytes.extend_from_slice(&crc32c::crc32c(&covered).to_le_bytes());
    bytes.extend_from_slice(&covered);
    bytes
}

pub(crate) fn hello(version_min: u32, version_max: u32) -> Frame {
    Frame::Hello(Hello {
        token: None,
        version_min,
        version_max,
        client: "test".into(),
        software: String::new(),
    })
}

pub(crate) fn send(first_tag: u64, records: Vec<Record>) -> Frame {
    Frame::Send { first_tag, records }
}

/// A record with other bytes and the checksum that belongs to them.
pub(crate) fn rewritten(record: &Record, rewrite: impl FnOnce(&mut Vec<u8>)) -> Record {
    let mut bytes = record.as_bytes().to_vec();
    rewrite(&mut bytes);
    let crc = crc32c::crc32c(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    Record::split_from(&mut Bytes::from(bytes)).unwrap()
}

pub(crate) fn window(requests: usize) -> ClientConfig {
    ClientConfig::default().window(requests)
}

/// A lane in which so many records may be undecided.
pub(crate) fn lane(messages_max: usize) -> LaneConfig {
    let mut config = LaneConfig::default();
    config.messages_max = messages_max;
    config
}

pub(crate) fn short() -> Duration {
    Duration::from_millis(50)
}
