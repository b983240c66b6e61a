//! What a server makes of frames, one by one.

mod delivery;

use super::*;
use crate::query::{LogQuery, Query};
use crate::wire::control::{WireLogQuery, WireQuery};
use crate::{Message, RequestId, Seq};

fn hello(min: u32, max: u32) -> Frame {
    Frame::Hello(Hello {
        version_min: min,
        version_max: max,
        ..Hello::default()
    })
}

fn open() -> ServerSession {
    let mut session = ServerSession::new(ServerLimits::default(), "test");
    assert!(matches!(
        session.on_frame(hello(1, 1)),
        Ok(Step::Opened {
            welcome: Frame::Welcome(_),
            token: None
        })
    ));
    session
}

#[test]
fn token_is_handed_on_and_shown_nowhere() {
    let mut session = ServerSession::new(ServerLimits::default(), "test");
    let hello = Frame::Hello(Hello {
        version_min: 1,
        version_max: 1,
        token: Some(Bytes::from_static(b"correct-horse")),
        ..Hello::default()
    });
    let shown = format!("{hello:?}");
    let step = session.on_frame(hello).expect("welcome");
    let shown = format!("{shown}{step:?}{session:?}");
    assert!(
        shown.contains("AccessToken(..)") && !shown.contains("horse"),
        "{shown}"
    );
    let Step::Opened { token, .. } = step else {
        panic!("not opened")
    };
    assert_eq!(token.expect("said").as_bytes(), b"correct-horse");
}

/// A server that is slow to close may be handed what came behind the breach.
#[test]
fn nothing_is_taken_once_the_connection_was_refused() {
    let mut session = open();
    let refusal = session.on_frame(hello(1, 1)).expect_err("said twice");
    for frame in [Frame::Ping { token: 1 }, hello(1, 1)] {
        assert_eq!(session.on_frame(frame), Err(refusal.clone()));
    }
}

#[test]
fn anything_before_hello_is_refused() {
    let mut session = ServerSession::new(ServerLimits::default(), "test");
    let refusal = session
        .on_frame(Frame::Ping { token: 1 })
        .expect_err("too early");
    assert_eq!(refusal.code, Code::UnexpectedFrame);
}

#[test]
fn version_that_is_not_shared_is_refused_with_both_named() {
    let mut session = ServerSession::new(ServerLimits::default(), "test");
    let refusal = session.on_frame(hello(2, 3)).expect_err("no version 1");
    assert_eq!(refusal.code, Code::WrongVersion);
    assert!(refusal.message.contains("2 to 3"));
}

#[test]
fn bad_record_is_refused_alone_and_its_neighbours_pass() {
    let record = |topic: &str| {
        let message = Message::new(
            RequestId::from_bytes([1; 16]),
            topic.parse().expect("topic"),
            "x",
        );
        Record::encode(&message, &RecordLimits::default()).expect("fits")
    };
    let mut broken = record("a").as_bytes().to_vec();
    let last = broken.len() - 1;
    broken[last] ^= 1;
    let broken = Record::split_from(&mut broken.into()).expect("lengths are right");
    let step = open().on_frame(Frame::Send {
        first_tag: 5,
        records: vec![record("a"), broken, record("b")],
    });
    let Ok(Step::Append {
        records, refused, ..
    }) = step
    else {
        panic!("an append")
    };
    assert_eq!(
        records.iter().map(|(tag, _)| *tag).collect::<Vec<_>>(),
        [5, 7]
    );
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].tag, 6);
    assert!(matches!(&refused[0].result, Err(refusal) if refusal.code == Code::RecordCorrupt));
}

#[test]
fn question_that_makes_no_sense_is_refused_by_its_tag_and_nothing_ends() {
    let mut log = LogQuery::from(Seq(1));
    log.limit = 0;
    let nothing = WireQuery::default();
    let pattern = WireQuery {
        log: Some(WireLogQuery {
            topics: vec!["a.>.b".into()],
            limit: 1,
            page_bytes: 1,
            ..WireLogQuery::default()
        }),
        ..WireQuery::default()
    };
    let short_id = WireQuery {
        by_id: Some("12".into()),
        ..WireQuery::default()
    };
    let cases = [
        (WireQuery::from(&Query::Log(log)), Code::BadQuery),
        (nothing, Code::BadQuery),
        (pattern, Code::BadPattern),
        (short_id, Code::BadQuery),
    ];
    let mut session = open();
    for (query, code) in cases {
        let step = session.on_frame(Frame::Query { tag: 7, query });
        let Ok(Step::Reply(Frame::Error { tag: 7, refusal })) = step else {
            panic!("{step:?}")
        };
        assert_eq!(refusal.code, code);
    }
    let query = (&Query::Stats).into();
    let tag = TAG_CONNECTION;
    assert!(session.on_frame(Frame::Query { tag, query }).is_err());
}

#[test]
fn receipts_leave_as_ranges() {
    let ok = |tag, seq| Outcome {
        tag,
        result: Ok((seq, false)),
    };
    let bad = Outcome {
        tag: 3,
        result: Err(Refusal::new(Code::Busy, "later")),
    };
    let frames = frames_for([ok(1, 11), ok(2, 12), bad.clone(), ok(4, 13)]);
    let Frame::Receipts(ranges) = &frames[0] else {
        panic!("receipts first")
    };
    assert_eq!(
        ranges
            .iter()
            .map(|r| (r.first_tag, r.count))
            .collect::<Vec<_>>(),
        [(1, 2), (4, 1)]
    );
    assert!(matches!(&frames[1], Frame::Error { tag: 3, .. }));
}
