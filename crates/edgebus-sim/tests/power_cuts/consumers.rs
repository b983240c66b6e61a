//! What a machine does with consumers: deliveries, acks, replies, dead letters, trims.
//!
//! Ops are made up, not decided by the consumers' own logic: whatever is journaled must be there
//! after any crash.

use edgebus::consumer::{Attempt, AttemptError, ConsumerOp, DeadLetterCode, Failure, PlaceKind};
use edgebus::store::NewLetter;
use edgebus::{RequestStore, Seq, StoreError};
use edgebus_sim::SimRng;

use crate::machine::{Machine, has_room, unrefused};
use crate::model::{CONSUMERS, Change, config, name, reply};

impl Machine {
    /// Several changes of consumers as one group.
    pub(crate) fn consumers(
        &mut self,
        store: &mut RequestStore,
        rng: &mut SimRng,
    ) -> Result<(), StoreError> {
        self.unsure.clear();
        has_room(store)?;
        for _ in 0..1 + rng.below(5) {
            // What is left of a group takes any one change.
            if store.staged_bytes() > 20 * 1024 {
                break;
            }
            let consumer = *rng.pick(&CONSUMERS);
            if rng.chance(0.2) {
                self.give_up(store, rng, consumer)?;
            } else if rng.chance(0.2) {
                self.decide_letter(store, rng)?;
            } else {
                self.change(store, rng, consumer)?;
            }
        }
        let now = store.clock().now();
        store.commit(now)?;
        self.ack();
        Ok(())
    }

    /// Stages an operation of a consumer's machine, or makes or removes the consumer.
    fn change(
        &mut self,
        store: &mut RequestStore,
        rng: &mut SimRng,
        consumer: &'static str,
    ) -> Result<(), StoreError> {
        let there = self
            .acked
            .after(&self.unsure)
            .ledgers
            .contains_key(consumer);
        let op = if !there || rng.chance(0.1) {
            let offset = Seq(rng.below(self.acked.last_seq().0 + 1));
            let config = config(1 + rng.below(4) as u32);
            unrefused(store.stage_put(&name(consumer), config.clone(), offset))?;
            ConsumerOp::Put { config, offset }
        } else if rng.chance(0.05) {
            unrefused(store.stage_delete(&name(consumer)))?;
            ConsumerOp::Delete
        } else {
            let op = random_op(rng, self.acked.last_seq());
            let ledger = store.ledger_mut(&name(consumer)).expect("it is there");
            if let ConsumerOp::Attempts(attempts) = &op
                && attempts.iter().any(|attempt| ledger.is_done(attempt.seq))
            {
                // Only what is not done is given out.
                return Ok(());
            }
            let closed = ledger.apply(&op);
            unrefused(store.stage_change(&name(consumer), &op, &closed))?;
            op
        };
        self.unsure.push(Change::Consumer(consumer, op));
        Ok(())
    }

    /// Stages a dead letter as a machine does.
    fn give_up(
        &mut self,
        store: &mut RequestStore,
        rng: &mut SimRng,
        consumer: &'static str,
    ) -> Result<(), StoreError> {
        let Some(seq) = self.acked.pick(rng) else {
            return Ok(());
        };
        let model = self.acked.after(&self.unsure);
        // What a letter said before is read from what is on disk.
        let known = model.letter_of(consumer, seq);
        if !model.ledgers.contains_key(consumer) || known != self.acked.letter_of(consumer, seq) {
            return Ok(());
        }
        let Some(entry) = store.get_by_seq(seq)? else {
            panic!("seq {seq} is kept");
        };
        let name = name(consumer);
        let op = ConsumerOp::DeadLettered { seq };
        let ledger = store.ledger_mut(&name).expect("it is there");
        let number = ledger.requeued(seq);
        ledger.apply(&op);
        unrefused(store.stage_change(&name, &op, &[]))?;
        let error = format!("no {}", rng.below(100));
        let letter = NewLetter {
            consumer: &name,
            entry: &entry,
            number,
            code: DeadLetterCode::Attempts,
            reason: "too often",
            attempts: vec![AttemptError {
                error: error.clone(),
                wall_ms: 1,
            }],
        };
        let now = store.clock().now();
        let number = unrefused(store.stage_letter(letter, now))?;
        self.unsure.push(Change::Letter(consumer, seq, vec![error]));
        let model = self.acked.after(&self.unsure);
        assert_eq!(Some(number), model.letter_of(consumer, seq));
        Ok(())
    }

    /// Stages that a dead letter is requeued or removed; one of those on disk.
    fn decide_letter(
        &mut self,
        store: &mut RequestStore,
        rng: &mut SimRng,
    ) -> Result<(), StoreError> {
        let model = self.acked.after(&self.unsure);
        let both = self.acked.letters.keys();
        let both: Vec<u64> = both
            .copied()
            .filter(|n| model.letters.contains_key(n))
            .collect();
        if both.is_empty() {
            return Ok(());
        }
        let number = *rng.pick(&both);
        let letter = &model.letters[&number];
        let (consumer, seq) = (letter.consumer, letter.seq);
        let removes = rng.chance(0.3);
        let op = match removes {
            true => ConsumerOp::Dropped { seq },
            false => ConsumerOp::Requeued { seq, number },
        };
        match store.ledger_mut(&name(consumer)) {
            Some(ledger) if !removes || letter.requeued => {
                ledger.apply(&op);
                unrefused(store.stage_change(&name(consumer), &op, &[]))?;
                self.unsure.push(Change::Consumer(consumer, op));
            }
            Some(_) => {}
            None if removes => {}
            None => return Ok(()),
        }
        if removes {
            unrefused(store.stage_letters_removed(&[number]))?;
            self.unsure.push(Change::Removed(number));
        } else {
            unrefused(store.stage_requeued(number))?;
            self.unsure.push(Change::Requeued(number));
        }
        Ok(())
    }

    /// Trims some of the log, mostly little.
    pub(crate) fn trim(
        &mut self,
        store: &mut RequestStore,
        rng: &mut SimRng,
    ) -> Result<(), StoreError> {
        let kept = self.acked.last_seq().0 - self.acked.trimmed;
        let some = if rng.chance(0.1) { kept } else { kept / 3 };
        let before = Seq(self.acked.first_seq().0 + rng.below(some + 1));
        self.unsure = vec![Change::Trim(before)];
        store.trim(before)?;
        self.ack();
        Ok(())
    }
}

fn random_op(rng: &mut SimRng, last: Seq) -> ConsumerOp {
    let mut seq = || Seq(1 + rng.below(last.0 + 1));
    let (one, other) = (seq(), seq());
    let range = (one.min(other), Seq(one.0.min(other.0) + 3));
    match rng.below(9) {
        0 | 1 => ConsumerOp::Attempts(vec![Attempt {
            seq: one,
            delivery: 1 + rng.below(3) as u32,
            place: PlaceKind::Connection,
            alone: rng.chance(0.5),
        }]),
        2 => ConsumerOp::Done(vec![range]),
        3 | 4 => ConsumerOp::Completed {
            seq: one,
            reply: reply(rng),
        },
        5 => ConsumerOp::Failed(vec![Failure {
            seq: one,
            charged: rng.chance(0.5),
            suspect: rng.chance(0.5),
            due_ms: rng.below(1_000),
            error: "not now".to_owned(),
            wall_ms: 7,
        }]),
        6 => ConsumerOp::Progress { offset: one },
        7 => ConsumerOp::Again(vec![range]),
        _ => ConsumerOp::Gap {
            from: range.0,
            to: range.1,
        },
    }
}
