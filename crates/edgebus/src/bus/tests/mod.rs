//! The engine and the feeder, step by step: what each of them sees of the other, and in which order,
//! is for the test to say. Time is, too.

mod letters;
mod log;
mod requests;
mod workers;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use edgebus_core::admin::{ConsumerInfo, Delivery};
use edgebus_core::consumer::{Answer, ConsumerConfig, LeaseToken, Place, Settlement};
use edgebus_core::{ConsumerName, Message, Record, RecordLimits, Refusal, RequestId, Scope, Seq};
use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};

use super::dispatch::commands::{Begin, Change, OpenWorker, Question};
use super::feeder::Feeder;
use super::lane::{Lane, LaneConfig, Outcome, Sender};
use super::queue::{Command, Queue};
use super::worker::Worker;
use super::{Engine, Turn};
use crate::clock::Now;
use crate::delivery::{Settle, WorkerEvent};
use crate::store::{RequestStore, StoreConfig};

/// An engine that is always busy hangs.
const STEPS_MAX: usize = 1_000;

/// An engine at rest unless it is told to step. The folder goes last.
struct Desk {
    engine: Engine,
    feeder: Feeder,
    queue: Arc<Queue>,
    lane: Lane,
    now: Now,
    folder: tempfile::TempDir,
}

fn name(text: &str) -> ConsumerName {
    text.parse().expect("name")
}

fn listener(pattern: &str) -> ConsumerConfig {
    ConsumerConfig::listener(pattern.parse().expect("pattern")).backoff_ms([1])
}

fn responder(pattern: &str) -> ConsumerConfig {
    ConsumerConfig::responder(pattern.parse().expect("pattern")).backoff_ms([1])
}

fn record(number: u8, topic: &str) -> Record {
    record_with([number; 16], topic)
}

fn record_with(id: [u8; 16], topic: &str) -> Record {
    let id = RequestId::from_bytes(id);
    let message = Message::new(id, topic.parse().expect("topic"), "x");
    Record::encode(&message, &RecordLimits::default()).expect("fits")
}

fn open(folder: &Path, config: StoreConfig) -> RequestStore {
    let (files, clock) = (
        crate::files::RealFiles,
        crate::clock::SystemClock::default(),
    );
    RequestStore::open_with(folder, config, Arc::new(files), Arc::new(clock)).expect("opens")
}

fn nobody() -> Sender {
    Sender {
        identity: String::new(),
        scope: Scope::default(),
        owner: "".into(),
        pool: None,
    }
}

impl Desk {
    fn new() -> Self {
        let now = Now {
            monotonic: Duration::from_secs(1_000_000),
            wall_ms: 1_800_000_000_000,
        };
        Self::on(tempfile::tempdir().expect("folder"), now)
    }

    fn on(folder: tempfile::TempDir, now: Now) -> Self {
        let store = open(folder.path(), StoreConfig::default());
        let queue = Arc::new(Queue::default());
        let config = LaneConfig::default();
        let lane = Lane::new(queue.clone(), store.fingerprinter(), nobody(), config);
        let (engine, feeder) = Engine::new(store, queue.clone(), now);
        Self {
            engine,
            feeder,
            queue,
            lane,
            now,
            folder,
        }
    }

    /// As after a crash: nothing is said goodbye to.
    fn reopen(self) -> Self {
        let Self {
            folder,
            now,
            engine,
            feeder,
            ..
        } = self;
        drop((engine, feeder));
        Self::on(folder, now)
    }

    /// Steps the engine until it rests; what the feeder is asked for waits.
    fn turn(&mut self) -> Turn {
        for _ in 0..STEPS_MAX {
            match self.engine.step(self.now) {
                Turn::Worked => {}
                turn => return turn,
            }
        }
        panic!("the engine never rests");
    }

    /// Steps both until nothing is left to be done.
    fn rest(&mut self) {
        for _ in 0..STEPS_MAX {
            self.turn();
            if !self.feeder.step() {
                return;
            }
        }
        panic!("the feeder never rests");
    }

    fn wait(&mut self, time: Duration) {
        self.now.monotonic += time;
        self.now.wall_ms += time.as_millis() as u64;
    }

    /// Moves all that is stored from memory into the tables.
    fn seal(&mut self) {
        self.wait(Duration::from_secs(31));
        self.rest();
    }

    fn send(&mut self, number: u8, topic: &str) -> Outcome {
        let submitted = self.lane.try_submit(vec![record(number, topic)]);
        self.rest();
        let outcomes = submitted.expect("room").outcomes().now_or_never();
        outcomes.expect("decided").remove(0)
    }

    /// Stores so many requests, for consumers of `a`.
    fn send_many(&mut self, count: u8) {
        for number in 1..=count {
            assert_eq!(self.send(number, "a"), Ok((Seq(number.into()), false)));
        }
    }

    /// Hands over a request whose reply is waited for.
    fn ask(&self, number: u8) -> oneshot::Receiver<Answer> {
        let asking = self.lane.submit_requesting(vec![record(number, "a")]);
        let mut submitted = asking.now_or_never().expect("room");
        submitted.answers().remove(0)
    }

    fn command<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> oneshot::Receiver<T> {
        let (done, told) = oneshot::channel();
        self.queue.control(command(done)).expect("taken");
        told
    }

    fn open(
        &self,
        consumer: &str,
        config: ConsumerConfig,
        credit: u32,
    ) -> oneshot::Receiver<Result<Worker, Refusal>> {
        let open = Box::new(OpenWorker {
            consumer: name(consumer),
            config: Some(config),
            credit,
            held: Vec::new(),
            place: Place::Process,
            owner: "".into(),
            room: None,
        });
        let begin = Begin::At(Seq(0));
        self.command(|done| Command::Open { open, begin, done })
    }

    fn worker(&mut self, consumer: &str, config: ConsumerConfig, credit: u32) -> Worker {
        let mut opened = self.open(consumer, config, credit);
        self.rest();
        opened.try_recv().expect("told").expect("opened")
    }

    fn change(&mut self, change: Change) -> Result<(), Refusal> {
        let mut changed = self.ask_to_change(change);
        self.rest();
        changed.try_recv().expect("told")
    }

    fn ask_to_change(&self, change: Change) -> oneshot::Receiver<Result<(), Refusal>> {
        let change = Box::new(change);
        self.command(|done| Command::Change { change, done })
    }

    fn info(&mut self, consumer: &str) -> Result<ConsumerInfo, Refusal> {
        let question = |done| Command::Ask(Question::One(name(consumer), done));
        let mut told = self.command(question);
        self.rest();
        told.try_recv().expect("told")
    }

    /// A request failed for good and is dead letter 1.
    fn dead_letter(&mut self, consumer: &str) {
        self.send_many(1);
        let mut worker = self.worker(consumer, listener("a"), 1);
        let token = tokens(&mut worker)[0];
        let reason = "never".to_owned();
        worker.handle.settle(token, Settlement::Term { reason });
        worker.handle.close();
        self.rest();
    }
}

fn deliveries(worker: &mut Worker) -> Vec<Delivery> {
    drain(&mut worker.events)
}

fn drain(events: &mut mpsc::UnboundedReceiver<WorkerEvent>) -> Vec<Delivery> {
    let mut all = Vec::new();
    while let Ok(event) = events.try_recv() {
        match event {
            WorkerEvent::Deliveries(deliveries) => all.extend(deliveries),
            WorkerEvent::Resumed(_) => panic!("no connection to lose"),
            WorkerEvent::Ended(refusal) => panic!("{refusal}"),
        }
    }
    all
}

fn tokens(worker: &mut Worker) -> Vec<LeaseToken> {
    deliveries(worker)
        .iter()
        .map(|delivery| delivery.token)
        .collect()
}

fn seqs(worker: &mut Worker) -> Vec<u64> {
    tokens(worker).iter().map(|token| token.seq.0).collect()
}
