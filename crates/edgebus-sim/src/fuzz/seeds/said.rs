//! What both ends of a connection say.

use bytes::{Bytes, BytesMut};
use edgebus_core::admin::{
    Admin, ClientInfo, ConsumerInfo, DeadLetterFilter, DeadLetterRow, LetterState, Managed,
    Position,
};
use edgebus_core::consumer::{Answer, AttemptError, DeadLetterCode, Reply, Settlement};
use edgebus_core::query::{LogPage, LogQuery, Query, Stats};
use edgebus_core::session::ClientSession;
use edgebus_core::stream::{Consume, Open, Subscribe};
use edgebus_core::wire::control::{Hello, Welcome};
use edgebus_core::wire::{Frame, PROTOCOL_VERSION, ReceiptRange, TAG_CONNECTION, encode};
use edgebus_core::{Code, Refusal, RequestId, Seq};

use super::{Seeds, made};

/// Where the tags of questions begin.
const QUESTIONS: u64 = 1 << 62;

fn bytes_of(frames: impl IntoIterator<Item = Frame>) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    frames
        .into_iter()
        .for_each(|frame| encode(&frame, &mut bytes));
    bytes.to_vec()
}

/// Target `frames`: both directions.
pub(in crate::fuzz) fn frames() -> Seeds {
    let mut seeds = client_says();
    seeds.extend(server_says());
    seeds
}

fn session() -> (ClientSession<u8, u8>, Frame) {
    let token = edgebus_core::access::AccessToken::new(Bytes::from_static(b"a token"));
    ClientSession::open("till-7", "edgebus 0.1.0", Some(token))
}

/// Target `server`: what a client says.
pub(in crate::fuzz) fn client_says() -> Seeds {
    vec![
        ("client-sends", sends()),
        ("client-works", works()),
        ("client-asks", asks()),
        ("client-operates", operates()),
        (
            "client-of-another-version",
            bytes_of([Frame::Hello(Hello {
                version_min: 2,
                version_max: 3,
                ..Hello::default()
            })]),
        ),
    ]
}

fn sends() -> Vec<u8> {
    let (mut session, hello) = session();
    let records = |from: u8, count: u8| (from..from + count).map(made::record).collect::<Vec<_>>();
    bytes_of([
        hello,
        session.send(records(0, 3), [0, 1, 2]),
        session.request(records(4, 2), [3, 4], [5, 6]),
        session.publish(records(7, 1), [9]),
        Frame::Ping { token: 9 },
        session.send(Vec::new(), []),
        session.send(records(9, 4), [0, 1, 2, 3]),
    ])
}

fn works() -> Vec<u8> {
    let (mut session, hello) = session();
    let mut consume = Consume::new(made::consumer(), 256);
    consume.config = Some(made::consumer_config());
    consume.held = vec![made::token(4), made::token(5)];
    let (worker, opens) = session.open_stream(&Open::Consume(consume), 10);
    let subscribe = Subscribe {
        patterns: vec![made::pattern(), "a.*".parse().expect("a pattern")],
        buffer: 64,
    };
    let (listener, listens) = session.open_stream(&Open::Subscribe(subscribe), 11);
    let settlements = [
        Settlement::Ack,
        Settlement::Complete(Reply::new("{}").header("a", "b")),
        Settlement::Nak {
            delay_ms: Some(5),
            reason: "later".into(),
        },
        Settlement::Term {
            reason: "never".into(),
        },
        Settlement::Extend,
        Settlement::Release,
    ];
    let items = (1..).map(made::token).zip(&settlements);
    let settles = session.settle(worker, items, Some(12));
    // A client says so once the stream is open, which nobody tells this one.
    let credits = Frame::Credit {
        stream: worker,
        credit: 64,
    };
    let ends = [worker, listener].map(|stream| session.close_stream(stream));
    let frames = [hello, opens, listens, settles, credits];
    bytes_of(frames.into_iter().chain(ends.into_iter().flatten()))
}

fn asks() -> Vec<u8> {
    let (mut session, hello) = session();
    let mut log = LogQuery::from(Seq(3));
    log.to = Some(Seq(900));
    log.from_time_ms = Some(1_760_000_000_000);
    log.topics = vec![made::pattern()];
    log.limit = 100;
    bytes_of([
        hello,
        session.query(Query::Log(log), 1),
        session.query(Query::ById(RequestId::from_bytes([5; 16])), 2),
        session.query(Query::Stats, 3),
        Frame::Pong { token: 4 },
    ])
}

fn operates() -> Vec<u8> {
    let (mut session, hello) = session();
    let name = made::consumer();
    let filter = DeadLetterFilter::numbers([1, 2]);
    let questions = [
        Admin::ConsumerAdd {
            name: name.clone(),
            config: made::consumer_config(),
        },
        Admin::Consumers,
        Admin::ConsumerPause {
            name: name.clone(),
            paused: true,
        },
        Admin::ConsumerReset {
            name: name.clone(),
            to: Position::TimeMs(1_760_000_000_000),
        },
        Admin::Next {
            name: name.clone(),
            count: 5,
            ack: true,
            wait_ms: 1_000,
        },
        Admin::Settle {
            name: name.clone(),
            token: made::token(4),
            settlement: Settlement::Complete(Reply::new("done")),
        },
        Admin::DeadLetters {
            filter: DeadLetterFilter::all(),
            after: 7,
            limit: 10,
        },
        Admin::Requeue {
            filter: filter.clone(),
            dry_run: true,
        },
        Admin::RemoveDeadLetters {
            filter,
            dry_run: false,
        },
        Admin::Clients,
        Admin::Trim {
            before: Position::Seq(Seq(9)),
        },
        Admin::ReplayInto {
            name,
            query: LogQuery::from(Seq(1)),
        },
        Admin::RequestState {
            id: RequestId::from_bytes([5; 16]),
        },
    ];
    let asked = questions.map(|question| session.manage(&question, 0));
    bytes_of([hello].into_iter().chain(asked))
}

/// Target `client`: what a server says to one who asked for everything.
pub(in crate::fuzz) fn server_says() -> Seeds {
    vec![
        ("server-stores", stores()),
        ("server-answers", answers()),
        ("server-delivers", delivers()),
        ("server-manages", manages()),
        (
            "server-refuses",
            bytes_of([Frame::Error {
                tag: TAG_CONNECTION,
                refusal: Refusal::new(Code::ShuttingDown, "it stops").retry_after_ms(1_000),
            }]),
        ),
    ]
}

fn welcome() -> Frame {
    Frame::Welcome(Welcome {
        version: PROTOCOL_VERSION,
        software: "edgebus 0.1.0".into(),
        frame_bytes_max: 1 << 20,
        payload_bytes_max: 1 << 19,
        store_id: Bytes::from_static(&[7; 16]),
    })
}

fn receipts(first_tag: u64, count: u32, duplicate: bool) -> ReceiptRange {
    ReceiptRange {
        first_tag,
        first_seq: 100 + first_tag,
        count,
        duplicate,
    }
}

fn stores() -> Vec<u8> {
    let answer = |tag, answer: Answer| Frame::Answer {
        tag,
        answer: (&answer).into(),
    };
    bytes_of([
        welcome(),
        Frame::Receipts(vec![receipts(0, 2, false)]),
        Frame::Error {
            tag: 2,
            refusal: Refusal::new(Code::StorageFull, "later").retry_after_ms(5),
        },
        Frame::Receipts(vec![receipts(3, 1, true), receipts(4, 1, false)]),
        answer(3, Answer::Reply(Reply::new("done").header("by", "till"))),
        answer(
            4,
            Answer::DeadLettered {
                reason: "no".into(),
            },
        ),
        Frame::Ping { token: 1 },
    ])
}

fn answers() -> Vec<u8> {
    let page = LogPage {
        entries: (1..4).map(made::entry).collect(),
        next: Some(Seq(4)),
    };
    let stats = Stats {
        last_seq: 9,
        ..Stats::default()
    };
    bytes_of([
        welcome(),
        Frame::Page {
            tag: QUESTIONS,
            page,
        },
        Frame::Stats {
            tag: QUESTIONS + 1,
            stats: Box::new(stats),
        },
        Frame::Published {
            tag: QUESTIONS + 2,
            reached: 2,
        },
        Frame::Settled {
            tag: QUESTIONS + 3,
            errors: vec![(0, Refusal::new(Code::StaleLease, "too late"))],
        },
    ])
}

fn delivers() -> Vec<u8> {
    let refusal = Some(Refusal::new(Code::Forbidden, "no right"));
    bytes_of([
        welcome(),
        Frame::Opened {
            stream: 1,
            kept: vec![made::token(4)],
        },
        Frame::Deliver {
            stream: 1,
            deliveries: (1..4).map(made::entry).map(made::delivery).collect(),
        },
        Frame::Opened {
            stream: 2,
            kept: Vec::new(),
        },
        Frame::Notify {
            stream: 2,
            entries: vec![made::entry(7)],
        },
        Frame::Lagged {
            stream: 2,
            missed: 1000,
        },
        Frame::Close { stream: 1, refusal },
        Frame::Close {
            stream: 2,
            refusal: None,
        },
    ])
}

fn manages() -> Vec<u8> {
    let letter = DeadLetterRow {
        number: 4,
        seq: Seq(3),
        consumer: "billing".into(),
        code: DeadLetterCode::parse("rejected"),
        reason: "no".into(),
        state: LetterState::Dead,
        attempts: vec![AttemptError {
            error: "broken".into(),
            wall_ms: 5,
        }],
        wall_ms: 6,
        entry: made::entry(3),
    };
    let mut consumer = ConsumerInfo::new(made::consumer());
    consumer.config = Some(made::consumer_config());
    consumer.last_gap = Some((Seq(1), Seq(2)));
    let answers = [
        Managed::Done,
        Managed::Consumers(vec![consumer]),
        Managed::Deliveries(vec![made::delivery(made::entry(5))]),
        Managed::DeadLetters {
            letters: vec![letter],
            next: Some(5),
        },
        Managed::Count(7),
        Managed::Clients(vec![ClientInfo {
            id: 1,
            name: "till".into(),
            ..ClientInfo::default()
        }]),
        Managed::Trimmed {
            first_seq: Seq(9),
            messages: 8,
        },
    ];
    let frames = (0..).zip(&answers).map(|(n, managed)| Frame::Managed {
        tag: QUESTIONS + n,
        managed: Box::new(managed.into()),
    });
    bytes_of([welcome()].into_iter().chain(frames))
}
