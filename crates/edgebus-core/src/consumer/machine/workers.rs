//! Workers, and which of them is next.
//!
//! Invariant: `credit` is the sum of what the workers that have room may still get.

use super::super::places::{Place, Places};

/// Somebody who takes messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Worker {
    pub(super) id: u64,
    pub(super) place: Place,
    /// How many messages more it takes.
    pub(super) credit: u32,
    /// How many bytes more it takes; one message may be larger than what is left.
    pub(super) room: u64,
}

impl Worker {
    /// How many messages it may get as it is.
    fn open(&self) -> u64 {
        match self.room {
            0 => 0,
            _ => u64::from(self.credit),
        }
    }
}

/// The workers of one consumer.
#[derive(Debug, Default)]
pub(super) struct Workers {
    all: Vec<Worker>,
    /// Who is asked first the next time.
    turn: usize,
    credit: u64,
}

impl Workers {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// How many messages they take together.
    pub(super) fn credit(&self) -> u64 {
        self.credit
    }

    pub(super) fn add(&mut self, worker: Worker) {
        self.remove(worker.id);
        self.credit += worker.open();
        self.all.push(worker);
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Worker> {
        let at = self.all.iter().position(|worker| worker.id == id)?;
        let worker = self.all.remove(at);
        self.credit -= worker.open();
        if self.turn > at {
            self.turn -= 1;
        }
        Some(worker)
    }

    pub(super) fn add_credit(&mut self, id: u64, credit: u32) {
        self.change(id, |worker| {
            worker.credit = worker.credit.saturating_add(credit);
        });
    }

    /// Takes back what a worker may still get.
    pub(super) fn withdraw(&mut self, id: u64) {
        self.change(id, |worker| worker.credit = 0);
    }

    pub(super) fn set_room(&mut self, id: u64, bytes: u64) {
        self.change(id, |worker| worker.room = bytes);
    }

    pub(super) fn add_room(&mut self, id: u64, bytes: u64) {
        self.change(id, |worker| worker.room = worker.room.saturating_add(bytes));
    }

    fn change(&mut self, id: u64, change: impl FnOnce(&mut Worker)) {
        if let Some(worker) = self.all.iter_mut().find(|worker| worker.id == id) {
            self.credit -= worker.open();
            change(worker);
            self.credit += worker.open();
        }
    }

    /// Those who take a message.
    pub(super) fn ready(&self) -> impl Iterator<Item = &Worker> {
        self.all.iter().filter(|worker| worker.open() > 0)
    }

    /// Whether somebody could get a message that is no suspect.
    pub(super) fn any_open(&self, places: &Places) -> bool {
        self.credit > 0 && self.ready().any(|worker| places.is_open(worker.place))
    }

    /// Whether somebody could get a suspect.
    pub(super) fn any_idle(&self, places: &Places) -> bool {
        self.credit > 0 && self.ready().any(|worker| places.is_idle(worker.place))
    }

    /// Takes one credit, and room for so many bytes, from whose turn it is.
    pub(super) fn take(&mut self, places: &Places, suspect: bool, bytes: u64) -> Option<Worker> {
        if self.credit == 0 {
            return None;
        }
        let count = self.all.len();
        for step in 0..count {
            let at = (self.turn + step) % count;
            let worker = &mut self.all[at];
            let fits = if suspect {
                places.is_idle(worker.place)
            } else {
                places.is_open(worker.place)
            };
            if worker.open() > 0 && fits {
                self.credit -= worker.open();
                worker.credit -= 1;
                worker.room = worker.room.saturating_sub(bytes);
                self.credit += worker.open();
                self.turn = (at + 1) % count;
                return Some(*worker);
            }
        }
        None
    }
}
