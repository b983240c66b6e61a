//! Dispatch: drives the consumers' state machines on the engine's thread.
//!
//! Commands come in from workers, readers and operators ([`commands`]); messages are read from the
//! tail or asked of the feeder ([`feed`]); what the machines decide is staged as operations of the
//! journal ([`staging`]), and what workers and waiters are told leaves after their sync.
//!
//! Invariants: a decision of a machine is journaled or the store has stopped; nothing leaves before
//! the group that holds its reason is on disk; all memory is bounded by consumers, credits and
//! the machines' own bounds.

pub(super) mod commands;
mod feed;
mod letters;
mod near;
mod pulls;
mod retention;
mod setup;
mod staging;
mod telling;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use edgebus_core::admin::{ConsumerInfo, Delivery};
use edgebus_core::consumer::{
    Consumer, ConsumerMode, Ledger, Left, MachineLimits, Moment, Output, PauseReason, Place, Places,
};
use edgebus_core::{Code, ConsumerName, Entry, Refusal, Seq};
use tokio::sync::mpsc;

use super::feeder::{Job, Jobs};
use super::hub::Hub;
use super::queue::Queue;
use super::waiters::Waiters;
use crate::clock::Now;
use crate::delivery::WorkerEvent;
use crate::store::RequestStore;
use pulls::Pull;
pub(super) use staging::Release;
use staging::Staging;

/// Consumers of one store.
pub(super) const CONSUMERS_MAX: usize = 1024;

/// All consumers, and everyone who waits for something of them.
#[derive(Debug)]
pub(super) struct Dispatch {
    slots: BTreeMap<ConsumerName, Slot>,
    /// Of the slots; here too, as every group goes over them.
    names: Arc<[ConsumerName]>,
    places: Places,
    /// Which consumer a worker works for.
    workers: AHashMap<u64, Worker>,
    next_worker: u64,
    next_ticket: u64,
    /// Where workers say what becomes of messages.
    queue: Arc<Queue>,
    jobs: Arc<Jobs>,
    pub(super) hub: Arc<Hub>,
    pub(super) waiters: Waiters,
    staging: Staging,
    letters_full: bool,
    /// Of the last step.
    now: Moment,
    /// A place was kept free for a suspect when consumers were looked at last.
    claims: bool,
    /// Those who wait for messages without being a worker.
    pulling: usize,
    /// Reused for every call of a machine.
    out: Vec<Output>,
    figures: Figures,
    retention_checked: Option<Duration>,
    limits: MachineLimits,
}

/// What was done since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub(super) replies: u64,
    pub(super) expired: u64,
    pub(super) trimmed: u64,
}

/// One consumer.
#[derive(Debug)]
struct Slot {
    machine: Consumer,
    /// Read from the tables and not offered yet.
    page: VecDeque<Entry>,
    page_upto: Seq,
    /// The page that is being read.
    page_ticket: Option<u64>,
    /// There is more in memory than was looked at in one go.
    behind: bool,
    /// Single messages that are being read.
    loading: HashSet<Seq>,
    /// Answers of the feeder to anything older are of an earlier life.
    born: u64,
    pulls: Vec<Pull>,
    /// Stored bytes cannot be read: not to be asked again before this time.
    unreadable_until: Option<Duration>,
    /// Something happened since it was looked at last.
    awake: bool,
    /// It has looked at all messages up to here, or stands still at one it cannot give out.
    looked_upto: Seq,
    /// Store time at which its machine wants to be called.
    tick_ms: Option<u64>,
    /// Since when it has no worker: store time, and what the wall clock said then.
    idle_since: Option<(u64, u64)>,
}

impl Slot {
    /// Remembers by the wall clock when it lost its last worker, for people.
    fn note_idle(&mut self, now: Moment) {
        let since = self.machine.idle_since_ms();
        if since != self.idle_since.map(|(since, _)| since) {
            self.idle_since = since.map(|since| {
                let away_ms = now.store_ms.saturating_sub(since);
                (since, now.wall_ms.saturating_sub(away_ms))
            });
        }
    }

    /// Has it looked at again.
    fn wake(&mut self) {
        self.awake = true;
        self.tick_ms = self.machine.next_tick_ms();
    }
}

impl Slot {
    /// Whether something that is for the consumer may be on its way.
    fn is_reading(&self) -> bool {
        self.page_ticket.is_some() || !self.loading.is_empty() || self.behind
    }
}

/// Where a worker's messages go.
#[derive(Debug)]
struct Worker {
    consumer: ConsumerName,
    place: Place,
    to: mpsc::UnboundedSender<WorkerEvent>,
    /// Decided and not yet on disk.
    ready: Vec<Delivery>,
}

impl Dispatch {
    /// The consumers of a store, as they were when it was closed or crashed.
    pub(super) fn new(
        store: &mut RequestStore,
        queue: Arc<Queue>,
        jobs: Arc<Jobs>,
        limits: MachineLimits,
        now: Now,
    ) -> Self {
        let hub = queue.board.hub.clone();
        let mut dispatch = Self {
            slots: BTreeMap::new(),
            names: Arc::new([]),
            places: Places::default(),
            workers: AHashMap::new(),
            next_worker: 0,
            next_ticket: 0,
            queue,
            jobs,
            hub,
            waiters: Waiters::default(),
            staging: Staging::default(),
            letters_full: false,
            now: Moment::default(),
            claims: false,
            pulling: 0,
            out: Vec::new(),
            figures: Figures::default(),
            retention_checked: None,
            limits,
        };
        let names: Vec<_> = store.ledgers().keys().cloned().collect();
        for name in names {
            dispatch.add_slot(store, &name, now);
        }
        dispatch
    }

    /// With as many dead letters as there may be, consumers pause: none is ever thrown away.
    fn watch_letters(&mut self, store: &RequestStore) {
        let full = store.dead_letters_full();
        if full != self.letters_full {
            self.letters_full = full;
            for slot in self.slots.values_mut() {
                slot.machine
                    .block(full.then_some(PauseReason::DeadLettersFull));
            }
            if full {
                tracing::warn!(
                    "there is no room for more dead letters: consumers pause until some are requeued or removed"
                );
            }
        }
    }

    /// Lets time pass: leases run out, retries come due.
    pub(super) fn tick(&mut self, store: &mut RequestStore, now: Now) {
        self.watch_letters(store);
        let moment = moment(store, now);
        self.now = moment;
        let due: Vec<_> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.tick_ms.is_some_and(|at| at <= moment.store_ms))
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            self.drive(store, &name, |machine, ledger, places, out| {
                machine.tick(ledger, places, moment, out);
            });
        }
    }

    /// When the next thing is due by time alone, from now.
    pub(super) fn due_in(&self, store: &RequestStore, now: Now) -> Option<Duration> {
        let store_ms = store.store_ms(now);
        let ticks = self
            .slots
            .values()
            .filter_map(|slot| slot.tick_ms)
            .chain(self.pulls_due_ms());
        let next = ticks.min()?;
        Some(Duration::from_millis(next.saturating_sub(store_ms)))
    }

    /// Whether something decided is not staged yet.
    pub(super) fn has_staging(&self) -> bool {
        !self.staging.is_empty()
    }

    /// Calls a consumer's machine and takes up what it decides. `None`: no such consumer.
    fn drive<R>(
        &mut self,
        store: &mut RequestStore,
        name: &ConsumerName,
        call: impl FnOnce(&mut Consumer, &mut Ledger, &mut Places, &mut Vec<Output>) -> R,
    ) -> Option<R> {
        let slot = self.slots.get_mut(name)?;
        let ledger = store.ledger_mut(name)?;
        let mut out = std::mem::take(&mut self.out);
        let result = call(&mut slot.machine, ledger, &mut self.places, &mut out);
        slot.wake();
        slot.note_idle(self.now);
        self.take_up(name, &mut out);
        self.out = out;
        Some(result)
    }

    /// Makes the machine of a ledger that has none.
    fn add_slot(&mut self, store: &mut RequestStore, name: &ConsumerName, now: Now) {
        let moment = moment(store, now);
        self.next_ticket += 1;
        let seed = seed(name, self.next_ticket, now);
        let Some(ledger) = store.ledger_mut(name) else {
            return;
        };
        let mut out = std::mem::take(&mut self.out);
        let mut machine = Consumer::new(ledger, self.limits, seed, moment, &mut out);
        machine.block(self.letters_full.then_some(PauseReason::DeadLettersFull));
        let mut slot = Slot {
            machine,
            page: VecDeque::new(),
            page_upto: Seq(0),
            page_ticket: None,
            behind: false,
            loading: HashSet::new(),
            born: self.next_ticket,
            pulls: Vec::new(),
            unreadable_until: None,
            awake: true,
            looked_upto: Seq(0),
            tick_ms: None,
            idle_since: None,
        };
        slot.wake();
        slot.note_idle(moment);
        self.slots.insert(name.clone(), slot);
        self.names = self.slots.keys().cloned().collect();
        self.take_up(name, &mut out);
        self.out = out;
    }

    /// Names of all responders, to look for the dead letters of a request.
    pub(super) fn responders(&self, store: &RequestStore) -> Arc<[ConsumerName]> {
        let responds = |ledger: &Ledger| {
            let config = ledger.config();
            config.is_some_and(|config| config.mode == ConsumerMode::Responder)
        };
        let ledgers = store.ledgers().iter();
        ledgers
            .filter(|(_, ledger)| responds(ledger))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// What is to be known of a consumer.
    fn info(&self, store: &RequestStore, name: &ConsumerName) -> Result<ConsumerInfo, Refusal> {
        // On a full disk what was decided may wait for the journal: it is not told before.
        let synced =
            (self.has_staging() || store.staged_bytes() > 0).then(|| store.reader().consumer(name));
        let ledger = match &synced {
            Some(synced) => synced.as_ref(),
            None => store.ledgers().get(name),
        };
        let (Some(slot), Some(ledger)) = (self.slots.get(name), ledger) else {
            return Err(no_such(name));
        };
        let figures = slot.machine.info(ledger);
        let gaps = ledger.gaps();
        let last = store.reader().last_seq();
        Ok(ConsumerInfo {
            name: name.clone(),
            config: ledger.config().cloned(),
            epoch: ledger.epoch(),
            offset: figures.offset,
            lag: last.0.saturating_sub(figures.offset.0),
            in_flight: figures.in_flight,
            retrying: figures.retrying,
            suspects: figures.suspects,
            workers: figures.workers,
            dead_letters: store.reader().dead_letter_count_of(name),
            state: match slot.unreadable_until {
                Some(_) => "unreadable".to_owned(),
                None => figures.state.to_owned(),
            },
            completed: figures.completed,
            failed: figures.failed,
            gaps: gaps.count,
            gap_messages: gaps.messages,
            last_gap: gaps.last,
            held_since_ms: slot.idle_since.map(|(_, wall_ms)| wall_ms),
        })
    }

    /// Figures over all consumers.
    pub(super) fn totals(&self, store: &RequestStore) -> Totals {
        let mut totals = Totals {
            consumers: self.slots.len() as u64,
            waiting: self.waiters.len() as u64,
            done: self.figures,
            ..Totals::default()
        };
        for (name, slot) in &self.slots {
            if let Some(ledger) = store.ledgers().get(name) {
                let figures = slot.machine.info(ledger);
                totals.in_flight += figures.in_flight;
                totals.retrying += figures.retrying;
                totals.completed += figures.completed;
                totals.failed += figures.failed;
                totals.gaps += ledger.gaps().count;
            }
        }
        totals
    }

    /// The bus stops: workers hear of it, what they hold goes back without a charge.
    pub(super) fn end(&mut self, store: &mut RequestStore, now: Now) {
        let workers = self.workers.iter();
        let workers: Vec<_> = workers.map(|(id, worker)| (*id, worker.place)).collect();
        for (worker, place) in workers {
            let refusal = Refusal::new(Code::ShuttingDown, "the server is shutting down");
            self.end_worker(worker, refusal);
            // Those in other processes may come back for their leases after the restart.
            if place == Place::Process {
                self.detach(store, worker, Left::Closed, now);
            }
        }
        self.progress(store);
        self.close();
    }

    /// Nothing more comes, of the hub and of the feeder.
    pub(super) fn close(&self) {
        self.hub.end();
        self.jobs.stop();
    }

    /// Offsets that moved are written with what is sealed next.
    pub(super) fn progress(&mut self, store: &mut RequestStore) {
        for name in self.names.clone().iter() {
            self.drive(store, name, |machine, ledger, _, out| {
                machine.progress(ledger, out);
            });
        }
    }

    /// Looks up how requests ended that were stored before.
    pub(super) fn look_up_answers(&mut self, store: &RequestStore, asked: Vec<Seq>) {
        let responders = self.responders(store);
        for seq in asked {
            self.waiters.look_up(seq);
            self.jobs.push(Job::Answer {
                seq,
                responders: responders.clone(),
            });
        }
    }

    fn end_worker(&mut self, worker: u64, refusal: Refusal) {
        if let Some(worker) = self.workers.get(&worker) {
            // Whoever worked there may have gone.
            let _ = worker.to.send(WorkerEvent::Ended(refusal));
        }
    }
}

/// Figures over all consumers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) done: Figures,
    pub(super) consumers: u64,
    pub(super) in_flight: u64,
    pub(super) retrying: u64,
    pub(super) completed: u64,
    pub(super) failed: u64,
    pub(super) gaps: u64,
    pub(super) waiting: u64,
}

fn moment(store: &RequestStore, now: Now) -> Moment {
    Moment {
        store_ms: store.store_ms(now),
        wall_ms: now.wall_ms,
    }
}

/// Chance for one consumer's backoff: differs from consumer to consumer and from start to start.
fn seed(name: &ConsumerName, ticket: u64, now: Now) -> u64 {
    let crc = u64::from(crc32c::crc32c(name.as_str().as_bytes()));
    (crc << 32) ^ ticket ^ now.wall_ms
}

fn no_such(name: &ConsumerName) -> Refusal {
    Refusal::new(
        Code::NoSuchConsumer,
        format!("there is no consumer {name}: make it first"),
    )
}
