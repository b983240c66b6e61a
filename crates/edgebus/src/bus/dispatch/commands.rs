//! What workers and operators ask of the consumers.

use std::sync::Arc;

use edgebus_core::admin::{ConsumerInfo, Position};
use edgebus_core::consumer::{ConsumerConfig, LeaseToken, Left, Place, Settlement, Start};
use edgebus_core::{Code, ConsumerName, Refusal, Seq};
use tokio::sync::{mpsc, oneshot};

use super::{Dispatch, Release, Worker, moment, no_such};
use crate::bus::worker::{self, WorkerHandle};
use crate::clock::Now;
use crate::delivery::WorkerEvent;
use crate::store::{RequestStore, StageError};

/// A worker that wants to work.
#[derive(Clone, Debug)]
pub(crate) struct OpenWorker {
    /// For which consumer.
    pub(crate) consumer: ConsumerName,
    /// Makes it if it is not there; else it must be set up that way.
    pub(crate) config: Option<ConsumerConfig>,
    /// Messages it may be given at once.
    pub(crate) credit: u32,
    /// Bytes of messages it may be given at once; `None`: any.
    pub(crate) room: Option<u64>,
    /// Leases it still holds from an earlier connection.
    pub(crate) held: Vec<LeaseToken>,
    /// Where it runs.
    pub(crate) place: Place,
    /// Whose turns it takes with what it says.
    pub(crate) owner: Arc<str>,
}

/// A worker that was taken on, and who waits for it.
#[derive(Debug)]
pub(in crate::bus) struct OpenedWorker {
    /// Whoever drops it, even on its way, says thereby that the worker is gone.
    pub(in crate::bus) worker: worker::Worker,
    pub(in crate::bus) done: Opening,
}

/// Tells who wants to work.
pub(in crate::bus) type Opening = oneshot::Sender<Result<worker::Worker, Refusal>>;

/// A question about consumers, answered from what is on disk.
#[derive(Debug)]
pub(in crate::bus) enum Question {
    All(oneshot::Sender<Vec<ConsumerInfo>>),
    One(ConsumerName, oneshot::Sender<Result<ConsumerInfo, Refusal>>),
}

/// A change that an operator wants.
#[derive(Debug)]
pub(in crate::bus) enum Change {
    /// Make a consumer, or set it up anew. The position is that of its start.
    Put(ConsumerName, ConsumerConfig, Begin),
    Pause(ConsumerName, bool),
    Remove(ConsumerName),
    /// Everything up to here is done.
    Reset(ConsumerName, Seq),
    /// Makes the name if it is new.
    SetOffset(ConsumerName, Seq),
    Settle(ConsumerName, LeaseToken, Settlement),
    Trim(Seq),
    Again(ConsumerName, Vec<(Seq, Seq)>),
}

impl Change {
    /// Whether it makes room on the disk in the end.
    pub(in crate::bus) fn frees_space(&self) -> bool {
        matches!(self, Self::Trim(_) | Self::Remove(_))
    }
}

/// Where a new consumer begins, once times were looked up.
#[derive(Clone, Copy, Debug)]
pub(in crate::bus) enum Begin {
    /// Behind the last message.
    New,
    /// With this one.
    At(Seq),
}

type Done = oneshot::Sender<Result<(), Refusal>>;

impl Dispatch {
    /// Takes a worker on.
    pub(in crate::bus) fn open(
        &mut self,
        store: &mut RequestStore,
        open: OpenWorker,
        begin: Begin,
        done: Opening,
        now: Now,
    ) {
        let ready = match &open.config {
            None if self.slots.contains_key(&open.consumer) => Ok(()),
            None => Err(no_such(&open.consumer)),
            Some(config) => self.put(store, &open.consumer, config, begin, now),
        };
        if let Err(refusal) = ready {
            return drop(done.send(Err(refusal)));
        }
        let (to, events) = mpsc::unbounded_channel();
        let (id, kept) = self.attach(store, &open, to, now);
        let (queue, limits) = (self.queue.clone(), store.record_limits());
        let handle = WorkerHandle::new(queue, open.owner, open.consumer, id, limits);
        let worker = worker::Worker {
            kept,
            events,
            handle,
        };
        self.release(Release::Opened(OpenedWorker { worker, done }));
    }

    pub(super) fn attach(
        &mut self,
        store: &mut RequestStore,
        open: &OpenWorker,
        to: mpsc::UnboundedSender<WorkerEvent>,
        now: Now,
    ) -> (u64, Vec<LeaseToken>) {
        self.next_worker += 1;
        let id = self.next_worker;
        let worker = Worker {
            consumer: open.consumer.clone(),
            place: open.place,
            to,
            ready: Vec::new(),
        };
        self.workers.insert(id, worker);
        let moment = moment(store, now);
        let (place, credit) = (open.place, open.credit);
        let held = open.held.as_slice();
        let kept = self.drive(store, &open.consumer, |machine, ledger, places, _| {
            let kept = machine.attach(ledger, places, id, place, credit, held, moment);
            if let Some(room) = open.room {
                machine.set_room(id, room);
            }
            kept
        });
        (id, kept.unwrap_or_default())
    }

    /// A worker takes more.
    pub(in crate::bus) fn credit(&mut self, worker: u64, credit: u32, room: u64) {
        if let Some(name) = self.workers.get(&worker).map(|worker| &worker.consumer)
            && let Some(slot) = self.slots.get_mut(name)
        {
            slot.machine.add_credit(worker, credit);
            slot.machine.add_room(worker, room);
            slot.wake();
        }
    }

    /// A worker is gone.
    pub(in crate::bus) fn detach(
        &mut self,
        store: &mut RequestStore,
        worker: u64,
        left: Left,
        now: Now,
    ) {
        let Some(gone) = self.workers.remove(&worker) else {
            return;
        };
        let moment = moment(store, now);
        self.drive(store, &gone.consumer, |machine, ledger, places, out| {
            machine.detach(ledger, places, worker, left, moment, out);
        });
    }

    /// A worker says what became of messages.
    pub(in crate::bus) fn settle(
        &mut self,
        store: &mut RequestStore,
        consumer: &ConsumerName,
        items: Vec<(LeaseToken, Settlement)>,
        done: Option<oneshot::Sender<Vec<Result<(), Refusal>>>>,
        now: Now,
    ) {
        let moment = moment(store, now);
        let limits = store.record_limits();
        let count = items.len();
        let outcomes = self.drive(store, consumer, |machine, ledger, places, out| {
            items
                .into_iter()
                .map(|(token, settlement)| {
                    let settlement = settlement.bounded(&limits)?;
                    machine.settle(ledger, places, token, settlement, moment, out)
                })
                .collect::<Vec<_>>()
        });
        if let Some(done) = done {
            let outcomes = outcomes.unwrap_or_else(|| vec![Err(no_such(consumer)); count]);
            self.release(Release::Settled(done, outcomes));
        }
    }

    /// Answers a question once all before it is on disk.
    pub(in crate::bus) fn ask(&mut self, question: Question) {
        self.release(Release::Look(question));
    }

    pub(in crate::bus) fn answer(&self, store: &RequestStore, question: Question) {
        match question {
            Question::All(to) => {
                let names = self.slots.keys();
                let infos = names.filter_map(|name| self.info(store, name).ok());
                drop(to.send(infos.collect()));
            }
            Question::One(name, to) => drop(to.send(self.info(store, &name))),
        }
    }

    /// Does what an operator wants. Everything decided before must be staged.
    pub(in crate::bus) fn change(
        &mut self,
        store: &mut RequestStore,
        change: Change,
        done: Done,
        now: Now,
    ) {
        let changed = self.try_change(store, change, now);
        self.release(Release::Told(done, changed));
    }

    fn try_change(
        &mut self,
        store: &mut RequestStore,
        change: Change,
        now: Now,
    ) -> Result<(), Refusal> {
        match change {
            Change::Put(name, config, begin) => self.put(store, &name, &config, begin, now),
            Change::Pause(name, paused) => self.change_one(store, &name, |machine, ledger, out| {
                machine.pause(ledger, paused, out);
            }),
            Change::Remove(name) => self.remove(store, &name, now),
            Change::Reset(name, offset) => self.reset(store, &name, offset),
            Change::SetOffset(name, offset) if self.slots.contains_key(&name) => {
                self.reset(store, &name, offset)
            }
            Change::SetOffset(name, offset) => {
                self.check_room()?;
                store.stage_offset(&name, offset).map_err(refusal)?;
                self.add_slot(store, &name, now);
                Ok(())
            }
            Change::Settle(name, token, settlement) => {
                let moment = moment(store, now);
                let settlement = settlement.bounded(&store.record_limits())?;
                let settled = self.drive(store, &name, |machine, ledger, places, out| {
                    machine.settle(ledger, places, token, settlement, moment, out)
                });
                settled.unwrap_or_else(|| Err(no_such(&name)))
            }
            Change::Trim(before) => {
                self.trim_to(store, before);
                Ok(())
            }
            Change::Again(name, ranges) => self.change_one(store, &name, |machine, ledger, out| {
                machine.again(ledger, ranges, out);
            }),
        }
    }

    fn reset(
        &mut self,
        store: &mut RequestStore,
        name: &ConsumerName,
        offset: Seq,
    ) -> Result<(), Refusal> {
        self.forget_page(name);
        let done = self.drive(store, name, |machine, ledger, places, out| {
            machine.reset(ledger, places, offset, out);
        });
        done.ok_or_else(|| no_such(name))
    }

    fn change_one(
        &mut self,
        store: &mut RequestStore,
        name: &ConsumerName,
        call: impl FnOnce(
            &mut edgebus_core::consumer::Consumer,
            &mut edgebus_core::consumer::Ledger,
            &mut Vec<edgebus_core::consumer::Output>,
        ),
    ) -> Result<(), Refusal> {
        let done = self.drive(store, name, |machine, ledger, _, out| {
            call(machine, ledger, out);
        });
        done.ok_or_else(|| no_such(name))
    }

    fn remove(
        &mut self,
        store: &mut RequestStore,
        name: &ConsumerName,
        now: Now,
    ) -> Result<(), Refusal> {
        if !self.slots.contains_key(name) {
            return Err(no_such(name));
        }
        let working = self.workers.iter();
        let working: Vec<u64> = working
            .filter(|(_, worker)| worker.consumer == *name)
            .map(|(id, _)| *id)
            .collect();
        for worker in working {
            let refusal =
                Refusal::new(Code::NoSuchConsumer, format!("consumer {name} was removed"));
            self.end_worker(worker, refusal);
            // What it decided for the leases is deleted with it, in this group or the next.
            self.detach(store, worker, Left::Closed, now);
        }
        store.stage_delete(name).map_err(refusal)?;
        if let Some(slot) = self.slots.remove(name) {
            slot.refuse_pulls(&no_such(name));
        }
        self.names = self.slots.keys().cloned().collect();
        Ok(())
    }
}

pub(super) fn refusal(error: StageError) -> Refusal {
    match error {
        StageError::Refused(refusal) => refusal,
        StageError::GroupFull => {
            Refusal::new(Code::Busy, "too much waits to be written: try again").retry_after_ms(10)
        }
    }
}

/// Where a consumer begins, if that can be said without looking at the log.
pub(in crate::bus) fn begin(start: Start) -> Result<Begin, Position> {
    match start {
        Start::New => Ok(Begin::New),
        Start::Seq(seq) => Ok(Begin::At(seq)),
        Start::TimeMs(ms) => Err(Position::TimeMs(ms)),
        _ => Ok(Begin::At(Seq(0))),
    }
}
