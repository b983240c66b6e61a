//! Requests, streams, settlements and operators' questions.

use super::*;
use crate::admin::DeadLetterFilter;
use crate::consumer::{Delivery, LeaseToken, Reply};
use crate::entry::{Entry, Envelope};
use crate::id::Scope;
use crate::stream::{Consume, Subscribe};
use crate::wire::settle::WireSettlement;
use crate::wire::{Decoder, encode};
use bytes::{Bytes, BytesMut};

fn record(kind: Kind) -> Record {
    let topic = "a".parse().expect("topic");
    let message = Message::new(RequestId::from_bytes([1; 16]), topic, "x").kind(kind);
    Record::encode(&message, &RecordLimits::default()).expect("fits")
}

fn entry(seq: u64) -> Entry {
    let envelope = Envelope {
        seq: Seq(seq),
        received_ms: 1,
        store_time_ms: 0,
        scope: Scope(0),
        identity: "",
    };
    let mut bytes = Vec::new();
    Entry::encode(&mut bytes, &envelope, &record(Kind::Request));
    Entry::from_bytes(Bytes::from(bytes)).expect("whole")
}

fn token(seq: u64) -> LeaseToken {
    LeaseToken {
        epoch: 1,
        seq: Seq(seq),
        delivery: 1,
    }
}

fn consume() -> Open {
    Open::Consume(Consume::new("billing".parse().expect("name"), 8))
}

fn subscribe() -> Open {
    Open::Subscribe(Subscribe {
        patterns: vec!["a".parse().expect("pattern")],
        buffer: 1,
    })
}

fn open_frame(stream: u64, open: &Open) -> Frame {
    let open = Box::new(open.into());
    Frame::Open { stream, open }
}

/// A session with a consumer on stream 1 and a subscription on stream 2.
fn streaming() -> ServerSession {
    let mut session = open();
    for (stream, open) in [(1, consume()), (2, subscribe())] {
        let step = session.on_frame(open_frame(stream, &open));
        assert_eq!(step, Ok(Step::Open { stream, open }));
    }
    session
}

fn settle(stream: u64, tag: u64, settlements: Vec<WireSettlement>) -> Frame {
    let items = (1..).zip(settlements).map(|(seq, settlement)| SettleItem {
        token: token(seq),
        settlement,
    });
    Frame::Settle {
        stream,
        tag,
        items: items.collect(),
    }
}

fn breach_of(session: &mut ServerSession, frame: Frame) {
    let refusal = session.on_frame(frame).expect_err("not allowed");
    assert_eq!(refusal.code, Code::UnexpectedFrame);
}

#[test]
fn request_wants_a_reply_and_a_notification_cannot_have_one() {
    let step = open().on_frame(Frame::Request {
        first_tag: 5,
        records: vec![record(Kind::Request), record(Kind::Notification)],
    });
    let Ok(Step::Append {
        records,
        refused,
        wants_reply: true,
    }) = step
    else {
        panic!("{step:?}")
    };
    assert_eq!((records.len(), records[0].0), (1, 5));
    assert_eq!((refused.len(), refused[0].tag), (1, 6));
    assert!(matches!(&refused[0].result, Err(refusal) if refusal.code == Code::BadRecord));
    let step = open().on_frame(Frame::Send {
        first_tag: 5,
        records: vec![record(Kind::Request), record(Kind::Notification)],
    });
    assert!(matches!(
        step,
        Ok(Step::Append { wants_reply: false, refused, .. }) if refused.is_empty()
    ));
}

#[test]
fn only_notifications_are_published_and_the_others_are_refused_alone() {
    let step = open().on_frame(Frame::Publish {
        first_tag: 1 << 62,
        records: vec![record(Kind::Request), record(Kind::Notification)],
    });
    let Ok(Step::Publish { records, refused }) = step else {
        panic!("{step:?}")
    };
    assert_eq!((records.len(), records[0].0), (1, (1 << 62) + 1));
    assert!(matches!(&refused[0].result, Err(refusal) if refusal.code == Code::BadRecord));
}

#[test]
fn no_tag_stands_for_the_connection() {
    let mut session = streaming();
    let tag = TAG_CONNECTION;
    breach_of(&mut session, settle(1, tag, Vec::new()));
    let admin = Box::new((&Admin::Clients).into());
    breach_of(&mut session, Frame::Admin { tag, admin });
    for first_tag in [TAG_CONNECTION, TAG_CONNECTION - 1] {
        let records = vec![record(Kind::Request), record(Kind::Request)];
        breach_of(&mut session, Frame::Request { first_tag, records });
        let records = vec![record(Kind::Notification), record(Kind::Notification)];
        breach_of(&mut session, Frame::Publish { first_tag, records });
    }
}

#[test]
fn stream_numbers_go_up_and_are_never_used_again() {
    for stream in [0, 1, 2] {
        breach_of(&mut streaming(), open_frame(stream, &consume()));
    }
    let mut session = streaming();
    assert_eq!(
        session.on_frame(Frame::Close {
            stream: 2,
            refusal: None
        }),
        Ok(Step::CloseStream { stream: 2 })
    );
    breach_of(&mut session, open_frame(2, &consume()));
    // Numbers may be left out.
    let step = streaming().on_frame(open_frame(u64::MAX, &consume()));
    assert!(matches!(step, Ok(Step::Open { .. })));
}

#[test]
fn stream_that_makes_no_sense_is_refused_alone_and_its_number_is_used_up() {
    let mut session = open();
    let open = Box::new(WireOpen::default());
    let step = session.on_frame(Frame::Open { stream: 1, open });
    let Ok(Step::Reply(Frame::Close { stream: 1, refusal })) = step else {
        panic!("{step:?}")
    };
    assert_eq!(refusal.expect("why").code, Code::BadQuery);
    assert_eq!(session.streams(), 0);
    breach_of(&mut session, open_frame(1, &consume()));
}

#[test]
fn more_streams_than_there_may_be_are_refused_alone_until_one_is_closed() {
    let limits = ServerLimits {
        consumers_max: 1,
        subscriptions_max: 1,
        ..ServerLimits::default()
    };
    let mut session = ServerSession::new(limits, "test");
    session.on_frame(hello(1, 1)).expect("opens");
    let step = session.on_frame(open_frame(1, &consume()));
    assert!(matches!(step, Ok(Step::Open { .. })));
    let step = session.on_frame(open_frame(2, &consume()));
    let Ok(Step::Reply(Frame::Close { stream: 2, refusal })) = step else {
        panic!("{step:?}")
    };
    let refusal = refusal.expect("why");
    assert_eq!(refusal.code, Code::Busy);
    assert!(refusal.retry_after_ms.is_some());
    // Subscriptions are counted for themselves.
    let step = session.on_frame(open_frame(3, &subscribe()));
    assert!(matches!(step, Ok(Step::Open { .. })));
    let step = session.on_frame(open_frame(4, &subscribe()));
    assert!(matches!(step, Ok(Step::Reply(Frame::Close { .. }))));
    let refusal = Refusal::new(Code::NoSuchConsumer, "removed");
    assert!(session.end_stream(1, Some(refusal)).is_some());
    let step = session.on_frame(open_frame(5, &consume()));
    assert!(matches!(step, Ok(Step::Open { stream: 5, .. })));
}

/// Both ends end it at the same time: each says so once.
#[test]
fn stream_ends_once_whoever_ends_it() {
    let close = Frame::Close {
        stream: 1,
        refusal: None,
    };
    let mut session = streaming();
    assert_eq!(session.end_stream(1, None), Some(close.clone()));
    assert_eq!(session.on_frame(close.clone()), Ok(Step::Nothing));
    assert_eq!(session.end_stream(1, None), None);
    let mut session = streaming();
    let step = session.on_frame(close);
    assert_eq!(step, Ok(Step::CloseStream { stream: 1 }));
    assert_eq!(session.end_stream(1, None), None);
}

#[test]
fn credit_is_bounded_and_too_late_is_no_breach() {
    let mut session = streaming();
    let credit = |stream, credit| Frame::Credit { stream, credit };
    let allowed = |credit| Ok(Step::Credit { stream: 1, credit });
    assert_eq!(session.on_frame(credit(1, 7)), allowed(7));
    assert_eq!(session.on_frame(credit(1, u32::MAX)), allowed(CREDIT_MAX));
    assert_eq!(session.on_frame(credit(1, 0)), Ok(Step::Nothing));
    session.end_stream(1, None);
    assert_eq!(session.on_frame(credit(1, 7)), Ok(Step::Nothing));
    breach_of(&mut session, credit(2, 1));
    breach_of(&mut streaming(), credit(3, 1));
    breach_of(&mut streaming(), credit(0, 1));
    let refusal = None;
    breach_of(&mut streaming(), Frame::Close { stream: 3, refusal });
}

#[test]
fn settlement_that_makes_no_sense_is_refused_alone_and_its_neighbours_count() {
    let mut session = streaming();
    let bad = WireSettlement {
        what: 9,
        body: Bytes::new(),
    };
    let ack = WireSettlement::from(&Settlement::Ack);
    let header = Settlement::Complete(Reply::new("").header("=", ""));
    let items = vec![bad, ack.clone(), WireSettlement::from(&header), ack];
    let step = session.on_frame(settle(1, 8, items));
    let Ok(Step::Settle {
        stream: 1,
        items,
        answer,
    }) = step
    else {
        panic!("{step:?}")
    };
    assert_eq!(
        items,
        [(token(2), Settlement::Ack), (token(4), Settlement::Ack)]
    );
    let stale = Refusal::new(Code::StaleLease, "late");
    let frame = answer.frame([Ok(()), Err(stale)]);
    let Some(Frame::Settled { tag: 8, errors }) = frame else {
        panic!("{frame:?}")
    };
    let errors: Vec<_> = errors.iter().map(|(at, why)| (*at, why.code)).collect();
    let expected = [
        (0, Code::BadQuery),
        (2, Code::BadHeader),
        (3, Code::StaleLease),
    ];
    assert_eq!(errors, expected);
}

#[test]
fn settlement_without_a_tag_is_never_answered() {
    let step = streaming().on_frame(settle(1, 0, vec![(&Settlement::Ack).into()]));
    let Ok(Step::Settle { answer, .. }) = step else {
        panic!("{step:?}")
    };
    let stale = Refusal::new(Code::StaleLease, "late");
    assert_eq!(answer.frame([Err(stale)]), None);
}

#[test]
fn settlement_on_a_stream_that_is_not_open_is_refused_by_its_tag() {
    let mut session = streaming();
    session.end_stream(1, None);
    for (stream, code) in [
        (1, Code::StaleLease),
        (9, Code::StaleLease),
        (2, Code::BadQuery),
    ] {
        let ack = || vec![WireSettlement::from(&Settlement::Ack)];
        let step = session.on_frame(settle(stream, 4, ack()));
        let Ok(Step::Reply(Frame::Error { tag: 4, refusal })) = step else {
            panic!("{step:?}")
        };
        assert_eq!(refusal.code, code);
        assert_eq!(
            session.on_frame(settle(stream, 0, ack())),
            Ok(Step::Nothing)
        );
    }
}

#[test]
fn operators_question_that_makes_no_sense_is_refused_by_its_tag_and_nothing_ends() {
    let mut session = open();
    let ask = |admin: &Admin| Frame::Admin {
        tag: 4,
        admin: Box::new(admin.into()),
    };
    let admin = Admin::Requeue {
        filter: DeadLetterFilter::default(),
        dry_run: false,
    };
    let reply = Reply::new(vec![0; RecordLimits::default().payload_bytes_max + 1]);
    let settle = Admin::Settle {
        name: "c".parse().expect("name"),
        token: token(1),
        settlement: Settlement::Complete(reply),
    };
    for (admin, code) in [(admin, Code::BadQuery), (settle, Code::PayloadTooLarge)] {
        let step = session.on_frame(ask(&admin));
        let Ok(Step::Reply(Frame::Error { tag: 4, refusal })) = step else {
            panic!("{step:?}")
        };
        assert_eq!(refusal.code, code);
    }
    let step = session.on_frame(ask(&Admin::Consumers));
    let admin = Admin::Consumers;
    assert_eq!(step, Ok(Step::Admin { tag: 4, admin }));
}

#[test]
fn frames_of_a_server_are_refused_from_a_client() {
    let frames = [
        Frame::Opened {
            stream: 1,
            kept: Vec::new(),
        },
        Frame::Deliver {
            stream: 1,
            deliveries: Vec::new(),
        },
        Frame::Settled {
            tag: 1,
            errors: Vec::new(),
        },
        Frame::Published { tag: 1, reached: 0 },
        Frame::Notify {
            stream: 2,
            entries: Vec::new(),
        },
        Frame::Lagged {
            stream: 2,
            missed: 1,
        },
    ];
    for frame in frames {
        breach_of(&mut streaming(), frame);
    }
}

#[test]
fn deliveries_are_cut_into_frames_within_the_limit_and_none_is_lost() {
    let deliveries: Vec<Delivery> = (1..=10)
        .map(|seq| Delivery {
            token: token(seq),
            attempt: 1,
            entry: entry(seq),
        })
        .collect();
    let one = 16 + entry(1).as_bytes().len();
    for frame_bytes_max in [0, one + 32, 3 * one + 32, 1 << 20] {
        let frames: Vec<_> = deliver_frames(1, deliveries.clone(), frame_bytes_max).collect();
        let mut got = Vec::new();
        for frame in frames {
            let mut bytes = BytesMut::new();
            encode(&frame, &mut bytes);
            let Frame::Deliver { deliveries, .. } = frame else {
                panic!("deliveries")
            };
            assert!(bytes.len() - 4 <= frame_bytes_max || deliveries.len() == 1);
            let decoded = Decoder::new(bytes.len()).decode(&mut bytes);
            assert!(matches!(decoded, Ok(Some(Frame::Deliver { .. }))));
            got.extend(deliveries);
        }
        assert_eq!(got, deliveries);
    }
    let entries: Vec<Entry> = (1..=10).map(entry).collect();
    let room = 3 * entry(1).as_bytes().len() + 32;
    assert_eq!(notify_frames(1, entries, room).count(), 4);
    assert_eq!(deliver_frames(1, Vec::new(), 1 << 20).count(), 0);
}
