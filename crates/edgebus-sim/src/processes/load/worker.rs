//! One worker of the load: it takes messages of a consumer and settles them in all the ways there
//! are. Its replies tell executions apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use edgebus::consumer::{ConsumerConfig, Reply};
use edgebus::{Client, ConsumeConfig, Delivered};
use tokio::task::JoinSet;

use super::content::{Fate, reply};
use super::{AGAIN, Shared, connect};
use crate::history::{self, Call, Digest, How};
use crate::rng::SimRng;

/// Messages that a worker has at a time.
const CREDIT: u32 = 32;
/// How long it may hold a lease without a word; far longer than it does, and short enough for what
/// a killed server kept of it to come round within a run.
const ACK_WAIT_MS: u64 = 20_000;
/// When what failed is tried again.
const BACKOFF_MS: u64 = 30;
/// Attempts: more than a run can kill, so that only what is rejected becomes a dead letter.
const ATTEMPTS_MAX: u32 = 1_000;

/// As whom workers make their consumers: the first of them.
const WORKERS_ASK_AS: u32 = 1_000;

/// A consumer of the load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Role {
    /// Its name.
    pub consumer: &'static str,
    /// What it takes.
    pub pattern: &'static str,
    /// Whether it answers.
    pub responder: bool,
    /// How many work for it.
    pub workers: u32,
}

/// The consumers of the load: one that answers, and two that listen, one of them to everything.
pub const ROLES: [Role; 3] = [
    Role {
        consumer: "answers",
        pattern: "work.*",
        responder: true,
        workers: 3,
    },
    Role {
        consumer: "audit",
        pattern: ">",
        responder: false,
        workers: 2,
    },
    Role {
        consumer: "sales",
        pattern: "news.sales",
        responder: false,
        workers: 1,
    },
];

impl Role {
    /// How the consumer is set up.
    pub fn config(&self) -> ConsumerConfig {
        let pattern = self.pattern.parse().expect("patterns here are sound");
        let config = match self.responder {
            true => ConsumerConfig::responder(pattern),
            false => ConsumerConfig::listener(pattern),
        };
        config
            .ack_wait_ms(ACK_WAIT_MS)
            .backoff_ms([BACKOFF_MS])
            .max_attempts(ATTEMPTS_MAX)
    }
}

/// One worker.
#[derive(Clone)]
pub(super) struct Worker {
    number: u32,
    role: Role,
    shared: Shared,
    executions: Arc<AtomicU64>,
}

/// A message in a worker's hands.
struct InHand {
    worker: Worker,
    stream: history::Worker,
    message: Delivered,
}

impl Worker {
    pub(super) fn new(number: u32, role: Role, shared: Shared, executions: Arc<AtomicU64>) -> Self {
        Self {
            number,
            role,
            shared,
            executions,
        }
    }

    /// Works until workers are to end, whatever becomes of the server.
    pub(super) async fn run(self, mut rng: SimRng) {
        let name = format!("worker-{}", self.number);
        // One in two does not come back over the same stream, but begins anew without what it held.
        let comes_back = self.number.is_multiple_of(2);
        let builder = || {
            Client::builder(&self.shared.url)
                .name(&name)
                .reconnect(comes_back)
        };
        while let Some(client) = connect(&self.shared, builder).await {
            self.work(&client, &mut rng).await;
            client.drain().await;
            if *self.shared.workers_end.borrow() {
                return;
            }
        }
    }

    /// Works until the stream ends, or workers are to.
    async fn work(&self, client: &Client, rng: &mut SimRng) {
        let asker = history::Client(WORKERS_ASK_AS + self.number);
        let made = self.shared.notes.sets_up(asker, &self.role);
        let config = ConsumeConfig::new(self.role.name())
            .config(self.role.config())
            .credit(CREDIT);
        let stream = self.shared.notes.opens(&self.role);
        let opened = client.consumer(config).await;
        self.shared.notes.operated(made, &opened);
        let Ok(mut messages) = opened else {
            self.shared.notes.closed(stream);
            return self.shared.pause(AGAIN).await;
        };
        let mut handling = JoinSet::new();
        loop {
            let message = tokio::select! {
                biased;
                () = self.shared.workers_end() => break,
                message = messages.next() => message,
            };
            let Some(Ok(message)) = message else { break };
            while handling.try_join_next().is_some() {}
            self.shared.notes.given(stream, &self.role, &message);
            let in_hand = InHand {
                worker: self.clone(),
                stream,
                message,
            };
            // At times one by one, so that what is done does not always come in groups.
            match rng.chance(0.2) {
                true => in_hand.handle().await,
                false => drop(handling.spawn(in_hand.handle())),
            }
        }
        while handling.join_next().await.is_some() {}
        drop(messages);
        self.shared.notes.closed(stream);
    }
}

impl InHand {
    async fn handle(self) {
        let delivery = self.message.token().delivery;
        let fate = self
            .worker
            .shared
            .content
            .fate(self.message.request_id(), delivery);
        let pause = |time| self.worker.shared.pause(time);
        match fate {
            Fate::Done => self.done().await,
            Fate::Slow(time) => {
                pause(time).await;
                self.done().await;
            }
            Fate::Extended(time) => {
                pause(time).await;
                let call = self.says(How::Extend);
                let extended = self.message.extend().await;
                self.worker.shared.notes.settled(call, &extended);
                self.done().await;
            }
            Fate::Fails => self.tells(How::Nak, |message| message.nak(None, "the first time")),
            Fate::GivenBack => self.tells(How::Release, Delivered::release),
            Fate::Rejected => self.tells(How::Term, |message| message.term("is rejected")),
        }
    }

    async fn done(self) {
        let notes = self.worker.shared.notes.clone();
        if !self.worker.role.responder {
            let call = self.says(How::Ack);
            let done = self.message.ack_durable().await;
            notes.settled(call, &done);
            return;
        }
        let execution = self.worker.executions.fetch_add(1, Ordering::Relaxed);
        let reply = reply(self.message.request_id(), self.worker.number, execution);
        let call = self.says(How::Complete(Digest::of(&reply)));
        let done = self.message.complete(Reply::new(reply)).await;
        notes.settled(call, &done);
    }

    /// Says something without waiting for what becomes of it.
    fn tells(self, how: How, say: impl FnOnce(Delivered)) {
        let call = self.says(how);
        let notes = self.worker.shared.notes.clone();
        say(self.message);
        notes.said(call);
    }

    fn says(&self, how: How) -> Call {
        let notes = &self.worker.shared.notes;
        notes.settles(self.stream, &self.worker.role, self.message.token(), how)
    }
}
