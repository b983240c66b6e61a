//! The engine: takes what the lanes hold, builds a group, makes it durable, tells the outcomes.
//!
//! A step function around the store: threads and simulators call [`Engine::step`]. While one
//! group is being synced the lanes fill with the next, so groups grow with the load and with the
//! slowness of the disk; there is no timer and no lingering.

mod commands;

use std::sync::Arc;
use std::time::Duration;

use edgebus_core::consumer::MachineLimits;
use edgebus_core::planted;
use edgebus_core::{Code, Entry, Kind, Refusal, Seq};

use crate::bus::dispatch::{Dispatch, Release};
use crate::bus::feeder::{Feeder, Jobs};
use crate::bus::lane::{LaneInner, Outcome, Submission};
use crate::bus::queue::Queue;
use crate::clock::Now;
use crate::store::{Admission, RequestStore, StageError, StoreError, TailRead};

/// Bytes after which a group is closed although more is waiting, so that a burst does not make
/// the first of it wait for all of it.
const GROUP_BYTES: usize = 1024 * 1024;
/// How long appends rest between two groups while they are paced, about, and the smallest bound
/// for such groups.
const PAUSE: Duration = Duration::from_millis(20);
const PACED_GROUP_BYTES: usize = 32 * 1024;
/// Records after which a group is closed: what is refused or a duplicate adds no bytes, and its
/// senders wait too.
const GROUP_RECORDS: usize = 16 * 1024;
/// How often a refusing or blocked store is looked at again.
const RETRY_EVERY: Duration = Duration::from_millis(100);

/// Room for what consumers decide about the messages of one group; what is more goes into the next.
const DELIVERY_BYTES: usize = 256 * 1024;
/// How often figures are told while there is work.
const FIGURES_EVERY: Duration = Duration::from_millis(100);
/// How often the free space is looked at while nothing is to be done.
const LOOK_AROUND: Duration = Duration::from_secs(1);

/// What a step did, and when the next one is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Something; call again.
    Worked,
    /// Nothing to do before something is queued, or this time has passed. With `appends` false
    /// queued appends cannot be taken yet.
    Idle {
        /// Whether queued appends are a reason to call again.
        appends: bool,
        /// When to call again anyway.
        until: Option<Duration>,
    },
    /// Stopped: everything queued was done.
    Stopped,
}

/// The only writer of a store.
#[derive(Debug)]
pub struct Engine {
    store: RequestStore,
    queue: Arc<Queue>,
    dispatch: Dispatch,
    /// Decided with the group that is being built.
    decided: Vec<Submission>,
    decided_records: usize,
    /// To be told once the group is on disk.
    releases: Vec<Release>,
    /// Requests of the group that are waited for and were stored before: how they ended is looked
    /// up.
    asked_again: Vec<Seq>,
    /// The first notification of the group, when somebody listens.
    notify_from: Option<Seq>,
    /// The lane whose turn it is; still here after a panic, so that what waits in it is answered.
    turn: Option<Arc<LaneInner>>,
    /// The submission that did not fit the group; the next group begins with it.
    partial: Option<(Arc<LaneInner>, Submission)>,
    paced_until: Duration,
    /// Bytes after which a group is closed at present.
    group_bytes_max: usize,
    /// Bytes of appends in the last group that took any.
    appended_bytes: usize,
    figures_due: Duration,
    /// Consumers were told that the bus stops.
    ended: bool,
}

/// Whether the store refuses new requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusing {
    Nothing,
    /// The disk is full.
    ForNow,
    /// The store is poisoned.
    ForGood,
}

impl Engine {
    /// An engine for a store whose sealer is stepped by someone else, as is the feeder that comes
    /// with it.
    pub fn new(mut store: RequestStore, queue: Arc<Queue>, now: Now) -> (Self, Feeder) {
        let jobs = Arc::new(Jobs::default());
        let feeder = Feeder::new(jobs.clone(), queue.clone(), store.reader());
        let limits = MachineLimits::default();
        let dispatch = Dispatch::new(&mut store, queue.clone(), jobs, limits, now);
        let engine = Self {
            store,
            queue,
            dispatch,
            decided: Vec::new(),
            decided_records: 0,
            releases: Vec::new(),
            asked_again: Vec::new(),
            notify_from: None,
            turn: None,
            partial: None,
            paced_until: Duration::ZERO,
            group_bytes_max: GROUP_BYTES,
            appended_bytes: 0,
            figures_due: Duration::ZERO,
            ended: false,
        };
        (engine, feeder)
    }

    /// Builds and commits one group.
    pub fn step(&mut self, now: Now) -> Turn {
        let commanded = self.take_commands(now);
        if !self.has_stopped() {
            self.dispatch.tick(&mut self.store, now);
        }
        let admission = self.admission(now);
        let appends = admission != Admission::Blocked;
        if appends {
            match admission {
                Admission::Paced(pause) => {
                    self.paced_until = now.monotonic + pause;
                    self.slow_down(pause);
                }
                _ => self.group_bytes_max = GROUP_BYTES,
            }
            self.take_appends(now);
            self.appended_bytes = self.store.staged_bytes();
        }
        let more = self.deliver(now);
        if self.dispatch.tells_early(&mut self.store, now) {
            return Turn::Worked;
        }
        let worked = self.store.staged_bytes() > 0
            || !self.decided.is_empty()
            || self.dispatch.has_staging()
            || commanded
            || more;
        let written = self.commit(now);
        // What is given to them is not on its way before that.
        if written {
            self.dispatch.answer_pulls(&mut self.store, now);
        }
        let goes_on = worked && written;
        self.tell_figures(!goes_on, now);
        if goes_on {
            return Turn::Worked;
        }
        if self.queue.is_drained() && self.partial.is_none() && self.turn.is_none() {
            if !self.ended {
                self.ended = true;
                self.dispatch.end(&mut self.store, now);
                return Turn::Worked;
            }
            // On a full disk what is not written by now was told to nobody: it is decided again.
            if !self.dispatch.has_staging() || self.has_stopped() || !written {
                return Turn::Stopped;
            }
        }
        // What waits for room on the disk is looked at again in any case.
        let due = written.then(|| self.dispatch.due_in(&self.store, now));
        let due = due.flatten();
        let look = self.look_again_in(appends, now);
        Turn::Idle {
            appends,
            until: [due, look].into_iter().flatten().min(),
        }
    }

    /// Whether appends are looked at. A store that refuses them is asked in any case: its sealer
    /// may never make room again, and who waits for that would never be answered.
    fn admission(&self, now: Now) -> Admission {
        match self.store.admission() {
            Admission::Open => Admission::Open,
            _ if self.refusal() != Refusing::Nothing => Admission::Open,
            Admission::Paced(_) if now.monotonic < self.paced_until => Admission::Blocked,
            other => other,
        }
    }

    fn look_again_in(&self, appends: bool, now: Now) -> Option<Duration> {
        let seal_due = self.store.seal_due_in(now);
        match self.refusal() {
            // Nothing is sealed any more, so nothing will be due.
            Refusing::ForGood => None,
            Refusing::ForNow => Some(seal_due.map_or(RETRY_EVERY, |due| due.min(RETRY_EVERY))),
            Refusing::Nothing if self.dispatch.has_staging() => Some(RETRY_EVERY),
            Refusing::Nothing if appends => {
                Some(seal_due.map_or(LOOK_AROUND, |due| due.min(LOOK_AROUND)))
            }
            Refusing::Nothing => {
                let paced = self.paced_until.saturating_sub(now.monotonic);
                Some(if paced.is_zero() { RETRY_EVERY } else { paced })
            }
        }
    }

    fn refusal(&self) -> Refusing {
        let reader = self.store.reader();
        if reader.is_poisoned() {
            Refusing::ForGood
        } else if reader.is_full() {
            Refusing::ForNow
        } else {
            Refusing::Nothing
        }
    }

    /// Whether the store is poisoned. Then nobody's machine is asked any more: a panic may have
    /// left it as it must not be.
    fn has_stopped(&self) -> bool {
        self.refusal() == Refusing::ForGood
    }

    #[cfg(test)]
    pub(in crate::bus) fn store(&self) -> &RequestStore {
        &self.store
    }

    /// Whether something waits for the sealer.
    pub fn wants_sealer(&self) -> bool {
        self.store.wants_sealer()
    }

    /// Gives the store back, with everything it holds handed to the sealer.
    pub fn finish(mut self) -> RequestStore {
        self.store.close_overlay();
        self.dispatch.close();
        self.queue.engine_gone();
        self.store
    }

    /// Offers consumers what there is, the group that is being built included: the first attempt
    /// at a request costs no sync of its own. What is offered must not be taken back, so room in
    /// the journal comes first.
    fn deliver(&mut self, now: Now) -> bool {
        // At the end nobody is left to do what would be given out.
        if self.has_stopped() || self.ended {
            return false;
        }
        self.dispatch.retain(&mut self.store, now);
        // What is given out comes back as acks and replies, which nothing holds back: while the
        // sealer does not keep up with them, nothing more is given out.
        if self.store.admission() == Admission::Blocked {
            return false;
        }
        // The commit meets the same error and tells everyone.
        if self.store.staged_bytes() > 0 && self.store.reserve(DELIVERY_BYTES).is_err() {
            return false;
        }
        self.dispatch.feed(&mut self.store, now)
    }

    /// Lane by lane, as their turns come, until the group is full or nothing waits.
    fn take_appends(&mut self, now: Now) {
        if let Some((lane, submission)) = self.partial.take() {
            self.stage_submission(lane, submission, now);
        }
        while self.partial.is_none() && !self.is_group_full() {
            let Some(lane) = self.turn.take().or_else(|| self.queue.next_lane()) else {
                return;
            };
            self.turn = Some(lane.clone());
            let mut taken = 0;
            while self.partial.is_none()
                && let Some(submission) = lane.take(taken)
            {
                taken += submission.bytes.max(1);
                self.stage_submission(lane.clone(), submission, now);
            }
            self.turn = None;
            self.queue.served(&lane, taken);
        }
    }

    fn is_group_full(&self) -> bool {
        self.store.staged_bytes() >= self.group_bytes_max || self.decided_records >= GROUP_RECORDS
    }

    /// After a group as large as the last one so long a pause is due: smaller groups and shorter
    /// pauses come to the same, and whoever wants little waits for less.
    fn slow_down(&mut self, pause: Duration) {
        let fits = self.appended_bytes as f64 * PAUSE.as_secs_f64() / pause.as_secs_f64().max(1e-6);
        self.group_bytes_max = (fits as usize).clamp(PACED_GROUP_BYTES, GROUP_BYTES);
    }

    fn stage_submission(&mut self, lane: Arc<LaneInner>, mut submission: Submission, now: Now) {
        while let Some((record, fingerprint)) = submission.records.front() {
            if !submission.waiters.is_empty() && self.dispatch.waiters.is_full_for(lane.owner()) {
                let busy = "too many requests are waited for: try again";
                let refusal = Refusal::new(Code::Busy, busy).retry_after_ms(100);
                submission.outcomes.push(Err(refusal));
                submission.records.pop_front();
                submission.waiters.pop_front();
                continue;
            }
            let staged =
                self.store
                    .stage_append(record, lane.scope, &lane.identity, *fingerprint, now);
            let kind = record.kind();
            let outcome = match staged {
                Ok((seq, duplicate)) => {
                    if kind == Kind::Notification && !duplicate && !self.dispatch.hub.is_empty() {
                        self.notify_from.get_or_insert(seq);
                    }
                    if let Some(waiter) = submission.waiters.pop_front() {
                        self.dispatch.waiters.add(seq, lane.owner(), waiter);
                        if duplicate {
                            self.asked_again.push(seq);
                        }
                    }
                    Ok((seq, duplicate))
                }
                Err(StageError::Refused(refusal)) => {
                    submission.waiters.pop_front();
                    Err(refusal)
                }
                Err(StageError::GroupFull) if self.store.staged_bytes() == 0 => {
                    submission.waiters.pop_front();
                    Err(Refusal::new(
                        Code::PayloadTooLarge,
                        "larger than a whole group of the journal",
                    ))
                }
                Err(StageError::GroupFull) => {
                    self.partial = Some((lane, submission));
                    return;
                }
            };
            submission.outcomes.push(outcome);
            submission.records.pop_front();
            self.decided_records += 1;
        }
        self.decided.push(submission);
    }

    /// Makes all that was decided durable, and tells everyone. Says whether that is so: on a full
    /// disk what consumers decided waits, in order, for the next time.
    fn commit(&mut self, now: Now) -> bool {
        loop {
            let staged = self
                .dispatch
                .stage(&mut self.store, &mut self.releases, now);
            if staged == Err(StageError::GroupFull) && self.store.staged_bytes() == 0 {
                // Decisions are never taken back, so one that can never be written ends it.
                let what = "a decision of a consumer is larger than a group of the journal";
                self.store.reader().poison(what);
            }
            if staged.is_ok() && self.store.is_seal_due(now) && !self.has_stopped() {
                self.dispatch.progress(&mut self.store);
                // Best effort: what does not fit goes with the next group.
                let _ = self
                    .dispatch
                    .stage(&mut self.store, &mut self.releases, now);
            }
            let written = self.commit_group(now);
            if staged.is_ok() || !written {
                return written;
            }
        }
    }

    fn commit_group(&mut self, now: Now) -> bool {
        let committed = self.store.commit(now);
        let visible = self.store.reader().last_seq();
        let mut decided = std::mem::take(&mut self.decided);
        self.decided_records = 0;
        let partial = self.partial.as_mut().map(|(_, submission)| submission);
        for submission in decided.iter_mut().chain(partial) {
            if let Err(error) = &committed
                && !planted!("ack-after-io-error")
            {
                take_back(
                    &mut submission.outcomes[submission.synced..],
                    visible,
                    error,
                );
            }
            submission.synced = submission.outcomes.len();
        }
        decided.into_iter().for_each(Submission::finish);
        match &committed {
            Ok(()) => {
                // Before anything is told: a request that is asked for again may have its answer,
                // which one of this very group does not replace.
                for seq in &self.asked_again {
                    self.dispatch.waiters.look_up(*seq);
                }
                self.dispatch.tell(&mut self.store, &mut self.releases, now);
                self.look_up_answers();
                self.notify();
            }
            Err(StoreError::Full { .. }) => {
                // Their sequence numbers will be those of other requests.
                self.dispatch.waiters.forget_above(visible);
                self.look_up_answers();
                self.notify_from = None;
            }
            Err(error) => {
                self.dispatch.waiters.forget_above(Seq(0));
                self.dispatch.give_up(&mut self.releases);
                self.dispatch
                    .tell_unknown(&mut self.releases, &refusal_for(error));
            }
        }
        committed.is_ok()
    }

    /// Requests that were stored before may have ended long ago.
    fn look_up_answers(&mut self) {
        if !self.asked_again.is_empty() {
            let asked = std::mem::take(&mut self.asked_again);
            self.dispatch.look_up_answers(&self.store, asked);
        }
    }

    /// Lets the figures over all consumers be seen, now and then and before a rest.
    fn tell_figures(&mut self, resting: bool, now: Now) {
        if resting || now.monotonic >= self.figures_due {
            self.figures_due = now.monotonic + FIGURES_EVERY;
            *self.queue.board.totals.lock() = self.dispatch.totals(&self.store);
        }
    }

    /// Hands the group's notifications to those who listen.
    fn notify(&mut self) {
        let Some(mut at) = self.notify_from.take() else {
            return;
        };
        while let TailRead::Entries(entries) = self.store.tail_from(at, 1024, GROUP_BYTES) {
            let Some(last) = entries.last().map(Entry::seq) else {
                return;
            };
            for entry in entries {
                if entry.record().kind() == Kind::Notification {
                    self.dispatch.hub.publish(&entry);
                }
            }
            at = last.next();
        }
    }
}

/// Nothing of a group that failed is told as stored; what was visible before it stays true.
fn take_back(outcomes: &mut [Outcome], visible: Seq, error: &StoreError) {
    for outcome in outcomes {
        if matches!(outcome, Ok((seq, _)) if *seq > visible) {
            *outcome = Err(refusal_for(error));
        }
    }
}

/// Full: nothing was written. Anything else: it may have been.
fn refusal_for(error: &StoreError) -> Refusal {
    match error {
        StoreError::Full { .. } => Refusal::from(error).retry_after_ms(1000),
        error => Refusal::new(Code::Unknown, error.to_string()),
    }
}
