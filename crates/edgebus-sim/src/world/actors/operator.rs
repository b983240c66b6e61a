//! Does what operators do: makes, pauses, resets and removes consumers, trims the log, looks through
//! dead letters and has them tried again, works by hand.

use std::time::Duration;

use edgebus::admin::{DeadLetterFilter, Position};
use edgebus::consumer::Settlement;
use edgebus::{Code, LogQuery, Refusal, Seq};

use super::super::World;
use super::{client, consumers, up_to, worker};
use crate::history::{Call, Client, Digest, Event, How, Operation, Outcome, Settling};
use crate::rng::SimRng;

/// How long an operator waits for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Operates until the storm is over, and leaves all consumers as they should be.
pub(super) async fn operate(world: World, mut rng: SimRng) {
    loop {
        let owner = world.new_client();
        let (mut fate, mut chance) = (rng.fork(), rng.fork());
        let mut is_done = false;
        let operating = async {
            let library = client::connect(&world, owner, &mut chance).await;
            let desk = Desk {
                world: &world,
                me: Client(owner.0),
                library,
            };
            is_done = desk.work(&mut chance).await;
        };
        client::live(&world, owner, &mut fate, operating).await;
        if is_done {
            return;
        }
    }
}

struct Desk<'a> {
    world: &'a World,
    me: Client,
    library: edgebus::Client,
}

impl Desk<'_> {
    /// Says whether all is left as it should be.
    async fn work(&self, rng: &mut SimRng) -> bool {
        for name in consumers::ALL {
            self.set_up(name).await;
        }
        while self.world.is_storm() {
            tokio::time::sleep(Duration::from_millis(20) + up_to(rng, 150)).await;
            self.act(rng).await;
        }
        let mut is_done = true;
        for name in consumers::ALL {
            is_done &= self.set_up(name).await;
            is_done &= self.resume(name).await;
        }
        is_done
    }

    async fn act(&self, rng: &mut SimRng) {
        let name = *rng.pick(&consumers::ALL);
        match rng.below(40) {
            0..4 => drop(self.set_up(name).await),
            4..6 => {
                let pausing = Operation::Pause(consumers::name(name));
                let call = self.begin(pausing);
                let told = self.library.consumer_pause(consumers::name(name)).await;
                self.told(call, told);
                tokio::time::sleep(up_to(rng, 400)).await;
                self.resume(name).await;
            }
            6..9 => drop(self.resume(name).await),
            9 | 10 => self.reset(name, rng).await,
            11 if name != consumers::ORDERS => {
                let call = self.begin(Operation::Delete(consumers::name(name)));
                let told = self.library.consumer_remove(consumers::name(name)).await;
                self.told(call, told);
                tokio::time::sleep(up_to(rng, 100)).await;
                self.set_up(name).await;
            }
            12..17 => self.look_at_letters().await,
            17..21 => {
                let whose = rng.chance(0.7).then(|| consumers::name(name));
                let call = self.begin(Operation::Requeue(whose.clone()));
                let told = self.library.requeue(letters(whose), false).await;
                self.told(call, told.and_then(any));
            }
            21 => {
                let call = self.begin(Operation::RemoveLetters(Some(consumers::name(name))));
                let whose = letters(Some(consumers::name(name)));
                let told = self.library.remove_dead_letters(whose, false).await;
                self.told(call, told.and_then(any));
            }
            22 | 23 => self.trim(rng).await,
            24..26 => self.replay(name, rng).await,
            26..31 => self.by_hand(name, rng).await,
            _ => self.look_at_consumers().await,
        }
    }

    /// Makes a consumer, or sees to it that it is there.
    async fn set_up(&self, name: &str) -> bool {
        let config = consumers::config(name);
        let setup = consumers::setup(&config);
        let call = self.begin(Operation::SetUp(consumers::name(name), setup));
        let told = self
            .library
            .consumer_add(consumers::name(name), config)
            .await;
        self.told(call, told)
    }

    async fn resume(&self, name: &str) -> bool {
        let call = self.begin(Operation::Resume(consumers::name(name)));
        let told = self.library.consumer_resume(consumers::name(name)).await;
        self.told(call, told)
    }

    async fn reset(&self, name: &str, rng: &mut SimRng) {
        let Ok(stats) = self.library.stats().await else {
            return;
        };
        let first = Seq(1 + rng.below(stats.last_seq + 1));
        let offset = Seq(first.0 - 1);
        let call = self.begin(Operation::Reset(consumers::name(name), offset));
        let to = Position::Seq(first);
        let told = self.library.consumer_reset(consumers::name(name), to).await;
        self.told(call, told);
    }

    async fn look_at_letters(&self) {
        let all = DeadLetterFilter::default();
        if let Ok(page) = self.library.dead_letters(all, 0, 1_000).await {
            for letter in page.letters {
                if let Ok(consumer) = letter.consumer.parse() {
                    self.world.recorder.note(Event::DeadLetter {
                        consumer,
                        seq: letter.seq,
                        reason: letter.code,
                    });
                }
            }
        }
    }

    async fn look_at_consumers(&self) {
        let Ok(consumers) = self.library.consumers().await else {
            return;
        };
        for info in consumers {
            if let Some((from, to)) = info.last_gap {
                self.world.recorder.note(Event::Gap {
                    consumer: info.name,
                    from,
                    to,
                });
            }
        }
    }

    async fn trim(&self, rng: &mut SimRng) {
        let Ok(stats) = self.library.stats().await else {
            return;
        };
        // The newer half stays.
        let before = Seq(1 + rng.below(stats.last_seq / 2 + 1));
        let call = self.begin(Operation::Trim(before));
        match self.library.trim(Position::Seq(before)).await {
            Ok(trimmed) => {
                self.world.recorder.told(call, Outcome::Done);
                let before = trimmed.first_seq;
                self.world.recorder.note(Event::Trimmed { before });
            }
            Err(refusal) => drop(self.told(call, Err(refusal))),
        }
    }

    async fn replay(&self, name: &str, rng: &mut SimRng) {
        let Ok(stats) = self.library.stats().await else {
            return;
        };
        let from = Seq(1 + rng.below(stats.last_seq + 1));
        let to = Seq(from.0 + rng.below(30));
        let mut query = LogQuery::from(from);
        query.to = Some(to);
        let name = consumers::name(name);
        let call = self.begin(Operation::ReplayInto(name.clone(), from, to));
        let told = self.library.replay_into(name, query).await;
        self.told(call, told.and_then(any));
    }

    /// Takes some messages without being a worker, and says what became of them.
    async fn by_hand(&self, of: &'static str, rng: &mut SimRng) {
        let name = consumers::name(of);
        let wait = up_to(rng, 200);
        let asked = self.library.next(name.clone(), 3, false, wait);
        let Ok(Ok(deliveries)) = tokio::time::timeout(PATIENCE, asked).await else {
            return;
        };
        for delivery in deliveries {
            let record = delivery.entry.record();
            self.world.recorder.note(Event::Given {
                worker: None,
                consumer: name.clone(),
                token: delivery.token,
                id: record.id(),
                payload: Digest::of(&record.payload()),
                attempt: delivery.attempt,
            });
            let (how, settlement) = match rng.below(10) {
                0 => continue,
                1 => (
                    How::Term,
                    Settlement::Term {
                        reason: "by hand".to_owned(),
                    },
                ),
                2 | 3 => (
                    How::Nak,
                    Settlement::Nak {
                        delay_ms: None,
                        reason: "by hand".to_owned(),
                    },
                ),
                _ => (How::Ack, Settlement::Ack),
            };
            let call = self.world.recorder.call();
            self.world.recorder.note(Event::Settling(Settling {
                call,
                worker: None,
                consumer: name.clone(),
                token: delivery.token,
                how,
            }));
            let mut asked = Asked {
                world: self.world,
                call,
                outcome: Outcome::Unknown,
            };
            let settled = self
                .library
                .settle_by_name(name.clone(), delivery.token, settlement);
            asked.outcome = worker::outcome(settled.await);
        }
    }

    fn begin(&self, what: Operation) -> Call {
        self.world.recorder.operating(self.me, what)
    }

    /// Notes what came of it; says whether it was done.
    fn told(&self, call: Call, told: Result<(), Refusal>) -> bool {
        let outcome = match &told {
            Ok(()) => Outcome::Done,
            Err(refusal) if refusal.code == Code::Unknown => Outcome::Unknown,
            Err(refusal) => Outcome::Refused(refusal.code),
        };
        self.world.recorder.told(call, outcome);
        told.is_ok()
    }
}

/// Where there was nothing that it could be done to, nothing was done.
fn any(count: u64) -> Result<(), Refusal> {
    match count {
        0 => Err(Refusal::new(Code::NotFound, "there was nothing to be done")),
        _ => Ok(()),
    }
}

/// What is said by the token alone has nobody whose end would be noted: what became of it is not
/// known if whoever asked dies first.
struct Asked<'a> {
    world: &'a World,
    call: Call,
    outcome: Outcome,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.world.recorder.told(self.call, self.outcome);
    }
}

/// Dead letters of a consumer, or all.
fn letters(whose: Option<edgebus::ConsumerName>) -> DeadLetterFilter {
    match whose {
        None => DeadLetterFilter::all(),
        Some(_) => DeadLetterFilter {
            consumer: whose,
            ..DeadLetterFilter::default()
        },
    }
}
