//! What workers, waiters and operators are told, once its reason is on disk.

use edgebus_core::consumer::{Answer, ConsumerMode, Settlement};
use edgebus_core::planted;
use tokio::sync::mpsc::error::SendError;

use super::staging::answer_of;
use super::{Dispatch, Release};
use crate::clock::Now;
use crate::delivery::WorkerEvent;
use crate::store::RequestStore;

impl Dispatch {
    /// Tells everything whose reason is on disk, in order.
    pub(in crate::bus) fn tell(
        &mut self,
        store: &mut RequestStore,
        releases: &mut Vec<Release>,
        now: Now,
    ) {
        let mut filled = Vec::new();
        for release in releases.drain(..) {
            match release {
                Release::Deliver(worker, delivery) => {
                    if let Some(to) = self.workers.get_mut(&worker) {
                        if to.ready.is_empty() {
                            filled.push(worker);
                        }
                        to.ready.push(delivery);
                    }
                }
                // Whoever asked may have gone, here and below.
                Release::Told(done, told) => drop(done.send(told)),
                Release::Settled(done, outcomes) => drop(done.send(outcomes)),
                Release::Counted(done, count) => drop(done.send(Ok(count))),
                Release::Moved(done, new) => drop(done.send(Ok(new))),
                Release::Fetched(done, got) => drop(done.send(Ok(got))),
                Release::Completed(seq, reply) => {
                    if self.waiters.is_looked_up(seq) {
                        self.look_up_answers(store, vec![seq]);
                    } else if self.waiters.contains(seq) {
                        self.waiters.answer(seq, &answer_of(reply));
                    }
                }
                Release::Failed(name, seq, reason) => {
                    let config = store.ledgers().get(&name).and_then(|l| l.config());
                    let responds = config.is_some_and(|c| c.mode == ConsumerMode::Responder);
                    if responds && self.waiters.is_looked_up(seq) {
                        self.look_up_answers(store, vec![seq]);
                    } else if responds && self.waiters.contains(seq) {
                        self.waiters.answer(seq, &Answer::DeadLettered { reason });
                    }
                }
                Release::LookUp(asked) => self.look_up_answers(store, asked),
                Release::Trimmed(first, count) => {
                    self.figures.trimmed += count;
                    self.waiters.trimmed(first);
                }
                Release::Opened(opened) => drop(opened.done.send(Ok(opened.worker))),
                Release::Look(question) => self.answer(store, question),
            }
        }
        for worker in filled {
            self.hand_over(store, worker, now);
        }
    }

    /// For bugs on purpose: tells something before its reason is on disk, if there is anything.
    pub(in crate::bus) fn tells_early(&mut self, store: &mut RequestStore, now: Now) -> bool {
        let bugs = [
            planted!("deliver-before-sync"),
            planted!("reply-before-journal"),
        ];
        if !bugs.contains(&true) {
            return false;
        }
        let mut early = self.staging.take_early();
        let any = !early.is_empty();
        self.tell(store, &mut early, now);
        any
    }

    /// Gives a worker what is ready for it.
    fn hand_over(&mut self, store: &mut RequestStore, id: u64, now: Now) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        let mut ready = std::mem::take(&mut worker.ready);
        if self.pulled(id, &mut ready) {
            return;
        }
        let Some(worker) = self.workers.get(&id) else {
            return;
        };
        let sent = worker.to.send(WorkerEvent::Deliveries(ready));
        if let Err(SendError(WorkerEvent::Deliveries(back))) = sent {
            // It takes nothing more. That it has left it says by a command of its own, once nothing
            // it was given before is worked on.
            let name = worker.consumer.clone();
            if let Some(slot) = self.slots.get_mut(&name) {
                slot.machine.withdraw(id);
            }
            let back = back.into_iter();
            let released = back.map(|delivery| (delivery.token, Settlement::Release));
            self.settle(store, &name, released.collect(), None, now);
        }
    }

    /// The store has stopped: nobody knows what became of what was decided.
    pub(in crate::bus) fn tell_unknown(
        &mut self,
        releases: &mut Vec<Release>,
        refusal: &edgebus_core::Refusal,
    ) {
        for release in releases.drain(..) {
            match release {
                Release::Told(done, _) => drop(done.send(Err(refusal.clone()))),
                Release::Settled(done, outcomes) => {
                    drop(done.send(vec![Err(refusal.clone()); outcomes.len()]));
                }
                Release::Counted(done, _) => drop(done.send(Err(refusal.clone()))),
                Release::Moved(done, _) => drop(done.send(Err(refusal.clone()))),
                Release::Fetched(done, _) => drop(done.send(Err(refusal.clone()))),
                Release::Opened(opened) => drop(opened.done.send(Err(refusal.clone()))),
                _ => {}
            }
        }
        let workers: Vec<u64> = self.workers.keys().copied().collect();
        for worker in workers {
            self.end_worker(worker, refusal.clone());
        }
        self.workers.clear();
        self.refuse_all_pulls(refusal);
        self.hub.end();
    }
}
