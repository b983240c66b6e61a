//! Drives a machine as the engine does, and checks each output against the model.

use std::collections::BTreeMap;

use bytes::Bytes;
use edgebus_core::consumer::{
    Consumer, ConsumerConfig, ConsumerOp, Failure, Gaps, LeaseToken, Ledger, Left, MachineLimits,
    Moment, Offer, Output, Place, Places, Reply, Settlement,
};
use edgebus_core::entry::Envelope;
use edgebus_core::{Code, Entry, Message, Record, RecordLimits, RequestId, Scope, Seq};

use crate::model::{Message as Wanted, Model, Out, State};
use crate::{How, Step};

const LIMITS: MachineLimits = MachineLimits {
    reconnect_grace_ms: 50,
    pending_max: 5,
    ranges_max: 6,
};

struct Worker {
    place: Place,
    credit: u32,
}

pub(crate) struct World {
    ledger: Ledger,
    consumer: Consumer,
    places: Places,
    now: Moment,
    seed: u64,
    model: Model,
    workers: BTreeMap<u64, Worker>,
    workers_seen: u64,
    /// Tokens with workers that are away: what they would hold on to.
    away: Vec<Vec<LeaseToken>>,
    /// A ledger of some time ago, and what was journaled since.
    snapshot: Vec<u8>,
    journal: Vec<Bytes>,
    last: Seq,
    first: Seq,
    in_flight_max: usize,
    offset_seen: Seq,
}

fn config(responder: bool) -> ConsumerConfig {
    let pattern = "a.*".parse().expect("pattern");
    let config = if responder {
        ConsumerConfig::responder(pattern)
    } else {
        ConsumerConfig::listener(pattern)
    };
    config
        .ack_wait_ms(100)
        .max_attempts(3)
        .backoff_ms([10, 60])
        .max_in_flight(4)
}

pub(crate) fn entry(seq: Seq, matching: bool) -> Entry {
    let topic = if matching { "a.x" } else { "b.x" };
    let id = RequestId::from_bytes([7; 16]);
    let message = Message::new(id, topic.parse().expect("topic"), "x");
    let record = Record::encode(&message, &RecordLimits::default()).expect("fits");
    let envelope = Envelope {
        seq,
        received_ms: 1,
        store_time_ms: 0,
        scope: Scope(0),
        identity: "",
    };
    let mut bytes = Vec::new();
    Entry::encode(&mut bytes, &envelope, &record);
    Entry::from_bytes(Bytes::from(bytes)).expect("whole")
}

impl World {
    pub(crate) fn new(seed: u64, responder: bool) -> Self {
        let now = Moment {
            store_ms: 1000,
            wall_ms: 1_000_000,
        };
        let mut ledger = Ledger::new(Some(config(responder)), Seq(0));
        let consumer = Consumer::new(&mut ledger, LIMITS, seed, now, &mut Vec::new());
        Self {
            snapshot: ledger.encode(),
            ledger,
            consumer,
            places: Places::default(),
            now,
            seed,
            model: Model {
                epoch: 1,
                ..Model::default()
            },
            workers: BTreeMap::new(),
            workers_seen: 0,
            away: Vec::new(),
            journal: Vec::new(),
            last: Seq(0),
            first: Seq(1),
            in_flight_max: 4,
            offset_seen: Seq(0),
        }
    }

    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Append { matching } => self.append(matching),
            Step::Attach { place, credit } => {
                self.attach(place, u32::from(credit), Vec::new());
            }
            Step::ComeBack { gone, credit } => {
                if let Some(at) = choose(self.away.len(), gone.into()) {
                    let held = self.away.remove(at);
                    self.attach(1, u32::from(credit), held);
                }
            }
            Step::Lose(worker) => self.detach(worker, Left::Lost),
            Step::Close(worker) => self.detach(worker, Left::Closed),
            Step::Credit { worker, credit } => {
                if let Some(id) = self.worker(worker) {
                    self.credit(id, u32::from(credit));
                }
            }
            Step::Feed => self.feed(),
            Step::Settle { token, how } => {
                if let Some(token) = self.token(token) {
                    self.settle(token, how);
                }
            }
            Step::Time(ms) => self.pass(u64::from(ms)),
            Step::NextTick => {
                if let Some(ms) = self.consumer.next_tick_ms() {
                    self.pass(ms.saturating_sub(self.now.store_ms));
                }
            }
            Step::Crash => self.crash(),
            Step::Reset(to) => self.reset(u64::from(to)),
            Step::Pause(paused) => self.act(|w, out| w.consumer.pause(&mut w.ledger, paused, out)),
            Step::Block(full) => self
                .consumer
                .block(full.then_some(edgebus_core::consumer::PauseReason::DeadLettersFull)),
            Step::Requeue(row) => self.requeue(row.into()),
            Step::RemoveRequeued(row) => self.remove_requeued(row.into()),
            Step::MoveByHand { seq, told } => self.move_by_hand(seq.into(), told),
            Step::Again { from, length } => self.again(from.into(), length.into()),
            Step::Trim(to) => {
                let first = Seq(u64::from(to) % (self.last.0 + 2));
                self.trim(first.max(self.first));
            }
            Step::Progress => {
                self.act(|w, out| w.consumer.progress(&mut w.ledger, out));
                assert_eq!(
                    self.ledger.offset(),
                    self.consumer.info(&self.ledger).offset
                );
            }
            Step::Configure { in_flight_max } => self.configure(in_flight_max.into()),
            Step::Snapshot => {
                self.snapshot = self.ledger.encode();
                self.journal.clear();
            }
        }
        self.check();
    }

    /// Calls the machine and looks at what it says.
    fn act(&mut self, act: impl FnOnce(&mut Self, &mut Vec<Output>)) {
        let mut out = Vec::new();
        act(self, &mut out);
        self.take(out);
    }

    fn append(&mut self, matching: bool) {
        self.last = self.last.next();
        let message = Wanted {
            matching,
            state: if matching {
                State::Todo
            } else {
                State::NotWanted
            },
            again: false,
            round: 0,
            charged: 0,
            suspect: false,
            delivered: false,
        };
        self.model.messages.insert(self.last, message);
    }

    fn worker(&self, choice: u8) -> Option<u64> {
        let at = choose(self.workers.len(), choice.into())?;
        self.workers.keys().nth(at).copied()
    }

    /// Mostly a token that is out, sometimes any that ever was.
    fn token(&self, choice: u16) -> Option<LeaseToken> {
        let which = usize::from(choice / 8);
        if choice.is_multiple_of(8) {
            let at = choose(self.model.tokens.len(), which)?;
            return self.model.tokens.keys().nth(at).copied();
        }
        let at = choose(self.model.out.len(), which)?;
        self.model.out.values().nth(at).map(|out| out.token)
    }

    fn attach(&mut self, place: u8, credit: u32, held: Vec<LeaseToken>) {
        self.workers_seen += 1;
        let id = self.workers_seen;
        let place = match place % 8 {
            0 => Place::Detached,
            // Some share a connection.
            1..=4 => Place::Connection(id / 2),
            _ => Place::Process,
        };
        self.workers.insert(id, Worker { place, credit });
        let now = self.now;
        let (ledger, places) = (&mut self.ledger, &mut self.places);
        let kept = self
            .consumer
            .attach(ledger, places, id, place, credit, &held, now);
        let held_count = held.len();
        let mut expected = held;
        expected.retain(|token| self.model.holds(*token));
        assert_eq!(kept, expected, "who comes back in time keeps what it holds");
        for token in &kept {
            // A suspect that comes back is alone when nothing else came or is there.
            let suspect = self.model.messages[&token.seq].suspect;
            let there = self.model.at_place(place).collect::<Vec<_>>();
            let beside = there.iter().any(|out| out.token != *token);
            let out = self.model.out.get_mut(&token.seq).expect("held");
            (out.place, out.worker) = (place, Some(id));
            out.alone = suspect && held_count == 1 && !beside && place != Place::Detached;
        }
    }

    fn detach(&mut self, worker: u8, left: Left) {
        let Some(id) = self.worker(worker) else {
            return;
        };
        let worker = self.workers.remove(&id).expect("it is there");
        let held: Vec<LeaseToken> = self
            .model
            .out
            .values()
            .filter(|out| out.worker == Some(id))
            .map(|out| out.token)
            .collect();
        self.act(|w, out| {
            let (ledger, places) = (&mut w.ledger, &mut w.places);
            w.consumer.detach(ledger, places, id, left, w.now, out);
        });
        let gone = worker.place == Place::Process || left == Left::Closed;
        for token in &held {
            if worker.place == Place::Detached || !gone {
                let out = self.model.out.get_mut(&token.seq).expect("still held");
                out.worker = None;
            } else {
                assert!(!self.model.holds(*token), "{token} was given back");
            }
        }
        if !gone {
            self.away.push(held);
        }
    }

    fn credit(&mut self, id: u64, credit: u32) {
        self.consumer.add_credit(id, credit);
        self.workers.get_mut(&id).expect("worker").credit += credit;
    }

    fn settle(&mut self, token: LeaseToken, how: How) {
        let reason = "why".to_owned();
        let (settlement, expected) = match how {
            How::Ack => (Settlement::Ack, self.model.counts(token)),
            How::Complete => (
                Settlement::Complete(Reply::new("r")),
                self.model.counts(token),
            ),
            How::Term => (Settlement::Term { reason }, self.model.current_round(token)),
            How::Nak(delay) => {
                let delay_ms = delay.map(u64::from);
                (
                    Settlement::Nak { delay_ms, reason },
                    self.model.holds(token),
                )
            }
            How::Extend => (Settlement::Extend, self.model.holds(token)),
            How::Release => (Settlement::Release, self.model.holds(token)),
        };
        let done = matches!(how, How::Ack | How::Complete);
        let was_done = !self.model.wanted(token.seq);
        let mut out = Vec::new();
        let (ledger, places) = (&mut self.ledger, &mut self.places);
        let result = self
            .consumer
            .settle(ledger, places, token, settlement, self.now, &mut out);
        assert_eq!(result.is_ok(), expected, "{token} {how:?}: {result:?}");
        if let Err(refusal) = &result {
            assert!(out.is_empty(), "a refusal changes nothing");
            let stale = token.epoch != self.model.epoch || !was_done;
            let codes = [Code::AlreadyCompleted, Code::StaleLease];
            assert!(codes[usize::from(stale)..].contains(&refusal.code) || !stale || !was_done);
            assert!(codes.contains(&refusal.code), "{refusal}");
        } else if done {
            let closed = self.model.done(token.seq);
            self.model.closed.extend(closed);
        }
        if result.is_ok()
            && matches!(how, How::Extend)
            && let Some(held) = self.model.out.get_mut(&token.seq)
            && held.worker.is_none()
        {
            // From now on it ends by time alone.
            held.alone = false;
        }
        self.take(out);
    }

    fn pass(&mut self, ms: u64) {
        self.now.store_ms += ms;
        self.now.wall_ms += ms;
        self.act(|w, out| w.consumer.tick(&mut w.ledger, &mut w.places, w.now, out));
        let next = self.consumer.next_tick_ms();
        assert!(
            next.is_none_or(|next| next > self.now.store_ms),
            "a tick leaves nothing behind"
        );
    }

    fn crash(&mut self) {
        let mut ledger = Ledger::decode(&self.snapshot).expect("a ledger");
        for op in &self.journal {
            ledger.apply(&ConsumerOp::decode(op.clone()).expect("an op"));
        }
        assert_eq!(ledger, self.ledger, "replay leads to the same ledger");
        self.ledger = ledger;
        self.places = Places::default();
        for id in std::mem::take(&mut self.workers).into_keys() {
            let outs = self.model.out.values_mut();
            let held = outs.filter(|out| out.worker == Some(id));
            let tokens: Vec<LeaseToken> = held
                .filter(|out| matches!(out.place, Place::Connection(_)))
                .map(|out| out.token)
                .collect();
            self.away.push(tokens);
        }
        for out in self.model.out.values_mut() {
            out.worker = None;
            out.alone &= out.place == Place::Process;
        }
        self.seed = self.seed.wrapping_add(1);
        self.act(|w, out| {
            w.consumer = Consumer::new(&mut w.ledger, LIMITS, w.seed, w.now, out);
        });
        let process = self
            .model
            .out
            .values()
            .filter(|out| out.place == Place::Process);
        assert_eq!(process.count(), 0, "what was in the process was judged");
        self.trim(self.first);
    }

    fn reset(&mut self, to: u64) {
        let to = Seq(to % (self.last.0 + 1)).max(Seq(self.first.0 - 1));
        self.act(|w, out| w.consumer.reset(&mut w.ledger, &mut w.places, to, out));
        self.model.epoch += 1;
        self.model.out.clear();
        self.model.last_new = to;
        self.offset_seen = to;
        for (seq, message) in &mut self.model.messages {
            message.state = match message.matching && *seq > to {
                true => State::Todo,
                false => State::NotWanted,
            };
            (message.again, message.charged, message.suspect) = (false, 0, false);
            (message.delivered, message.round) = (false, message.round + 1);
        }
    }

    fn requeue(&mut self, row: usize) {
        let Some(at) = choose(self.model.rows.len(), row) else {
            return;
        };
        let (seq, row) = self.model.rows.iter_mut().nth(at).expect("a row");
        let (seq, number) = (*seq, row.number);
        if row.requeued {
            return;
        }
        row.requeued = true;
        self.model.message(seq).charged = 0;
        self.act(|w, out| w.consumer.requeue(&mut w.ledger, seq, number, out));
        assert_eq!(self.ledger.requeued(seq), Some(number));
        assert!(!self.ledger.is_done(seq));
    }

    fn remove_requeued(&mut self, row: usize) {
        let requeued: Vec<Seq> = self.model.messages.keys().copied().collect();
        let requeued = requeued
            .into_iter()
            .filter(|seq| self.model.requeued(*seq).is_some());
        let requeued: Vec<Seq> = requeued.collect();
        let Some(at) = choose(requeued.len(), row) else {
            return;
        };
        let seq = requeued[at];
        self.model.rows.remove(&seq);
        self.act(|w, out| w.consumer.gone(&mut w.ledger, &mut w.places, seq, out));
        // What retention took and only the row had may count as passed already.
        let passed = seq < self.first && self.ledger.is_done(seq);
        if passed || !self.model.wanted(seq) {
            self.model.done(seq);
        } else if seq < self.first && !self.model.out.contains_key(&seq) {
            // The log has it no more, either, as the owner finds out when it is due.
            self.act(|w, out| w.consumer.gone(&mut w.ledger, &mut w.places, seq, out));
            self.lose(seq);
        }
    }

    /// The owner may make a message a dead letter behind the machine's back.
    fn move_by_hand(&mut self, seq: u64, told: bool) {
        let seq = Seq(seq % (self.last.0 + 1)).max(self.first);
        let there = self.model.messages.get(&seq);
        let todo = there.is_some_and(|message| message.state == State::Todo);
        if !todo || self.model.rows.contains_key(&seq) {
            return;
        }
        let op = ConsumerOp::DeadLettered { seq };
        self.ledger.apply(&op);
        self.journal.push(Bytes::from(op.encode()));
        let out = self.model.out.get(&seq).copied();
        self.model.dead(seq, None);
        if told || out.is_none() {
            self.act(|w, out| w.consumer.gone(&mut w.ledger, &mut w.places, seq, out));
        } else if let Some(out) = out {
            // Whoever has it learns that it is done.
            self.settle(out.token, How::Ack);
        }
    }

    /// The row was all there was of it.
    fn lose(&mut self, seq: Seq) {
        let message = self.model.message(seq);
        message.again = false;
        if message.state == State::Todo {
            message.state = State::Missed;
        }
        (message.charged, message.suspect) = (0, false);
        message.round += 1;
    }

    fn again(&mut self, from: u64, length: u64) {
        let from = Seq(from % (self.last.0 + 1)).max(self.first);
        let to = Seq(from.0 + length);
        self.act(|w, out| w.consumer.again(&mut w.ledger, vec![(from, to)], out));
        // Below the offset nobody can tell any more what was done and what was not wanted.
        let offset = self.consumer.info(&self.ledger).offset;
        for (seq, message) in self.model.messages.range_mut(from..=to) {
            let was_done = match message.state {
                State::Done => true,
                State::NotWanted | State::Missed => *seq <= self.ledger.offset(),
                State::Todo => false,
            };
            if message.matching && was_done {
                assert!(!self.ledger.is_done(*seq), "{seq} of {offset}");
                message.again = true;
            }
        }
    }

    fn trim(&mut self, first: Seq) {
        self.first = first;
        let missed: Vec<Seq> = self
            .model
            .messages
            .range(..first)
            .filter(|(seq, _)| !self.model.out.contains_key(seq))
            .map(|(seq, _)| *seq)
            .collect();
        let before = self.ledger.gaps();
        self.act(|w, out| w.consumer.trimmed(&mut w.ledger, &mut w.places, first, out));
        for seq in missed {
            if self.model.requeued(seq).is_none() && self.model.wanted(seq) {
                self.lose(seq);
            }
        }
        let Gaps { count, .. } = self.ledger.gaps();
        assert!(count >= before.count);
    }

    fn configure(&mut self, in_flight_max: u32) {
        let config = self.ledger.config().expect("set up").clone();
        let op = ConsumerOp::Put {
            config: config.max_in_flight(in_flight_max),
            offset: Seq(77),
        };
        self.ledger.apply(&op);
        self.journal.push(Bytes::from(op.encode()));
        self.in_flight_max = in_flight_max as usize;
        self.consumer.configured();
    }

    /// What the engine does after each round.
    fn feed(&mut self) {
        self.pass(0);
        loop {
            let due = self.consumer.due(&self.ledger, &self.places, self.now, 3);
            let mut taken = false;
            for (seq, number) in due {
                assert_eq!(number, self.model.requeued(seq));
                // What is not for it, or not there any more, is found out when it is looked at.
                let matching = self.model.messages[&seq].matching && seq >= self.first;
                assert!(self.model.wanted(seq) || !matching, "{seq} is done and due");
                assert!(!self.model.out.contains_key(&seq), "{seq} is out and due");
                if number.is_none() && seq < self.first {
                    self.act(|w, out| w.consumer.gone(&mut w.ledger, &mut w.places, seq, out));
                    self.lose(seq);
                    taken = true;
                } else {
                    taken |= self.offer(seq) != Offer::NoRoom;
                }
            }
            if !taken {
                break;
            }
        }
        while let Some(from) = self.consumer.scan_from(&self.ledger) {
            let from = from.max(self.first);
            if from > self.last {
                break;
            }
            // Now and then the owner knows that something is not for it without offering it.
            if !self.model.messages[&from].matching && from.0.is_multiple_of(2) {
                self.consumer.passed(from);
            } else if self.offer(from) == Offer::NoRoom {
                break;
            } else {
                self.consumer.passed(from);
            }
        }
    }

    fn offer(&mut self, seq: Seq) -> Offer {
        let entry = entry(seq, self.model.messages[&seq].matching);
        let mut out = Vec::new();
        let (ledger, places) = (&mut self.ledger, &mut self.places);
        let offer = self
            .consumer
            .offer(ledger, places, &entry, self.now, &mut out);
        self.take(out);
        offer
    }

    fn take(&mut self, outputs: Vec<Output>) {
        let mut attempted = Vec::new();
        for output in outputs {
            match output {
                Output::Change { op, closed } => {
                    for number in closed {
                        assert!(self.model.closed.remove(&number), "row {number} is closed");
                    }
                    let bytes = Bytes::from(op.encode());
                    assert_eq!(ConsumerOp::decode(bytes.clone()).as_ref(), Ok(&op));
                    self.journal.push(bytes);
                    match op {
                        ConsumerOp::Attempts(attempts) => attempted.extend(attempts),
                        ConsumerOp::Failed(failures) => {
                            failures.iter().for_each(|failure| self.failed(failure));
                        }
                        ConsumerOp::Gap { from, to } => self.gap(from, to),
                        _ => {}
                    }
                }
                Output::DeadLetter {
                    seq,
                    number,
                    attempts,
                    ..
                } => {
                    assert!(attempts.len() <= 10);
                    self.model.dead(seq, number);
                }
                Output::Deliver {
                    worker,
                    token,
                    attempt,
                    entry,
                } => {
                    let noted = attempted.iter().find(|attempt| attempt.seq == token.seq);
                    let noted = noted.expect("an attempt is noted before it is made");
                    assert_eq!(noted.delivery, token.delivery);
                    assert_eq!(entry.seq(), token.seq);
                    self.delivered(worker, token, attempt, noted.alone);
                }
                Output::Paused { .. } | Output::Resumed => {}
            }
        }
        assert!(self.model.closed.is_empty(), "rows of what is done go");
    }

    fn delivered(&mut self, worker: u64, token: LeaseToken, attempt: u32, alone: bool) {
        let seq = token.seq;
        let model = &mut self.model;
        assert!(model.wanted(seq), "{seq} is done and was given out");
        assert!(!model.out.contains_key(&seq), "{seq} was given out twice");
        assert_eq!(token.epoch, model.epoch);
        let round = model.messages[&seq].round;
        assert!(
            model.tokens.insert(token, round).is_none(),
            "{token} was used twice"
        );
        let message = &model.messages[&seq];
        assert!(message.matching, "{seq} is not for it");
        assert_eq!(attempt, message.charged + 1);
        assert_eq!(alone, message.suspect, "suspects and only they go alone");
        let extra = message.again || model.requeued(seq).is_some();
        if !message.delivered && !extra {
            assert!(seq > model.last_new, "new messages go out in order");
            model.last_new = seq;
        }
        let to = self
            .workers
            .get_mut(&worker)
            .expect("a worker that is there");
        assert!(to.credit > 0, "beyond its credit");
        to.credit -= 1;
        let place = to.place;
        if place != Place::Detached {
            let mut there = model.at_place(place);
            assert!(!alone || there.next().is_none(), "{seq} is not alone");
            assert!(
                there.all(|out| !out.alone),
                "{seq} was put beside a suspect"
            );
        }
        assert!(
            !alone || model.out.values().all(|out| !out.alone),
            "one suspect at a time"
        );
        model.message(seq).delivered = true;
        let out = Out {
            token,
            place,
            worker: Some(worker),
            alone,
        };
        model.out.insert(seq, out);
        assert!(
            model.out.len() <= self.in_flight_max,
            "more in flight than may be"
        );
    }

    fn failed(&mut self, failure: &Failure) {
        let out = self.model.out.remove(&failure.seq);
        let out = out.expect("only what was out can fail");
        let message = self.model.message(failure.seq);
        message.charged += u32::from(failure.charged);
        assert!(message.charged < 3, "three attempts make a dead letter");
        if failure.suspect && failure.charged {
            assert!(out.alone, "{} was not alone and was charged", failure.seq);
        }
        if failure.charged {
            assert!(
                failure.due_ms > self.now.store_ms,
                "no attempt follows at once"
            );
        }
        message.suspect = failure.suspect;
    }

    fn gap(&mut self, from: Seq, to: Seq) {
        for (seq, message) in self.model.messages.range_mut(from..=to) {
            assert!(*seq < self.first, "{seq} is still there");
            assert_ne!(
                (message.matching, message.state),
                (true, State::Done),
                "{seq} was done"
            );
        }
    }

    fn check(&mut self) {
        let info = self.consumer.info(&self.ledger);
        assert!(
            self.ledger.offset() >= self.offset_seen,
            "the offset moves back"
        );
        self.offset_seen = self.ledger.offset();
        assert!(info.offset >= self.ledger.offset());
        assert_eq!(info.in_flight, self.model.out.len() as u64);
        assert_eq!(info.workers, self.workers.len() as u64);
        assert_eq!(
            self.consumer.has_worker(),
            self.consumer.idle_since_ms().is_none()
        );
        let waiting_max = LIMITS.pending_max + 6;
        assert!(
            (info.retrying + info.suspects) as usize <= waiting_max,
            "{info:?}"
        );
        let done = self.model.offset(Seq(self.first.0 - 1)).min(info.cursor);
        if self.first == Seq(1) {
            assert!(
                info.offset <= done.max(self.ledger.offset()),
                "{info:?} {done}"
            );
        }
        for (seq, message) in self.model.messages.range(self.first..) {
            let wanted = self.model.wanted(*seq);
            assert!(
                !wanted || !self.ledger.is_done(*seq),
                "{seq} counts as done: {message:?}"
            );
        }
    }

    /// Everything stops failing, and workers come: all must be done.
    pub(crate) fn drain(&mut self) {
        self.consumer.block(None);
        self.act(|w, out| w.consumer.pause(&mut w.ledger, false, out));
        self.attach(1, 2, Vec::new());
        self.attach(7, 2, Vec::new());
        for _ in 0..10_000 {
            let ids: Vec<u64> = self.workers.keys().copied().collect();
            for id in ids {
                self.credit(id, 1);
            }
            self.feed();
            let held = self.model.out.values().filter(|out| out.worker.is_some());
            let held: Vec<LeaseToken> = held.map(|out| out.token).collect();
            for token in &held {
                self.settle(*token, How::Ack);
                self.check();
            }
            if !held.is_empty() {
                continue;
            }
            let Some(next) = self.consumer.next_tick_ms() else {
                break;
            };
            self.pass(next.saturating_sub(self.now.store_ms));
        }
        for (seq, message) in &self.model.messages {
            assert!(!self.model.wanted(*seq), "{seq} was forgotten: {message:?}");
        }
        self.finished();
    }

    fn finished(&mut self) {
        let info = self.consumer.info(&self.ledger);
        assert_eq!(info.offset, self.last, "{info:?}");
        self.step(Step::Progress);
        assert_eq!(self.ledger.offset(), self.last);
        assert_eq!((info.in_flight, info.retrying, info.suspects), (0, 0, 0));
        // Only now: what was done in pieces counts as many until the offset has moved over it.
        assert_eq!(self.consumer.info(&self.ledger).state, "active");
        while !self.workers.is_empty() {
            self.detach(0, Left::Closed);
        }
        assert!(self.places.is_empty(), "{:?}", self.places);
        self.crash();
        assert_eq!(self.consumer.info(&self.ledger).state, "idle");
    }
}

fn choose(count: usize, choice: usize) -> Option<usize> {
    (count > 0).then(|| choice % count)
}
