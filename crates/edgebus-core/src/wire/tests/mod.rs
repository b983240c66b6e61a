//! Every frame survives the way there and back; every broken one is refused by its code.

mod admin;
mod delivery;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::control::{Hello, Welcome};
use super::*;
use crate::entry::{Entry, Envelope};
use crate::id::{RequestId, Scope, Seq};
use crate::message::Message;
use crate::query::{LogQuery, Query};
use crate::record::RecordLimits;
use crate::{Code, Refusal};

fn record(payload: &str) -> Record {
    let topic = "orders.created".parse().expect("topic");
    let message = Message::new(RequestId::from_bytes([3; 16]), topic, payload.to_owned());
    Record::encode(&message, &RecordLimits::default()).expect("fits")
}

fn entry(seq: u64) -> Entry {
    let envelope = Envelope {
        seq: Seq(seq),
        received_ms: 1,
        store_time_ms: 5,
        scope: Scope(0),
        identity: "",
    };
    let mut bytes = Vec::new();
    Entry::encode(&mut bytes, &envelope, &record("{}"));
    Entry::from_bytes(Bytes::from(bytes)).expect("whole")
}

fn every_frame() -> Vec<Frame> {
    let hello = Hello {
        version_min: 1,
        version_max: 2,
        client: "till".into(),
        software: "x".into(),
        token: Some(Bytes::from_static(b"secret")),
    };
    let welcome = Welcome {
        version: 1,
        software: "y".into(),
        frame_bytes_max: 9,
        payload_bytes_max: 8,
        store_id: Bytes::from_static(&[7; 16]),
    };
    let mut log = LogQuery::from(Seq(4));
    log.topics = vec!["a.>".parse().expect("pattern")];
    let range = ReceiptRange {
        first_tag: 1,
        first_seq: 2,
        count: 3,
        duplicate: true,
    };
    let refusal = Refusal::new(Code::Busy, "later").retry_after_ms(5);
    let mut frames = delivery::frames();
    frames.extend([
        Frame::Hello(hello),
        Frame::Welcome(welcome),
        Frame::Send {
            first_tag: 7,
            records: vec![record("a"), record("bb")],
        },
        Frame::Receipts(vec![range]),
        Frame::Error { tag: 4, refusal },
        Frame::Query {
            tag: 5,
            query: (&Query::Log(log)).into(),
        },
        Frame::Query {
            tag: 5,
            query: (&Query::ById(RequestId::from_bytes([5; 16]))).into(),
        },
        Frame::Query {
            tag: 5,
            query: (&Query::Stats).into(),
        },
        Frame::Page {
            tag: 6,
            page: LogPage {
                entries: vec![entry(1), entry(2)],
                next: Some(Seq(3)),
            },
        },
        Frame::Stats {
            tag: 8,
            stats: Box::new(Stats {
                last_seq: 9,
                ..Stats::default()
            }),
        },
        Frame::Ping { token: 1 },
        Frame::Pong { token: 1 },
    ]);
    frames
}

fn bytes_of(frame: &Frame) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode(frame, &mut bytes);
    bytes
}

#[test]
fn every_frame_comes_back_whole_however_the_stream_is_cut() {
    let decoder = Decoder::new(FRAME_BYTES_MAX);
    for frame in every_frame() {
        let bytes = bytes_of(&frame);
        for cut in 0..bytes.len() {
            let mut part = BytesMut::from(&bytes[..cut]);
            assert_eq!(decoder.decode(&mut part), Ok(None));
            part.extend_from_slice(&bytes[cut..]);
            assert_eq!(decoder.decode(&mut part), Ok(Some(frame.clone())));
            assert!(part.is_empty());
        }
    }
}

#[test]
fn every_flipped_bit_is_refused_or_waits_for_bytes_that_never_come() {
    let decoder = Decoder::new(FRAME_BYTES_MAX);
    for frame in every_frame() {
        let bytes = bytes_of(&frame);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            match decoder.decode(&mut flipped) {
                Err(refusal) => assert!(
                    matches!(refusal.code, Code::FrameCorrupt | Code::FrameTooLarge),
                    "bit {bit}: {refusal}"
                ),
                Ok(None) => assert!(bit < 32, "only a flipped length makes a frame wait"),
                Ok(Some(_)) => panic!("bit {bit} went through"),
            }
        }
    }
}

#[test]
fn oversize_frame_is_refused_from_its_first_four_bytes_without_allocating() {
    let mut bytes = BytesMut::from(&u32::MAX.to_le_bytes()[..]);
    let refusal = Decoder::new(1024).decode(&mut bytes).expect_err("4 GiB");
    assert_eq!(refusal.code, Code::FrameTooLarge);
    assert!(bytes.capacity() < 1024);
}

/// Changes a frame behind its checksum's back.
fn with_body(frame: &Frame, change: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut bytes = bytes_of(frame);
    change(&mut bytes);
    let length = bytes.len() as u32 - 4;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Room for that many items could not be had: the test would not come to its end.
#[test]
fn count_of_more_items_than_the_frame_holds_is_refused_without_allocating() {
    for frame in every_frame() {
        let count_at = match &frame {
            Frame::Receipts(_) => 0,
            Frame::Send { .. }
            | Frame::Request { .. }
            | Frame::Publish { .. }
            | Frame::Deliver { .. }
            | Frame::Notify { .. } => 8,
            Frame::Settle { .. } | Frame::Page { .. } => 16,
            _ => continue,
        };
        for count in [u32::MAX, 1 << 20, 100] {
            let at = HEADER_BYTES + count_at;
            let mut bytes = with_body(&frame, |bytes| {
                bytes[at..at + 4].copy_from_slice(&count.to_le_bytes());
            });
            let refusal = Decoder::new(FRAME_BYTES_MAX).decode(&mut bytes);
            let refusal = refusal.expect_err("counts too many");
            assert_eq!(refusal.code, Code::FrameCorrupt, "{frame:?}");
        }
    }
}

/// A body that is cut, with everything around it in order.
#[test]
fn body_cut_anywhere_never_panics_and_holds_no_more_than_came() {
    for frame in every_frame() {
        for cut in HEADER_BYTES..bytes_of(&frame).len() {
            let mut bytes = with_body(&frame, |bytes| bytes.truncate(cut));
            let whole = Decoder::new(FRAME_BYTES_MAX).decode(&mut bytes);
            assert_ne!(whole, Ok(Some(frame.clone())), "cut at {cut}");
        }
    }
}

#[test]
fn unknown_frame_type_is_refused_by_its_number() {
    let mut bytes = bytes_of(&Frame::Ping { token: 1 });
    bytes[8] = 99;
    let crc = crc32c::crc32c(&bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    let refusal = Decoder::new(1024).decode(&mut bytes).expect_err("99");
    assert_eq!(refusal.code, Code::UnknownFrame);
    assert!(refusal.message.contains("99"));
}

#[test]
fn receipts_join_into_ranges_only_when_tag_and_seq_both_go_on() {
    let mut range = ReceiptRange {
        first_tag: 1,
        first_seq: 10,
        count: 1,
        duplicate: false,
    };
    assert!(range.extend(2, 11, false));
    assert!(!range.extend(3, 13, false));
    assert!(!range.extend(4, 12, false));
    assert!(!range.extend(3, 12, true));
    assert_eq!(range.count, 2);
}

proptest! {
    #[test]
    fn noise_never_panics_the_decoder(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        let decoder = Decoder::new(256);
        let mut bytes = BytesMut::from(&noise[..]);
        while let Ok(Some(_)) = decoder.decode(&mut bytes) {}
    }

    /// Noise with a right checksum reaches the bodies' decoders.
    #[test]
    fn noise_behind_a_valid_header_never_panics(kind in 0u8..28, noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut body = vec![kind, 0, 0, 0];
        body.extend_from_slice(&noise);
        let mut bytes = BytesMut::new();
        bytes.extend_from_slice(&(body.len() as u32 + 4).to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        let _ = Decoder::new(4096).decode(&mut bytes);
    }
}
