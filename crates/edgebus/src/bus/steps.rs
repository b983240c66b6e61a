//! What works for a bus, as steps: the engine, the sealer and the feeder. Threads call them, and
//! simulators do in their own order.
//!
//! Invariant: a panic in a step ends the store and not the thread, so that everyone who waits is
//! answered.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::engine::{Engine, Turn};
use super::feeder::Feeder;
use super::queue::Queue;
use super::state::BusState;
use crate::clock::Clock;
use crate::store::{RequestStore, SealStep, Sealer, StoreReader};

/// Everything that works for a bus, to be stepped by one thread: see
/// [`MessageBus::start_stepped`](super::MessageBus::start_stepped).
#[derive(Debug)]
pub struct Steps {
    pub(super) engine: EngineSteps,
    pub(super) sealer: Option<SealerSteps>,
    pub(super) feeder: Feeder,
}

/// The engine, and what everyone is told of it.
#[derive(Debug)]
pub(super) struct EngineSteps {
    engine: Engine,
    queue: Arc<Queue>,
    clock: Arc<dyn Clock>,
    reader: StoreReader,
    state: Arc<watch::Sender<BusState>>,
    told: bool,
    was_full: bool,
}

/// The sealer, and whom it wakes.
#[derive(Debug)]
pub(super) struct SealerSteps {
    sealer: Sealer,
    queue: Arc<Queue>,
    reader: StoreReader,
    state: Arc<watch::Sender<BusState>>,
}

/// What a step of the sealer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealing {
    /// Something; call again.
    Worked,
    /// Nothing is closed that is not sealed.
    Idle,
    /// The disk is full: call again in a while.
    Full,
    /// The store stopped; there is no use in calling again.
    Failed,
}

impl Steps {
    /// The parts for a store. The sealer is missing if the store was opened without one.
    pub(super) fn new(
        mut store: RequestStore,
        queue: Arc<Queue>,
        state: watch::Sender<BusState>,
    ) -> Self {
        let state = Arc::new(state);
        let reader = store.reader();
        let sealer = store.take_sealer().map(|sealer| SealerSteps {
            sealer,
            queue: queue.clone(),
            reader: reader.clone(),
            state: state.clone(),
        });
        let clock = store.clock();
        let (engine, feeder) = Engine::new(store, queue.clone(), clock.now());
        let engine = EngineSteps {
            engine,
            queue,
            clock,
            reader,
            state,
            told: false,
            was_full: false,
        };
        Self {
            engine,
            sealer,
            feeder,
        }
    }

    /// Builds and commits one group. After [`Turn::Stopped`] comes [`Steps::finish`].
    pub fn engine(&mut self) -> Turn {
        self.engine.step()
    }

    /// Writes some of what is closed to the tables.
    pub fn sealer(&mut self) -> Sealing {
        let step = self.sealer.as_mut().map(SealerSteps::step);
        step.unwrap_or(Sealing::Idle)
    }

    /// Whether something waits for the sealer.
    pub fn wants_sealer(&self) -> bool {
        self.engine.wants_sealer()
    }

    /// Reads something that the engine asked for, if it did; says whether there was something.
    pub fn feeder(&mut self) -> bool {
        self.feeder.step()
    }

    /// Waits until something is queued, or for at most a while. With `appends` false, lanes that
    /// wait are no reason. Cancel-safe.
    pub async fn woken(&self, appends: bool, at_most: Option<Duration>) {
        self.engine.queue.woken(appends, at_most).await;
    }

    /// Seals what is left and closes the store.
    pub fn finish(self) {
        let (store, last_word) = self.engine.finish();
        if let Some(mut sealer) = self.sealer {
            while sealer.step() == Sealing::Worked {}
        }
        drop(store);
        last_word.tell();
    }
}

/// What everyone is told when all is over.
#[derive(Debug)]
pub(super) struct LastWord {
    reader: StoreReader,
    state: Arc<watch::Sender<BusState>>,
}

impl LastWord {
    /// Tells whether all is sealed: the last seal may have failed.
    pub(super) fn tell(self) {
        self.state.send_replace(match self.reader.poisoned() {
            Some(reason) => BusState::Poisoned(reason),
            None => BusState::Stopped,
        });
    }
}

impl EngineSteps {
    pub(super) fn step(&mut self) -> Turn {
        let now = self.clock.now();
        let turn = catch_unwind(AssertUnwindSafe(|| self.engine.step(now)));
        let turn = turn.unwrap_or_else(|_| {
            self.reader.poison("the engine panicked");
            Turn::Worked
        });
        if !self.told
            && let Some(reason) = self.reader.poisoned()
        {
            self.told = true;
            tracing::error!(%reason, "the store stopped; nothing more is accepted");
            self.state.send_replace(BusState::Poisoned(reason));
        }
        if self.reader.is_full() != self.was_full {
            self.was_full = !self.was_full;
            tell_fullness(self.was_full);
        }
        turn
    }

    pub(super) fn wants_sealer(&self) -> bool {
        self.engine.wants_sealer()
    }

    /// Closes what is open. The store is to be dropped once all is sealed, and the last word told
    /// then.
    pub(super) fn finish(self) -> (RequestStore, LastWord) {
        let last_word = LastWord {
            reader: self.reader,
            state: self.state,
        };
        (self.engine.finish(), last_word)
    }
}

fn tell_fullness(full: bool) {
    match full {
        true => {
            tracing::warn!("the disk is almost full: new requests are refused until there is room")
        }
        false => tracing::info!("the disk has room again: new requests are taken"),
    }
}

impl SealerSteps {
    pub(super) fn step(&mut self) -> Sealing {
        let step = catch_unwind(AssertUnwindSafe(|| self.sealer.step()));
        match step {
            Ok(Ok(SealStep::Worked)) => {
                self.queue.poke();
                return Sealing::Worked;
            }
            Ok(Ok(SealStep::Idle)) => return Sealing::Idle,
            Ok(Ok(SealStep::Full)) => {
                tracing::warn!("the disk is full: sealing waits for room, nothing is lost");
                return Sealing::Full;
            }
            Ok(Err(error)) => tracing::error!(%error, "sealing failed"),
            Err(_) => self.reader.poison("the sealer panicked"),
        }
        self.queue.poke();
        if let Some(reason) = self.reader.poisoned() {
            self.state.send_replace(BusState::Poisoned(reason));
        }
        Sealing::Failed
    }
}
