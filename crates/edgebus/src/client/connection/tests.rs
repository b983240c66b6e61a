//! A client at one end and the test at the other, frame by frame or byte by byte. Time goes on only
//! while both wait, so that neither is ever late.

use bytes::BytesMut;
use edgebus_core::wire::{Decoder, Frame, PROTOCOL_VERSION, ReceiptRange, encode};
use edgebus_core::{Message, RequestId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;
use crate::client::{Client, ClientConfig};
use crate::transport::{over_stream, pair};

const FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What is on its way at most, in either direction.
const WAY_BYTES: usize = 16 * 1024;
const BEAT: Duration = Duration::from_secs(5);

fn welcome() -> Frame {
    Frame::Welcome(Welcome {
        version: PROTOCOL_VERSION,
        frame_bytes_max: FRAME_BYTES_MAX as u64,
        payload_bytes_max: FRAME_BYTES_MAX as u64 / 2,
        ..Welcome::default()
    })
}

fn receipt(seq: u64) -> Frame {
    Frame::Receipts(vec![ReceiptRange {
        first_tag: 0,
        first_seq: seq,
        count: 1,
        duplicate: false,
    }])
}

fn message(payload: Vec<u8>) -> Message {
    let topic = "orders.created".parse().expect("a topic");
    Message::new(RequestId::from_bytes([1; 16]), topic, payload)
}

/// Lets time go on, as nobody has anything to do.
async fn pass(time: Duration) {
    let nothing = std::future::pending::<()>();
    assert!(tokio::time::timeout(time, nothing).await.is_err());
}

/// The server's end of the only connection there is.
struct Played {
    stream: DuplexStream,
    came: BytesMut,
}

impl Played {
    async fn welcome() -> (Client, Self) {
        let (here, stream) = tokio::io::duplex(WAY_BYTES);
        let (reader, writer) = over_stream(Box::new(here), FRAME_BYTES_MAX);
        let came = BytesMut::new();
        let mut played = Self { stream, came };
        played.say(&welcome()).await;
        let config = ClientConfig::default().heartbeat(BEAT).reconnect(false);
        let client = Client::over(reader, writer, config).await;
        let client = client.expect("welcome");
        assert!(matches!(played.hear().await, Some(Frame::Hello(_))));
        (client, played)
    }

    async fn say(&mut self, frame: &Frame) {
        let mut bytes = BytesMut::new();
        encode(frame, &mut bytes);
        self.stream.write_all(&bytes).await.expect("open");
    }

    /// The next frame; `None` when the client is gone.
    async fn hear(&mut self) -> Option<Frame> {
        loop {
            let frame = Decoder::new(FRAME_BYTES_MAX).decode(&mut self.came);
            if let Some(frame) = frame.expect("a frame") {
                return Some(frame);
            }
            if self.stream.read_buf(&mut self.came).await.expect("open") == 0 {
                return None;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn quiet_connection_is_kept_until_the_server_does_not_answer_any_more() {
    let (client, mut played) = Played::welcome().await;
    let mut answered = Instant::now();
    for _ in 0..1000 {
        let Some(Frame::Ping { token }) = played.hear().await else {
            panic!("nothing was asked for");
        };
        played.say(&Frame::Pong { token }).await;
        answered = Instant::now();
    }
    while let Some(frame) = played.hear().await {
        assert!(matches!(frame, Frame::Ping { .. }), "{frame:?}");
    }
    let silent = answered.elapsed();
    assert!(silent >= SILENT_BEATS * BEAT, "{silent:?}");
    assert!(silent <= (SILENT_BEATS + 1) * BEAT, "{silent:?}");
    drop(client);
}

/// It takes nothing in any more, and no question of the client's either.
#[tokio::test(start_paused = true)]
async fn server_that_is_held_up_and_says_so_is_not_taken_for_dead() {
    let (client, mut played) = Played::welcome().await;
    let pending = client.try_send(message(b"{}".to_vec())).expect("room");
    for _ in 0..100 {
        played.say(&Frame::Ping { token: 0 }).await;
        pass(2 * BEAT).await;
    }
    played.say(&receipt(1)).await;
    assert_eq!(pending.await.expect("a receipt").seq.0, 1);
}

#[tokio::test(start_paused = true)]
async fn answer_that_takes_many_beats_to_come_is_waited_for() {
    let (client, mut played) = Played::welcome().await;
    let asking = tokio::spawn(async move { client.stats().await });
    let tag = loop {
        match played.hear().await {
            Some(Frame::Query { tag, .. }) => break tag,
            Some(Frame::Ping { .. }) => {}
            other => panic!("{other:?}"),
        }
    };
    let refusal = Refusal::new(Code::BadQuery, "x".repeat(4_000));
    let mut answer = BytesMut::new();
    encode(&Frame::Error { tag, refusal }, &mut answer);
    // Forty times two beats.
    for part in answer.chunks(100) {
        played.stream.write_all(part).await.expect("open");
        pass(2 * BEAT).await;
    }
    let refused = asking.await.expect("no panic").expect_err("refused");
    assert_eq!(refused.code, Code::BadQuery);
}

#[tokio::test(start_paused = true)]
async fn request_that_takes_many_beats_to_leave_is_not_cut_short() {
    let (client, mut played) = Played::welcome().await;
    let request = message(vec![b'x'; 1024 * 1024]);
    let pending = client.try_send(request).expect("room");
    // Half of what the way holds at a time, more than a hundred times two beats.
    let mut part = vec![0; WAY_BYTES / 2];
    let mut came = 0;
    while came < 1024 * 1024 {
        let read = played.stream.read(&mut part).await.expect("open");
        assert!(read > 0, "cut after {came} bytes");
        came += read;
        pass(2 * BEAT).await;
    }
    played.say(&receipt(1)).await;
    assert_eq!(pending.await.expect("a receipt").seq.0, 1);
}

#[tokio::test(start_paused = true)]
async fn other_end_in_the_same_process_may_be_silent_for_as_long_as_it_likes() {
    let ((reader, writer), (mut heard, mut says)) = pair();
    says.write(vec![welcome()]).await.expect("open");
    let config = ClientConfig::default();
    let client = Client::over(reader, writer, config).await.expect("welcome");
    let mut pending = client.try_send(message(b"{}".to_vec())).expect("room");
    // The disk is stuck, say, and no answer can come.
    let stuck = tokio::time::timeout(Duration::from_secs(600), &mut pending);
    assert!(stuck.await.is_err());
    says.write(vec![receipt(7)]).await.expect("open");
    assert_eq!(pending.await.expect("a receipt").seq.0, 7);
    let mut frames = Vec::new();
    heard.read(&mut frames).await.expect("open");
    assert!(
        !frames.contains(&Frame::Ping { token: 0 }),
        "nobody has to ask"
    );
}
