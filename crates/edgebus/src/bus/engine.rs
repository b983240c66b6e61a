//! The engine: takes what the lanes hold, builds a group, makes it durable, tells the outcomes.
//!
//! A step function around the store: threads and simulators call [`Engine::step`]. While one
//! group is being synced the lanes fill with the next, so groups grow with the load and with the
//! slowness of the disk; there is no timer and no lingering.

use std::sync::Arc;
use std::time::Duration;

use edgebus_core::{Code, Refusal, Seq};
use tokio::sync::oneshot;

use super::lane::{LaneInner, Outcome, Submission};
use super::queue::{Control, Queue};
use crate::clock::Now;
use crate::store::{Admission, RequestStore, StageError, StoreError};

/// Bytes after which a group is closed although more is waiting, so that a burst does not make
/// the first of it wait for all of it.
const GROUP_BYTES: usize = 1024 * 1024;
/// Records after which a group is closed: what is refused or a duplicate adds no bytes, and its
/// senders wait too.
const GROUP_RECORDS: usize = 16 * 1024;
/// How often a refusing or blocked store is looked at again.
const RETRY_EVERY: Duration = Duration::from_millis(100);

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
    /// Decided with the group that is being built.
    decided: Vec<Submission>,
    decided_records: usize,
    controls: Vec<Decided>,
    /// The lane whose turn it is; still here after a panic, so that what waits in it is answered.
    turn: Option<Arc<LaneInner>>,
    /// The submission that did not fit the group; the next group begins with it.
    partial: Option<(Arc<LaneInner>, Submission)>,
    paced_until: Duration,
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

/// A control operation whose outcome waits for the sync.
#[derive(Debug)]
enum Decided {
    Offset(oneshot::Sender<Result<(), Refusal>>),
    DeadLetter(oneshot::Sender<Result<bool, Refusal>>, bool),
}

impl Engine {
    /// An engine for a store whose sealer is stepped by someone else.
    pub fn new(store: RequestStore, queue: Arc<Queue>) -> Self {
        Self {
            store,
            queue,
            decided: Vec::new(),
            decided_records: 0,
            controls: Vec::new(),
            turn: None,
            partial: None,
            paced_until: Duration::ZERO,
        }
    }

    /// Builds and commits one group.
    pub fn step(&mut self, now: Now) -> Turn {
        self.take_controls(now);
        let admission = self.admission(now);
        let appends = admission != Admission::Blocked;
        if appends {
            self.take_appends(now);
            if let Admission::Paced(pause) = admission {
                self.paced_until = now.monotonic + pause;
            }
        }
        let worked = self.store.staged_bytes() > 0 || !self.decided.is_empty();
        self.commit(now);
        if worked {
            return Turn::Worked;
        }
        if self.queue.is_drained() && self.partial.is_none() && self.turn.is_none() {
            return Turn::Stopped;
        }
        Turn::Idle {
            appends,
            until: self.look_again_in(appends, now),
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
        let stats = self.store.reader().stats();
        if stats.poisoned {
            Refusing::ForGood
        } else if stats.storage_full {
            Refusing::ForNow
        } else {
            Refusing::Nothing
        }
    }

    /// Whether something waits for the sealer.
    pub fn wants_sealer(&self) -> bool {
        self.store.wants_sealer()
    }

    /// Gives the store back, with everything it holds handed to the sealer.
    pub fn finish(mut self) -> RequestStore {
        self.store.close_overlay();
        self.store
    }

    fn take_controls(&mut self, now: Now) {
        while let Some(control) = self.queue.next_control() {
            match control {
                Control::SetOffset {
                    consumer,
                    offset,
                    done,
                } => match self.staged(now, |store| store.stage_offset(&consumer, offset)) {
                    Ok(()) => self.controls.push(Decided::Offset(done)),
                    Err(refusal) => drop(done.send(Err(refusal))),
                },
                Control::DeadLetter {
                    seq,
                    consumer,
                    reason,
                    done,
                } => {
                    let stage = |store: &mut RequestStore| {
                        store
                            .stage_dead_letter(seq, &consumer, &reason, now)
                            .unwrap_or_else(|error| Err(Refusal::from(&error).into()))
                    };
                    match self.staged(now, stage) {
                        Ok(new) => self.controls.push(Decided::DeadLetter(done, new)),
                        Err(refusal) => drop(done.send(Err(refusal))),
                    }
                }
            }
        }
    }

    /// Stages a change, committing first when the group is full.
    fn staged<T>(
        &mut self,
        now: Now,
        stage: impl Fn(&mut RequestStore) -> Result<T, StageError>,
    ) -> Result<T, Refusal> {
        let mut staged = stage(&mut self.store);
        if matches!(staged, Err(StageError::GroupFull)) {
            self.commit(now);
            staged = stage(&mut self.store);
        }
        staged.map_err(|error| match error {
            StageError::Refused(refusal) => refusal,
            StageError::GroupFull => Refusal::new(
                Code::PayloadTooLarge,
                "larger than a whole group of the journal",
            ),
        })
    }

    /// Round robin over the lanes until the group is full or nothing waits.
    fn take_appends(&mut self, now: Now) {
        if let Some((lane, submission)) = self.partial.take() {
            self.stage_submission(lane, submission, now);
        }
        while self.partial.is_none() && !self.is_group_full() {
            let Some(lane) = self.turn.take().or_else(|| self.queue.next_lane()) else {
                return;
            };
            self.turn = Some(lane.clone());
            lane.grant();
            while self.partial.is_none() {
                let Some(submission) = lane.take() else { break };
                self.stage_submission(lane.clone(), submission, now);
            }
            self.turn = None;
            if lane.still_waiting() {
                self.queue.requeue(lane);
            }
        }
    }

    fn is_group_full(&self) -> bool {
        self.store.staged_bytes() >= GROUP_BYTES || self.decided_records >= GROUP_RECORDS
    }

    fn stage_submission(&mut self, lane: Arc<LaneInner>, mut submission: Submission, now: Now) {
        while let Some((record, fingerprint)) = submission.records.front() {
            let staged =
                self.store
                    .stage_append(record, lane.scope, &lane.identity, *fingerprint, now);
            let outcome = match staged {
                Ok(stored) => Ok(stored),
                Err(StageError::Refused(refusal)) => Err(refusal),
                Err(StageError::GroupFull) if self.store.staged_bytes() == 0 => Err(Refusal::new(
                    Code::PayloadTooLarge,
                    "larger than a whole group of the journal",
                )),
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

    /// Makes the group durable and tells everyone.
    fn commit(&mut self, now: Now) {
        let committed = self.store.commit(now);
        let visible = self.store.reader().last_seq();
        let mut decided = std::mem::take(&mut self.decided);
        self.decided_records = 0;
        let partial = self.partial.as_mut().map(|(_, submission)| submission);
        for submission in decided.iter_mut().chain(partial) {
            if let Err(error) = &committed {
                take_back(
                    &mut submission.outcomes[submission.synced..],
                    visible,
                    error,
                );
            }
            submission.synced = submission.outcomes.len();
        }
        decided.into_iter().for_each(Submission::finish);
        let refusal = committed.as_ref().err().map(refusal_for);
        for control in self.controls.drain(..) {
            match (control, refusal.clone()) {
                (Decided::Offset(done), None) => drop(done.send(Ok(()))),
                (Decided::Offset(done), Some(refusal)) => drop(done.send(Err(refusal))),
                (Decided::DeadLetter(done, new), None) => drop(done.send(Ok(new))),
                (Decided::DeadLetter(done, _), Some(refusal)) => drop(done.send(Err(refusal))),
            }
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
