//! Staging changes of consumers and dead letters, and trims.
//!
//! What concerns a consumer changes its ledger at once, as the engine goes on with it; everybody
//! else sees the change when it is on disk.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use edgebus_core::consumer::{AttemptError, ConsumerConfig, ConsumerOp, DeadLetterCode, Ledger};
use edgebus_core::{Code, ConsumerName, Refusal, Seq};

use super::{RequestStore, StageError};
use crate::clock::Now;
use crate::store::StoreError;
use crate::store::dead_letter::{DeadLetter, Fate, NewLetter};
use crate::store::op::Op;

/// The part of a bound from which on there is an alarm: four fifths.
fn part(bound: u64) -> u64 {
    bound / 5 * 4
}

impl RequestStore {
    /// What is durable about each consumer, with what is staged.
    pub fn ledgers(&self) -> &BTreeMap<ConsumerName, Ledger> {
        &self.ledgers.by_name
    }

    /// The ledger of a consumer, for its machine: each change of it is to be staged with
    /// [`RequestStore::stage_change`].
    pub fn ledger_mut(&mut self, name: &ConsumerName) -> Option<&mut Ledger> {
        self.ledgers.by_name.get_mut(name)
    }

    /// Makes a consumer, or sets one up anew; the offset counts only when it is new.
    ///
    /// # Errors
    /// [`StageError::GroupFull`] or [`Code::Poisoned`].
    pub fn stage_put(
        &mut self,
        name: &ConsumerName,
        config: ConsumerConfig,
        offset: Seq,
    ) -> Result<(), StageError> {
        self.stage_op(name, ConsumerOp::Put { config, offset })
    }

    /// Removes a consumer with all it knew. Dead letters that it was to get again are dead again.
    ///
    /// # Errors
    /// As [`RequestStore::stage_put`].
    pub fn stage_delete(&mut self, name: &ConsumerName) -> Result<(), StageError> {
        self.stage_op(name, ConsumerOp::Delete)
    }

    /// Sets a consumer's offset: acks above it, attempts and leases are forgotten, its epoch goes
    /// up. Makes a consumer without configuration if there is none.
    ///
    /// # Errors
    /// As [`RequestStore::stage_put`].
    pub fn stage_offset(&mut self, name: &ConsumerName, offset: Seq) -> Result<(), StageError> {
        self.stage_op(name, ConsumerOp::Reset { offset })
    }

    /// Adds a change that the consumer's machine has made to the ledger already. `closed`: the dead
    /// letters that are done by it, as the ledger said; their rows go.
    ///
    /// [`ConsumerOp::DeadLettered`] is not written here: it comes with its letter
    /// ([`RequestStore::stage_letter`]), so that neither is ever on disk without the other.
    ///
    /// # Errors
    /// As [`RequestStore::stage_put`].
    pub fn stage_change(
        &mut self,
        name: &ConsumerName,
        op: &ConsumerOp,
        closed: &[u64],
    ) -> Result<(), StageError> {
        if matches!(op, ConsumerOp::DeadLettered { .. }) {
            return self.shared.check().map_err(|e| Refusal::from(&e).into());
        }
        let (name, op) = (name.clone(), op.clone());
        self.stage_other(Op::Consumer { name, op })?;
        // That the rows go follows from the operation when it is applied to what is on disk.
        self.staged.letters_gone.extend(closed);
        Ok(())
    }

    fn stage_op(&mut self, name: &ConsumerName, op: ConsumerOp) -> Result<(), StageError> {
        let staged = Op::Consumer {
            name: name.clone(),
            op: op.clone(),
        };
        self.stage_other(staged)?;
        self.ledgers.apply(name, &op);
        Ok(())
    }

    /// Adds a dead letter, whose number is returned. The machine has it as done in the ledger.
    ///
    /// # Errors
    /// As [`RequestStore::stage_put`].
    pub fn stage_letter(&mut self, letter: NewLetter<'_>, now: Now) -> Result<u64, StageError> {
        let (name, seq) = (letter.consumer, letter.entry.seq());
        let known = letter.number.or_else(|| self.letter_number(name, seq));
        let number = known.unwrap_or(self.last_dead_letter + 1);
        let mut attempts = known.map_or_else(Vec::new, |number| self.earlier_attempts(number));
        attempts.extend(letter.attempts);
        let letter = DeadLetter {
            seq: seq.0,
            consumer: name.as_str().to_owned(),
            reason: letter.reason.to_owned(),
            store_time_ms: self.time.at(now),
            wall_ms: now.wall_ms,
            // A copy: the entry may be a part of a whole block, which would stay in memory.
            entry: Bytes::copy_from_slice(letter.entry.as_bytes()),
            code: letter.code.as_str().to_owned(),
            attempts,
            state: 0,
        };
        let letter = letter.bounded();
        self.stage_other(Op::DeadLetter { number, letter })?;
        self.last_dead_letter = self.last_dead_letter.max(number);
        self.staged.letters.insert((name.clone(), seq), number);
        Ok(number)
    }

    /// What a dead letter says already. It is of use, but not being able to read it stops nothing.
    fn earlier_attempts(&self, number: u64) -> Vec<AttemptError> {
        let is_staged = self.staged.letters.values().any(|staged| *staged == number);
        let mut newest_first = self.staged.others.iter().rev().filter(|_| is_staged);
        let staged = newest_first.find_map(|op| match op {
            Op::DeadLetter { number: of, letter } if *of == number => Some(letter.clone()),
            _ => None,
        });
        let letter = staged.or_else(|| self.reader().dead_letter(number).ok().flatten());
        letter.map_or_else(Vec::new, |letter| letter.attempts)
    }

    fn letter_number(&self, name: &ConsumerName, seq: Seq) -> Option<u64> {
        let staged = self.staged.letters.get(&(name.clone(), seq)).copied();
        let consumers = self.shared.consumers.read();
        let number = staged.or_else(|| consumers.letters.number_of(name.as_str(), seq));
        number.filter(|number| !self.staged.letters_gone.contains(number))
    }

    /// Moves a request to the dead letters by hand: it is done for the consumer, if there is one.
    /// Says whether the letter is new.
    ///
    /// # Errors
    /// Outer: the store cannot be read. Inner: as [`RequestStore::stage_append`], and
    /// [`Code::NotFound`].
    pub fn stage_dead_letter(
        &mut self,
        seq: Seq,
        consumer: &ConsumerName,
        reason: &str,
        now: Now,
    ) -> Result<Result<bool, StageError>, StoreError> {
        // The letter outlives the request.
        if self.letter_number(consumer, seq).is_some() {
            return Ok(Ok(false));
        }
        let Some(entry) = self.get_by_seq(seq)? else {
            let refusal = Refusal::new(
                Code::NotFound,
                format!("there is no request with seq {seq}"),
            );
            return Ok(Err(refusal.into()));
        };
        if self.dead_letters_full() {
            let what = "there are as many dead letters as there may be: requeue or remove some";
            return Ok(Err(Refusal::new(Code::StorageFull, what).into()));
        }
        let letter = NewLetter {
            consumer,
            entry: &entry,
            number: None,
            code: DeadLetterCode::Moved,
            reason,
            attempts: Vec::new(),
        };
        if let Err(error) = self.stage_letter(letter, now) {
            return Ok(Err(error));
        }
        let done = ConsumerOp::DeadLettered { seq };
        self.ledgers.apply(consumer, &done);
        Ok(Ok(true))
    }

    /// Whether there are as many dead letters as there may be. The alarm among the figures is
    /// raised before that.
    pub fn dead_letters_full(&self) -> bool {
        let reader = self.reader();
        let (count, bytes) = (reader.dead_letter_count(), reader.dead_letter_bytes());
        let (count_max, bytes_max) = (
            self.config.dead_letters_max,
            self.config.dead_letter_bytes_max,
        );
        let alarm = count >= part(count_max) || bytes >= part(bytes_max);
        let counters = &self.shared.counters;
        counters.dead_letters_alarm.store(alarm, Ordering::Relaxed);
        count >= count_max || bytes >= bytes_max
    }

    /// Whether there is a dead letter with a number, and its removal is not staged.
    pub fn has_letter(&self, number: u64) -> bool {
        let known = self.shared.consumers.read().letters.whose(number);
        known.is_some() && !self.staged.letters_gone.contains(&number)
    }

    /// Marks a dead letter as requeued. The consumer's own change comes from its machine.
    ///
    /// # Errors
    /// [`StageError::GroupFull`], [`Code::Poisoned`], or [`Code::NoSuchDeadLetter`].
    pub fn stage_requeued(&mut self, number: u64) -> Result<(), StageError> {
        self.stage_fate(&[number], Fate::Requeued)
    }

    /// Marks a requeued dead letter as dead again, as it stands. The consumer's own change comes
    /// from its machine.
    ///
    /// # Errors
    /// As [`RequestStore::stage_requeued`].
    pub fn stage_letter_dead(&mut self, number: u64) -> Result<(), StageError> {
        self.stage_fate(&[number], Fate::Dead)
    }

    /// Removes dead letters.
    ///
    /// # Errors
    /// As [`RequestStore::stage_requeued`]; then none is removed.
    pub fn stage_letters_removed(&mut self, numbers: &[u64]) -> Result<(), StageError> {
        self.stage_fate(numbers, Fate::Removed)
    }

    fn stage_fate(&mut self, numbers: &[u64], fate: Fate) -> Result<(), StageError> {
        let is_missing = |number: &&u64| {
            self.shared
                .consumers
                .read()
                .letters
                .whose(**number)
                .is_none()
        };
        if let Some(number) = numbers.iter().find(is_missing) {
            let what = format!("there is no dead letter with number {number}");
            return Err(Refusal::new(Code::NoSuchDeadLetter, what).into());
        }
        if numbers.is_empty() {
            return Ok(());
        }
        let op = Op::Letters {
            numbers: numbers.to_vec(),
            fate,
        };
        self.stage_other(op)?;
        if fate == Fate::Removed {
            self.staged.letters_gone.extend(numbers);
        }
        Ok(())
    }

    /// Trims the log: once it is on disk, nothing before a sequence number is kept. At most all
    /// that is visible goes.
    ///
    /// # Errors
    /// [`StageError::GroupFull`] or [`Code::Poisoned`].
    pub fn stage_trim(&mut self, before: Seq) -> Result<(), StageError> {
        let before = before.min(self.visible_seq().next());
        if before <= self.first_seq() {
            return Ok(());
        }
        self.stage_other(Op::Trim { before })
    }

    fn stage_other(&mut self, op: Op) -> Result<(), StageError> {
        self.shared.check().map_err(|e| Refusal::from(&e))?;
        let start = self.staged.ops.len();
        op.encode(&mut self.staged.ops);
        // One that is larger than a group is a group of its own: what a consumer decided must be
        // written, however large it is. Requests never wait for room that others take after it was
        // made: they would be refused when the disk is full, and what was decided about them not.
        let bytes_max = match self.staged.room {
            Some(room) if !self.staged.appends.is_empty() => room,
            _ => self.journal.group_bytes_max(),
        };
        if start > 0 && self.staged.ops.len() > bytes_max {
            self.staged.ops.truncate(start);
            return Err(StageError::GroupFull);
        }
        self.staged.others.push(op);
        self.staged.op_count += 1;
        Ok(())
    }
}
