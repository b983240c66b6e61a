//! Both ends talk to each other, with frames on their way for as long as chance has it: neither
//! ever takes what the other says for a breach, and whoever waits is told exactly once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::admin::{Admin, Managed};
use crate::consumer::{Answer, LeaseToken, Settlement};
use crate::message::{Kind, Message};
use crate::record::{Record, RecordLimits};
use crate::stream::{Consume, Open, Subscribe};
use crate::wire::Frame;
use crate::{Code, Refusal, RequestId, Seq};

#[derive(Clone, Copy, Debug)]
enum Op {
    Open {
        consume: bool,
    },
    CloseNth(usize),
    SettleNth {
        nth: usize,
        answered: bool,
    },
    CreditNth(usize),
    Request {
        answered: bool,
    },
    Publish,
    Ask,
    /// The server takes a frame; it refuses to open when told so.
    ServerTakes {
        refuse: bool,
    },
    ClientTakes,
    ServerEndsNth(usize),
    ServerSendsNth(usize),
    ServerAnswersNth(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let nth = 0..4usize;
    prop_oneof![
        1 => any::<bool>().prop_map(|consume| Op::Open { consume }),
        1 => nth.clone().prop_map(Op::CloseNth),
        1 => (nth.clone(), any::<bool>()).prop_map(|(nth, answered)| Op::SettleNth { nth, answered }),
        1 => nth.clone().prop_map(Op::CreditNth),
        1 => any::<bool>().prop_map(|answered| Op::Request { answered }),
        1 => Just(Op::Publish),
        1 => Just(Op::Ask),
        4 => any::<bool>().prop_map(|refuse| Op::ServerTakes { refuse }),
        4 => Just(Op::ClientTakes),
        1 => nth.clone().prop_map(Op::ServerEndsNth),
        1 => nth.clone().prop_map(Op::ServerSendsNth),
        1 => nth.prop_map(Op::ServerAnswersNth),
    ]
}

/// Whoever waits is a number; how often each was told.
type Told = BTreeMap<u32, u32>;

struct Pair {
    client: ClientSession<u32, u32>,
    server: ServerSession,
    to_server: VecDeque<Frame>,
    to_client: VecDeque<Frame>,
    told: Told,
    /// Open as far as the client knows: whether it consumes.
    of_client: BTreeMap<u64, bool>,
    /// Open as far as the server knows.
    of_server: BTreeMap<u64, bool>,
    /// Tags of requests that are stored and not answered.
    unanswered: BTreeSet<u64>,
    seq: u64,
}

fn record(kind: Kind) -> Record {
    let topic = "a".parse().expect("topic");
    let message = Message::new(RequestId::from_bytes([1; 16]), topic, "x").kind(kind);
    Record::encode(&message, &RecordLimits::default()).expect("fits")
}

fn nth<K: Copy + Ord, V: Copy>(map: &BTreeMap<K, V>, nth: usize) -> Option<(K, V)> {
    map.iter().nth(nth).map(|(key, value)| (*key, *value))
}

impl Pair {
    fn new() -> Self {
        let (client, hello) = ClientSession::open("c", "s", None);
        let mut pair = Self {
            client,
            server: ServerSession::new(ServerLimits::default(), "test"),
            to_server: VecDeque::from([hello]),
            to_client: VecDeque::new(),
            told: Told::new(),
            of_client: BTreeMap::new(),
            of_server: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            seq: 0,
        };
        pair.server_takes(false);
        pair.client_takes();
        pair
    }

    fn waiter(&mut self) -> u32 {
        let waiter = self.told.len() as u32;
        self.told.insert(waiter, 0);
        waiter
    }

    fn act(&mut self, op: Op) {
        match op {
            Op::Open { consume } => {
                let open = match consume {
                    true => Open::Consume(Consume::new("c".parse().expect("name"), 1)),
                    false => Open::Subscribe(Subscribe {
                        patterns: vec!["a".parse().expect("pattern")],
                        buffer: 1,
                    }),
                };
                let waiter = self.waiter();
                let (stream, frame) = self.client.open_stream(&open, waiter);
                self.of_client.insert(stream, consume);
                self.to_server.push_back(frame);
            }
            Op::CloseNth(at) => {
                if let Some((stream, _)) = nth(&self.of_client, at) {
                    self.to_server.extend(self.client.close_stream(stream));
                }
            }
            Op::SettleNth { nth: at, answered } => {
                let stream = nth(&self.of_client, at).map_or(1, |(stream, _)| stream);
                let waiter = answered.then(|| self.waiter());
                let token = LeaseToken {
                    epoch: 1,
                    seq: Seq(1),
                    delivery: 1,
                };
                let frame = self
                    .client
                    .settle(stream, [(token, &Settlement::Ack)], waiter);
                self.to_server.push_back(frame);
            }
            Op::CreditNth(at) => {
                if let Some((stream, true)) = nth(&self.of_client, at) {
                    self.to_server.extend(self.client.credit(stream, 1));
                }
            }
            Op::Request { answered } => {
                let records = vec![record(Kind::Request)];
                let sent = self.waiter();
                let frame = match answered {
                    true => {
                        let reply = self.waiter();
                        self.client.request(records, [sent], [reply])
                    }
                    false => self.client.send(records, [sent]),
                };
                self.to_server.push_back(frame);
            }
            Op::Publish => {
                let waiter = self.waiter();
                let frame = self
                    .client
                    .publish(vec![record(Kind::Notification)], [waiter]);
                self.to_server.push_back(frame);
            }
            Op::Ask => {
                let waiter = self.waiter();
                let frame = self.client.manage(&Admin::Clients, waiter);
                self.to_server.push_back(frame);
            }
            Op::ServerTakes { refuse } => self.server_takes(refuse),
            Op::ClientTakes => self.client_takes(),
            Op::ServerEndsNth(at) => {
                if let Some((stream, _)) = nth(&self.of_server, at) {
                    self.of_server.remove(&stream);
                    let why = Refusal::new(Code::NoSuchConsumer, "removed");
                    let last = self.server.end_stream(stream, Some(why));
                    self.to_client.push_back(last.expect("it was open"));
                }
            }
            Op::ServerSendsNth(at) => match nth(&self.of_server, at) {
                Some((stream, true)) => self.to_client.push_back(Frame::Deliver {
                    stream,
                    deliveries: Vec::new(),
                }),
                Some((stream, false)) => {
                    self.to_client
                        .push_back(Frame::Lagged { stream, missed: 1 });
                }
                None => {}
            },
            Op::ServerAnswersNth(at) => {
                if let Some(tag) = self.unanswered.iter().nth(at).copied() {
                    self.answer(tag);
                }
            }
        }
    }

    fn answer(&mut self, tag: u64) {
        self.unanswered.remove(&tag);
        let answer = (&Answer::Expired).into();
        self.to_client.push_back(Frame::Answer { tag, answer });
    }

    fn server_takes(&mut self, refuse: bool) {
        let Some(frame) = self.to_server.pop_front() else {
            return;
        };
        match self.server.on_frame(frame).expect("no breach") {
            Step::Opened { welcome: frame, .. } | Step::Reply(frame) => {
                self.to_client.push_back(frame)
            }
            Step::Append {
                records,
                wants_reply,
                ..
            } => {
                for (tag, _) in records {
                    self.seq += 1;
                    let result = Ok((self.seq, false));
                    self.to_client.extend(frames_for([Outcome { tag, result }]));
                    if wants_reply {
                        self.unanswered.insert(tag);
                    }
                }
            }
            Step::Publish { records, .. } => {
                let published = |(tag, _)| Frame::Published { tag, reached: 0 };
                self.to_client.extend(records.into_iter().map(published));
            }
            Step::Open { stream, .. } if refuse => {
                let why = Refusal::new(Code::NoSuchConsumer, "none");
                self.to_client
                    .extend(self.server.end_stream(stream, Some(why)));
            }
            Step::Open { stream, open } => {
                let consumes = matches!(open, Open::Consume(_));
                self.of_server.insert(stream, consumes);
                let kept = Vec::new();
                self.to_client.push_back(Frame::Opened { stream, kept });
            }
            Step::Settle { items, answer, .. } => {
                self.to_client
                    .extend(answer.frame(items.iter().map(|_| Ok(()))));
            }
            Step::CloseStream { stream } => {
                self.of_server.remove(&stream).expect("it was open");
                let refusal = None;
                self.to_client.push_back(Frame::Close { stream, refusal });
            }
            Step::Admin { tag, .. } => {
                let managed = Box::new((&Managed::Done).into());
                self.to_client.push_back(Frame::Managed { tag, managed });
            }
            Step::Credit { .. } | Step::Nothing => {}
            Step::Query { .. } => panic!("nobody asks that"),
        }
    }

    fn client_takes(&mut self) {
        let Some(frame) = self.to_client.pop_front() else {
            return;
        };
        // A stream that was refused or has ended is of no more use to the client.
        if let Frame::Close { stream, .. } = &frame {
            self.of_client.remove(stream);
        }
        let told = &mut self.told;
        let mut tell = |waiter: u32| *told.entry(waiter).or_default() += 1;
        let taken = self.client.on_frame(frame, |event| match event {
            ClientEvent::Sent(waiter, _)
            | ClientEvent::Answered(waiter, _)
            | ClientEvent::Settled(waiter, _)
            | ClientEvent::Published(waiter, _)
            | ClientEvent::Managed(waiter, _)
            | ClientEvent::Refused(waiter, _)
            | ClientEvent::StreamOpened { waiter, .. } => tell(waiter),
            _ => {}
        });
        taken.expect("no breach");
    }

    fn settle_down(&mut self) {
        while !self.to_server.is_empty() {
            self.server_takes(false);
        }
        for tag in std::mem::take(&mut self.unanswered) {
            self.answer(tag);
        }
        while !self.to_client.is_empty() {
            self.client_takes();
        }
    }
}

proptest! {
    #[test]
    fn neither_end_takes_the_other_for_broken_and_each_who_waits_is_told_once(
        ops in proptest::collection::vec(op(), 0..80)
    ) {
        let mut pair = Pair::new();
        for op in ops {
            pair.act(op);
        }
        pair.settle_down();
        prop_assert!(pair.told.values().all(|times| *times == 1), "{:?}", pair.told);
        prop_assert_eq!(pair.server.streams(), pair.of_server.len());
        let waiting = pair.client.close();
        prop_assert!(waiting.sends.is_empty());
        prop_assert!(waiting.replies.is_empty() && waiting.questions.is_empty());
        let open: Vec<u64> = pair.of_server.into_keys().collect();
        prop_assert_eq!(waiting.streams, open);
    }

    /// The connection is lost at any moment.
    #[test]
    fn lost_connection_hands_back_exactly_those_who_were_not_told(
        ops in proptest::collection::vec(op(), 0..80)
    ) {
        let mut pair = Pair::new();
        for op in ops {
            pair.act(op);
        }
        let waiting = pair.client.close();
        let sends = waiting.sends.into_iter();
        let sends = sends.flat_map(|(_, waiter, reply)| [Some(waiter), reply]).flatten();
        for waiter in sends.chain(waiting.replies).chain(waiting.questions) {
            *pair.told.entry(waiter).or_default() += 1;
        }
        prop_assert!(pair.told.values().all(|times| *times == 1), "{:?}", pair.told);
    }
}
