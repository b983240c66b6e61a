//! All lanes together: who has something for the engine, and what must not wait behind appends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use edgebus_core::{Code, ConsumerName, Refusal, Seq};
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::lane::LaneInner;

/// Control operations that may wait; more are told [`Code::Busy`].
const CONTROL_MAX: usize = 4096;

/// What leads to the engine. Shared by all lanes and the engine.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    /// Wakes the engine's thread.
    wake: Condvar,
    /// Nothing new is taken. Beside the lock, as every submission asks.
    stopping: AtomicBool,
    /// Records handed over and not decided.
    records: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Arc<LaneInner>>,
    control: VecDeque<Control>,
    /// Something happened that is not in here: a seal was done, or the end has come.
    poked: bool,
}

/// Counts records as queued for as long as it lives.
#[derive(Debug)]
pub(super) struct Queued {
    queue: Arc<Queue>,
    records: u64,
}

impl Queued {
    pub(super) fn new(queue: &Arc<Queue>, records: usize) -> Self {
        let records = records as u64;
        queue.records.fetch_add(records, Ordering::Relaxed);
        Self {
            queue: queue.clone(),
            records,
        }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.queue
            .records
            .fetch_sub(self.records, Ordering::Relaxed);
    }
}

/// A change that does not wait behind appends.
#[derive(Debug)]
pub(super) enum Control {
    SetOffset {
        consumer: ConsumerName,
        offset: Seq,
        done: oneshot::Sender<Result<(), Refusal>>,
    },
    DeadLetter {
        seq: Seq,
        consumer: ConsumerName,
        reason: String,
        done: oneshot::Sender<Result<bool, Refusal>>,
    },
}

impl Queue {
    /// Tells the engine that a lane has something. `false` when nothing is taken any more.
    pub(super) fn schedule(&self, lane: Arc<LaneInner>) -> bool {
        let mut state = self.state.lock();
        if self.is_stopping() {
            return false;
        }
        state.ready.push_back(lane);
        drop(state);
        self.wake.notify_one();
        true
    }

    /// Puts a lane behind the others again.
    pub(super) fn requeue(&self, lane: Arc<LaneInner>) {
        self.state.lock().ready.push_back(lane);
    }

    /// The lane whose turn it is.
    pub(super) fn next_lane(&self) -> Option<Arc<LaneInner>> {
        self.state.lock().ready.pop_front()
    }

    /// Hands a control operation to the engine.
    pub(super) fn control(&self, control: Control) -> Result<(), Refusal> {
        let mut state = self.state.lock();
        if self.is_stopping() {
            return Err(Refusal::new(
                Code::ShuttingDown,
                "the server is shutting down",
            ));
        }
        if state.control.len() >= CONTROL_MAX {
            let full = "too many control operations wait: try again";
            return Err(Refusal::new(Code::Busy, full).retry_after_ms(10));
        }
        state.control.push_back(control);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// The control operation whose turn it is.
    pub(super) fn next_control(&self) -> Option<Control> {
        self.state.lock().control.pop_front()
    }

    /// Takes nothing new from now on; what is queued is still done.
    pub(super) fn stop(&self) {
        let mut state = self.state.lock();
        self.stopping.store(true, Ordering::SeqCst);
        state.poked = true;
        drop(state);
        self.wake.notify_one();
    }

    /// Whether [`Queue::stop`] was called.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Records that were handed over and are not decided.
    pub(super) fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Wakes the engine to look around.
    pub(super) fn poke(&self) {
        self.state.lock().poked = true;
        self.wake.notify_one();
    }

    /// Whether [`Queue::stop`] was called and everything queued was taken.
    pub(super) fn is_drained(&self) -> bool {
        let state = self.state.lock();
        self.is_stopping() && state.ready.is_empty() && state.control.is_empty()
    }

    /// Sleeps until something is queued or poked, or for at most a while. With `appends` false,
    /// lanes that wait are no reason to wake up.
    pub(super) fn wait(&self, appends: bool, for_at_most: Option<Duration>) {
        let mut state = self.state.lock();
        let nothing = |state: &mut State| {
            let lanes = appends && !state.ready.is_empty();
            !(lanes || !state.control.is_empty() || state.poked)
        };
        match for_at_most {
            None => self.wake.wait_while(&mut state, nothing),
            Some(time) => {
                self.wake.wait_while_for(&mut state, nothing, time);
            }
        }
        state.poked = false;
    }
}
