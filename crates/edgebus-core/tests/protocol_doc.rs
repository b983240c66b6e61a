//! docs/protocol.md is what people write clients from: its examples must be what the code does.

use std::collections::BTreeMap;

use bytes::BytesMut;
use edgebus_core::consumer::{Answer, LeaseToken, Reply, Settlement};
use edgebus_core::stream::{Consume, Open};
use edgebus_core::wire::control::{Hello, Welcome};
use edgebus_core::wire::settle::SettleItem;
use edgebus_core::wire::{Decoder, FRAME_BYTES_MAX, Frame, ReceiptRange, encode};
use edgebus_core::{Code, Message, Record, RecordLimits, RequestId, Seq, Topic};

/// The store of the example.
const STORE_ID: [u8; 16] = 0x7dc5_3df5_703e_49b3_8670_b1c4_68f4_7f1f_u128.to_be_bytes();

const DOC: &str = include_str!("../../../docs/protocol.md");

/// The blocks fenced as ```hex NAME, without the remarks behind `#`.
fn hex_blocks() -> BTreeMap<String, Vec<u8>> {
    let mut blocks = BTreeMap::new();
    let mut lines = DOC.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("```hex ") else {
            continue;
        };
        let block = lines.by_ref().take_while(|line| !line.starts_with("```"));
        let digits: String = block
            .map(|line| line.split('#').next().unwrap_or_default())
            .flat_map(str::split_whitespace)
            .collect();
        let bytes = (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal"))
            .collect();
        blocks.insert(name.to_owned(), bytes);
    }
    blocks
}

fn order() -> Record {
    record(
        "0192d4c0-7c00-7000-8000-000000000001",
        "orders.created",
        "{\"order\":1}",
    )
}

fn question() -> Record {
    record(
        "0192d4c0-7c00-7000-8000-000000000002",
        "price",
        "{\"of\":1}",
    )
}

fn record(id: &str, topic: &str, payload: &'static str) -> Record {
    let id = id.parse().expect("id");
    let topic = topic.parse().expect("topic");
    let message = Message::new(id, topic, payload)
        .source("till-7")
        .time_ms(1_730_000_000_000);
    Record::encode(&message, &RecordLimits::default()).expect("fits")
}

#[test]
fn worked_example_is_what_the_code_encodes() {
    let hello = Frame::Hello(Hello {
        version_min: 1,
        version_max: 1,
        client: "till-7".into(),
        software: "example".into(),
        token: None,
    });
    let welcome = Frame::Welcome(Welcome {
        version: 1,
        software: "edgebus".into(),
        frame_bytes_max: 1_048_576,
        payload_bytes_max: 1_015_808,
        store_id: STORE_ID.to_vec().into(),
    });
    let send = Frame::Send {
        first_tag: 0,
        records: vec![order()],
    };
    let receipts = Frame::Receipts(vec![ReceiptRange {
        first_tag: 0,
        first_seq: 1,
        count: 1,
        duplicate: false,
    }]);
    assert_blocks([
        ("hello", hello),
        ("welcome", welcome),
        ("send", send),
        ("receipts", receipts),
    ]);
}

#[test]
fn worked_example_of_a_request_is_what_the_code_encodes() {
    let token = LeaseToken {
        epoch: 1,
        seq: Seq(2),
        delivery: 1,
    };
    let request = Frame::Request {
        first_tag: 1,
        records: vec![question()],
    };
    let consume = Consume::new("pricing".parse().expect("name"), 16);
    let open = Frame::Open {
        stream: 1,
        open: Box::new((&Open::Consume(consume)).into()),
    };
    let opened = Frame::Opened {
        stream: 1,
        kept: Vec::new(),
    };
    let reply = Reply::new("{\"price\":7}");
    let settle = Frame::Settle {
        stream: 1,
        tag: 1 << 62,
        items: vec![SettleItem {
            token,
            settlement: (&Settlement::Complete(reply.clone())).into(),
        }],
    };
    let settled = Frame::Settled {
        tag: 1 << 62,
        errors: Vec::new(),
    };
    let answer = Frame::Answer {
        tag: 1,
        answer: (&Answer::Reply(reply)).into(),
    };
    assert_blocks([
        ("request", request),
        ("open", open),
        ("opened", opened),
        ("settle", settle),
        ("settled", settled),
        ("reply-to", answer),
    ]);
    // What the server adds to a record grows with versions of the entry; each stays readable.
    let mut deliver = BytesMut::from(&hex_blocks()["deliver"][..]);
    let decoded = Decoder::new(FRAME_BYTES_MAX).decode(&mut deliver);
    let Ok(Some(Frame::Deliver {
        stream: 1,
        deliveries,
    })) = decoded
    else {
        panic!("{decoded:?}")
    };
    let [delivery] = &deliveries[..] else {
        panic!("one message")
    };
    assert_eq!((delivery.token, delivery.attempt), (token, 1));
    assert_eq!(delivery.entry.record(), &question());
}

/// Every frame has its number in the table and its body described.
#[test]
fn every_type_of_frame_stands_in_the_table() {
    for kind in 1..=25 {
        assert!(DOC.contains(&format!("\n| {kind} | ")), "type {kind}");
        let number = format!("({kind})");
        let simple = [1, 2, 9, 10].contains(&kind);
        let told = DOC
            .lines()
            .filter(|line| line.starts_with("#### "))
            .any(|line| line.contains(&number));
        assert!(simple || told, "body of type {kind}");
    }
}

fn assert_blocks<const N: usize>(frames: [(&str, Frame); N]) {
    let blocks = hex_blocks();
    for (name, frame) in frames {
        let mut bytes = BytesMut::new();
        encode(&frame, &mut bytes);
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            blocks.get(name).map(Vec::as_slice),
            Some(&bytes[..]),
            "{name}: {}",
            hex.join(" ")
        );
    }
}

#[test]
fn every_code_stands_in_the_table_with_whether_to_try_again() {
    for code in Code::ALL {
        let again = if code.is_retryable() { "yes" } else { "no" };
        let row = format!("| `{code}` | {again} |");
        assert!(DOC.contains(&row), "missing: {row}");
    }
}

#[test]
fn ids_of_values_are_the_published_vectors() {
    let vectors: Vec<Vec<&str>> = DOC
        .lines()
        .skip_while(|line| !line.starts_with("| namespace |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            line.split('|')
                .map(|cell| cell.trim().trim_matches('`'))
                .collect()
        })
        .collect();
    assert!(vectors.len() >= 3, "the table of vectors is there");
    for vector in vectors {
        let topic: Topic = vector[2].parse().expect("topic");
        let id = RequestId::from_value(vector[1], &topic, vector[3]);
        assert_eq!(id.to_string(), vector[4]);
    }
}
