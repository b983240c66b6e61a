//! A whole world from a seed: the real server and its clients on a simulated disk, clock and
//! network, in one thread, with everything that can go wrong.
//!
//! In reading order:
//! - [`kinds`]: what goes wrong, by name; [`weather`]: what may; [`plan`]: what goes wrong in a life of the server
//! - [`time`]: clocks; [`process`]: the disk as one process sees it; [`pipe`], [`net`], [`wire`],
//!   [`dialer`]: the network
//! - [`scopes`]: two spaces of ids
//! - [`server`]: the server's lives, one after the other on one disk; [`steps`]: its turns
//! - [`actors`]: who sends, works, looks and operates
//! - [`finale`]: faults have stopped: everything drains, and what is stored is read
//! - [`outcome`]: what came of it
//!
//! Invariants: time is the paused runtime's and moves only while everyone waits; chance comes from
//! the seed alone, and each part has its own; the checker gets to know what the parts saw, and
//! nothing else.

mod actors;
mod dialer;
mod finale;
mod kinds;
mod net;
mod outcome;
mod panics;
mod pipe;
mod plan;
mod process;
mod scopes;
mod server;
mod steps;
#[cfg(test)]
mod tests;
mod time;
mod weather;
mod wire;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::history::{Client, Event, Recorder};
use crate::rng::SimRng;
pub use kinds::FaultKind;
use kinds::fault;
use net::{Net, Owner};
pub use outcome::{Outcome, simulate, simulate_in};
use time::Wall;
pub use weather::Weather;

/// How far a world has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Everything may go wrong.
    Storm,
    /// Nothing goes wrong any more; what was begun is finished.
    Calm,
    /// All is done.
    Over,
}

/// What everyone in a world shares. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct World(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) recorder: Recorder,
    pub(crate) net: Net,
    /// The wall clock of the server's machine.
    pub(crate) wall: Wall,
    phase: Mutex<Phase>,
    /// Wakes in the order in which they began those who wait for a phase.
    phases: Notify,
    clients: AtomicU32,
    known: Mutex<actors::Known>,
    start: Instant,
}

impl std::ops::Deref for World {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl World {
    fn new(rng: &mut SimRng, recorder: Recorder, start: Instant) -> Self {
        Self(Arc::new(Inner {
            net: Net::new(rng.fork(), recorder.clone()),
            recorder,
            wall: Wall::new(),
            phase: Mutex::new(Phase::Storm),
            phases: Notify::new(),
            clients: AtomicU32::new(1),
            known: Mutex::default(),
            start,
        }))
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_storm(&self) -> bool {
        self.phase() == Phase::Storm
    }

    fn set_phase(&self, phase: Phase) {
        self.remark(format_args!("{phase:?} begins"));
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
        self.phases.notify_waiters();
    }

    /// Waits until a phase has come.
    pub(crate) async fn reached(&self, phase: Phase) {
        loop {
            let changed = self.phases.notified();
            if self.phase() >= phase {
                return;
            }
            changed.await;
        }
    }

    /// A process of a client that starts now.
    pub(crate) fn new_client(&self) -> Owner {
        Owner(self.clients.fetch_add(1, Ordering::Relaxed))
    }

    /// A client's process is gone.
    pub(crate) fn gone(&self, owner: Owner) {
        self.net.client_ends(owner);
        let client = Client(owner.0);
        self.recorder.note(Event::Gone { client });
    }

    pub(crate) fn fault(&self, kind: FaultKind, what: impl std::fmt::Display) {
        fault(&self.recorder, kind, what);
    }

    pub(crate) fn remark(&self, what: impl std::fmt::Display) {
        let what = what.to_string().into();
        self.recorder.note(Event::Remark(what));
    }

    /// Time since it began.
    pub(crate) fn time(&self) -> Duration {
        self.start.elapsed()
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, actors::Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
