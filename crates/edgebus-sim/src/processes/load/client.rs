//! One client of the load: it sends in all the ways there are, sends again under the same id, and
//! notes how each call ended.
//!
//! Invariant: it ends only when everything it ever asked for has a receipt, or was refused for good.

use std::collections::VecDeque;
use std::time::Duration;

use edgebus::{Client, Code, Message, PendingReceipt, Receipt, RequestError, SendError};

use super::content::SHARED;
use super::notes::Notes;
use super::{Shared, connect};
use crate::history::{self, Call};
use crate::rng::SimRng;

/// Most requests of a client that were sent and not answered.
const PENDING_MAX: usize = 64;
/// Requests that a client remembers, to send them again.
const OLD_MAX: usize = 4_096;
/// Ids that all clients send.
const SHARED_IDS: u64 = 20_000;
/// Replies that a client asks for once more at the end, and how long it waits for each.
const OLD_ASKED_AGAIN: u64 = 200;
const REPLY_TIME: Duration = Duration::from_secs(30);
/// How long a client that was refused for now waits before it asks again.
const REFUSED_FOR_NOW: Duration = Duration::from_millis(20);

/// One client.
pub(super) struct Sender {
    number: u16,
    client: history::Client,
    shared: Shared,
    rng: SimRng,
}

/// What it goes on with from call to call.
struct Work {
    sender: Sender,
    client: Client,
    /// New requests so far.
    made: u64,
    old: Vec<Message>,
    pending: VecDeque<(Call, Message, PendingReceipt)>,
    undecided: VecDeque<Message>,
}

impl Sender {
    pub(super) fn new(number: u16, shared: Shared, rng: SimRng) -> Self {
        Self {
            number,
            client: history::Client(u32::from(number)),
            shared,
            rng,
        }
    }

    /// Works until told to stop, and then until everything is decided.
    pub(super) async fn run(self) {
        // Some lose patience while the server is away, and so have unknown outcomes.
        let patience = match self.number % 4 {
            0 => Some(Duration::from_millis(100)),
            1 => Some(Duration::from_millis(1_000)),
            _ => None,
        };
        let name = format!("client-{}", self.number);
        let window = 16 << (self.number % 3);
        let builder = || {
            Client::builder(&self.shared.url)
                .name(&name)
                .window(window)
                .give_up_after(patience)
        };
        let Some(client) = connect(&self.shared, builder).await else {
            return;
        };
        let mut work = Work {
            sender: self,
            client,
            made: 0,
            old: Vec::new(),
            pending: VecDeque::new(),
            undecided: VecDeque::new(),
        };
        while !work.sender.shared.is_stopping() {
            work.act().await;
            work.pause().await;
        }
        work.settle().await;
        work.ask_again().await;
        work.client.drain().await;
    }
}

impl Work {
    fn notes(&self) -> &Notes {
        &self.sender.shared.notes
    }

    async fn pause(&mut self) {
        let at_most = self.sender.shared.pause_max;
        let part = self.sender.rng.fraction();
        self.sender.shared.pause(at_most.mul_f64(part)).await;
    }

    /// Asks once more for some replies, however old: they are the same.
    async fn ask_again(&mut self) {
        for _ in 0..OLD_ASKED_AGAIN {
            let old = self.sender.rng.pick(&self.old).clone();
            if old.topic.as_str().starts_with("work.") {
                self.request(old, REPLY_TIME).await;
            }
        }
        self.settle().await;
    }

    async fn act(&mut self) {
        match self.sender.rng.below(20) {
            0..=3 => {
                let message = self.next();
                self.send(message).await;
            }
            4..=12 => {
                for _ in 0..=self.sender.rng.below(12) {
                    let message = self.next();
                    self.enqueue(message).await;
                }
            }
            13..=15 => {
                let message = self.next();
                let patience = 1 << self.sender.rng.below(10);
                self.request(message, Duration::from_millis(patience)).await;
            }
            16 => self.send_batch().await,
            17 if !self.old.is_empty() => self.conflict().await,
            _ => self.settle().await,
        }
        if self.pending.len() > PENDING_MAX {
            self.settle().await;
        }
    }

    /// A new request, one that was sent before, or one that others send too.
    fn next(&mut self) -> Message {
        let rng = &mut self.sender.rng;
        if rng.chance(0.1) {
            let n = rng.below(SHARED_IDS);
            return self.sender.shared.content.request(SHARED, n);
        }
        if !self.old.is_empty() && rng.chance(0.15) {
            return rng.pick(&self.old).clone();
        }
        let message = self
            .sender
            .shared
            .content
            .request(self.sender.number, self.made);
        self.made += 1;
        match self.old.len() < OLD_MAX {
            true => self.old.push(message.clone()),
            false => self.old[rng.below(OLD_MAX as u64) as usize] = message.clone(),
        }
        message
    }

    async fn send(&mut self, message: Message) {
        let call = self.notes().sends(self.sender.client, &message);
        let ended = self.client.send_message(message.clone()).await;
        self.ended(call, message, ended).await;
    }

    async fn enqueue(&mut self, message: Message) {
        let call = self.notes().sends(self.sender.client, &message);
        match self.client.enqueue(message.clone()).await {
            Ok(pending) => self.pending.push_back((call, message, pending)),
            Err(error) => self.ended(call, message, Err(error)).await,
        }
    }

    async fn send_batch(&mut self) {
        let count = 1 + self.sender.rng.below(16);
        let batch: Vec<_> = (0..count).map(|_| self.next()).collect();
        let asks = |message| self.notes().sends(self.sender.client, message);
        let calls: Vec<_> = batch.iter().map(asks).collect();
        let results = self.client.send_batch(batch.clone()).await;
        for ((call, message), result) in calls.into_iter().zip(batch).zip(results) {
            self.ended(call, message, result).await;
        }
    }

    /// Asks for a reply, and stops waiting for it after a while.
    async fn request(&mut self, message: Message, patience: Duration) {
        let call = self.notes().requests(self.sender.client, &message);
        let asking = self.client.request_message(message.clone());
        let Ok(ended) = tokio::time::timeout(patience, asking).await else {
            self.notes().given_up(call);
            // It may have been stored, or not.
            self.undecided.push_back(message);
            return;
        };
        self.notes().answered(call, &ended);
        match ended {
            Err(RequestError::Send(error)) => self.decide(message, &error).await,
            Err(RequestError::Lost { .. }) => self.undecided.push_back(message),
            _ => {}
        }
    }

    /// Another content under an id that was used.
    async fn conflict(&mut self) {
        let old = self.sender.rng.pick(&self.old).clone();
        // Whether the first one was stored must be known, or the second one may be.
        self.settle().await;
        let other = self.sender.shared.content.conflicting(&old);
        let call = self.notes().sends(self.sender.client, &other);
        let ended = self.client.send_message(other).await;
        self.notes().sent(call, &ended);
    }

    async fn ended(&mut self, call: Call, message: Message, ended: Result<Receipt, SendError>) {
        self.notes().sent(call, &ended);
        if let Err(error) = ended {
            self.decide(message, &error).await;
        }
    }

    /// What is unknown, or refused for now, is asked again.
    async fn decide(&mut self, message: Message, error: &SendError) {
        let code = error.code();
        if code != Code::Unknown && code.is_retryable() {
            self.sender.shared.pause(REFUSED_FOR_NOW).await;
        }
        if code.is_retryable() {
            self.undecided.push_back(message);
        }
    }

    /// Waits for what is in flight, and asks again for what is not decided.
    async fn settle(&mut self) {
        while let Some((call, message, pending)) = self.pending.pop_front() {
            let ended = pending.await;
            self.ended(call, message, ended).await;
        }
        while let Some(message) = self.undecided.pop_front() {
            Box::pin(self.send(message)).await;
        }
    }
}
