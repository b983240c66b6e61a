//! Made-up histories: each breaks one promise, or none though it looks like it.

mod broken;
mod legal;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use edgebus_core::consumer::{DeadLetterCode, LeaseToken};
use edgebus_core::{ConsumerName, RequestId, Scope, Seq};

use super::{Violation, check};
use crate::history::{
    Asked, Call, Client, Death, Digest, Event, Final, FinalConsumer, FinalReply, History, How,
    Kind, Letter, Noted, Operation, Outcome, Retention, Row, Settling, Setup, Start, Terms, Worker,
};

/// A history in the making. Message `n` has an id, a topic and a payload that follow from `n`, and
/// is stored at place `n` unless a test says otherwise.
struct Story {
    history: History,
    calls: u32,
    workers: u32,
    at: Duration,
    end: Final,
}

impl Story {
    fn new() -> Self {
        let terms = Terms {
            retention: Retention::ByHand,
            drained: true,
        };
        let end = Final {
            replies: Some(Vec::new()),
            ..Final::default()
        };
        Self {
            history: History {
                terms,
                noted: Vec::new(),
            },
            calls: 0,
            workers: 0,
            at: Duration::ZERO,
            end,
        }
    }

    fn note(&mut self, event: Event) {
        self.at += Duration::from_millis(1);
        self.history.noted.push(Noted { at: self.at, event });
    }

    fn next_call(&mut self) -> Call {
        self.calls += 1;
        Call(self.calls)
    }

    /// Somebody asks for message `n`; the rest as the test wants it.
    fn ask_as(&mut self, n: u64, change: impl FnOnce(&mut Asked)) -> Call {
        let call = self.next_call();
        let mut asked = Asked {
            call,
            client: Client(1),
            kind: Kind::Send,
            id: id(n),
            scope: Scope(0),
            topic: "orders.new".into(),
            payload: Digest(n),
            expires: None,
        };
        change(&mut asked);
        self.note(Event::Asked(asked));
        call
    }

    fn ask(&mut self, n: u64) -> Call {
        self.ask_as(n, |_| ())
    }

    fn request(&mut self, n: u64) -> Call {
        self.ask_as(n, |asked| asked.kind = Kind::Request)
    }

    fn tell(&mut self, call: Call, outcome: Outcome) {
        self.note(Event::Told { call, outcome });
    }

    fn stored(&mut self, call: Call, seq: u64) {
        self.tell(call, stored(seq));
    }

    /// Message `n` is asked for and gets a receipt, and is there at the end.
    fn store(&mut self, n: u64) {
        let call = self.ask(n);
        self.stored(call, n);
        self.keep(n);
    }

    fn operate(&mut self, what: Operation) -> Call {
        let call = self.next_call();
        self.note(Event::Operating {
            call,
            client: Client(9),
            what,
        });
        call
    }

    fn done(&mut self, what: Operation) {
        let call = self.operate(what);
        self.tell(call, Outcome::Done);
    }

    /// A responder for all orders, from the beginning, that is there at the end with this offset.
    fn responder(&mut self, offset: u64) {
        self.consumer(offset, |setup| setup.responder = true);
    }

    fn listener(&mut self, offset: u64) {
        self.consumer(offset, |_| ());
    }

    fn consumer(&mut self, offset: u64, change: impl FnOnce(&mut Setup)) {
        let mut setup = Setup {
            responder: false,
            notifications: false,
            patterns: vec!["orders.>".into()],
            start: Start::All,
            attempts_max: 2,
        };
        change(&mut setup);
        self.done(Operation::SetUp(name(), setup));
        self.end.consumers.push(FinalConsumer {
            name: name(),
            offset: Seq(offset),
            paused: false,
            gap_messages: 0,
        });
    }

    /// Request 1 was done, made due again by a reset, and rejected then.
    fn answered_reset_and_rejected() -> Self {
        let mut story = Self::new();
        story.responder(1);
        let worker = story.open();
        let call = story.request(1);
        story.stored(call, 1);
        story.keep(1);
        story.work(worker, 1);
        story.tell(call, Outcome::Reply(Digest::of(b"")));
        story.done(Operation::Reset(name(), Seq(0)));
        let worker = story.open();
        let mut lease = token(1, 1);
        lease.epoch = 2;
        story.give_as(worker, 1, lease, 1);
        let said = story.say(worker, lease, How::Term);
        story.tell(said, Outcome::Done);
        story.letter(1, DeadLetterCode::Rejected);
        story
    }

    /// It is requeued, and done with another reply than before.
    fn answered_otherwise(&mut self, call: Call) {
        self.done(Operation::Requeue(None));
        let worker = self.open();
        let mut lease = token(1, 2);
        lease.epoch = 2;
        self.give_as(worker, 1, lease, 1);
        let said = self.say(worker, lease, How::Complete(Digest(9)));
        self.tell(said, Outcome::Done);
        self.tell(call, duplicate(1));
        self.tell(call, Outcome::Reply(Digest(9)));
    }

    fn open(&mut self) -> Worker {
        self.workers += 1;
        let worker = Worker(self.workers);
        self.note(Event::Opened {
            worker,
            consumer: name(),
        });
        worker
    }

    /// Message `n` is given out for the so many-th time.
    fn give(&mut self, worker: Worker, n: u64, delivery: u32) {
        self.give_as(worker, n, token(n, delivery), 1);
    }

    fn give_as(&mut self, worker: Worker, n: u64, token: LeaseToken, attempt: u32) {
        self.note(Event::Given {
            worker: Some(worker),
            consumer: name(),
            token,
            id: id(n),
            payload: Digest(n),
            attempt,
        });
    }

    fn say(&mut self, worker: Worker, token: LeaseToken, how: How) -> Call {
        let call = self.next_call();
        self.note(Event::Settling(Settling {
            call,
            worker: Some(worker),
            consumer: name(),
            token,
            how,
        }));
        call
    }

    /// It is done with by this delivery, and told so.
    fn settle(&mut self, worker: Worker, n: u64, delivery: u32, how: How) {
        let call = self.say(worker, token(n, delivery), how);
        self.tell(call, Outcome::Done);
    }

    /// Given and acked, at the first attempt.
    fn work(&mut self, worker: Worker, n: u64) {
        self.give(worker, n, 1);
        self.settle(worker, n, 1, How::Ack);
        self.reply(n, Digest::of(b""));
    }

    fn restart(&mut self) {
        self.note(Event::Died {
            how: Death::PowerCut,
        });
        self.note(Event::Started);
    }

    /// Message `n` is in the log at the end, behind all others.
    fn keep(&mut self, n: u64) {
        let last = self.end.last.next();
        self.keep_at(n, last.0);
    }

    fn keep_at(&mut self, n: u64, seq: u64) {
        self.end.log.push(Row {
            seq: Seq(seq),
            id: id(n),
            scope: Scope(0),
            topic: "orders.new".into(),
            payload: Digest(n),
            notification: false,
        });
        self.end.last = Seq(seq);
    }

    fn reply(&mut self, seq: u64, payload: Digest) {
        let seq = Seq(seq);
        if let Some(replies) = &mut self.end.replies {
            replies.push(FinalReply { seq, payload });
        }
    }

    fn letter(&mut self, seq: u64, reason: DeadLetterCode) {
        self.end.letters.push(Letter {
            consumer: name(),
            seq: Seq(seq),
            reason,
        });
    }

    /// The log begins behind `before` at the end.
    fn trimmed(&mut self, before: u64) {
        self.end.log.retain(|row| row.seq >= Seq(before));
        if let Some(replies) = &mut self.end.replies {
            replies.retain(|reply| reply.seq >= Seq(before));
        }
    }

    fn check(mut self) -> Vec<Violation> {
        let end = Box::new(std::mem::take(&mut self.end));
        self.note(Event::Final(end));
        check(&self.history)
    }

    /// Breaks one promise, and only that one.
    fn breaks(self, rule: &str) {
        let found = self.check();
        let rules: Vec<&str> = found.iter().map(|found| found.rule).collect();
        assert!(!rules.is_empty(), "nothing was found");
        assert!(rules.iter().all(|found| *found == rule), "{found:#?}");
    }

    /// Breaks nothing.
    fn breaks_nothing(self) {
        let found = self.check();
        assert!(found.is_empty(), "{found:#?}");
    }
}

fn id(n: u64) -> RequestId {
    RequestId::from_millis(n, [7; 10])
}

fn name() -> ConsumerName {
    "packer".parse().expect("a name")
}

/// Message 1, done by one worker while another, which is returned, still has it from before.
fn completed_while_another_has_it(story: &mut Story) -> Worker {
    story.listener(1);
    let slow = story.open();
    let fast = story.open();
    story.give(slow, 1, 1);
    story.give(fast, 1, 2);
    story.settle(fast, 1, 2, How::Ack);
    story.end.replies = None;
    slow
}

fn token(seq: u64, delivery: u32) -> LeaseToken {
    LeaseToken {
        epoch: 1,
        seq: Seq(seq),
        delivery,
    }
}

fn topic(text: &str) -> Arc<str> {
    text.into()
}

fn stored(seq: u64) -> Outcome {
    Outcome::Stored {
        seq: Seq(seq),
        duplicate: false,
    }
}

fn duplicate(seq: u64) -> Outcome {
    Outcome::Stored {
        seq: Seq(seq),
        duplicate: true,
    }
}
