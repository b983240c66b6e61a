//! The check of histories finds each broken promise.

use bytes::Bytes;
use edgebus_core::entry::Envelope;
use edgebus_core::{Code, Entry, Message, Record, RecordLimits, RequestId, Scope, Seq};
use edgebus_testing::history::check;
use edgebus_testing::{Ended, History, Outcomes};

fn message(number: u8) -> Message {
    let topic = "a.b".parse().expect("a topic");
    Message::new(
        RequestId::from_bytes([number; 16]),
        topic,
        format!("request {number}"),
    )
}

fn entry(seq: u64, message: &Message) -> Entry {
    let record = Record::encode(message, &RecordLimits::default()).expect("fits");
    let envelope = Envelope {
        seq: Seq(seq),
        received_ms: 1,
        store_time_ms: 1,
        scope: Scope(0),
        identity: "",
    };
    let mut bytes = Vec::new();
    Entry::encode(&mut bytes, &envelope, &record);
    Entry::from_bytes(Bytes::from(bytes)).expect("whole")
}

/// The log of these requests.
fn log(numbers: &[u8]) -> Vec<Entry> {
    (1..)
        .zip(numbers)
        .map(|(seq, number)| entry(seq, &message(*number)))
        .collect()
}

fn history(calls: &[(u8, Ended)]) -> History {
    let mut history = History::of("till");
    for (number, ended) in calls {
        let call = history.asks(&message(*number));
        history.ended(call, *ended);
    }
    history
}

fn stored(seq: u64) -> Ended {
    Ended::Stored {
        seq: Seq(seq),
        duplicate: false,
    }
}

fn duplicate(seq: u64) -> Ended {
    Ended::Stored {
        seq: Seq(seq),
        duplicate: true,
    }
}

const REFUSED: Ended = Ended::Refused(Code::Busy);

#[test]
fn what_keeps_its_promises_passes_and_is_counted() {
    let one = history(&[
        (1, stored(1)),
        (2, Ended::Unknown),
        (3, REFUSED),
        (1, duplicate(1)),
        (4, Ended::Spooled(7)),
        (5, duplicate(3)),
    ]);
    let other = history(&[(5, stored(3)), (2, duplicate(2))]);
    assert_eq!(one.unknown(), [message(2).id]);
    let outcomes = check(&[one, other], &log(&[1, 2, 5]));
    let expected = Outcomes {
        stored: 2,
        duplicates: 3,
        refused: 1,
        spooled: 1,
        unknown: 1,
        open: 0,
    };
    assert_eq!(outcomes, expected);
}

/// Fails unless the check does, saying this.
fn finds(histories: &[History], log: &[Entry], says: &str) {
    let checking = std::panic::AssertUnwindSafe(|| check(histories, log));
    let panic = std::panic::catch_unwind(checking).expect_err(says);
    let said = panic.downcast_ref::<String>().expect("a message");
    assert!(said.contains(says), "{said}");
}

#[test]
fn each_broken_promise_is_found() {
    let one = |calls: &[_]| [history(calls)];
    finds(&one(&[(1, stored(1))]), &[], "is not in the log");
    finds(&one(&[(1, stored(2))]), &log(&[1]), "elsewhere");
    let mut other = message(1);
    other.payload = "else".into();
    finds(&one(&[(1, stored(1))]), &[entry(1, &other)], "payload");
    finds(&one(&[(1, stored(1))]), &log(&[1, 1]), "stored twice");
    finds(&[], &log(&[1]), "nobody asked for");
    finds(&one(&[(1, REFUSED)]), &log(&[1]), "was refused");
    let twice = [(1, stored(1)), (1, stored(1))];
    finds(&one(&twice), &log(&[1]), "was new to both");
    let crossed = [(1, stored(2)), (2, stored(1))];
    finds(&one(&crossed), &log(&[2, 1]), "was asked after");
    let hole = [entry(1, &message(1)), entry(3, &message(3))];
    let whole = [(1, stored(1)), (3, stored(3))];
    finds(&one(&whole), &hole, "hole");
    let mut open = History::of("till");
    open.asks(&message(1));
    finds(&[open], &[], "never ended");
}

#[test]
#[should_panic(expected = "ended twice")]
fn call_that_ends_twice_is_found() {
    let mut history = History::of("till");
    let call = history.asks(&message(1));
    history.ended(call, REFUSED);
    history.ended(call, Ended::Unknown);
}
