//! What docs/storage-format.md says about consumers, replies, dead letters and the operations that
//! change them, read without any code of the store; see [`super::format`].

use std::collections::BTreeMap;

use prost::Message as _;
use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::fixture::{FIRST, FIRST_IN_TABLES, START_MS, reply};
use super::format::{
    Other, check_entries, check_metadata, numbers, tables, u16_at, u32_at, u64_at,
};

type Rows = TableDefinition<'static, u64, &'static [u8]>;
type States = TableDefinition<'static, &'static str, &'static [u8]>;
type Keys = TableDefinition<'static, (&'static str, u64), u64>;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Letter {
    #[prost(uint64, tag = "1")]
    pub(crate) seq: u64,
    #[prost(string, tag = "2")]
    pub(crate) consumer: String,
    #[prost(string, tag = "3")]
    pub(crate) reason: String,
    #[prost(uint64, tag = "4")]
    pub(crate) store_time_ms: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) wall_ms: u64,
    #[prost(bytes = "vec", tag = "6")]
    pub(crate) entry: Vec<u8>,
    #[prost(string, tag = "7")]
    pub(crate) code: String,
    #[prost(message, repeated, tag = "8")]
    pub(crate) attempts: Vec<AttemptError>,
    #[prost(uint32, tag = "9")]
    pub(crate) state: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AttemptError {
    #[prost(string, tag = "1")]
    error: String,
    #[prost(uint64, tag = "2")]
    wall_ms: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Consumer {
    #[prost(uint32, tag = "1")]
    mode: u32,
    #[prost(string, repeated, tag = "2")]
    patterns: Vec<String>,
    #[prost(uint32, tag = "3")]
    kind: u32,
    #[prost(uint64, tag = "7")]
    ack_wait_ms: u64,
    #[prost(uint32, tag = "8")]
    max_attempts: u32,
    #[prost(uint64, repeated, tag = "9")]
    backoff_ms: Vec<u64>,
    #[prost(uint32, tag = "10")]
    max_in_flight: u32,
    #[prost(uint64, optional, tag = "11")]
    hold_ms: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Ledger {
    #[prost(message, optional, tag = "1")]
    config: Option<Consumer>,
    #[prost(uint32, tag = "2")]
    epoch: u32,
    #[prost(uint64, tag = "3")]
    offset: u64,
    #[prost(uint64, tag = "4")]
    taken_above: u64,
    #[prost(uint32, tag = "5")]
    delivery_max: u32,
    #[prost(uint64, repeated, tag = "6")]
    acked: Vec<u64>,
    #[prost(message, repeated, tag = "7")]
    open: Vec<Work>,
    #[prost(message, repeated, tag = "8")]
    requeued: Vec<Requeued>,
    #[prost(uint64, repeated, tag = "9")]
    again: Vec<u64>,
    #[prost(bool, tag = "10")]
    paused: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Work {
    #[prost(uint64, tag = "1")]
    seq: u64,
    #[prost(uint32, tag = "2")]
    delivery: u32,
    #[prost(uint32, tag = "3")]
    first: u32,
    #[prost(uint32, tag = "4")]
    charged: u32,
    #[prost(uint32, tag = "5")]
    place: u32,
    #[prost(bool, tag = "6")]
    alone: bool,
    #[prost(bool, tag = "7")]
    suspect: bool,
    #[prost(uint64, tag = "8")]
    due_ms: u64,
    #[prost(message, repeated, tag = "9")]
    errors: Vec<AttemptError>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Requeued {
    #[prost(uint64, tag = "1")]
    seq: u64,
    #[prost(uint64, tag = "2")]
    number: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Reply {
    #[prost(bytes = "vec", tag = "1")]
    payload: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    headers: Vec<Header>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ConsumerOp {
    #[prost(oneof = "What", tags = "1, 4, 5, 6, 7, 9, 14")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(message, tag = "1")]
    Put(Put),
    #[prost(message, tag = "4")]
    Attempts(Attempts),
    #[prost(message, tag = "5")]
    Done(Ranges),
    #[prost(message, tag = "6")]
    Completed(Completed),
    #[prost(message, tag = "7")]
    Failed(Failed),
    #[prost(message, tag = "9")]
    Requeued(Requeued),
    #[prost(bool, tag = "14")]
    Paused(bool),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Put {
    #[prost(message, optional, tag = "1")]
    config: Option<Consumer>,
    #[prost(uint64, tag = "2")]
    offset: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Attempts {
    #[prost(sint64, repeated, tag = "1")]
    seqs: Vec<i64>,
    #[prost(uint32, repeated, tag = "2")]
    deliveries: Vec<u32>,
    #[prost(uint32, repeated, tag = "3")]
    places: Vec<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Ranges {
    #[prost(uint64, repeated, tag = "1")]
    ranges: Vec<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Completed {
    #[prost(uint64, tag = "1")]
    seq: u64,
    #[prost(bytes = "vec", tag = "2")]
    reply: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Failed {
    #[prost(message, repeated, tag = "1")]
    failures: Vec<Failure>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Failure {
    #[prost(uint64, tag = "1")]
    seq: u64,
    #[prost(bool, tag = "2")]
    charged: bool,
    #[prost(bool, tag = "3")]
    suspect: bool,
    #[prost(uint64, tag = "4")]
    due_ms: u64,
    #[prost(string, tag = "5")]
    error: String,
    #[prost(uint64, tag = "6")]
    wall_ms: u64,
}

fn check_reply(bytes: &[u8], seq: u64) {
    let found = Reply::decode(bytes).expect("prost");
    let wanted = reply(seq);
    assert_eq!(found.payload, wanted.payload);
    let headers = found
        .headers
        .iter()
        .map(|h| (h.name.as_str(), h.value.as_str()));
    assert_eq!(headers.collect::<Vec<_>>(), [("by", "till-7")]);
}

/// The operations of the fixture of format 2 that are no appends, as the document has them.
pub(crate) fn check_ops(others: &[Other]) {
    let kinds: Vec<u8> = others.iter().map(|(_, kind, _)| *kind).collect();
    let sealed = [4, 2, 4, 4, 4, 4, 4, 4, 3, 3, 3, 4, 5, 5, 6];
    assert_eq!(kinds, [&sealed[..], &[4, 4, 4, 4, 2, 6, 3]].concat());

    let mut ops = Vec::new();
    for (_, kind, op) in others {
        assert_eq!((op[4], op[5]), (*kind, 1), "type and version");
        let (extra, body) = (u16_at(op, 6), &op[8..]);
        match kind {
            2 => {
                assert_eq!((extra, &body[8..]), (5, b"audit".as_slice()));
                assert!([12, 30].contains(&u64_at(body, 0)));
            }
            3 => check_letter_op(u64_at(body, 0), &body[8..]),
            4 => {
                let (name, op) = body.split_at(extra);
                assert_eq!(name, b"till");
                let op = ConsumerOp::decode(op).expect("prost");
                ops.push(op.what.expect("a known one"));
            }
            5 => match extra {
                1 => assert_eq!((body.len(), u64_at(body, 0)), (8, 2), "requeued"),
                2 => assert_eq!((body.len(), u64_at(body, 0)), (8, 3), "removed"),
                fate => panic!("fate {fate}"),
            },
            6 => assert!([FIRST_IN_TABLES, FIRST].contains(&u64_at(body, 0)) && extra == 0),
            kind => panic!("type {kind}"),
        }
    }
    check_consumer_ops(ops);
}

fn check_consumer_ops(mut ops: Vec<What>) {
    for at in [4, 4, 7] {
        match ops.remove(at) {
            What::Completed(done) => check_reply(&done.reply, done.seq),
            op => panic!("{op:?}"),
        }
    }
    let What::Put(put) = ops.remove(0) else {
        panic!("the first one makes it");
    };
    check_config(put.config.as_ref());
    assert_eq!(put.offset, 0);
    let attempts = |seq, place| {
        let (seqs, deliveries, places) = (vec![seq], vec![], vec![place]);
        What::Attempts(Attempts {
            seqs,
            deliveries,
            places,
        })
    };
    let done = |ranges| What::Done(Ranges { ranges });
    let failure = Failure {
        seq: 3,
        charged: true,
        suspect: false,
        due_ms: 25_000,
        error: "no paper".into(),
        wall_ms: START_MS,
    };
    let failures = vec![failure];
    let wanted = [
        attempts(3, 2),
        attempts(6, 1 + 4),
        done(vec![1, 1, 7, 0]),
        What::Failed(Failed { failures }),
        What::Requeued(Requeued { seq: 10, number: 2 }),
        attempts(41, 3 + 4),
        done(vec![10, 0]),
        What::Paused(true),
    ];
    assert_eq!(ops, wanted);
}

fn check_letter_op(number: u64, bytes: &[u8]) {
    let letter = Letter::decode(bytes).expect("prost");
    let seq = [5, 10, 8, 44][number as usize - 1];
    assert_eq!((letter.seq, letter.state), (seq, 0));
    assert_eq!(check_entries(2, &letter.entry), [seq]);
    assert_eq!(letter.wall_ms, START_MS + letter.store_time_ms);
    let consumer = if number < 3 { "till" } else { "kitchen" };
    assert_eq!(letter.consumer, consumer);
}

fn check_config(config: Option<&Consumer>) {
    let config = config.expect("it has one");
    assert_eq!((config.mode, config.kind), (1, 1));
    assert_eq!(config.patterns, ["orders.>"]);
    assert_eq!((config.ack_wait_ms, config.max_attempts), (30_000, 3));
    assert_eq!(config.backoff_ms, [1_000, 5_000, 30_000, 120_000]);
    assert_eq!(config.max_in_flight, 1_024);
    assert_eq!(config.hold_ms, Some(7 * 24 * 3_600_000));
}

#[test]
fn small_tables_of_format_2_are_as_documented() {
    let (_folder, tables) = tables(2);
    let read = tables.begin_read().expect("read");
    let metadata = check_metadata(&read, 2, 15);
    assert_eq!(metadata["first_seq"], FIRST_IN_TABLES);
    assert_eq!(
        metadata["last_dead_letter"], 3,
        "one that was removed counts"
    );
    assert_eq!(metadata.get("untimed_ms"), None, "it was made as format 2");
    let bytes = |table: &'static str| {
        let rows = read.open_table(Rows::new(table)).expect("table");
        let rows = rows.iter().expect("rows");
        rows.map(|row| row.expect("row").1.value().len() as u64)
            .sum::<u64>()
    };
    assert_eq!(metadata["log_bytes"], bytes("request_log"));
    assert_eq!(metadata["reply_bytes"], bytes("replies"));
    assert_eq!(metadata["dead_letter_bytes"], bytes("dead_letters"));

    let replies = read.open_table(Rows::new("replies")).expect("table");
    let replies: BTreeMap<u64, Vec<u8>> = replies
        .iter()
        .expect("rows")
        .map(|row| {
            row.map(|(seq, row)| (seq.value(), row.value().to_vec()))
                .expect("row")
        })
        .collect();
    assert!(replies.keys().eq(&[18]), "that of 4 was trimmed");
    let covered = [&18_u64.to_le_bytes(), &replies[&18][4..]].concat();
    assert_eq!(u32_at(&replies[&18], 0), crc32c::crc32c(&covered));
    check_reply(&replies[&18][4..], 18);
}

#[test]
fn consumers_of_format_2_are_as_documented() {
    let (_folder, tables) = tables(2);
    let read = tables.begin_read().expect("read");
    let states = read
        .open_table(States::new("consumer_state"))
        .expect("table");
    let offsets = numbers(&read, "consumer_offsets");
    assert_eq!(numbers(&read, "metadata")["consumers"], 2);
    let mut ledgers = BTreeMap::new();
    for row in states.iter().expect("rows") {
        let (name, row) = row.expect("row");
        let (name, row) = (name.value(), row.value());
        let covered = [name.as_bytes(), &row[4..]].concat();
        assert_eq!(u32_at(row, 0), crc32c::crc32c(&covered));
        let ledger = Ledger::decode(&row[4..]).expect("prost");
        assert_eq!(offsets[name], ledger.offset);
        ledgers.insert(name.to_owned(), ledger);
    }
    assert_eq!(ledgers.len(), offsets.len());
    let audit = Ledger {
        epoch: 1,
        offset: 12,
        ..Ledger::default()
    };
    assert_eq!(ledgers["audit"], audit);

    let till = &ledgers["till"];
    check_config(till.config.as_ref());
    assert_eq!((till.epoch, till.offset, till.delivery_max), (1, 2, 1));
    assert_eq!(till.taken_above, 8, "10 became a dead letter");
    // 4 to 5, 9 to 10, and 18.
    assert_eq!(till.acked, [4, 1, 4, 1, 8, 0]);
    let waiting = Work {
        seq: 3,
        delivery: 1,
        first: 1,
        charged: 1,
        due_ms: 25_000,
        errors: vec![AttemptError {
            error: "no paper".into(),
            wall_ms: START_MS,
        }],
        ..Work::default()
    };
    let with_somebody = Work {
        seq: 6,
        delivery: 1,
        first: 1,
        place: 1,
        alone: true,
        ..Work::default()
    };
    assert_eq!(till.open, [waiting, with_somebody]);
    assert_eq!(till.requeued, [Requeued { seq: 10, number: 2 }]);
    assert!(till.again.is_empty() && !till.paused);
}

#[test]
fn dead_letters_of_format_2_are_as_documented() {
    let (_folder, tables) = tables(2);
    let read = tables.begin_read().expect("read");
    let rows = read.open_table(Rows::new("dead_letters")).expect("table");
    let keys = read
        .open_table(Keys::new("dead_letter_keys"))
        .expect("table");
    let mut letters = BTreeMap::new();
    for row in rows.iter().expect("rows") {
        let (number, row) = row.expect("row");
        let row = row.value();
        assert_eq!(u32_at(row, 0), crc32c::crc32c(&row[4..]));
        let letter = Letter::decode(&row[4..]).expect("prost");
        assert_eq!(check_entries(2, &letter.entry), [letter.seq]);
        let key = keys.get((letter.consumer.as_str(), letter.seq));
        assert_eq!(key.expect("read").expect("row").value(), number.value());
        letters.insert(number.value(), letter);
    }
    assert_eq!(keys.iter().expect("rows").count(), 2);
    assert!(letters.keys().eq(&[1, 2]));
    let error = |text: &str| AttemptError {
        error: text.into(),
        wall_ms: START_MS,
    };
    for (number, seq, state, errors) in [
        (1, 5, 0, vec![error("no such article"), error("still not")]),
        (2, 10, 1, vec![error("no ink")]),
    ] {
        let letter: &Letter = &letters[&number];
        assert_eq!((letter.seq, letter.state), (seq, state));
        assert_eq!(
            (letter.code.as_str(), letter.consumer.as_str()),
            ("attempts", "till")
        );
        assert_eq!(letter.reason, "tried too often");
        assert_eq!(letter.attempts, errors);
        assert_eq!(letter.store_time_ms, 20_000);
    }
}
