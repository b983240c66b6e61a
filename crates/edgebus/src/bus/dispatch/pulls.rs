//! Messages that are fetched one time, without a worker that stays: `consumer next`.
//!
//! The leases are bound to nothing but their time: whoever fetched them may be another process by
//! the time it settles them.

use edgebus_core::admin::Delivery;
use edgebus_core::consumer::{LeaseToken, Left, Place, Settlement};
use edgebus_core::{ConsumerName, Refusal};
use tokio::sync::{mpsc, oneshot};

use super::commands::OpenWorker;
use super::{Dispatch, Slot, moment, no_such};
use crate::clock::Now;
use crate::store::RequestStore;

/// Bytes of messages that are fetched one time, or one message: what fits no frame would only be
/// given back.
const FETCH_BYTES: u64 = 1024 * 1024;

/// Someone who waits for messages.
#[derive(Debug)]
pub(super) struct Pull {
    worker: u64,
    count: u32,
    ack: bool,
    until_ms: u64,
    got: Vec<Delivery>,
    done: oneshot::Sender<Result<Vec<Delivery>, Refusal>>,
}

impl Slot {
    /// Nobody fetches anything here any more.
    pub(super) fn refuse_pulls(self, refusal: &Refusal) {
        refuse(self.pulls, refusal);
    }
}

fn refuse(pulls: Vec<Pull>, refusal: &Refusal) {
    for pull in pulls {
        // Whoever asked may have gone.
        let _ = pull.done.send(Err(refusal.clone()));
    }
}

impl Dispatch {
    /// Begins to fetch; the answer comes with the first messages, or when the time is over.
    pub(in crate::bus) fn pull(
        &mut self,
        store: &mut RequestStore,
        name: &ConsumerName,
        (count, ack, wait_ms): (u32, bool, u64),
        done: oneshot::Sender<Result<Vec<Delivery>, Refusal>>,
        now: Now,
    ) {
        if !self.slots.contains_key(name) {
            return drop(done.send(Err(no_such(name))));
        }
        let open = OpenWorker {
            consumer: name.clone(),
            config: None,
            credit: count,
            held: Vec::new(),
            place: Place::Detached,
            owner: "".into(),
            room: Some(FETCH_BYTES),
        };
        // What it is given is taken from the pull itself.
        let (to, _) = mpsc::unbounded_channel();
        let (worker, _) = self.attach(store, &open, to, now);
        let pull = Pull {
            worker,
            count,
            ack,
            until_ms: moment(store, now).store_ms.saturating_add(wait_ms),
            got: Vec::new(),
            done,
        };
        if let Some(slot) = self.slots.get_mut(name) {
            slot.pulls.push(pull);
            self.pulling += 1;
        }
    }

    /// Whether a worker is one of those who wait here.
    pub(super) fn pulled(&mut self, worker: u64, deliveries: &mut Vec<Delivery>) -> bool {
        let Some(name) = self.workers.get(&worker).map(|worker| &worker.consumer) else {
            return false;
        };
        let Some(slot) = self.slots.get_mut(name) else {
            return false;
        };
        match slot.pulls.iter_mut().find(|pull| pull.worker == worker) {
            Some(pull) => {
                pull.got.append(deliveries);
                true
            }
            None => false,
        }
    }

    /// When their time is over; what is being read for them comes by itself.
    pub(super) fn pulls_due_ms(&self) -> impl Iterator<Item = u64> + '_ {
        let waiting = self.slots.values().filter(|_| self.pulling > 0);
        let waiting = waiting.filter(|slot| !slot.is_reading());
        let pulls = waiting.flat_map(|slot| &slot.pulls);
        pulls.map(|pull| pull.until_ms)
    }

    /// The store has stopped.
    pub(super) fn refuse_all_pulls(&mut self, refusal: &Refusal) {
        for slot in self.slots.values_mut() {
            let pulls = std::mem::take(&mut slot.pulls);
            refuse(pulls, refusal);
        }
    }

    /// Answers those who have something, and those whose time is over.
    pub(in crate::bus) fn answer_pulls(&mut self, store: &mut RequestStore, now: Now) {
        if self.pulling == 0 {
            return;
        }
        let now_ms = moment(store, now).store_ms;
        let waiting = self.slots.iter().filter(|(_, slot)| !slot.pulls.is_empty());
        let names: Vec<_> = waiting.map(|(name, _)| name.clone()).collect();
        for name in names {
            let Some(slot) = self.slots.get_mut(&name) else {
                continue;
            };
            // A page that is on its way may bring something at once.
            let reading = slot.is_reading();
            let ready = |pull: &mut Pull| {
                let over = now_ms >= pull.until_ms && !reading;
                !pull.got.is_empty() || over || pull.done.is_closed()
            };
            let done: Vec<_> = slot.pulls.extract_if(.., ready).collect();
            self.pulling -= done.len();
            for pull in done {
                self.finish_pull(store, &name, pull, now);
            }
        }
    }

    fn finish_pull(&mut self, store: &mut RequestStore, name: &ConsumerName, pull: Pull, now: Now) {
        let tokens: Vec<LeaseToken> = pull.got.iter().map(|delivery| delivery.token).collect();
        self.detach(store, pull.worker, Left::Closed, now);
        debug_assert!(tokens.len() <= pull.count as usize, "credit bounds a pull");
        let gone = pull.done.is_closed();
        let settle = |settlement: Settlement| {
            let items = tokens.iter().map(|token| (*token, settlement.clone()));
            items.collect::<Vec<_>>()
        };
        if pull.ack && !gone {
            self.settle(store, name, settle(Settlement::Ack), None, now);
            self.release(super::Release::Fetched(pull.done, pull.got));
        } else if pull.done.send(Ok(pull.got)).is_err() {
            // Nobody will ever settle them.
            self.settle(store, name, settle(Settlement::Release), None, now);
        }
    }
}
