//! All lanes together: who has something for the engine, and what must not wait behind appends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use edgebus_core::admin::Delivery;
use edgebus_core::consumer::{LeaseToken, Left, Settlement};
use edgebus_core::{Code, ConsumerName, Refusal, Seq};
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::dispatch::Totals;
use super::dispatch::commands::{Begin, Change, OpenWorker, Opening, Question};
use super::feeder::Fed;
use super::hub::Hub;
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
    /// What the engine lets everyone see.
    pub(super) board: Board,
}

/// What the engine shares without being asked.
#[derive(Debug, Default)]
pub(super) struct Board {
    /// Live subscribers.
    pub(super) hub: Arc<Hub>,
    /// Figures over all consumers, a moment old.
    pub(super) totals: Mutex<Totals>,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Arc<LaneInner>>,
    commands: VecDeque<Command>,
    /// Something happened that is not in here: a seal was done, or the end has come.
    poked: bool,
    /// Nobody takes commands any more.
    gone: bool,
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

/// Something that does not wait behind appends.
#[derive(Debug)]
pub(super) enum Command {
    /// A worker wants to work.
    Open {
        open: Box<OpenWorker>,
        begin: Begin,
        done: Opening,
    },
    /// A worker takes more messages.
    Credit { worker: u64, credit: u32 },
    /// A worker says what became of messages.
    Settle {
        consumer: ConsumerName,
        items: Vec<(LeaseToken, Settlement)>,
        done: Option<oneshot::Sender<Vec<Result<(), Refusal>>>>,
    },
    /// A worker is gone.
    Detach { worker: u64, left: Left },
    /// Messages are fetched one time.
    Pull {
        consumer: ConsumerName,
        count: u32,
        ack: bool,
        wait_ms: u64,
        done: oneshot::Sender<Result<Vec<Delivery>, Refusal>>,
    },
    /// An operator wants to know something.
    Ask(Question),
    /// An operator wants something changed.
    Change {
        change: Box<Change>,
        done: oneshot::Sender<Result<(), Refusal>>,
    },
    /// A request is moved to the dead letters by hand.
    DeadLetter {
        seq: Seq,
        consumer: ConsumerName,
        reason: String,
        done: oneshot::Sender<Result<bool, Refusal>>,
    },
    /// Dead letters are tried again.
    Requeue {
        letters: Vec<(u64, ConsumerName, Seq)>,
        done: oneshot::Sender<Result<u64, Refusal>>,
    },
    /// Dead letters are thrown away.
    RemoveLetters {
        letters: Vec<(u64, ConsumerName, Seq)>,
        done: oneshot::Sender<Result<u64, Refusal>>,
    },
    /// The feeder found something.
    Fed(Fed),
}

impl Command {
    /// Tells whoever waits that nothing was done.
    pub(super) fn refuse(self, refusal: &Refusal) {
        let refusal = refusal.clone();
        // Whoever asked may have gone.
        match self {
            Self::Open { done, .. } => drop(done.send(Err(refusal))),
            Self::Settle { items, done, .. } => {
                if let Some(done) = done {
                    drop(done.send(vec![Err(refusal); items.len()]));
                }
            }
            Self::Pull { done, .. } => drop(done.send(Err(refusal))),
            Self::Ask(Question::One(_, done)) => drop(done.send(Err(refusal))),
            Self::Change { done, .. } => drop(done.send(Err(refusal))),
            Self::DeadLetter { done, .. } => drop(done.send(Err(refusal))),
            Self::Requeue { done, .. } | Self::RemoveLetters { done, .. } => {
                drop(done.send(Err(refusal)));
            }
            Self::Ask(Question::All(_))
            | Self::Credit { .. }
            | Self::Detach { .. }
            | Self::Fed(_) => {}
        }
    }
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

    /// Hands an operator's command to the engine.
    pub(super) fn control(&self, command: Command) -> Result<(), Refusal> {
        let mut state = self.state.lock();
        if self.is_stopping() {
            return Err(Refusal::new(
                Code::ShuttingDown,
                "the server is shutting down",
            ));
        }
        if state.commands.len() >= CONTROL_MAX {
            let full = "too many control operations wait: try again";
            return Err(Refusal::new(Code::Busy, full).retry_after_ms(10));
        }
        state.commands.push_back(command);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Hands over what workers and the feeder say. Never refused: what they may say is bounded by
    /// the messages they hold. It is dropped once the engine has gone.
    pub(super) fn command(&self, command: Command) {
        let mut state = self.state.lock();
        if state.gone {
            return;
        }
        state.commands.push_back(command);
        drop(state);
        self.wake.notify_one();
    }

    /// The engine has gone: who waits for it hears of that, now and later.
    pub(super) fn engine_gone(&self) {
        let mut state = self.state.lock();
        state.gone = true;
        let waiting = std::mem::take(&mut state.commands);
        drop(state);
        drop(waiting);
    }

    /// The commands that wait, in order.
    pub(super) fn take_commands(&self) -> VecDeque<Command> {
        std::mem::take(&mut self.state.lock().commands)
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
        self.is_stopping() && state.ready.is_empty() && state.commands.is_empty()
    }

    /// Sleeps until something is queued or poked, or for at most a while. With `appends` false,
    /// lanes that wait are no reason to wake up.
    pub(super) fn wait(&self, appends: bool, for_at_most: Option<Duration>) {
        let mut state = self.state.lock();
        let nothing = |state: &mut State| {
            let lanes = appends && !state.ready.is_empty();
            !(lanes || !state.commands.is_empty() || state.poked)
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
