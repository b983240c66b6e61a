//! A lane: one sender's bounded way to the engine.
//!
//! Records wait here, in order, until the engine takes them; their permits are given back when
//! their outcomes are known, so that the bound holds for everything that is not decided yet.

use std::collections::VecDeque;
use std::sync::Arc;

use edgebus_core::consumer::Answer;
use edgebus_core::{Code, Record, Refusal, Scope, Seq};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::pool::{Drawing, Pool, Share};
use super::queue::{Queue, Queued};
use super::turns::{Account, Party};
use crate::store::Fingerprinter;

/// What became of a record: its sequence number and whether it was stored before, or why not.
pub type Outcome = Result<(Seq, bool), Refusal>;

/// Bytes of records the engine takes from a lane at a time.
const SUBMISSION_BYTES: usize = 64 * 1024;

/// How much may be undecided in one lane.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LaneConfig {
    /// Most records.
    pub messages_max: usize,
    /// Most bytes of records; one record may always be in the lane.
    pub bytes_max: usize,
}

impl Default for LaneConfig {
    fn default() -> Self {
        Self {
            messages_max: 16 * 1024,
            bytes_max: 8 * 1024 * 1024,
        }
    }
}

/// Who sends on a lane.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    /// As proven to the server.
    pub(crate) identity: String,
    /// The space of its request ids.
    pub(crate) scope: Scope,
    /// Whose turns it takes: all lanes of one owner together get as much as another owner.
    pub(crate) owner: Arc<str>,
    /// What its lane shares with others; `None`: it has its own bound only.
    pub(crate) pool: Option<Pool>,
}

/// One sender's way to the engine. Cheap to clone; clones share the bound and the order.
#[derive(Clone, Debug)]
pub struct Lane {
    inner: Arc<LaneInner>,
    queue: Arc<Queue>,
    keys: Fingerprinter,
}

#[derive(Debug)]
pub(super) struct LaneInner {
    /// Who sends here, as proven to the server.
    pub(super) identity: String,
    /// The space of its request ids.
    pub(super) scope: Scope,
    account: Account,
    config: LaneConfig,
    messages: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    /// What it draws from beside its own bound.
    drawing: Option<Drawing>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    submissions: VecDeque<Submission>,
    /// Whether the engine knows that something waits here.
    scheduled: bool,
}

/// Records that are taken in one piece.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) records: VecDeque<(Record, u128)>,
    pub(super) bytes: usize,
    pub(super) outcomes: Vec<Outcome>,
    /// How many of the outcomes are on disk.
    pub(super) synced: usize,
    /// Who waits for the answers, one for each record; none when nobody does.
    pub(super) waiters: VecDeque<oneshot::Sender<Answer>>,
    done: oneshot::Sender<Vec<Outcome>>,
    place: Place,
}

/// What a submission takes of its lane's bound.
#[derive(Debug)]
struct Place {
    _permits: Permits,
    _queued: Queued,
}

/// Records and bytes of the lane, and bytes of what all lanes share or of the lane's own.
#[derive(Debug)]
struct Permits {
    _messages: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
    _shared: Option<Share>,
}

impl Submission {
    /// Tells the sender. It may have gone, which changes nothing.
    pub(super) fn finish(self) {
        // First, so that who hears of the outcome finds room in the lane.
        drop(self.place);
        let _ = self.done.send(self.outcomes);
    }
}

/// Records on their way.
#[derive(Debug)]
pub struct Submitted {
    parts: Vec<Part>,
    answers: Vec<oneshot::Receiver<Answer>>,
}

/// Some of the records, and how many.
#[derive(Debug)]
enum Part {
    HandedOver(usize, oneshot::Receiver<Vec<Outcome>>),
    Refused(usize, Refusal),
}

impl Submitted {
    /// Waits for the answers, one for each record, in their order; none unless it was handed over by
    /// [`Lane::submit_requesting`]. One whose sender goes was refused, or the bus has stopped.
    pub fn answers(&mut self) -> Vec<oneshot::Receiver<Answer>> {
        std::mem::take(&mut self.answers)
    }

    /// Waits for the outcomes, one for each record, in their order. Cancel-safe in the sense that
    /// the records are stored or not whether or not somebody waits.
    pub async fn outcomes(self) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for part in self.parts {
            let (count, refusal) = match part {
                Part::Refused(count, refusal) => (count, refusal),
                Part::HandedOver(count, part) => match part.await {
                    Ok(part) if outcomes.is_empty() => {
                        outcomes = part;
                        continue;
                    }
                    Ok(part) => {
                        outcomes.extend(part);
                        continue;
                    }
                    Err(_) => (count, engine_gone()),
                },
            };
            outcomes.extend(std::iter::repeat_n(Err(refusal), count));
        }
        outcomes
    }
}

impl Lane {
    pub(super) fn new(
        queue: Arc<Queue>,
        keys: Fingerprinter,
        sender: Sender,
        config: LaneConfig,
    ) -> Self {
        // A bound of 0 would let nobody through, and more than this cannot be counted.
        let within = |bound: usize| bound.clamp(1, Semaphore::MAX_PERMITS);
        let config = LaneConfig {
            messages_max: within(config.messages_max),
            bytes_max: within(config.bytes_max),
        };
        let pool = sender.pool.as_ref();
        let drawing = pool.map(|pool| pool.drawing(sender.owner.clone()));
        let inner = LaneInner {
            identity: sender.identity,
            scope: sender.scope,
            account: Account::of(sender.owner),
            config,
            messages: Arc::new(Semaphore::new(config.messages_max)),
            bytes: Arc::new(Semaphore::new(config.bytes_max)),
            drawing,
            waiting: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
            queue,
            keys,
        }
    }

    /// Hands records to the engine, waiting while the lane is full. What comes after the bus was
    /// told to stop gets [`Code::ShuttingDown`] as its outcome.
    ///
    /// Cancel-safe: parts that were not handed over yet are dropped, the others go their way.
    pub async fn submit(&self, records: Vec<Record>) -> Submitted {
        self.submit_for(records, false).await
    }

    /// As [`Lane::submit`]; what became of the requests is told by [`Submitted::answers`].
    pub async fn submit_requesting(&self, records: Vec<Record>) -> Submitted {
        self.submit_for(records, true).await
    }

    async fn submit_for(&self, records: Vec<Record>, requesting: bool) -> Submitted {
        let mut answers = Vec::new();
        let mut parts = Vec::with_capacity(1);
        for part in self.split(records) {
            parts.push(match self.room_for(&part).await {
                Some(permits) => {
                    let waiters = waiters_for(&part, requesting, &mut answers);
                    self.hand_over(part, waiters, permits)
                }
                // Nobody closes the semaphores; if somebody did, this is what it would mean.
                None => Part::Refused(part.len(), shutting_down()),
            });
        }
        Submitted { parts, answers }
    }

    /// Hands records to the engine, unless the lane is too full for all of them.
    ///
    /// # Errors
    /// [`Code::Busy`]: none of them was handed over.
    pub fn try_submit(&self, records: Vec<Record>) -> Result<Submitted, Refusal> {
        let busy = || Refusal::new(Code::Busy, "the lane is full: try again").retry_after_ms(10);
        let parts: Vec<_> = self.split(records).collect();
        let mut permits = Vec::with_capacity(parts.len());
        for part in &parts {
            permits.push(self.try_room_for(part).ok_or_else(busy)?);
        }
        let parts = parts
            .into_iter()
            .zip(permits)
            .map(|(part, permits)| self.hand_over(part, VecDeque::new(), permits));
        Ok(Submitted {
            parts: parts.collect(),
            answers: Vec::new(),
        })
    }

    /// Waits for room for what is no record and waits for the engine all the same, out of what all
    /// lanes share. Cancel-safe.
    pub(crate) async fn room_beside(&self, bytes: usize) -> Option<Share> {
        match &self.inner.drawing {
            Some(drawing) => drawing.draw(bytes).await,
            None => None,
        }
    }

    /// Cuts records into pieces of about [`SUBMISSION_BYTES`], fingerprinted on the way: that is
    /// work for the sender's thread, not for the engine's.
    fn split(
        &self,
        records: Vec<Record>,
    ) -> impl Iterator<Item = VecDeque<(Record, u128)>> + use<> {
        let keys = self.keys;
        let count_max = self.inner.config.messages_max;
        let mut records = records.into_iter().peekable();
        std::iter::from_fn(move || {
            let mut part = VecDeque::with_capacity(records.size_hint().0.min(256));
            let mut bytes = 0;
            while let Some(record) = records.peek() {
                let fits = bytes + record.as_bytes().len() <= SUBMISSION_BYTES;
                if !part.is_empty() && (!fits || part.len() >= count_max) {
                    break;
                }
                bytes += record.as_bytes().len();
                let record = records.next()?;
                let fingerprint = keys.fingerprint(&record);
                part.push_back((record, fingerprint));
            }
            (!part.is_empty()).then_some(part)
        })
    }

    /// Permits for messages and for bytes. What is larger than the lane takes all of it.
    fn permits_for(&self, part: &VecDeque<(Record, u128)>) -> (u32, u32) {
        let bytes = bytes_of(part).min(self.inner.config.bytes_max);
        let permits = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        (permits(part.len()), permits(bytes))
    }

    /// Waits for room; first in the lane, so that a lane which is full takes nothing of others.
    async fn room_for(&self, part: &VecDeque<(Record, u128)>) -> Option<Permits> {
        let inner = &self.inner;
        let (count, bytes) = self.permits_for(part);
        let messages = inner.messages.clone().acquire_many_owned(count).await;
        let lane_bytes = inner.bytes.clone().acquire_many_owned(bytes).await;
        let shared = match &inner.drawing {
            Some(drawing) => Some(drawing.draw(bytes_of(part)).await?),
            None => None,
        };
        Some(Permits {
            _messages: messages.ok()?,
            _bytes: lane_bytes.ok()?,
            _shared: shared,
        })
    }

    fn try_room_for(&self, part: &VecDeque<(Record, u128)>) -> Option<Permits> {
        let inner = &self.inner;
        let (count, bytes) = self.permits_for(part);
        let messages = inner.messages.clone().try_acquire_many_owned(count);
        let lane_bytes = inner.bytes.clone().try_acquire_many_owned(bytes);
        let shared = match &inner.drawing {
            Some(drawing) => Some(drawing.try_draw(bytes_of(part))?),
            None => None,
        };
        Some(Permits {
            _messages: messages.ok()?,
            _bytes: lane_bytes.ok()?,
            _shared: shared,
        })
    }

    fn hand_over(
        &self,
        records: VecDeque<(Record, u128)>,
        waiters: VecDeque<oneshot::Sender<Answer>>,
        permits: Permits,
    ) -> Part {
        let count = records.len();
        // A lane that is never empty would keep the engine from ever ending.
        if self.queue.is_stopping() {
            return Part::Refused(count, shutting_down());
        }
        let (done, outcome) = oneshot::channel();
        let submission = Submission {
            bytes: bytes_of(&records),
            outcomes: Vec::with_capacity(count),
            records,
            synced: 0,
            waiters,
            done,
            place: Place {
                _permits: permits,
                _queued: Queued::new(&self.queue, count),
            },
        };
        let schedule = {
            let mut waiting = self.inner.waiting.lock();
            waiting.submissions.push_back(submission);
            !std::mem::replace(&mut waiting.scheduled, true)
        };
        if schedule && !self.queue.schedule(self.inner.clone()) {
            let mut waiting = self.inner.waiting.lock();
            waiting.submissions.clear();
            waiting.scheduled = false;
            return Part::Refused(count, shutting_down());
        }
        Part::HandedOver(count, outcome)
    }
}

impl LaneInner {
    /// Whose lane it is.
    pub(super) fn owner(&self) -> &Arc<str> {
        self.account.owner()
    }

    /// What the engine may take in a turn in which it has taken so many bytes: pieces worth
    /// [`SUBMISSION_BYTES`], or one that is larger and is paid for by later turns.
    pub(super) fn take(&self, taken: usize) -> Option<Submission> {
        let mut waiting = self.waiting.lock();
        let bytes = waiting.submissions.front()?.bytes;
        if taken > 0 && taken + bytes > SUBMISSION_BYTES {
            return None;
        }
        waiting.submissions.pop_front()
    }

    /// Ends a turn; says whether something still waits. If not, the next one to hand something
    /// over schedules the lane again.
    pub(super) fn still_waiting(&self) -> bool {
        let mut waiting = self.waiting.lock();
        waiting.scheduled = !waiting.submissions.is_empty();
        waiting.scheduled
    }
}

impl Party for LaneInner {
    fn account(&self) -> &Account {
        &self.account
    }
}

/// A waiter for each record, if they are waited for.
fn waiters_for(
    records: &VecDeque<(Record, u128)>,
    requesting: bool,
    answers: &mut Vec<oneshot::Receiver<Answer>>,
) -> VecDeque<oneshot::Sender<Answer>> {
    if !requesting {
        return VecDeque::new();
    }
    let waiters = records.iter().map(|_| {
        let (waiter, answer) = oneshot::channel();
        answers.push(answer);
        waiter
    });
    waiters.collect()
}

fn bytes_of(records: &VecDeque<(Record, u128)>) -> usize {
    records
        .iter()
        .map(|(record, _)| record.as_bytes().len())
        .sum()
}

/// What nobody answered may have been stored.
pub(super) fn engine_gone() -> Refusal {
    Refusal::new(Code::Unknown, "the engine went away before it answered")
}

fn shutting_down() -> Refusal {
    Refusal::new(
        Code::ShuttingDown,
        "the server is shutting down: send it again after the restart",
    )
}
