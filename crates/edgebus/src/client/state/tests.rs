//! The state, stepped by hand: what the server says is put in frame by frame, and time is handed in.

use std::time::Duration;

use edgebus_core::admin::Delivery;
use edgebus_core::consumer::{LeaseToken, Reply, Settlement};
use edgebus_core::entry::Envelope;
use edgebus_core::stream::{Consume, Open};
use edgebus_core::wire::control::Welcome;
use edgebus_core::wire::stream::WireOpen;
use edgebus_core::wire::{Frame, PROTOCOL_VERSION, ReceiptRange};
use edgebus_core::{Code, Entry, Message, Record, RecordLimits, Refusal, RequestId, Scope, Seq};
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{Limits, Session, State};
use crate::client::link::tell;
use crate::client::pending::{Outcome, PendingReply, Room, SendWaiter};
use crate::client::streams::StreamEnd;
use crate::client::undecided::{Awaited, Said, Sent};
use crate::delivery::WorkerEvent;

const GIVE_UP: Duration = Duration::from_secs(30);

/// A client's state and the server's words.
struct Stand {
    state: State,
    now: Instant,
    connection: u64,
    record_bytes_max: usize,
}

impl Stand {
    fn new() -> Self {
        let mut stand = Self {
            state: State::new(true, Some(GIVE_UP), None),
            now: Instant::now(),
            connection: 0,
            record_bytes_max: 1024 * 1024,
        };
        stand.connect(1);
        stand
    }

    /// A connection to a server with this store.
    fn connect(&mut self, store: u8) {
        let (mut session, _) = Session::open("till-7", "test", None);
        let welcome = Welcome {
            version: PROTOCOL_VERSION,
            ..Welcome::default()
        };
        session
            .on_frame(Frame::Welcome(welcome), |_| ())
            .expect("welcome");
        let limits = Limits {
            record_bytes_max: self.record_bytes_max,
            joined_bytes_max: 64 * 1024,
        };
        let (connection, told) = self
            .state
            .resume(session, Some([store; 16]), &limits, self.now);
        self.connection = connection;
        tell(told);
    }

    fn lose(&mut self) {
        let gone = Refusal::new(Code::Disconnected, "the cable was cut");
        tell(self.state.lost(&gone, self.now));
    }

    /// What leaves now.
    fn leaves(&mut self) -> Vec<Frame> {
        self.state.take_frames(self.connection).expect("connected")
    }

    fn hears(&mut self, frame: Frame) {
        let mut told = Vec::new();
        let acted = self
            .state
            .on_frames(self.connection, &mut vec![frame], &mut told);
        tell(told);
        acted.expect("the connection goes on");
    }

    /// So much later, while there is no server.
    fn waits(&mut self, time: Duration) {
        self.now += time;
        tell(self.state.give_up(self.now));
    }

    fn requests(&mut self, number: u8) -> (oneshot::Receiver<Outcome>, PendingReply) {
        let (waiter, outcome) = oneshot::channel();
        let (reply_waiter, reply) = oneshot::channel();
        let ordinal = self.state.next_ordinal();
        let room = Room {
            _count: None,
            _bytes: None,
        };
        let sent = Sent::new(ordinal, record(number), SendWaiter::One(waiter, room));
        let awaited = Awaited::new(ordinal, record(number), reply_waiter);
        self.state.request(sent, awaited).expect("open");
        (outcome, reply)
    }

    /// A stream of a worker that is open, with its number on the connection.
    fn works(&mut self, credit: u32) -> (u64, mpsc::UnboundedReceiver<WorkerEvent>) {
        let consume = Consume::new("audit".parse().expect("a name"), credit);
        let (events, receiver) = mpsc::unbounded_channel();
        let (waiter, _opening) = oneshot::channel();
        let own = self
            .state
            .open_stream(Open::Consume(consume), StreamEnd::Worker(events), waiter)
            .expect("open");
        self.leaves();
        let kept = Vec::new();
        self.hears(Frame::Opened { stream: 1, kept });
        (own, receiver)
    }

    fn delivers(&mut self, seqs: std::ops::Range<u64>) {
        let delivery = |seq| Delivery {
            token: token(seq),
            attempt: 1,
            entry: entry(seq),
        };
        let deliveries = seqs.map(delivery).collect();
        self.hears(Frame::Deliver {
            stream: 1,
            deliveries,
        });
    }

    fn settles(
        &mut self,
        own: u64,
        seq: u64,
        settlement: Settlement,
    ) -> oneshot::Receiver<Result<(), Refusal>> {
        let (waiter, settled) = oneshot::channel();
        let said = Said::new(token(seq), settlement, Some(waiter));
        self.state.settle(own, said).expect("open");
        settled
    }

    /// The connection is lost and back, and the stream is open again with nothing kept; the
    /// settlements that are said then.
    fn comes_back(&mut self) -> (u64, usize) {
        self.connect(1);
        self.leaves();
        let kept = Vec::new();
        self.hears(Frame::Opened { stream: 1, kept });
        let frames = self.leaves();
        let settles = frames.iter().find_map(|frame| match frame {
            Frame::Settle { tag, items, .. } => Some((*tag, items.len())),
            _ => None,
        });
        settles.expect("something is said")
    }
}

fn record(number: u8) -> Record {
    let topic = "orders.created".parse().expect("a topic");
    let id = RequestId::from_bytes([number; 16]);
    Record::encode(&Message::new(id, topic, "{}"), &RecordLimits::default()).expect("fits")
}

fn entry(seq: u64) -> Entry {
    let envelope = Envelope {
        seq: Seq(seq),
        received_ms: 1,
        store_time_ms: 1,
        scope: Scope::default(),
        identity: "",
    };
    let mut bytes = Vec::new();
    Entry::encode(&mut bytes, &envelope, &record(1));
    Entry::from_bytes(bytes.into()).expect("whole")
}

fn token(seq: u64) -> LeaseToken {
    LeaseToken {
        epoch: 1,
        seq: Seq(seq),
        delivery: 1,
    }
}

fn receipt(tag: u64) -> Frame {
    Frame::Receipts(vec![ReceiptRange {
        first_tag: tag,
        first_seq: 7,
        count: 1,
        duplicate: false,
    }])
}

fn already_completed() -> Vec<(u32, Refusal)> {
    vec![(0, Refusal::new(Code::AlreadyCompleted, "it is done"))]
}

#[test]
fn reply_is_waited_for_anew_after_each_connection_that_had_the_request() {
    let mut stand = Stand::new();
    let (_receipt, mut reply) = stand.requests(1);
    stand.leaves();
    stand.hears(receipt(0));
    stand.lose();
    stand.connect(1);
    stand.leaves();
    stand.hears(receipt(0));
    // The work takes an hour, and the server is there.
    stand.now += Duration::from_secs(3600);
    stand.lose();
    stand.waits(GIVE_UP / 2);
    assert!(reply.try_recv().is_err(), "the server was there until now");
    stand.waits(GIVE_UP);
    let gone = reply.try_recv().expect("told").expect_err("no server");
    assert_eq!(gone.code, Code::Unknown);
}

#[test]
fn request_that_no_connection_answers_is_given_up_however_many_there_are() {
    let mut stand = Stand::new();
    let (mut outcome, _reply) = stand.requests(1);
    for _ in 0..31 {
        stand.leaves();
        stand.lose();
        stand.now += Duration::from_secs(1);
        stand.connect(1);
    }
    stand.leaves();
    stand.lose();
    assert!(outcome.try_recv().is_err());
    stand.waits(Duration::ZERO);
    let gone = outcome.try_recv().expect("told").expect_err("no server");
    assert_eq!(gone.code, Code::Unknown);
}

#[test]
fn whoever_waits_for_a_settlement_is_told_in_time_and_it_is_said_all_the_same() {
    let mut stand = Stand::new();
    let (own, _events) = stand.works(4);
    stand.delivers(1..4);
    let mut left = stand.settles(own, 1, Settlement::Ack);
    stand.leaves();
    stand.lose();
    let mut waits = stand.settles(own, 2, Settlement::Complete(Reply::new("2.49")));
    let mut extends = stand.settles(own, 3, Settlement::Extend);
    stand.waits(GIVE_UP / 2);
    assert!(left.try_recv().is_err() && waits.try_recv().is_err());
    stand.waits(GIVE_UP);
    for told in [&mut left, &mut waits, &mut extends] {
        let gone = told.try_recv().expect("told").expect_err("no server");
        assert_eq!(gone.code, Code::Unknown);
    }
    let (_, said) = stand.comes_back();
    assert_eq!(said, 2, "work that was done is not done twice for that");
}

#[test]
fn ack_is_taken_for_the_one_that_did_it_only_if_it_may_have_left() {
    for left in [true, false] {
        let mut stand = Stand::new();
        let (own, _events) = stand.works(4);
        stand.delivers(1..2);
        let mut acked = stand.settles(own, 1, Settlement::Ack);
        if left {
            stand.leaves();
        }
        stand.lose();
        let (tag, said) = stand.comes_back();
        assert_eq!(said, 1);
        let errors = already_completed();
        stand.hears(Frame::Settled { tag, errors });
        let told = acked.try_recv().expect("told").map_err(|r| r.code);
        let expected = if left {
            Ok(())
        } else {
            Err(Code::AlreadyCompleted)
        };
        assert_eq!(told, expected);
    }
}

/// Found by a simulated power cut: the ack was on disk, and a server that was about to stop had
/// ended the stream when it was said again.
#[test]
fn ack_whose_lease_has_ended_is_unknown_if_it_may_have_been_heard_before() {
    for left in [true, false] {
        let mut stand = Stand::new();
        let (own, _events) = stand.works(4);
        stand.delivers(1..2);
        let mut acked = stand.settles(own, 1, Settlement::Ack);
        if left {
            stand.leaves();
        }
        stand.lose();
        let (tag, _) = stand.comes_back();
        let errors = vec![(0, Refusal::new(Code::StaleLease, "not open"))];
        stand.hears(Frame::Settled { tag, errors });
        let told = acked.try_recv().expect("told").map_err(|r| r.code);
        let expected = match left {
            true => Code::Unknown,
            false => Code::StaleLease,
        };
        assert_eq!(told, Err(expected));
    }
}

#[test]
fn reply_that_was_said_twice_may_be_the_one_that_stands() {
    let mut stand = Stand::new();
    let (own, _events) = stand.works(4);
    stand.delivers(1..2);
    let mut completed = stand.settles(own, 1, Settlement::Complete(Reply::new("2.49")));
    stand.leaves();
    stand.lose();
    let (tag, _) = stand.comes_back();
    let errors = already_completed();
    stand.hears(Frame::Settled { tag, errors });
    let told = completed.try_recv().expect("told").expect_err("done");
    assert_eq!(told.code, Code::AlreadyCompleted);
    assert!(told.message.contains("perhaps by this"), "{}", told.message);
}

#[test]
fn settlement_that_may_have_reached_another_store_is_unknown() {
    let mut stand = Stand::new();
    let (own, _events) = stand.works(4);
    stand.delivers(1..3);
    let mut left = stand.settles(own, 1, Settlement::Ack);
    stand.leaves();
    stand.lose();
    let mut stays = stand.settles(own, 2, Settlement::Ack);
    stand.connect(2);
    let told = left.try_recv().expect("told").expect_err("elsewhere");
    assert_eq!(told.code, Code::Unknown);
    let told = stays.try_recv().expect("told").expect_err("elsewhere");
    assert_eq!(told.code, Code::StaleLease);
}

#[test]
fn client_that_drains_waits_for_settlements_that_were_not_written_so_far() {
    let mut stand = Stand::new();
    let (own, _events) = stand.works(4);
    stand.delivers(1..2);
    stand.state.drain();
    let mut acked = stand.settles(own, 1, Settlement::Ack);
    assert_eq!(stand.state.is_idle(), (false, true));
    let frames = stand.leaves();
    assert_eq!(stand.state.is_idle(), (false, true));
    let [Frame::Settle { tag, .. }] = frames[..] else {
        panic!("{frames:?}");
    };
    let errors = Vec::new();
    stand.hears(Frame::Settled { tag, errors });
    assert_eq!(stand.state.is_idle(), (true, true));
    assert_eq!(acked.try_recv(), Ok(Ok(())));
}

#[test]
fn client_that_drains_gives_back_what_comes_behind_the_end_it_told() {
    let mut stand = Stand::new();
    let (_, _events) = stand.works(4);
    stand.state.drain();
    stand.delivers(1..4);
    assert!(stand.state.is_idle().1, "nothing is held");
    let frames = stand.leaves();
    let [Frame::Settle { items, .. }] = &frames[..] else {
        panic!("{frames:?}");
    };
    assert_eq!(items.len(), 3);
}

#[test]
fn reply_that_nobody_wants_is_neither_waited_for_nor_asked_for_again() {
    let mut stand = Stand::new();
    let (receipt_of, reply) = stand.requests(1);
    stand.leaves();
    drop((receipt_of, reply));
    assert!(!stand.state.is_idle().0, "it is to be stored all the same");
    stand.hears(receipt(0));
    assert!(stand.state.is_idle().0);
    stand.state.forget_unwanted();
    stand.lose();
    stand.connect(1);
    assert_eq!(stand.leaves(), Vec::new());
}

#[test]
fn requests_that_come_back_are_asked_again_in_their_order_past_those_that_are_stored() {
    let mut stand = Stand::new();
    let mut waits = Vec::new();
    for number in 0..4 {
        waits.push(stand.requests(number));
    }
    stand.leaves();
    stand.hears(receipt(0));
    stand.hears(receipt(2));
    for tag in [2, 1, 0, 3] {
        let refusal = Refusal::new(Code::ShuttingDown, "connect again later");
        stand.hears(Frame::Error { tag, refusal });
    }
    stand.lose();
    stand.connect(1);
    let frames = stand.leaves();
    let [Frame::Request { records, .. }] = &frames[..] else {
        panic!("{frames:?}");
    };
    let ids: Vec<_> = records.iter().map(Record::id).collect();
    assert_eq!(ids, [0, 1, 2, 3].map(|n| RequestId::from_bytes([n; 16])));
}

#[test]
fn stream_that_is_opened_again_names_no_more_leases_than_a_frame_holds() {
    let mut stand = Stand::new();
    let (_, _events) = stand.works(5_000);
    stand.delivers(1..5_000);
    stand.lose();
    stand.record_bytes_max = 16 * 1024;
    stand.connect(1);
    let frames = stand.leaves();
    let [Frame::Open { open, .. }] = &frames[..] else {
        panic!("{frames:?}");
    };
    let bytes = WireOpen::clone(open).encoded_len();
    assert!(bytes <= stand.record_bytes_max, "{bytes}");
    assert!(bytes > stand.record_bytes_max / 2, "{bytes}");
}
