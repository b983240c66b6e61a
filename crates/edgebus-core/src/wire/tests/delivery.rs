//! Frames of streams, settlements and replies.

use super::*;
use crate::admin::{Admin, DeadLetterFilter, Managed};
use crate::consumer::{Answer, ConsumerConfig, Reply, Settlement};
use crate::stream::{Consume, Open, Subscribe};
use crate::wire::settle::WireSettlement;

fn token(seq: u64) -> LeaseToken {
    LeaseToken {
        epoch: 2,
        seq: Seq(seq),
        delivery: 3,
    }
}

fn settlements() -> Vec<Settlement> {
    vec![
        Settlement::Ack,
        Settlement::Complete(Reply::new("{}").header("a", "b")),
        Settlement::Nak {
            delay_ms: Some(0),
            reason: "later".into(),
        },
        Settlement::Nak {
            delay_ms: None,
            reason: String::new(),
        },
        Settlement::Term {
            reason: "never".into(),
        },
        Settlement::Extend,
        Settlement::Release,
    ]
}

fn opens() -> Vec<Open> {
    let mut consume = Consume::new("billing".parse().expect("name"), 256);
    let plain = Open::Consume(consume.clone());
    let pattern = "orders.>".parse().expect("pattern");
    consume.config = Some(ConsumerConfig::responder(pattern));
    consume.held = vec![token(4), token(5)];
    let subscribe = Subscribe {
        patterns: vec!["a.*".parse().expect("pattern")],
        buffer: 64,
    };
    vec![plain, Open::Consume(consume), Open::Subscribe(subscribe)]
}

/// Every frame of a delivery, some with nothing in them.
pub(super) fn frames() -> Vec<Frame> {
    let refusal = Refusal::new(Code::StaleLease, "too late");
    let settle = |stream, tag, items: &[Settlement]| Frame::Settle {
        stream,
        tag,
        items: (1..)
            .zip(items)
            .map(|(seq, settlement)| SettleItem {
                token: token(seq),
                settlement: settlement.into(),
            })
            .collect(),
    };
    let answer = |answer: Answer| Frame::Answer {
        tag: 7,
        answer: (&answer).into(),
    };
    let deliveries = (1..3).map(|seq| Delivery {
        token: token(seq),
        attempt: 1,
        entry: entry(seq),
    });
    let mut frames: Vec<Frame> = opens()
        .iter()
        .map(|open| Frame::Open {
            stream: 1,
            open: Box::new(open.into()),
        })
        .collect();
    frames.extend([
        Frame::Request {
            first_tag: 7,
            records: vec![record("a"), record("bb")],
        },
        answer(Answer::Reply(Reply::new("done"))),
        answer(Answer::DeadLettered {
            reason: "no".into(),
        }),
        answer(Answer::Expired),
        Frame::Opened {
            stream: 1,
            kept: vec![token(4)],
        },
        Frame::Credit {
            stream: 1,
            credit: u32::MAX,
        },
        Frame::Deliver {
            stream: 1,
            deliveries: deliveries.collect(),
        },
        settle(1, 0, &settlements()),
        settle(2, 9, &[Settlement::Ack]),
        Frame::Settled {
            tag: 9,
            errors: vec![(1, refusal.clone())],
        },
        Frame::Publish {
            first_tag: 8,
            records: vec![record("a")],
        },
        Frame::Published { tag: 8, reached: 2 },
        Frame::Notify {
            stream: 2,
            entries: vec![entry(0), entry(9)],
        },
        Frame::Lagged {
            stream: 2,
            missed: 1000,
        },
        Frame::Close {
            stream: 1,
            refusal: Some(refusal),
        },
        Frame::Close {
            stream: 1,
            refusal: None,
        },
        Frame::Admin {
            tag: 3,
            admin: Box::new(
                (&Admin::Requeue {
                    filter: DeadLetterFilter::numbers([1, 2]),
                    dry_run: true,
                })
                    .into(),
            ),
        },
        Frame::Managed {
            tag: 3,
            managed: Box::new((&Managed::Count(2)).into()),
        },
    ]);
    frames
}

#[test]
fn settlements_survive_the_way_there_and_back() {
    for settlement in settlements() {
        let wire = WireSettlement::from(&settlement);
        assert_eq!(Settlement::try_from(wire), Ok(settlement));
    }
}

#[test]
fn settlement_that_makes_no_sense_is_refused_by_code() {
    let cases = [(0, ""), (7, ""), (2, "\u{1}"), (3, "\u{1}"), (4, "\u{1}")];
    for (what, body) in cases {
        let body = Bytes::from_static(body.as_bytes());
        let refusal = Settlement::try_from(WireSettlement { what, body });
        assert_eq!(refusal.expect_err("none").code, Code::BadQuery);
    }
}

#[test]
fn opens_survive_the_way_there_and_back() {
    for open in opens() {
        assert_eq!(Open::try_from(WireOpen::from(&open)), Ok(open));
    }
}

#[test]
fn more_credit_and_room_than_there_may_be_count_as_the_most() {
    let open = Open::Consume(Consume::new("c".parse().expect("name"), u32::MAX));
    let Ok(Open::Consume(consume)) = Open::try_from(WireOpen::from(&open)) else {
        panic!("a consumer")
    };
    assert_eq!(consume.credit, crate::consumer::CREDIT_MAX);
    let subscribe = Open::Subscribe(Subscribe {
        patterns: vec!["a".parse().expect("pattern")],
        buffer: u32::MAX,
    });
    let Ok(Open::Subscribe(subscribe)) = Open::try_from(WireOpen::from(&subscribe)) else {
        panic!("a subscription")
    };
    assert_eq!(subscribe.buffer, crate::stream::BUFFER_MAX);
}

#[test]
fn stream_that_makes_no_sense_is_refused_by_code() {
    let pattern: crate::TopicPattern = "a".parse().expect("pattern");
    let consume = Consume::new("c".parse().expect("name"), 1);
    let cases = [
        Open::Consume(Consume {
            config: Some(ConsumerConfig::listener(pattern.clone()).max_attempts(0)),
            ..consume.clone()
        }),
        Open::Consume(Consume {
            held: vec![token(1); crate::stream::HELD_MAX + 1],
            ..consume
        }),
        Open::Subscribe(Subscribe {
            patterns: Vec::new(),
            buffer: 1,
        }),
        Open::Subscribe(Subscribe {
            patterns: vec![pattern.clone(); 65],
            buffer: 1,
        }),
        Open::Subscribe(Subscribe {
            patterns: vec![pattern],
            buffer: 0,
        }),
    ];
    let codes = cases.map(|open| {
        let open = Open::try_from(WireOpen::from(&open));
        open.expect_err("makes no sense").code
    });
    let [config, rest @ ..] = codes;
    assert_eq!(config, Code::BadConfig);
    assert_eq!(rest, [Code::BadQuery; 4]);
    let nothing = Open::try_from(WireOpen::default()).expect_err("nothing");
    assert_eq!(nothing.code, Code::BadQuery);
}

#[test]
fn answer_of_a_newer_server_is_unknown_and_nothing_worse() {
    let answer = WireAnswer {
        status: 9,
        ..WireAnswer::default()
    };
    let refusal = Answer::try_from(answer).expect_err("9");
    assert_eq!(refusal.code, Code::Unknown);
}

#[test]
fn settlement_longer_than_its_frame_is_refused() {
    let frame = Frame::Settle {
        stream: 1,
        tag: 1,
        items: vec![SettleItem {
            token: token(1),
            settlement: WireSettlement {
                what: 1,
                body: Bytes::new(),
            },
        }],
    };
    let length_at = HEADER_BYTES + 24 + 20;
    let mut bytes = with_body(&frame, |bytes| {
        bytes[length_at..length_at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    });
    let refusal = Decoder::new(FRAME_BYTES_MAX).decode(&mut bytes);
    assert_eq!(refusal.expect_err("4 GiB").code, Code::FrameCorrupt);
}
