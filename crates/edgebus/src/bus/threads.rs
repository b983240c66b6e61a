//! The threads of a bus: the engine's, the sealer's and the feeder's. They only call steps.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rustix::process::setpriority_process;
use rustix::thread::gettid;

use super::engine::Turn;
use super::feeder::Feeder;
use super::queue::Queue;
use super::steps::{SealerSteps, Sealing, Steps};

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
pub(super) fn start(steps: Steps, queue: Arc<Queue>) -> std::io::Result<JoinHandle<()>> {
    let Steps {
        mut engine,
        sealer,
        mut feeder,
    } = steps;
    let signal = Arc::new(SealerSignal::default());
    let sealer_thread = match sealer {
        None => None,
        Some(sealer) => {
            let signal = signal.clone();
            let name = std::thread::Builder::new().name("edgebus-sealer".to_owned());
            Some(name.spawn(move || seal(sealer, &signal))?)
        }
    };
    let name = std::thread::Builder::new().name("edgebus-feeder".to_owned());
    let feeder_thread = name.spawn(move || feed(&mut feeder))?;
    let name = std::thread::Builder::new().name("edgebus-engine".to_owned());
    name.spawn(move || {
        loop {
            let turn = engine.step();
            if engine.wants_sealer() {
                signal.want(false);
            }
            match turn {
                Turn::Worked => {}
                Turn::Idle { appends, until } => queue.wait(appends, until),
                Turn::Stopped => break,
            }
        }
        let (store, last_word) = engine.finish();
        let _ = feeder_thread.join();
        signal.want(true);
        if let Some(sealer) = sealer_thread {
            let _ = sealer.join();
        }
        drop(store);
        last_word.tell();
    })
}

/// Reads what the engine asks for until the end.
fn feed(feeder: &mut Feeder) {
    while feeder.step() || feeder.wait() {}
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

fn seal(mut sealer: SealerSteps, signal: &SealerSignal) {
    // Senders wait for the engine, nobody for the sealer. On Linux this concerns the thread alone.
    if let Err(error) = setpriority_process(Some(gettid()), SEALER_NICE) {
        tracing::debug!(%error, "the sealer runs at the engine's priority");
    }
    loop {
        match sealer.step() {
            Sealing::Worked => {}
            Sealing::Idle if signal.stopping() => return,
            Sealing::Idle => drop(signal.wait(None)),
            Sealing::Full => {
                if signal.wait(Some(FULL_RETRY)) {
                    return;
                }
            }
            Sealing::Failed => return,
        }
    }
}
