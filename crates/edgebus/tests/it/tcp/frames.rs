//! Frames on a real socket: torn at every byte, flipped at every bit, unknown, too large.

use edgebus::wire::control::{Welcome, WireQuery};
use edgebus::wire::{Frame, TAG_CONNECTION};
use edgebus::{Code, Seq};

use super::fixture::{TestServer, bytes_of, frame_of, goodbye, hello, outcomes, send};
use crate::bus::files::{Call, Of};
use crate::bus::fixture::{eventually, id, log_ids, record, records, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conversation_torn_anywhere_is_understood() {
    let server = TestServer::start().await;
    let conversation = [
        &bytes_of(&hello(1, 1))[..],
        &bytes_of(&send(0, records(1..3))),
        &bytes_of(&Frame::Ping { token: 7 }),
    ]
    .concat();
    for cut in 1..conversation.len() {
        let mut socket = server.socket().await;
        socket.write(&conversation[..cut]).await;
        tokio::task::yield_now().await;
        socket.write(&conversation[cut..]).await;
        socket.end().await;
        assert_answered(&socket.frames().await);
    }
    let mut socket = server.socket().await;
    for byte in &conversation {
        socket.write(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    socket.end().await;
    assert_answered(&socket.frames().await);
    assert_eq!(log_ids(server.bus()), [id(1), id(2)]);
}

fn assert_answered(frames: &[Frame]) {
    assert!(matches!(frames[0], Frame::Welcome(_)), "{frames:?}");
    assert!(frames.contains(&Frame::Pong { token: 7 }), "{frames:?}");
    let receipts: Vec<_> = frames
        .iter()
        .filter(|frame| matches!(frame, Frame::Receipts(_)))
        .cloned()
        .collect();
    let told = outcomes(&receipts);
    assert!(
        matches!(told[..], [(0, Ok((1, _))), (1, Ok((2, _)))]),
        "{told:?}"
    );
}

/// Wherever a bit flips, nothing is stored, and the client hears of it. A flipped length may make
/// the server wait for bytes that never come; then the client's end ends it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frame_with_a_flipped_bit_ends_the_connection_and_stores_nothing() {
    let server = TestServer::start().await;
    let frame = bytes_of(&send(0, vec![record(1)]));
    for bit in 0..frame.len() * 8 {
        let mut flipped = frame.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let mut socket = server.welcomed().await;
        socket.write(&flipped).await;
        socket.end().await;
        let mut frames = socket.frames().await;
        match frames.len() {
            0 => assert!(bit < 32, "bit {bit} was ignored"),
            1 => {
                let code = goodbye(frames.pop()).code;
                let expected = matches!(code, Code::FrameCorrupt | Code::FrameTooLarge);
                assert!(expected, "bit {bit}: {code}");
            }
            _ => panic!("bit {bit}: {frames:?}"),
        }
    }
    assert_eq!(server.bus().reader().last_seq(), Seq(0));
}

/// What was accepted is answered first: a client that reads the reason reads no further.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_frame_ends_the_connection_after_what_came_before_is_answered() {
    let server = TestServer::start().await;
    let bad = [
        (frame_of(99, b"what?"), Code::UnknownFrame),
        (frame_of(3, b"short"), Code::FrameCorrupt),
        (frame_of(9, &[0; 9]), Code::FrameCorrupt),
        (
            frame_of(3, &[0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0]),
            Code::FrameCorrupt,
        ),
        (
            frame_of(6, &[1, 0, 0, 0, 0, 0, 0, 0, 0xff]),
            Code::FrameCorrupt,
        ),
        (vec![3, 0, 0, 0, 0, 0, 0, 0], Code::FrameCorrupt),
        (u32::MAX.to_le_bytes().to_vec(), Code::FrameTooLarge),
        (bytes_of(&hello(1, 1)).to_vec(), Code::UnexpectedFrame),
        (
            bytes_of(&Frame::Welcome(Welcome::default())).to_vec(),
            Code::UnexpectedFrame,
        ),
        (
            bytes_of(&Frame::Receipts(Vec::new())).to_vec(),
            Code::UnexpectedFrame,
        ),
        (
            bytes_of(&send(u64::MAX - 1, records(10..13))).to_vec(),
            Code::UnexpectedFrame,
        ),
        (
            bytes_of(&Frame::Query {
                tag: TAG_CONNECTION,
                query: WireQuery::default(),
            })
            .to_vec(),
            Code::UnexpectedFrame,
        ),
    ];
    for (number, (bytes, code)) in (1..).zip(bad) {
        let hold = server.files().hold(Of::Journal, Call::Sync);
        let mut socket = server.welcomed().await;
        socket.send(&send(5, vec![record(number)])).await;
        socket.write(&bytes).await;
        within(hold.reached()).await;
        drop(hold);
        let mut frames = socket.frames().await;
        let refusal = goodbye(frames.pop());
        assert_eq!(refusal.code, code, "case {number}: {refusal}");
        assert_eq!(outcomes(&frames), [(5, Ok((number, false)))]);
    }
    eventually(|| server.handle.stats().connections == 0).await;
    let stats = server.handle.stats();
    assert_eq!((stats.stored, stats.connections_cut), (12, 12));
}

/// Four bytes say how much would come; nothing is read or reserved for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frame_over_the_limit_is_refused_from_its_first_four_bytes() {
    let server = TestServer::start_with(|config| config.limits.frame_bytes_max = 64 * 1024).await;
    let mut socket = server.welcomed().await;
    socket.write(&(64 * 1024 + 1u32).to_le_bytes()).await;
    let refusal = socket.goodbye().await;
    assert_eq!(refusal.code, Code::FrameTooLarge);
    assert!(refusal.message.contains("65537") && refusal.message.contains("65536"));

    // The reason arrives although much more was sent than the server ever reads.
    let mut socket = server.welcomed().await;
    let large = frame_of(3, &vec![0; 300 * 1024]);
    socket.write(&large).await;
    assert_eq!(socket.goodbye().await.code, Code::FrameTooLarge);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_protocols_are_told_what_this_port_speaks() {
    let server = TestServer::start().await;
    for (text, name) in [
        (&b"GET / HTTP/1.1\r\nHost: till\r\n\r\n"[..], "HTTP"),
        // One record is larger than any frame, the other would be waited for.
        (b"\x16\x03\x01\x02\x00\x01\x00", "TLS"),
        (b"\x16\x03\x01\x00\xf0\x01\x00", "TLS"),
    ] {
        let mut socket = server.socket().await;
        socket.write(text).await;
        let refusal = socket.goodbye().await;
        assert_eq!(refusal.code, Code::UnknownFrame);
        assert!(refusal.message.starts_with(name), "{refusal}");
    }
    // What is not known is a frame that is too large.
    let mut socket = server.socket().await;
    socket.write(b"hello, is anybody there?").await;
    assert_eq!(socket.goodbye().await.code, Code::FrameTooLarge);
}
