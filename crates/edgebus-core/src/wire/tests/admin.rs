//! Questions and answers of operators: whatever may be asked and answered survives the way there
//! and back; what may not is refused by its code.

use proptest::collection::vec;
use proptest::option;

use super::*;
use crate::admin::{
    Admin, BackupPart, ClientInfo, ConsumerInfo, DeadLetterFilter, DeadLetterRow, LetterState,
    Managed, Position, RequestState,
};
use crate::consumer::{
    Answer, AttemptError, ConsumerConfig, DeadLetterCode, Hold, Reply, Settlement, Start,
};
use crate::id::ConsumerName;
use crate::message::Kind;
use crate::topic::TopicPattern;

fn name() -> impl Strategy<Value = ConsumerName> {
    "[a-z0-9_.-]{1,20}".prop_map(|text| text.parse().expect("a name"))
}

fn pattern() -> impl Strategy<Value = TopicPattern> {
    "[a-z]{1,5}(\\.([a-z]{1,3}|\\*)){0,3}(\\.>)?".prop_map(|text| text.parse().expect("pattern"))
}

fn token() -> impl Strategy<Value = LeaseToken> {
    any::<(u32, u64, u32)>().prop_map(|(epoch, seq, delivery)| LeaseToken {
        epoch,
        seq: Seq(seq),
        delivery,
    })
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Request), Just(Kind::Notification)]
}

fn config() -> impl Strategy<Value = ConsumerConfig> {
    let start = prop_oneof![
        Just(Start::All),
        Just(Start::New),
        any::<u64>().prop_map(|seq| Start::Seq(Seq(seq))),
        any::<u64>().prop_map(Start::TimeMs),
    ];
    let hold = prop_oneof![Just(Hold::Forever), (1..u64::MAX).prop_map(Hold::ForMs)];
    let more = (vec(1..1_000_000u64, 1..5), 1..65_536u32, hold, "[a-z]{0,9}");
    (pattern(), vec(pattern(), 0..4), kind(), start, more).prop_map(
        |(first, others, kind, start, (backoff, in_flight, hold, target))| {
            // A notification has no reply, so it has no responder.
            let of = match kind {
                Kind::Notification => ConsumerConfig::listener,
                _ => ConsumerConfig::responder,
            };
            let config = of(first)
                .kind(kind)
                .start(start)
                .backoff_ms(backoff)
                .max_in_flight(in_flight)
                .hold(hold)
                .target(target);
            others.into_iter().fold(config, ConsumerConfig::pattern)
        },
    )
}

fn position() -> impl Strategy<Value = Position> {
    any::<(bool, u64)>().prop_map(|(seq, number)| match seq {
        true => Position::Seq(Seq(number)),
        false => Position::TimeMs(number),
    })
}

fn reply() -> impl Strategy<Value = Reply> {
    (vec(any::<u8>(), 0..40), option::of("[a-z]{1,9}")).prop_map(|(payload, header)| {
        let reply = Reply::new(payload);
        match header {
            Some(name) => reply.header(name, "ü"),
            None => reply,
        }
    })
}

fn settlement() -> impl Strategy<Value = Settlement> {
    prop_oneof![
        Just(Settlement::Ack),
        Just(Settlement::Extend),
        Just(Settlement::Release),
        reply().prop_map(Settlement::Complete),
        (option::of(any::<u64>()), ".{0,20}")
            .prop_map(|(delay_ms, reason)| Settlement::Nak { delay_ms, reason }),
        ".{0,20}".prop_map(|reason| Settlement::Term { reason }),
    ]
}

fn filter() -> impl Strategy<Value = DeadLetterFilter> {
    let numbers = vec(any::<u64>(), 0..5);
    (numbers, option::of(pattern()), option::of(name())).prop_map(|(numbers, topic, consumer)| {
        DeadLetterFilter {
            // What cannot be undone asks for something to be set.
            all: numbers.is_empty() && topic.is_none() && consumer.is_none(),
            numbers,
            topic,
            consumer,
        }
    })
}

fn log_query() -> impl Strategy<Value = LogQuery> {
    let times = (option::of(any::<u64>()), option::of(any::<u64>()));
    let topics = vec(pattern(), 0..3);
    let page = (1..u32::MAX, 1..u32::MAX);
    let range = (any::<u64>(), option::of(any::<u64>()));
    (range, times, topics, option::of(kind()), page).prop_map(
        |(range, times, topics, kind, page)| {
            let mut query = LogQuery::from(Seq(range.0));
            query.to = range.1.map(Seq);
            (query.from_time_ms, query.to_time_ms) = times;
            query.topics = topics;
            query.kind = kind;
            (query.limit, query.page_bytes) = (page.0 as usize, page.1 as usize);
            query
        },
    )
}

fn admin() -> impl Strategy<Value = Admin> {
    let consumers = prop_oneof![
        (name(), config()).prop_map(|(name, config)| Admin::ConsumerAdd { name, config }),
        Just(Admin::Consumers),
        name().prop_map(|name| Admin::ConsumerInfo { name }),
        (name(), any::<bool>()).prop_map(|(name, paused)| Admin::ConsumerPause { name, paused }),
        name().prop_map(|name| Admin::ConsumerRemove { name }),
        (name(), position()).prop_map(|(name, to)| Admin::ConsumerReset { name, to }),
        (name(), 1..1024u32, any::<bool>(), 0..1000u64).prop_map(|(name, count, ack, wait_ms)| {
            Admin::Next {
                name,
                count,
                ack,
                wait_ms,
            }
        }),
        (name(), token(), settlement()).prop_map(|(name, token, settlement)| Admin::Settle {
            name,
            token,
            settlement
        }),
    ];
    let letters = prop_oneof![
        (filter(), any::<u64>(), 1..u32::MAX).prop_map(|(filter, after, limit)| {
            Admin::DeadLetters {
                filter,
                after,
                limit,
            }
        }),
        filter().prop_map(|filter| Admin::DeadLetterCount { filter }),
        (filter(), any::<bool>()).prop_map(|(filter, dry_run)| Admin::Requeue { filter, dry_run }),
        (filter(), any::<bool>())
            .prop_map(|(filter, dry_run)| Admin::RemoveDeadLetters { filter, dry_run }),
    ];
    let rest = prop_oneof![
        Just(Admin::Clients),
        position().prop_map(|before| Admin::Trim { before }),
        (name(), log_query()).prop_map(|(name, query)| Admin::ReplayInto { name, query }),
        any::<[u8; 16]>().prop_map(|id| Admin::RequestState {
            id: RequestId::from_bytes(id)
        }),
        any::<(u64, u64)>().prop_map(|(id, offset)| Admin::Backup { id, offset }),
    ];
    prop_oneof![consumers, letters, rest]
}

fn consumer_info() -> impl Strategy<Value = ConsumerInfo> {
    let gap = option::of(any::<(u64, u64)>());
    let figures = any::<[u64; 8]>();
    let rest = (any::<u32>(), "[a-z_]{0,9}", gap, option::of(any::<u64>()));
    (name(), option::of(config()), figures, rest).prop_map(
        |(name, config, figures, (epoch, state, gap, held_since_ms))| {
            let [a, b, c, d, e, f, g, h] = figures;
            ConsumerInfo {
                config,
                epoch,
                offset: Seq(a),
                lag: b,
                in_flight: c,
                retrying: d,
                suspects: e,
                workers: f,
                dead_letters: g,
                state,
                completed: h,
                failed: a ^ b,
                gaps: b ^ c,
                gap_messages: c ^ d,
                last_gap: gap.map(|(from, to)| (Seq(from), Seq(to))),
                held_since_ms,
                ..ConsumerInfo::new(name)
            }
        },
    )
}

fn letter() -> impl Strategy<Value = DeadLetterRow> {
    let code = prop_oneof![
        Just(DeadLetterCode::Rejected),
        Just(DeadLetterCode::Attempts),
        Just(DeadLetterCode::Expired),
        Just(DeadLetterCode::Crashed),
        Just(DeadLetterCode::Moved),
    ];
    let attempt =
        (".{0,9}", any::<u64>()).prop_map(|(error, wall_ms)| AttemptError { error, wall_ms });
    let texts = (name(), ".{0,9}", vec(attempt, 0..3));
    (any::<(u64, u64, u64, bool)>(), code, texts).prop_map(
        |((number, seq, wall_ms, dead), code, (consumer, reason, attempts))| DeadLetterRow {
            number,
            seq: Seq(seq),
            consumer: consumer.to_string(),
            code,
            reason,
            state: match dead {
                true => LetterState::Dead,
                false => LetterState::Requeued,
            },
            attempts,
            wall_ms,
            entry: entry(seq),
        },
    )
}

fn managed() -> impl Strategy<Value = Managed> {
    let delivery = (token(), any::<u32>()).prop_map(|(token, attempt)| Delivery {
        token,
        attempt,
        entry: entry(token.seq.0),
    });
    let client = (
        any::<[u64; 4]>(),
        any::<u32>(),
        ".{0,9}",
        ".{0,9}",
        ".{0,9}",
    )
        .prop_map(|(numbers, streams, name, address, identity)| ClientInfo {
            id: numbers[0],
            name,
            address,
            connected_ms: numbers[1],
            streams,
            in_flight: numbers[2],
            sent: numbers[3],
            identity,
        });
    let answer = prop_oneof![
        reply().prop_map(Answer::Reply),
        ".{0,9}".prop_map(|reason| Answer::DeadLettered { reason }),
        Just(Answer::Expired),
    ];
    prop_oneof![
        Just(Managed::Done),
        vec(consumer_info(), 0..3).prop_map(Managed::Consumers),
        vec(delivery, 0..3).prop_map(Managed::Deliveries),
        (vec(letter(), 0..3), option::of(any::<u64>()))
            .prop_map(|(letters, next)| Managed::DeadLetters { letters, next }),
        any::<u64>().prop_map(Managed::Count),
        vec(client, 0..3).prop_map(Managed::Clients),
        any::<(u64, u64)>().prop_map(|(first, messages)| Managed::Trimmed {
            first_seq: Seq(first),
            messages,
        }),
        (option::of(any::<u64>()), option::of(answer)).prop_map(|(seq, answer)| {
            Managed::State(RequestState {
                seq: seq.map(Seq),
                answer,
            })
        }),
        (any::<(u64, u64, u64, bool)>(), vec(any::<u8>(), 0..99)).prop_map(
            |((id, offset, estimate_bytes, done), bytes)| {
                Managed::Backup(BackupPart {
                    id,
                    offset,
                    bytes: bytes.into(),
                    done,
                    estimate_bytes,
                })
            }
        ),
    ]
}

/// Over the wire, as bytes.
fn sent(frame: &Frame) -> Frame {
    let mut bytes = bytes_of(frame);
    let decoded = Decoder::new(FRAME_BYTES_MAX).decode(&mut bytes);
    decoded.expect("a sound frame").expect("a whole frame")
}

proptest! {
    #[test]
    fn every_question_arrives_as_it_was_asked(admin in admin()) {
        let frame = Frame::Admin { tag: 1, admin: Box::new((&admin).into()) };
        let Frame::Admin { admin: wire, .. } = sent(&frame) else { panic!("a question") };
        prop_assert_eq!(Admin::try_from(*wire), Ok(admin));
    }

    #[test]
    fn every_answer_arrives_as_it_was_given(managed in managed()) {
        let frame = Frame::Managed { tag: 1, managed: Box::new((&managed).into()) };
        let Frame::Managed { managed: wire, .. } = sent(&frame) else { panic!("an answer") };
        prop_assert_eq!(Managed::try_from(*wire), Ok(managed));
    }

    /// What another program makes up: refused or understood, and never more than that.
    #[test]
    fn noise_as_a_question_never_panics(noise in vec(any::<u8>(), 0..120)) {
        let question: Result<WireAdmin, _> = prost::Message::decode(&noise[..]);
        if let Ok(question) = question {
            let _ = Admin::try_from(question);
        }
        let answer: Result<WireManaged, _> = prost::Message::decode(&noise[..]);
        if let Ok(answer) = answer {
            let _ = Managed::try_from(answer);
        }
    }
}

#[test]
fn question_that_makes_no_sense_is_refused_by_code() {
    let name: ConsumerName = "c".parse().expect("name");
    let pattern: TopicPattern = "a".parse().expect("pattern");
    let next = |count, wait_ms| Admin::Next {
        name: name.clone(),
        count,
        ack: false,
        wait_ms,
    };
    let nothing = DeadLetterFilter::default();
    let too_many = DeadLetterFilter::numbers(vec![1; DeadLetterFilter::NUMBERS_MAX + 1]);
    let letters = |filter: &DeadLetterFilter, limit| Admin::DeadLetters {
        filter: filter.clone(),
        after: 0,
        limit,
    };
    let requeue = |filter: &DeadLetterFilter| Admin::Requeue {
        filter: filter.clone(),
        dry_run: true,
    };
    let mut topics = LogQuery::from(Seq(1));
    topics.topics = vec![pattern.clone(); LogQuery::TOPICS_MAX + 1];
    let cases = [
        (
            Admin::ConsumerAdd {
                name: name.clone(),
                config: ConsumerConfig::listener(pattern).ack_wait_ms(0),
            },
            Code::BadConfig,
        ),
        (next(0, 0), Code::BadQuery),
        (next(1025, 0), Code::BadQuery),
        (next(1, 300_001), Code::BadQuery),
        (letters(&nothing, 0), Code::BadQuery),
        (letters(&too_many, 1), Code::BadQuery),
        (requeue(&nothing), Code::BadQuery),
        (requeue(&too_many), Code::BadQuery),
        (
            Admin::RemoveDeadLetters {
                filter: nothing,
                dry_run: false,
            },
            Code::BadQuery,
        ),
        (
            Admin::ReplayInto {
                name,
                query: topics,
            },
            Code::BadQuery,
        ),
    ];
    for (admin, code) in cases {
        let refusal = Admin::try_from(WireAdmin::from(&admin)).expect_err("makes no sense");
        assert_eq!(refusal.code, code, "{admin:?}");
    }
}

/// Bytes that no encoder here would write: field number, wire type 2, length, content.
#[test]
fn question_with_bad_names_or_nothing_in_it_is_refused_by_code() {
    let cases: [(&[u8], Code); 7] = [
        (b"", Code::BadQuery),
        // Field 3, consumer_info, with name "a b".
        (b"\x1a\x05\x0a\x03a b", Code::BadConsumer),
        // Field 8, settle, with name "c" and token "1".
        (b"\x42\x06\x0a\x01c\x12\x011", Code::BadToken),
        // Field 10, dead_letter_count, with topic "..".
        (b"\x52\x04\x12\x02..", Code::BadPattern),
        // Field 14, trim, without a place.
        (b"\x72\x00", Code::BadQuery),
        // Field 16, request_state, with two bytes.
        (b"\x82\x01\x02ab", Code::BadQuery),
        // Field 1, consumer_add, without a configuration.
        (b"\x0a\x03\x0a\x01c", Code::BadConfig),
    ];
    for (bytes, code) in cases {
        let question: WireAdmin = prost::Message::decode(bytes).expect("sound prost");
        let refusal = Admin::try_from(question).expect_err("makes no sense");
        assert_eq!(refusal.code, code, "{bytes:?}");
    }
}

#[test]
fn page_of_dead_letters_that_fits_no_frame_is_cut_and_says_where_to_go_on() {
    let letter = |number: u64, attempts: usize| {
        let attempt = |wall_ms| AttemptError {
            error: "x".repeat(100),
            wall_ms,
        };
        DeadLetterRow {
            number,
            seq: Seq(number),
            consumer: "c".into(),
            code: DeadLetterCode::Attempts,
            reason: String::new(),
            state: LetterState::Dead,
            attempts: (1..=attempts as u64).map(attempt).collect(),
            wall_ms: 1,
            entry: entry(number),
        }
    };
    type Page = (Vec<DeadLetterRow>, Option<u64>);
    let within = |letters: Vec<DeadLetterRow>, frame_bytes_max| -> Result<Page, Refusal> {
        let next = None;
        let managed = Managed::DeadLetters { letters, next };
        let managed = WireManaged::within(&managed, frame_bytes_max)?;
        let frame = Frame::Managed {
            tag: 1,
            managed: Box::new(managed),
        };
        assert!(bytes_of(&frame).len() - 4 <= frame_bytes_max);
        let Frame::Managed { managed, .. } = sent(&frame) else {
            panic!("an answer")
        };
        match Managed::try_from(*managed)? {
            Managed::DeadLetters { letters, next } => Ok((letters, next)),
            other => panic!("{other:?}"),
        }
    };
    let all: Vec<_> = (1..=5).map(|number| letter(number, 1)).collect();
    assert_eq!(within(all.clone(), 1 << 20), Ok((all.clone(), None)));
    let (some, next) = within(all.clone(), 700).expect("cut");
    assert!((2..5).contains(&some.len()));
    assert_eq!(
        (&some[..], next),
        (&all[..some.len()], Some(some.len() as u64))
    );
    // One that is too large by itself keeps its latest attempts.
    let (one, next) = within(vec![letter(1, 100), letter(2, 1)], 700).expect("cut");
    assert_eq!(next, Some(1));
    let times: Vec<_> = one[0]
        .attempts
        .iter()
        .map(|attempt| attempt.wall_ms)
        .collect();
    assert!(!times.is_empty() && times.ends_with(&[100]));
    let refusal = within(vec![letter(1, 0)], 100).expect_err("no room for the message");
    assert_eq!(refusal.code, Code::FrameTooLarge);
}
