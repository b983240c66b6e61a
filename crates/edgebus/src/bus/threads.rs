//! The two threads of a bus: the engine's and the sealer's. They only call steps.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use tokio::sync::watch;

use super::engine::{Engine, Turn};
use super::feeder::Feeder;
use super::queue::Queue;
use super::state::BusState;
use crate::store::{RequestStore, SealStep, Sealer, StoreReader};

/// How far the sealer gives way to the other threads.
const SEALER_NICE: i32 = 10;
/// How often sealing is tried again on a full disk.
const FULL_RETRY: Duration = Duration::from_millis(500);

/// Wakes the sealer's thread.
#[derive(Debug, Default)]
struct SealerSignal {
    state: Mutex<Wanted>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Wanted {
    work: bool,
    stop: bool,
}

/// Starts the threads; the returned one ends when the queue was stopped and all is sealed.
pub(super) fn start(
    mut store: RequestStore,
    queue: Arc<Queue>,
    state: watch::Sender<BusState>,
) -> std::io::Result<JoinHandle<()>> {
    let state = Arc::new(state);
    let signal = Arc::new(SealerSignal::default());
    let reader = store.reader();
    let sealer_thread = match store.take_sealer() {
        None => None,
        Some(sealer) => {
            let (signal, queue) = (signal.clone(), queue.clone());
            let (state, reader) = (state.clone(), reader.clone());
            let name = std::thread::Builder::new().name("edgebus-sealer".to_owned());
            Some(name.spawn(move || seal(sealer, &signal, &queue, &state, &reader))?)
        }
    };
    let clock = store.clock();
    let (mut engine, mut feeder) = Engine::new(store, queue.clone(), clock.now());
    let name = std::thread::Builder::new().name("edgebus-feeder".to_owned());
    let feeder_thread = name.spawn(move || feed(&mut feeder))?;
    let name = std::thread::Builder::new().name("edgebus-engine".to_owned());
    name.spawn(move || {
        let mut told = false;
        let mut was_full = false;
        loop {
            let turn = catch_unwind(AssertUnwindSafe(|| engine.step(clock.now())));
            let turn = turn.unwrap_or_else(|_| {
                reader.poison("the engine panicked");
                Turn::Worked
            });
            if !told && let Some(reason) = reader.poisoned() {
                told = true;
                tracing::error!(%reason, "the store stopped; nothing more is accepted");
                state.send_replace(BusState::Poisoned(reason));
            }
            if reader.is_full() != was_full {
                was_full = !was_full;
                tell_fullness(was_full);
            }
            if engine.wants_sealer() {
                signal.want(false);
            }
            match turn {
                Turn::Worked => {}
                Turn::Idle { appends, until } => queue.wait(appends, until),
                Turn::Stopped => break,
            }
        }
        let store = engine.finish();
        let _ = feeder_thread.join();
        signal.want(true);
        if let Some(sealer) = sealer_thread {
            let _ = sealer.join();
        }
        drop(store);
        // The last seal may have failed.
        state.send_replace(match reader.poisoned() {
            Some(reason) => BusState::Poisoned(reason),
            None => BusState::Stopped,
        });
    })
}

/// Reads what the engine asks for until the end.
fn feed(feeder: &mut Feeder) {
    while feeder.step() || feeder.wait() {}
}

fn tell_fullness(full: bool) {
    match full {
        true => {
            tracing::warn!("the disk is almost full: new requests are refused until there is room")
        }
        false => tracing::info!("the disk has room again: new requests are taken"),
    }
}

impl SealerSignal {
    fn want(&self, stop: bool) {
        let mut state = self.state.lock();
        state.work = true;
        state.stop |= stop;
        drop(state);
        self.wake.notify_one();
    }

    /// Sleeps until there is work; says whether to stop when it is done.
    fn wait(&self, for_at_most: Option<Duration>) -> bool {
        let mut state = self.state.lock();
        match for_at_most {
            None => self
                .wake
                .wait_while(&mut state, |state| !state.work && !state.stop),
            Some(time) => {
                self.wake
                    .wait_while_for(&mut state, |state| !state.stop, time);
            }
        }
        state.work = false;
        state.stop
    }

    fn stopping(&self) -> bool {
        self.state.lock().stop
    }
}

fn seal(
    mut sealer: Sealer,
    signal: &SealerSignal,
    queue: &Queue,
    state: &watch::Sender<BusState>,
    reader: &StoreReader,
) {
    // Senders wait for the engine, nobody for the sealer. On Linux this concerns the thread alone.
    if let Err(error) = setpriority_process(Some(gettid()), SEALER_NICE) {
        tracing::debug!(%error, "the sealer runs at the engine's priority");
    }
    loop {
        let step = catch_unwind(AssertUnwindSafe(|| sealer.step()));
        match step {
            Ok(Ok(SealStep::Worked)) => queue.poke(),
            Ok(Ok(SealStep::Idle)) => {
                if signal.stopping() {
                    return;
                }
                signal.wait(None);
            }
            Ok(Ok(SealStep::Full)) => {
                tracing::warn!("the disk is full: sealing waits for room, nothing is lost");
                if signal.wait(Some(FULL_RETRY)) {
                    return;
                }
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "sealing failed");
                queue.poke();
                break;
            }
            Err(_) => {
                reader.poison("the sealer panicked");
                queue.poke();
                break;
            }
        }
    }
    if let Some(reason) = reader.poisoned() {
        state.send_replace(BusState::Poisoned(reason));
    }
}
