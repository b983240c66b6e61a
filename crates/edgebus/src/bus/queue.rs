//! All lanes together: who has something for the engine, and what must not wait behind appends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use edgebus_core::admin::Delivery;
use edgebus_core::consumer::{LeaseToken, Left, Settlement};
use edgebus_core::{Code, ConsumerName, Refusal, Seq};
use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, oneshot};

use super::dispatch::Totals;
use super::dispatch::commands::{Begin, Change, OpenWorker, Opening, Question};
use super::feeder::Fed;
use super::hub::Hub;
use super::lane::LaneInner;
use super::pool::Share;
use super::turns::{Account, Party, Turns};

/// Control operations that may wait; more are told [`Code::Busy`].
const CONTROL_MAX: usize = 4096;

/// Commands that the engine takes in one go.
const COMMANDS_MAX: usize = 64;
/// What it costs at most to hear what workers say in one go, in bytes: as much as a group, so that
/// appends wait for no more than that.
const SAID_COST: u64 = 1024 * 1024;
/// What it costs to hear of one message that it was settled.
const SETTLED_COST: usize = 64;

/// What leads to the engine. Shared by all lanes and the engine.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    wake: Wake,
    /// Nothing new is taken. Beside the lock, as every submission asks.
    stopping: AtomicBool,
    /// Records handed over and not decided.
    records: AtomicU64,
    /// What the engine lets everyone see.
    pub(super) board: Board,
}

/// Wakes whoever steps the engine.
#[derive(Debug)]
enum Wake {
    Thread(Condvar),
    /// A task of an async runtime: a simulator's.
    Task(Notify),
}

impl Default for Wake {
    fn default() -> Self {
        Self::Thread(Condvar::new())
    }
}

impl Wake {
    fn notify_one(&self) {
        match self {
            Self::Thread(wake) => drop(wake.notify_one()),
            Self::Task(wake) => wake.notify_one(),
        }
    }
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
    ready: Turns<LaneInner>,
    /// Workers that have said something.
    said: Turns<Mouth>,
    /// What the feeder found.
    fed: VecDeque<Fed>,
    commands: VecDeque<Command>,
    /// Something happened that is not in here: a seal was done, or the end has come.
    poked: bool,
    /// Nobody takes commands any more.
    gone: bool,
}

impl State {
    /// Whether there is something for the engine to do; lanes count if `appends` are taken.
    fn calls(&self, appends: bool) -> bool {
        (appends && !self.ready.is_empty()) || self.is_commanded() || self.poked
    }

    fn is_commanded(&self) -> bool {
        !(self.commands.is_empty() && self.said.is_empty() && self.fed.is_empty())
    }
}

/// A worker's way to the engine; what it said and was not heard yet.
#[derive(Debug)]
pub(super) struct Mouth {
    account: Account,
    waiting: Mutex<VecDeque<Said>>,
}

impl Mouth {
    /// Of somebody who has said nothing.
    pub(super) fn of(owner: Arc<str>) -> Arc<Self> {
        Arc::new(Self {
            account: Account::of(owner),
            waiting: Mutex::default(),
        })
    }
}

impl Party for Mouth {
    fn account(&self) -> &Account {
        &self.account
    }
}

/// What a worker says.
#[derive(Debug)]
pub(super) enum Said {
    /// It takes more messages, and more bytes of them.
    Credit { worker: u64, credit: u32, room: u64 },
    /// What became of messages.
    Settle {
        consumer: ConsumerName,
        items: Vec<(LeaseToken, Settlement)>,
        done: Option<oneshot::Sender<Vec<Result<(), Refusal>>>>,
        /// What it takes of what all connections may have undecided, until it is heard.
        room: Option<Share>,
    },
    /// It is gone.
    Detach { worker: u64, left: Left },
}

impl Said {
    /// What it costs to hear it, in bytes, about.
    fn cost(&self) -> u64 {
        match self {
            Self::Settle { items, .. } => {
                let bytes = items.iter().map(|(_, settlement)| match settlement {
                    Settlement::Complete(reply) => reply.payload.len(),
                    _ => 0,
                });
                (items.len() * SETTLED_COST + bytes.sum::<usize>()) as u64
            }
            _ => SETTLED_COST as u64,
        }
    }

    /// Tells whoever waits that nothing was done.
    pub(super) fn refuse(self, refusal: &Refusal) {
        if let Self::Settle {
            items,
            done: Some(done),
            ..
        } = self
        {
            // Whoever asked may have gone.
            drop(done.send(vec![Err(refusal.clone()); items.len()]));
        }
    }
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
}

impl Command {
    /// Whether all that was decided has to be on disk before it is done.
    fn takes_a_group(&self) -> bool {
        !matches!(self, Self::Pull { .. } | Self::Ask(_))
    }

    /// Tells whoever waits that nothing was done.
    pub(super) fn refuse(self, refusal: &Refusal) {
        let refusal = refusal.clone();
        // Whoever asked may have gone.
        match self {
            Self::Open { done, .. } => drop(done.send(Err(refusal))),
            Self::Pull { done, .. } => drop(done.send(Err(refusal))),
            Self::Ask(Question::One(_, done)) => drop(done.send(Err(refusal))),
            Self::Change { done, .. } => drop(done.send(Err(refusal))),
            Self::DeadLetter { done, .. } => drop(done.send(Err(refusal))),
            Self::Requeue { done, .. } | Self::RemoveLetters { done, .. } => {
                drop(done.send(Err(refusal)));
            }
            Self::Ask(Question::All(_)) => {}
        }
    }
}

impl Queue {
    /// A queue whose engine is stepped by a task, which waits by [`Queue::woken`].
    pub(super) fn for_a_task() -> Self {
        Self {
            wake: Wake::Task(Notify::new()),
            ..Self::default()
        }
    }

    /// Tells the engine that a lane has something. `false` when nothing is taken any more.
    pub(super) fn schedule(&self, lane: Arc<LaneInner>) -> bool {
        let mut state = self.state.lock();
        if self.is_stopping() {
            return false;
        }
        state.ready.wait(lane);
        drop(state);
        self.wake.notify_one();
        true
    }

    /// The lane whose turn it is, until [`Queue::served`] is told.
    pub(super) fn next_lane(&self) -> Option<Arc<LaneInner>> {
        self.state.lock().ready.next()
    }

    /// A lane's turn is over: so many bytes were taken.
    pub(super) fn served(&self, lane: &Arc<LaneInner>, bytes: usize) {
        let mut state = self.state.lock();
        let wants_more = lane.still_waiting();
        state.ready.served(lane, bytes as u64, wants_more);
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

    /// Hands over what a worker says. Never refused: what it may say is bounded by the messages it
    /// holds. It is dropped once the engine has gone.
    pub(super) fn say(&self, mouth: &Arc<Mouth>, said: Said) {
        let mut state = self.state.lock();
        if state.gone {
            return;
        }
        let mut waiting = mouth.waiting.lock();
        waiting.push_back(said);
        let first = waiting.len() == 1;
        drop(waiting);
        if first {
            state.said.wait(mouth.clone());
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Hands over what the feeder found. It is dropped once the engine has gone.
    pub(super) fn feed(&self, fed: Fed) {
        let mut state = self.state.lock();
        if state.gone {
            return;
        }
        state.fed.push_back(fed);
        drop(state);
        self.wake.notify_one();
    }

    /// The engine has gone: who waits for it hears of that, now and later.
    pub(super) fn engine_gone(&self) {
        let mut state = self.state.lock();
        state.gone = true;
        let commands = std::mem::take(&mut state.commands);
        let mut said = Vec::new();
        while let Some(mouth) = state.said.next() {
            said.extend(mouth.waiting.lock().drain(..));
            state.said.served(&mouth, 0, false);
        }
        drop(state);
        drop((commands, said));
    }

    /// What workers said, as much as is heard in one go, each in order; and what the feeder found.
    pub(super) fn take_said(&self) -> (Vec<Said>, VecDeque<Fed>) {
        let mut state = self.state.lock();
        let mut said = Vec::new();
        let mut cost = 0;
        while cost < SAID_COST
            && let Some(mouth) = state.said.next()
        {
            let mut waiting = mouth.waiting.lock();
            let next = waiting.pop_front();
            let more = !waiting.is_empty();
            drop(waiting);
            let paid = next.as_ref().map_or(0, Said::cost);
            cost += paid;
            state.said.served(&mouth, paid, more);
            said.extend(next);
        }
        (said, std::mem::take(&mut state.fed))
    }

    /// The commands that wait, in order, up to the first that takes a group of its own.
    pub(super) fn take_commands(&self) -> VecDeque<Command> {
        let mut state = self.state.lock();
        let commits = state.commands.iter().position(Command::takes_a_group);
        let count = commits.map_or(state.commands.len(), |at| at + 1);
        let count = count.min(COMMANDS_MAX);
        state.commands.drain(..count).collect()
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
        let lanes = state.ready.is_empty();
        self.is_stopping() && lanes && !state.is_commanded()
    }

    /// Sleeps until something is queued or poked, or for at most a while. With `appends` false,
    /// lanes that wait are no reason to wake up.
    pub(super) fn wait(&self, appends: bool, for_at_most: Option<Duration>) {
        let Wake::Thread(wake) = &self.wake else {
            return;
        };
        let mut state = self.state.lock();
        let nothing = |state: &mut State| !state.calls(appends);
        match for_at_most {
            None => wake.wait_while(&mut state, nothing),
            Some(time) => {
                wake.wait_while_for(&mut state, nothing, time);
            }
        }
        state.poked = false;
    }

    /// As [`Queue::wait`], for a task. Cancel-safe.
    pub(super) async fn woken(&self, appends: bool, for_at_most: Option<Duration>) {
        let Wake::Task(wake) = &self.wake else {
            return;
        };
        let called = async {
            while !self.state.lock().calls(appends) {
                wake.notified().await;
            }
        };
        match for_at_most {
            None => called.await,
            // That the time is over is a reason like any other.
            Some(time) => drop(tokio::time::timeout(time, called).await),
        }
        self.state.lock().poked = false;
    }
}
