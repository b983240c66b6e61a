//! The rules of the machine, one test each, on a time of their own. Random runs against a model
//! are in `tests/consumer_model`.

mod crashes;
mod limits;
mod operators;
mod settling;

use bytes::Bytes;

use super::*;
use crate::code::{Code, Refusal};
use crate::consumer::{AttemptError, DeadLetterCode, Settlement};
use crate::entry::{Entry, Envelope};
use crate::id::{RequestId, Scope};
use crate::message::Message;
use crate::record::{Record, RecordLimits};

/// A consumer with its ledger, places, log and clock.
struct Desk {
    ledger: Ledger,
    machine: Consumer,
    places: Places,
    now: Moment,
    limits: MachineLimits,
    log: Vec<Entry>,
    out: Vec<Output>,
}

/// A message that was handed to a worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Given {
    worker: u64,
    token: LeaseToken,
    attempt: u32,
}

/// A dead letter.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Letter {
    seq: u64,
    number: Option<u64>,
    code: DeadLetterCode,
    reason: String,
    attempts: Vec<AttemptError>,
}

fn config() -> ConsumerConfig {
    ConsumerConfig::listener("a.*".parse().expect("pattern"))
        .ack_wait_ms(1_000)
        .backoff_ms([100, 500])
        .max_attempts(3)
}

fn entry(seq: u64, topic: &str, expires_ms: u64) -> Entry {
    let id = RequestId::from_bytes([7; 16]);
    let message = Message::new(id, topic.parse().expect("topic"), "x")
        .source("till-7")
        .expires_ms(expires_ms);
    let record = Record::encode(&message, &RecordLimits::default()).expect("fits");
    let envelope = Envelope {
        seq: Seq(seq),
        received_ms: 1,
        store_time_ms: 10_000,
        scope: Scope(0),
        identity: "",
    };
    let mut bytes = Vec::new();
    Entry::encode(&mut bytes, &envelope, &record);
    Entry::from_bytes(Bytes::from(bytes)).expect("whole")
}

impl Desk {
    /// With a log of so many messages, all for the consumer.
    fn new(config: ConsumerConfig, messages: u64) -> Self {
        Self::with_log(config, |_| "a.x", messages)
    }

    fn with_log(config: ConsumerConfig, topic: impl Fn(u64) -> &'static str, count: u64) -> Self {
        let now = Moment {
            store_ms: 10_000,
            wall_ms: 1_000_000,
        };
        let limits = MachineLimits::default();
        let mut ledger = Ledger::new(Some(config), Seq(0));
        Self {
            machine: Consumer::new(&mut ledger, limits, 1, now, &mut Vec::new()),
            ledger,
            places: Places::default(),
            now,
            limits,
            log: (1..=count).map(|seq| entry(seq, topic(seq), 0)).collect(),
            out: Vec::new(),
        }
    }

    fn worker(&mut self, id: u64, place: Place, credit: u32) {
        self.worker_with(id, place, credit, &[]);
    }

    fn worker_with(
        &mut self,
        id: u64,
        place: Place,
        credit: u32,
        held: &[LeaseToken],
    ) -> Vec<LeaseToken> {
        let (ledger, places) = (&mut self.ledger, &mut self.places);
        self.machine
            .attach(ledger, places, id, place, credit, held, self.now)
    }

    fn leave(&mut self, id: u64, left: Left) {
        let (ledger, places) = (&mut self.ledger, &mut self.places);
        self.machine
            .detach(ledger, places, id, left, self.now, &mut self.out);
    }

    fn wait(&mut self, ms: u64) {
        self.now.store_ms += ms;
        self.now.wall_ms += ms;
        let (ledger, places) = (&mut self.ledger, &mut self.places);
        self.machine.tick(ledger, places, self.now, &mut self.out);
    }

    fn offer(&mut self, seq: u64) -> Offer {
        let entry = self.log[seq as usize - 1].clone();
        let (ledger, places) = (&mut self.ledger, &mut self.places);
        self.machine
            .offer(ledger, places, &entry, self.now, &mut self.out)
    }

    /// Offers all that can be given out.
    fn feed(&mut self) -> Vec<Given> {
        loop {
            let due = self.machine.due(&self.ledger, &self.places, self.now, 1000);
            let before = self.out.len();
            for (seq, _) in due {
                self.offer(seq.0);
            }
            if self.out.len() == before {
                break;
            }
        }
        while let Some(from) = self.machine.scan_from(&self.ledger)
            && from.0 <= self.log.len() as u64
            && self.offer(from.0) != Offer::NoRoom
        {}
        self.given()
    }

    /// Takes what was handed out since the last time; the rest stays.
    fn given(&mut self) -> Vec<Given> {
        let given = self.out.iter().filter_map(|output| match output {
            Output::Deliver {
                worker,
                token,
                attempt,
                ..
            } => Some(Given {
                worker: *worker,
                token: *token,
                attempt: *attempt,
            }),
            _ => None,
        });
        let given = given.collect();
        self.out
            .retain(|output| !matches!(output, Output::Deliver { .. }));
        given
    }

    /// Takes the dead letters since the last time.
    fn letters(&mut self) -> Vec<Letter> {
        let mut letters = Vec::new();
        self.out.retain(|output| match output.clone() {
            Output::DeadLetter {
                seq,
                number,
                code,
                reason,
                attempts,
            } => {
                let seq = seq.0;
                letters.push(Letter {
                    seq,
                    number,
                    code,
                    reason,
                    attempts,
                });
                false
            }
            _ => true,
        });
        letters
    }

    fn settle(&mut self, token: LeaseToken, settlement: Settlement) -> Result<(), Refusal> {
        let (ledger, places) = (&mut self.ledger, &mut self.places);
        self.machine
            .settle(ledger, places, token, settlement, self.now, &mut self.out)
    }

    fn ack(&mut self, token: LeaseToken) {
        self.settle(token, Settlement::Ack).expect("acked");
    }

    fn nak(&mut self, token: LeaseToken) {
        let (delay_ms, reason) = (None, "no".to_owned());
        self.settle(token, Settlement::Nak { delay_ms, reason })
            .expect("given back");
    }

    fn code(&mut self, token: LeaseToken, settlement: Settlement) -> Code {
        self.settle(token, settlement).expect_err("refused").code
    }

    /// The server dies and is opened again.
    fn crash(&mut self) {
        self.ledger = Ledger::decode(&self.ledger.encode()).expect("a ledger");
        self.places = Places::default();
        self.out.clear();
        self.machine = Consumer::new(&mut self.ledger, self.limits, 2, self.now, &mut self.out);
    }

    fn info(&self) -> ConsumerFigures {
        self.machine.info(&self.ledger)
    }

    fn pauses(&mut self) -> Vec<Option<PauseReason>> {
        let said = self.out.iter().filter_map(|output| match output {
            Output::Paused { reason } => Some(Some(*reason)),
            Output::Resumed => Some(None),
            _ => None,
        });
        let said = said.collect();
        self.out.clear();
        said
    }
}

fn seqs(given: &[Given]) -> Vec<u64> {
    given.iter().map(|given| given.token.seq.0).collect()
}
