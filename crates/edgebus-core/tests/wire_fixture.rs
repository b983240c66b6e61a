//! What both ends said in protocol version 1 when it was made: read the same, and written the same to
//! the byte, by every later version. The files in `tests/fixtures/wire-1` are never written anew.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::BytesMut;
use edgebus_core::session::{ServerLimits, ServerSession, Step};
use edgebus_core::wire::{Decoder, FRAME_BYTES_MAX, Frame, encode};

fn files() -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wire-1");
    let files = std::fs::read_dir(folder).expect("folder").map(|entry| {
        let entry = entry.expect("entry");
        let name = entry.file_name().into_string().expect("text");
        (name, std::fs::read(entry.path()).expect("file"))
    });
    files.collect()
}

fn frames(bytes: &[u8]) -> Vec<Frame> {
    let decoder = Decoder::new(FRAME_BYTES_MAX);
    let mut buffer = BytesMut::from(bytes);
    let frames = std::iter::from_fn(|| decoder.decode(&mut buffer).expect("sound")).collect();
    assert!(buffer.is_empty(), "a frame is cut");
    frames
}

#[test]
fn every_frame_of_version_1_is_read_and_written_to_the_byte() {
    let files = files();
    let mut kinds: Vec<u8> = Vec::new();
    for (name, bytes) in &files {
        let mut written = BytesMut::new();
        for frame in frames(bytes) {
            let start = written.len();
            encode(&frame, &mut written);
            kinds.push(written[start + 8]);
        }
        assert!(written == bytes, "{name}");
    }
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, (1..=25).collect::<Vec<u8>>(), "every type there is");
}

#[test]
fn conversations_of_version_1_are_understood() {
    for (name, what) in [
        (
            "client-sends",
            "Opened Append Append Publish Reply Append Append",
        ),
        (
            "client-works",
            "Opened Open Open Settle Credit CloseStream CloseStream",
        ),
        ("client-asks", "Opened Query Query Query Nothing"),
    ] {
        let mut session = ServerSession::new(ServerLimits::default(), "test");
        let steps = frames(&files()[name]).into_iter().map(|frame| {
            match session.on_frame(frame).expect("understood") {
                Step::Opened { .. } => "Opened",
                Step::Append { refused, .. } if refused.is_empty() => "Append",
                Step::Publish { refused, .. } if refused.is_empty() => "Publish",
                Step::Open { .. } => "Open",
                Step::Settle { .. } => "Settle",
                Step::Credit { .. } => "Credit",
                Step::CloseStream { .. } => "CloseStream",
                Step::Query { .. } => "Query",
                Step::Reply(Frame::Pong { .. }) => "Reply",
                Step::Nothing => "Nothing",
                other => panic!("{name}: {other:?}"),
            }
        });
        assert_eq!(steps.collect::<Vec<_>>().join(" "), what, "{name}");
    }
}
