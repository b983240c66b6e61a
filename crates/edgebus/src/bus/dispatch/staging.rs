//! What was decided on its way to the journal, and what is told once it is there.
//!
//! Decisions wait here in order. The engine stages them into its group as long as they fit; what is
//! to be told follows its reason and is released after the sync. Neighbouring changes of one
//! consumer become one operation.

use std::collections::VecDeque;

use bytes::Bytes;
use edgebus_core::admin::Delivery;
use edgebus_core::consumer::{
    Answer, AttemptError, ConsumerOp, DeadLetterCode, Output, PauseReason, Reply,
};
use edgebus_core::planted;
use edgebus_core::{Code, ConsumerName, Refusal, Seq};
use prost::Message as _;
use tokio::sync::oneshot;

use super::Dispatch;
use crate::clock::Now;
use crate::store::{NewLetter, RequestStore, StageError};

/// How much of the reason of a dead letter is logged, in characters; all of it is with the letter.
const REASON_CHARS: usize = 256;

/// Something that waits for its turn.
#[derive(Debug)]
enum Item {
    Change(ConsumerName, ConsumerOp, Vec<u64>),
    Letter(ConsumerName, Box<Letter>),
    Requeued(u64),
    LettersRemoved(Vec<u64>),
    Trim(Seq),
    Release(Release),
}

/// A message that failed for good; its bytes are found when it is staged.
#[derive(Debug)]
struct Letter {
    seq: Seq,
    number: Option<u64>,
    code: DeadLetterCode,
    reason: String,
    attempts: Vec<AttemptError>,
}

/// Something to tell once all before it is on disk.
#[derive(Debug)]
pub(in crate::bus) enum Release {
    /// A message for a worker.
    Deliver(u64, Delivery),
    /// The outcome of an operation.
    Told(oneshot::Sender<Result<(), Refusal>>, Result<(), Refusal>),
    /// The outcomes of settlements.
    Settled(
        oneshot::Sender<Vec<Result<(), Refusal>>>,
        Vec<Result<(), Refusal>>,
    ),
    /// How many things were done.
    Counted(oneshot::Sender<Result<u64, Refusal>>, u64),
    /// A new dead letter, or none.
    Moved(oneshot::Sender<Result<bool, Refusal>>, bool),
    /// A request's reply.
    Completed(Seq, Bytes),
    /// A request failed for good.
    Failed(ConsumerName, Seq, String),
    /// What became of requests that are waited for is to be looked up.
    LookUp(Vec<Seq>),
    /// Requests below are gone; so many of them.
    Trimmed(Seq, u64),
    /// A worker may begin.
    Opened(super::commands::OpenedWorker),
    /// Whether a consumer's questions can be answered now.
    Look(super::commands::Question),
    /// Messages that were fetched one time and are done.
    Fetched(
        oneshot::Sender<Result<Vec<Delivery>, Refusal>>,
        Vec<Delivery>,
    ),
}

/// What waits to be staged.
#[derive(Debug, Default)]
pub(super) struct Staging {
    items: VecDeque<Item>,
}

impl Staging {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Takes out what bugs on purpose tell before its reason is on disk.
    pub(super) fn take_early(&mut self) -> Vec<Release> {
        let mut early = Vec::new();
        let items = std::mem::take(&mut self.items).into_iter();
        let late = items.filter_map(|item| match item {
            Item::Release(release @ Release::Deliver(..)) if planted!("deliver-before-sync") => {
                early.push(release);
                None
            }
            Item::Release(release @ Release::Completed(..)) if planted!("reply-before-journal") => {
                early.push(release);
                None
            }
            item => Some(item),
        });
        self.items = late.collect();
        early
    }

    fn push_change(&mut self, name: &ConsumerName, op: ConsumerOp, closed: Vec<u64>) {
        let Some(pieces) = in_pieces(&op) else {
            return self.push_piece(name, op, closed);
        };
        let mut closed = Some(closed);
        for piece in pieces {
            self.push_piece(name, piece, closed.take().unwrap_or_default());
        }
    }

    fn push_piece(&mut self, name: &ConsumerName, op: ConsumerOp, closed: Vec<u64>) {
        for item in self.items.iter_mut().rev().take(JOIN_OVER) {
            match item {
                Item::Change(other, last, all) if other == name => match join(last, op) {
                    None => return all.extend(closed),
                    Some(op) => {
                        self.items.push_back(Item::Change(name.clone(), op, closed));
                        return;
                    }
                },
                // Told later anyway, so a change may join one before it.
                Item::Release(Release::Deliver(..)) => {}
                _ => break,
            }
        }
        self.items.push_back(Item::Change(name.clone(), op, closed));
    }
}

/// Deliveries looked over to find the change before them.
const JOIN_OVER: usize = 2;
/// Messages or ranges that one operation may be about: the smallest group of a journal has room
/// for it.
const PARTS_MAX: usize = 512;
/// The same of failures, as each may say at length what went wrong.
const FAILURES_MAX: usize = 16;

/// Cuts a change that is beyond the bounds into some that are not; done one after the other they
/// come to the same.
fn in_pieces(op: &ConsumerOp) -> Option<Vec<ConsumerOp>> {
    fn cut<T: Clone>(
        all: &[T],
        max: usize,
        op: fn(Vec<T>) -> ConsumerOp,
    ) -> Option<Vec<ConsumerOp>> {
        let pieces = all.chunks(max).map(|part| op(part.to_vec()));
        (all.len() > max).then(|| pieces.collect())
    }
    match op {
        ConsumerOp::Attempts(all) => cut(all, PARTS_MAX, ConsumerOp::Attempts),
        ConsumerOp::Failed(all) => cut(all, FAILURES_MAX, ConsumerOp::Failed),
        ConsumerOp::Done(all) => cut(all, PARTS_MAX, ConsumerOp::Done),
        ConsumerOp::Again(all) => cut(all, PARTS_MAX, ConsumerOp::Again),
        _ => None,
    }
}

/// Adds a change to the one before it; gives it back when they are not of a kind.
fn join(last: &mut ConsumerOp, op: ConsumerOp) -> Option<ConsumerOp> {
    match (last, op) {
        (ConsumerOp::Attempts(all), ConsumerOp::Attempts(more))
            if all.len() + more.len() <= PARTS_MAX =>
        {
            all.extend(more);
            None
        }
        (ConsumerOp::Failed(all), ConsumerOp::Failed(more))
            if all.len() + more.len() <= FAILURES_MAX =>
        {
            all.extend(more);
            None
        }
        (ConsumerOp::Done(all), ConsumerOp::Done(more)) if all.len() + more.len() <= PARTS_MAX => {
            let ascends = match (all.last(), more.first()) {
                (Some(last), Some(first)) => last.1 < first.0,
                _ => true,
            };
            // Ranges of one operation ascend.
            if !ascends {
                return Some(ConsumerOp::Done(more));
            }
            for range in more {
                match all.last_mut() {
                    Some(last) if last.1.next() == range.0 => last.1 = range.1,
                    _ => all.push(range),
                }
            }
            None
        }
        (_, op) => Some(op),
    }
}

impl Dispatch {
    /// Takes up what a machine decided.
    pub(super) fn take_up(&mut self, name: &ConsumerName, out: &mut Vec<Output>) {
        for output in out.drain(..) {
            match output {
                // Goes with the dead letter that comes next, in one piece.
                Output::Change {
                    op: ConsumerOp::DeadLettered { .. },
                    ..
                } => {}
                Output::Change {
                    op: ConsumerOp::Attempts(_),
                    ..
                } if planted!("attempts-not-journaled") => {}
                Output::Change { op, closed } => {
                    let reply = match &op {
                        ConsumerOp::Completed { seq, reply } => Some((*seq, reply.clone())),
                        _ => None,
                    };
                    self.staging.push_change(name, op, closed);
                    if let Some((seq, reply)) = reply {
                        self.figures.replies += 1;
                        self.release(Release::Completed(seq, reply));
                    }
                }
                Output::DeadLetter {
                    seq,
                    number,
                    code,
                    reason,
                    attempts,
                } => {
                    self.figures.expired += u64::from(code == DeadLetterCode::Expired);
                    // Written with escapes, and not all of it: a worker may say what it likes.
                    let said: String = reason.chars().take(REASON_CHARS).collect();
                    tracing::warn!(consumer = %name, %seq, %code, reason = ?said, "a message became a dead letter");
                    let letter = Letter {
                        seq,
                        number,
                        code,
                        reason: reason.clone(),
                        attempts,
                    };
                    self.staging
                        .items
                        .push_back(Item::Letter(name.clone(), Box::new(letter)));
                    self.release(Release::Failed(name.clone(), seq, reason));
                }
                Output::Deliver {
                    worker,
                    token,
                    attempt,
                    entry,
                } => self.release(Release::Deliver(
                    worker,
                    Delivery {
                        token,
                        attempt,
                        entry,
                    },
                )),
                Output::Paused { reason } => tell_paused(name, reason),
                Output::Resumed => tracing::info!(consumer = %name, "a consumer goes on"),
            }
        }
    }

    pub(super) fn release(&mut self, release: Release) {
        self.staging.items.push_back(Item::Release(release));
    }
}

impl Dispatch {
    pub(super) fn letter_requeued(&mut self, number: u64) {
        self.staging.items.push_back(Item::Requeued(number));
    }

    pub(super) fn letters_removed(&mut self, numbers: Vec<u64>) {
        self.staging.items.push_back(Item::LettersRemoved(numbers));
    }

    pub(super) fn trim(&mut self, before: Seq) {
        self.staging.items.push_back(Item::Trim(before));
    }

    /// Stages what waits, in order, until the group is full. What is to be told is added to
    /// `releases` behind its reason.
    ///
    /// # Errors
    /// [`StageError::GroupFull`]: commit, then call again. A refusal: the store has stopped.
    pub(in crate::bus) fn stage(
        &mut self,
        store: &mut RequestStore,
        releases: &mut Vec<Release>,
        now: Now,
    ) -> Result<(), StageError> {
        while let Some(item) = self.staging.items.pop_front() {
            let staged = match &item {
                Item::Change(name, op, closed) => store.stage_change(name, op, closed),
                Item::Letter(name, letter) => stage_letter(store, name, letter, now),
                // Whoever looked it up may find it gone by now, which is as good as done.
                Item::Requeued(number) if !store.has_letter(*number) => Ok(()),
                Item::Requeued(number) => store.stage_requeued(*number),
                Item::LettersRemoved(numbers) => {
                    let there = numbers.iter().copied();
                    let there: Vec<u64> = there.filter(|n| store.has_letter(*n)).collect();
                    store.stage_letters_removed(&there)
                }
                Item::Trim(before) => store.stage_trim(*before),
                Item::Release(_) => Ok(()),
            };
            if let Err(error) = staged {
                self.staging.items.push_front(item);
                return Err(error);
            }
            if let Item::Release(release) = item {
                releases.push(release);
            }
        }
        Ok(())
    }

    /// What was decided will never be journaled, as the store has stopped; what was to be told of
    /// it is given back.
    pub(in crate::bus) fn give_up(&mut self, releases: &mut Vec<Release>) {
        releases.extend(self.staging.items.drain(..).filter_map(|item| match item {
            Item::Release(release) => Some(release),
            _ => None,
        }));
    }
}

/// A dead letter that is not there any more is neither requeued nor removed.
fn or_gone(staged: Result<(), StageError>) -> Result<(), StageError> {
    match staged {
        Err(StageError::Refused(refusal)) if refusal.code == Code::NoSuchDeadLetter => Ok(()),
        staged => staged,
    }
}

fn stage_letter(
    store: &mut RequestStore,
    name: &ConsumerName,
    letter: &Letter,
    now: Now,
) -> Result<(), StageError> {
    let found = match letter.number {
        None => store.get_by_seq(letter.seq),
        Some(number) => store.reader().dead_letter(number).and_then(|row| {
            let entry = row.map(|row| row.entry()).transpose();
            Ok(entry?)
        }),
    };
    let entry = match found {
        Ok(Some(_)) if planted!("dead-letter-not-kept") => {
            return stage_without_row(store, name, letter, false);
        }
        Ok(Some(entry)) => entry,
        Ok(None) => {
            tracing::warn!(consumer = %name, seq = %letter.seq, "a dead letter was trimmed before it was kept");
            return stage_without_row(store, name, letter, false);
        }
        Err(error) => {
            tracing::error!(consumer = %name, seq = %letter.seq, %error, "a dead letter cannot be kept");
            return stage_without_row(store, name, letter, true);
        }
    };
    let new = NewLetter {
        consumer: name,
        entry: &entry,
        number: letter.number,
        code: letter.code,
        reason: &letter.reason,
        attempts: letter.attempts.clone(),
    };
    store.stage_letter(new, now).map(drop)
}

/// A message whose bytes are gone, or cannot be read, is done with all the same, on disk too, and
/// told as a gap. The row of one that was requeued is dead again while it is there.
fn stage_without_row(
    store: &mut RequestStore,
    name: &ConsumerName,
    letter: &Letter,
    is_there: bool,
) -> Result<(), StageError> {
    let seq = letter.seq;
    let Some(number) = letter.number else {
        let op = ConsumerOp::Gap { from: seq, to: seq };
        store.stage_change(name, &op, &[])?;
        if let Some(ledger) = store.ledger_mut(name) {
            ledger.apply(&op);
        }
        return Ok(());
    };
    // The ledger has all of it already.
    store.stage_change(name, &ConsumerOp::Dropped { seq }, &[])?;
    store.stage_change(name, &ConsumerOp::Done(vec![(seq, seq)]), &[])?;
    match is_there {
        true => or_gone(store.stage_letter_dead(number)),
        false => Ok(()),
    }
}

fn tell_paused(name: &ConsumerName, reason: PauseReason) {
    match reason {
        PauseReason::Operator => tracing::info!(consumer = %name, "a consumer was paused"),
        PauseReason::Breaker => {
            tracing::warn!(consumer = %name, "a consumer pauses, as most of its last messages failed");
        }
        PauseReason::DeadLettersFull => {
            tracing::warn!(consumer = %name, "a consumer pauses, as there is no room for more dead letters");
        }
        PauseReason::Bounded => {
            tracing::warn!(consumer = %name, "a consumer takes nothing new, as too many messages wait for another attempt");
        }
    }
}

/// What a requester is told about a reply that is on disk.
pub(super) fn answer_of(reply: Bytes) -> Answer {
    // The bytes were encoded by this process or checked when they were read.
    Answer::Reply(Reply::decode(reply).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(ranges: &[(u64, u64)]) -> ConsumerOp {
        let ranges = ranges.iter().map(|(from, to)| (Seq(*from), Seq(*to)));
        ConsumerOp::Done(ranges.collect())
    }

    /// The ranges behind the first one used to be lost.
    #[test]
    fn what_cannot_be_joined_is_given_back_whole() {
        let mut last = done(&[(10, 10)]);
        let holes = done(&[(3, 5), (7, 8), (11, 11)]);
        assert_eq!(join(&mut last, holes.clone()), Some(holes));
        assert_eq!(last, done(&[(10, 10)]));
    }

    #[test]
    fn ranges_that_ascend_are_joined() {
        let mut last = done(&[(1, 2)]);
        assert_eq!(join(&mut last, done(&[(3, 3), (5, 6)])), None);
        assert_eq!(last, done(&[(1, 3), (5, 6)]));
    }
}
