//! Replies, streams, settlements and operators' questions.

use super::*;
use crate::admin::Admin;
use crate::consumer::{Answer, Delivery, Reply};
use crate::entry::{Entry, Envelope};
use crate::id::{Scope, Seq};
use crate::stream::{Consume, Open};
use crate::wire::managed::WireManaged;
use bytes::Bytes;

type Events = Vec<Event<u32, u32>>;

fn tell(session: &mut ClientSession<u32, u32>, frame: Frame) -> Result<Events, Refusal> {
    let mut events = Vec::new();
    session.on_frame(frame, |event| events.push(event))?;
    Ok(events)
}

fn breach_of(session: &mut ClientSession<u32, u32>, frame: Frame) {
    let refusal = tell(session, frame).expect_err("not allowed");
    assert_eq!(refusal.code, Code::UnexpectedFrame);
}

fn receipt(tag: u64) -> Frame {
    Frame::Receipts(vec![ReceiptRange {
        first_tag: tag,
        first_seq: tag + 1,
        count: 1,
        duplicate: false,
    }])
}

fn answer(tag: u64) -> Frame {
    let answer = (&Answer::Reply(Reply::new("done"))).into();
    Frame::Answer { tag, answer }
}

fn done() -> Result<Answer, Refusal> {
    Ok(Answer::Reply(Reply::new("done")))
}

fn token(seq: u64) -> LeaseToken {
    LeaseToken {
        epoch: 1,
        seq: Seq(seq),
        delivery: 1,
    }
}

fn deliver(stream: u64) -> Frame {
    let envelope = Envelope {
        seq: Seq(1),
        received_ms: 1,
        store_time_ms: 0,
        scope: Scope(0),
        identity: "",
    };
    let mut bytes = Vec::new();
    Entry::encode(&mut bytes, &envelope, &record());
    let delivery = Delivery {
        token: token(1),
        attempt: 1,
        entry: Entry::from_bytes(Bytes::from(bytes)).expect("whole"),
    };
    Frame::Deliver {
        stream,
        deliveries: vec![delivery],
    }
}

fn consume() -> Open {
    Open::Consume(Consume::new("billing".parse().expect("name"), 8))
}

/// A session with stream 1 open.
fn streaming() -> ClientSession<u32, u32> {
    let mut session = opened();
    let (stream, _) = session.open_stream(&consume(), 9);
    assert_eq!(stream, 1);
    let kept = vec![token(4)];
    let frame = Frame::Opened {
        stream,
        kept: kept.clone(),
    };
    let events = tell(&mut session, frame);
    let waiter = 9;
    assert_eq!(
        events,
        Ok(vec![Event::StreamOpened {
            waiter,
            stream,
            kept
        }])
    );
    session
}

fn closed(stream: u64) -> Frame {
    Frame::Close {
        stream,
        refusal: None,
    }
}

#[test]
fn request_is_told_its_receipt_and_then_its_answer() {
    let mut session = opened();
    let frame = session.request(vec![record(), record()], [1, 2], [11, 12]);
    assert!(matches!(frame, Frame::Request { first_tag: 0, .. }));
    for tag in [0, 1] {
        let receipt = tell(&mut session, receipt(tag)).expect("a receipt");
        assert!(matches!(&receipt[..], [Event::Sent(_, Ok(_))]));
    }
    // In any order.
    assert_eq!(
        tell(&mut session, answer(1)),
        Ok(vec![Event::Answered(12, done())])
    );
    assert_eq!(
        tell(&mut session, answer(0)),
        Ok(vec![Event::Answered(11, done())])
    );
    breach_of(&mut session, answer(0));
    assert!(matches!(
        session.send(vec![record()], [3]),
        Frame::Send { first_tag: 2, .. }
    ));
}

#[test]
fn dead_letter_and_expiry_are_answers_and_not_refusals() {
    let mut session = opened();
    session.request(vec![record(), record()], [1, 2], [11, 12]);
    let reason = "no stock".to_owned();
    for (tag, wanted) in [(0, Answer::DeadLettered { reason }), (1, Answer::Expired)] {
        tell(&mut session, receipt(tag)).expect("a receipt");
        let answer = (&wanted).into();
        let events = tell(&mut session, Frame::Answer { tag, answer });
        assert_eq!(
            events,
            Ok(vec![Event::Answered(11 + tag as u32, Ok(wanted))])
        );
    }
}

#[test]
fn request_that_is_refused_tells_both_who_wait() {
    let mut session = opened();
    session.request(vec![record()], [1], [11]);
    let refusal = Refusal::new(Code::Busy, "later");
    let error = Frame::Error {
        tag: 0,
        refusal: refusal.clone(),
    };
    let events = tell(&mut session, error.clone());
    let expected = vec![
        Event::Sent(1, Err(refusal.clone())),
        Event::Answered(11, Err(refusal)),
    ];
    assert_eq!(events, Ok(expected));
    breach_of(&mut session, error);
}

#[test]
fn error_behind_the_receipt_is_for_the_answer_alone() {
    let mut session = opened();
    session.request(vec![record()], [1], [11]);
    tell(&mut session, receipt(0)).expect("a receipt");
    let refusal = Refusal::new(Code::Corrupt, "unreadable");
    let error = Frame::Error {
        tag: 0,
        refusal: refusal.clone(),
    };
    let events = tell(&mut session, error);
    assert_eq!(events, Ok(vec![Event::Answered(11, Err(refusal))]));
}

#[test]
fn answer_before_the_receipt_or_to_a_plain_send_is_a_breach() {
    let mut session = opened();
    session.request(vec![record()], [1], [11]);
    breach_of(&mut session, answer(0));
    let mut session = opened();
    session.send(vec![record()], [1]);
    tell(&mut session, receipt(0)).expect("a receipt");
    breach_of(&mut session, answer(0));
}

#[test]
fn stream_is_opened_carries_and_is_closed_by_the_server() {
    let mut session = streaming();
    let events = tell(&mut session, deliver(1)).expect("deliveries");
    assert!(matches!(&events[..], [Event::Deliveries { stream: 1, .. }]));
    let missed = tell(
        &mut session,
        Frame::Lagged {
            stream: 1,
            missed: 3,
        },
    );
    assert_eq!(
        missed,
        Ok(vec![Event::Lagged {
            stream: 1,
            missed: 3
        }])
    );
    assert!(matches!(
        session.credit(1, 5),
        Some(Frame::Credit {
            stream: 1,
            credit: 5
        })
    ));
    let refusal = Some(Refusal::new(Code::NoSuchConsumer, "removed"));
    let close = Frame::Close {
        stream: 1,
        refusal: refusal.clone(),
    };
    let events = tell(&mut session, close);
    assert_eq!(events, Ok(vec![Event::Closed { stream: 1, refusal }]));
    assert!(session.credit(1, 5).is_none() && session.close_stream(1).is_none());
    breach_of(&mut session, deliver(1));
}

#[test]
fn stream_that_is_refused_tells_whoever_asked() {
    let mut session = opened();
    let (stream, _) = session.open_stream(&consume(), 9);
    let refusal = Refusal::new(Code::NoSuchConsumer, "none");
    let close = Frame::Close {
        stream,
        refusal: Some(refusal.clone()),
    };
    assert_eq!(
        tell(&mut session, close),
        Ok(vec![Event::Refused(9, refusal)])
    );
    let (next, _) = session.open_stream(&consume(), 9);
    assert_eq!(next, 2, "a number is used once");
}

#[test]
fn what_comes_on_a_stream_that_this_end_closed_is_dropped_until_the_server_agrees() {
    let mut session = streaming();
    assert_eq!(session.close_stream(1), Some(closed(1)));
    assert_eq!(session.close_stream(1), None);
    assert_eq!(session.credit(1, 1), None);
    assert_eq!(tell(&mut session, deliver(1)), Ok(Vec::new()));
    let events = tell(&mut session, closed(1));
    let refusal = None;
    assert_eq!(events, Ok(vec![Event::Closed { stream: 1, refusal }]));
    breach_of(&mut session, closed(1));
}

#[test]
fn stream_closed_before_it_is_open_still_tells_whoever_asked() {
    let mut session = opened();
    let (stream, _) = session.open_stream(&consume(), 9);
    assert_eq!(session.close_stream(stream), Some(closed(stream)));
    let kept = Vec::new();
    assert_eq!(
        tell(&mut session, Frame::Opened { stream, kept }),
        Ok(Vec::new())
    );
    assert_eq!(tell(&mut session, deliver(stream)), Ok(Vec::new()));
    let events = tell(&mut session, closed(stream)).expect("closed");
    assert!(matches!(&events[..], [Event::Refused(9, _)]));
}

#[test]
fn frames_of_streams_that_nobody_opened_are_a_breach() {
    let opened_twice = Frame::Opened {
        stream: 1,
        kept: Vec::new(),
    };
    breach_of(&mut streaming(), opened_twice);
    let mut opening = opened();
    opening.open_stream(&consume(), 9);
    breach_of(&mut opening, deliver(1));
    breach_of(&mut opened(), deliver(1));
    breach_of(&mut opened(), closed(1));
}

#[test]
fn settlements_notifications_and_operators_are_each_answered() {
    let mut session = streaming();
    let frame = session.settle(1, [(token(1), &Settlement::Ack)], None);
    assert!(matches!(frame, Frame::Settle { tag: 0, .. }));
    let Frame::Settle { tag, .. } = session.settle(1, [(token(1), &Settlement::Ack)], Some(5))
    else {
        panic!("a settlement")
    };
    let errors = vec![(0, Refusal::new(Code::StaleLease, "late"))];
    let settled = Frame::Settled {
        tag,
        errors: errors.clone(),
    };
    assert_eq!(
        tell(&mut session, settled.clone()),
        Ok(vec![Event::Settled(5, errors)])
    );

    let Frame::Publish { first_tag, .. } = session.publish(vec![record(), record()], [6, 7]) else {
        panic!("a notification")
    };
    let published = |tag| Frame::Published { tag, reached: 2 };
    let events = tell(&mut session, published(first_tag + 1));
    assert_eq!(events, Ok(vec![Event::Published(7, 2)]));
    let events = tell(&mut session, published(first_tag));
    assert_eq!(events, Ok(vec![Event::Published(6, 2)]));

    let ask = |session: &mut ClientSession<u32, u32>| match session.manage(&Admin::Clients, 8) {
        Frame::Admin { tag, .. } => tag,
        other => panic!("{other:?}"),
    };
    let tag = ask(&mut session);
    let managed = Box::new((&Managed::Done).into());
    let events = tell(&mut session, Frame::Managed { tag, managed });
    assert_eq!(events, Ok(vec![Event::Managed(8, Managed::Done)]));
    // An answer of a newer server costs that answer alone.
    let tag = ask(&mut session);
    let managed = Box::new(WireManaged::default());
    let events = tell(&mut session, Frame::Managed { tag, managed }).expect("goes on");
    assert!(matches!(&events[..], [Event::Refused(8, _)]));
    breach_of(&mut session, settled);
}

#[test]
fn close_hands_back_everyone_who_waits_for_anything() {
    let mut session = streaming();
    session.open_stream(&consume(), 20);
    let (closing, _) = session.open_stream(&consume(), 21);
    session.close_stream(closing);
    session.request(vec![record(), record()], [1, 2], [11, 12]);
    tell(&mut session, receipt(0)).expect("a receipt");
    session.settle(1, [], Some(22));
    session.publish(vec![record()], [23]);
    let waiting = session.close();
    assert_eq!(waiting.sends, [(1, 2, Some(12))]);
    assert_eq!(waiting.replies, [11]);
    assert_eq!(waiting.questions, [22, 23, 20, 21]);
    assert_eq!(waiting.streams, [1, closing]);
}
