//! What a client makes of frames, one by one.

mod delivery;

use super::*;
use crate::wire::control::Welcome;
use crate::{Message, RecordLimits, RequestId};

fn record() -> Record {
    let message = Message::new(
        RequestId::from_bytes([1; 16]),
        "a".parse().expect("topic"),
        "x",
    );
    Record::encode(&message, &RecordLimits::default()).expect("fits")
}

fn opened() -> ClientSession<u32, u32> {
    let (mut session, _) = ClientSession::open("c", "s", None);
    let mut events = 0;
    let welcome = Welcome {
        version: PROTOCOL_VERSION,
        ..Welcome::default()
    };
    session
        .on_frame(Frame::Welcome(welcome), |_| events += 1)
        .expect("welcome");
    assert_eq!(events, 1);
    session
}

fn told(session: &mut ClientSession<u32, u32>, frame: Frame) -> Result<Vec<(u32, bool)>, Refusal> {
    let mut told = Vec::new();
    session.on_frame(frame, |event| match event {
        Event::Sent(waiter, result) => told.push((waiter, result.is_ok())),
        other => panic!("{other:?}"),
    })?;
    Ok(told)
}

#[test]
fn sends_are_decided_in_any_order_and_each_once() {
    let mut session = opened();
    session.send(vec![record(), record(), record()], [10, 11, 12]);
    let second = ReceiptRange {
        first_tag: 1,
        first_seq: 5,
        count: 2,
        duplicate: false,
    };
    assert_eq!(
        told(&mut session, Frame::Receipts(vec![second])),
        Ok(vec![(11, true), (12, true)])
    );
    assert_eq!(session.in_flight(), 1);
    let refusal = Refusal::new(Code::BadTopic, "no");
    assert_eq!(
        told(&mut session, Frame::Error { tag: 0, refusal }),
        Ok(vec![(10, false)])
    );
    assert!(told(&mut session, Frame::Receipts(vec![second])).is_err());
    assert!(matches!(
        session.send(vec![record()], [13]),
        Frame::Send { first_tag: 3, .. }
    ));
}

#[test]
fn welcome_of_another_version_is_refused() {
    let (mut session, _) = ClientSession::<u32, u32>::open("c", "s", None);
    let welcome = Welcome {
        version: PROTOCOL_VERSION + 1,
        ..Welcome::default()
    };
    let refusal = session
        .on_frame(Frame::Welcome(welcome), |_| {})
        .expect_err("not spoken");
    assert_eq!(refusal.code, Code::WrongVersion);
}

#[test]
fn nothing_is_told_once_the_connection_has_ended() {
    let mut session = opened();
    session.send(vec![record()], [1]);
    let refusal = Refusal::new(Code::ShuttingDown, "it stops");
    let tag = TAG_CONNECTION;
    let end = Frame::Error {
        tag,
        refusal: refusal.clone(),
    };
    assert_eq!(told(&mut session, end), Err(refusal.clone()));
    let receipt = ReceiptRange {
        first_tag: 0,
        first_seq: 5,
        count: 1,
        duplicate: false,
    };
    let receipts = Frame::Receipts(vec![receipt]);
    assert_eq!(told(&mut session, receipts), Err(refusal));
    assert_eq!(session.close().sends, [(0, 1, None)]);
}

#[test]
fn close_hands_back_whoever_waits() {
    let mut session = opened();
    session.send(vec![record(), record()], [1, 2]);
    session.query(Query::Stats, 9);
    let first = ReceiptRange {
        first_tag: 0,
        first_seq: 5,
        count: 1,
        duplicate: false,
    };
    told(&mut session, Frame::Receipts(vec![first])).expect("one receipt");
    let waiting = session.close();
    assert_eq!(waiting.sends, [(1, 2, None)]);
    assert_eq!(waiting.questions, [9]);
}
