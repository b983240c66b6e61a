//! What is known of a spool without reading it: which numbers wait, where the dead letters are,
//! what each segment holds.
//!
//! Made from the journal when a spool is opened or looked at, and kept up with every group after
//! that. Invariants: it grows with the number of segments and of dead letters, never with the number
//! of waiting requests; numbers follow one another without gaps.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use edgebus_core::{Code, Refusal};

use super::cursor::Ground;
use super::numbers::Numbers;
use crate::store::StoreError;
use crate::store::dead_letter::Fate;
use crate::store::journal::{Place, missing};
use crate::store::op::{Mark, Op};

/// The place of an operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) group: Place,
    /// Where in the group's operations, in bytes.
    pub(super) op: usize,
}

/// A dead letter as the index knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dead {
    pub(super) at: At,
    pub(super) op_bytes: u64,
    pub(super) record_bytes: u64,
}

/// What a segment holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    pub(super) segment: u64,
    /// Behind its last group, in bytes.
    pub(super) end: u64,
    /// First and last number of the requests in it.
    pub(super) numbers: Option<(u64, u64)>,
    /// Bytes of their records.
    record_bytes: u64,
    /// Dead letters whose last copy is in it, and their bytes.
    pub(super) dead: u64,
    dead_bytes: u64,
}

impl Figures {
    pub(super) fn new(place: Place) -> Self {
        Self {
            segment: place.segment,
            end: place.offset,
            numbers: None,
            record_bytes: 0,
            dead: 0,
            dead_bytes: 0,
        }
    }

    /// Whether none of its requests waits any more.
    fn is_behind(&self, first: u64) -> bool {
        self.numbers.is_none_or(|(_, last)| last < first)
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// The first number that is not settled; `next` when all are. 0 before the first mark.
    pub(super) first: u64,
    pub(super) next: u64,
    /// Settled or removed, above `first`.
    gone: Numbers,
    pub(super) dead: BTreeMap<u64, Dead>,
    pub(super) dead_bytes: u64,
    pub(super) segments: VecDeque<Figures>,
    pub(super) waiting: u64,
    pub(super) waiting_bytes: u64,
    /// The newest mark.
    pub(super) marked: Option<Mark>,
    /// Numbers before it are in no segment.
    oldest: u64,
}

impl Index {
    /// Whether a request waits.
    pub(super) fn waits(&self, number: u64) -> bool {
        (self.first..self.next).contains(&number)
            && !self.gone.contains(number)
            && !self.dead.contains_key(&number)
    }

    /// Takes up a group as it is read from the journal, which ends at `end`.
    pub(super) fn take_group(
        &mut self,
        place: Place,
        end: u64,
        ops: &Bytes,
    ) -> Result<(), Refusal> {
        if self
            .segments
            .back()
            .is_none_or(|last| last.segment != place.segment)
        {
            self.segments.push_back(Figures::new(place));
        }
        let mut rest = ops.clone();
        while !rest.is_empty() {
            let op = ops.len() - rest.len();
            let at = At { group: place, op };
            match Op::split_from(&mut rest)? {
                Op::Mark(mark) => self.take_mark(mark)?,
                _ if self.marked.is_none() => {
                    return Err(corrupt("the journal begins without a mark"));
                }
                Op::Append(entry) if entry.seq().0 == self.next => {
                    self.appended(entry.record().as_bytes().len() as u64);
                }
                Op::Append(entry) => {
                    let detail = format!("request {} where {} belongs", entry.seq(), self.next);
                    return Err(corrupt(&detail));
                }
                Op::DeadLetter { number, letter } if number < self.next => {
                    let entry = letter.entry()?;
                    let dead = Dead {
                        at,
                        op_bytes: (ops.len() - rest.len() - op) as u64,
                        record_bytes: entry.record().as_bytes().len() as u64,
                    };
                    self.died(number, dead);
                }
                Op::Letters {
                    numbers,
                    fate: Fate::Removed,
                } => {
                    // How much that was is counted in the end.
                    numbers.iter().for_each(|number| self.removed(*number, 0));
                }
                _ => return Err(corrupt("an operation that belongs to no spool")),
            }
        }
        self.ends_at(end);
        Ok(())
    }

    fn take_mark(&mut self, mark: Mark) -> Result<(), Refusal> {
        match self.marked {
            None => {
                (self.first, self.next, self.oldest) = (mark.first, mark.next, mark.next);
            }
            Some(_) if mark.next != self.next => {
                let detail = format!("requests {} to {} are missing", self.next, mark.next);
                return Err(corrupt(&detail));
            }
            Some(_) => self.first = self.first.max(mark.first),
        }
        self.marked = Some(mark);
        self.advance();
        if self.first > self.next {
            return Err(corrupt("more is settled than there was"));
        }
        Ok(())
    }

    /// Whether all is there that the newest mark says there should be.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], naming the segment that is missing before the oldest there is.
    pub(super) fn check_whole(&self, ground: &Ground) -> Result<(), StoreError> {
        let (Some(oldest), Some(mark)) = (self.segments.front(), self.marked) else {
            return Ok(());
        };
        if oldest.segment > mark.segment || self.first < self.oldest {
            return Err(missing(&ground.journal, oldest.segment.saturating_sub(1)));
        }
        Ok(())
    }

    /// Whether there is a journal at all: one is made before the folder is marked as a spool.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub(super) fn check_there_is_one(&self, ground: &Ground) -> Result<(), StoreError> {
        match self.marked {
            Some(_) => Ok(()),
            None => {
                let detail = "there is no journal in the folder, and there was one";
                Err(StoreError::corrupt(&ground.journal, detail))
            }
        }
    }

    /// A request was appended to the last segment, under the next number.
    pub(super) fn appended(&mut self, record_bytes: u64) {
        let number = self.next;
        self.next += 1;
        self.waiting += 1;
        self.waiting_bytes += record_bytes;
        let last = self.segments.back_mut().expect("a group is in a segment");
        last.record_bytes += record_bytes;
        last.numbers = Some((last.numbers.map_or(number, |(first, _)| first), number));
    }

    /// A request became a dead letter, or one was written again, in the last segment.
    pub(super) fn died(&mut self, number: u64, dead: Dead) {
        if self.waits(number) {
            self.waiting = self.waiting.saturating_sub(1);
            self.waiting_bytes = self.waiting_bytes.saturating_sub(dead.record_bytes);
        }
        if let Some(earlier) = self.dead.insert(number, dead) {
            self.uncount(&earlier);
        }
        self.dead_bytes += dead.record_bytes;
        let last = self.segments.back_mut().expect("a group is in a segment");
        last.dead += 1;
        last.dead_bytes += dead.op_bytes;
        self.advance();
    }

    /// A request is settled or removed, or a dead letter is removed. The bytes are those of a
    /// waiting one.
    pub(super) fn removed(&mut self, number: u64, record_bytes: u64) {
        match self.dead.remove(&number) {
            Some(dead) => self.uncount(&dead),
            None if self.waits(number) => {
                self.waiting = self.waiting.saturating_sub(1);
                self.waiting_bytes = self.waiting_bytes.saturating_sub(record_bytes);
            }
            None => return,
        }
        if number >= self.first {
            self.gone.insert(number);
        }
        self.advance();
    }

    fn uncount(&mut self, dead: &Dead) {
        self.dead_bytes -= dead.record_bytes;
        let segment = dead.at.group.segment;
        if let Ok(index) = self.position(segment) {
            self.segments[index].dead -= 1;
            self.segments[index].dead_bytes -= dead.op_bytes;
        }
    }

    fn position(&self, segment: u64) -> Result<usize, usize> {
        self.segments
            .binary_search_by_key(&segment, |figures| figures.segment)
    }

    /// Moves the first that is not settled over all that are.
    fn advance(&mut self) {
        loop {
            if let Some(behind) = self.gone.take_up_to(self.first) {
                self.first = behind;
            } else if self.dead.contains_key(&self.first) {
                self.first += 1;
            } else {
                return;
            }
        }
    }

    /// The last segment ends here now.
    pub(super) fn ends_at(&mut self, end: u64) {
        if let Some(last) = self.segments.back_mut() {
            last.end = end;
        }
    }

    /// The oldest segment in which anything counts.
    pub(super) fn oldest_needed(&self) -> u64 {
        let last = self.segments.len().saturating_sub(1);
        let needed = self
            .segments
            .iter()
            .enumerate()
            .find(|(at, s)| *at == last || s.dead > 0 || !s.is_behind(self.first));
        needed.map_or(0, |(_, figures)| figures.segment)
    }

    /// Forgets the segments before this one.
    pub(super) fn freed_before(&mut self, segment: u64) {
        while self
            .segments
            .front()
            .is_some_and(|oldest| oldest.segment < segment)
        {
            self.segments.pop_front();
        }
    }

    /// The oldest segment, when nothing in it counts but dead letters which are worth being written
    /// again: at most half of what they hold up.
    pub(super) fn worth_moving(&self) -> Option<u64> {
        let oldest = self.segments.front().filter(|oldest| oldest.dead > 0)?;
        let before_last = self.segments.len().saturating_sub(1);
        let front = self.segments.iter().take(before_last);
        let front = front.take_while(|figures| figures.is_behind(self.first));
        let (kept, all) = front.fold((0, 0), |(kept, all), figures| {
            (kept + figures.dead_bytes, all + figures.end)
        });
        (all > 0 && kept * 2 <= all).then_some(oldest.segment)
    }

    /// Counts what waits, once all groups are taken up. `bytes_of` reads a segment and adds up the
    /// records of those of its requests that wait.
    pub(super) fn tally<E>(
        &mut self,
        mut bytes_of: impl FnMut(&Self, Figures) -> Result<u64, E>,
    ) -> Result<(), E> {
        let dead = self.dead.range(self.first..).count() as u64;
        self.waiting = (self.next - self.first) - self.gone.count() - dead;
        let mut waiting_bytes = 0;
        for figures in &self.segments {
            let Some((first, last)) = figures.numbers.filter(|(_, last)| *last >= self.first)
            else {
                continue;
            };
            let whole = first >= self.first
                && !self.gone.any_in(first, last)
                && self.dead.range(first..=last).next().is_none();
            waiting_bytes += match whole {
                true => figures.record_bytes,
                false => bytes_of(self, *figures)?,
            };
        }
        self.waiting_bytes = waiting_bytes;
        Ok(())
    }

    /// The place in `segments` of the first that may hold this number or a later one.
    pub(super) fn position_of(&self, number: u64) -> usize {
        let found = self
            .segments
            .iter()
            .position(|figures| !figures.is_behind(number));
        found.unwrap_or(self.segments.len())
    }
}

#[cold]
fn corrupt(what: &str) -> Refusal {
    Refusal::new(Code::Corrupt, what)
}
