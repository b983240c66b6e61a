//! What a store should hold, kept in memory and as simple as can be.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use edgebus::consumer::{ConsumerConfig, ConsumerOp, Ledger, Reply};
use edgebus::{ConsumerName, Message, RequestId, RequestStore, Seq};
use edgebus_sim::SimRng;
use prost::Message as _;

pub(crate) const CONSUMERS: [&str; 3] = ["till", "kitchen", "audit"];

/// A request as it was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Request {
    pub(crate) id: RequestId,
    pub(crate) topic: &'static str,
    pub(crate) payload: Arc<[u8]>,
}

impl Request {
    /// A request nobody sent before: of a size and content by chance.
    pub(crate) fn random(rng: &mut SimRng) -> Self {
        let mut id = [0; 16];
        rng.fill(&mut id);
        let bytes_max = *rng.pick(&[0, 20, 200, 3_000]);
        let mut payload = vec![b'x'; rng.below(bytes_max + 1) as usize];
        if rng.chance(0.5) {
            rng.fill(&mut payload);
        }
        Self {
            id: RequestId::from_bytes(id),
            topic: *rng.pick(&["orders.created", "orders.paid", "doors"]),
            payload: payload.into(),
        }
    }

    /// The same id with other content.
    pub(crate) fn forged(&self) -> Self {
        let payload = [self.payload.as_ref(), b"!"].concat();
        Self {
            payload: payload.into(),
            ..self.clone()
        }
    }

    pub(crate) fn message(&self) -> Message {
        let topic = self.topic.parse().expect("topic");
        Message::new(self.id, topic, self.payload.to_vec())
    }
}

/// A change of state.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Append(Request),
    /// What happens to a consumer; `Put` and `Reset` make it if there is none.
    Consumer(&'static str, ConsumerOp),
    /// A message failed for good, as its machine or an operator says.
    Letter(&'static str, Seq, Vec<String>),
    Requeued(u64),
    Removed(u64),
    Trim(Seq),
}

/// A dead letter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Letter {
    pub(crate) consumer: &'static str,
    pub(crate) seq: Seq,
    pub(crate) errors: Vec<String>,
    pub(crate) requeued: bool,
}

/// Everything a store holds.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Model {
    /// All that was ever stored.
    pub(crate) log: Vec<Request>,
    /// How many of them are trimmed.
    pub(crate) trimmed: u64,
    pub(crate) ledgers: BTreeMap<&'static str, Ledger>,
    /// The highest epoch of the consumers that were removed.
    pub(crate) removed_epoch: u32,
    pub(crate) replies: BTreeMap<Seq, Bytes>,
    pub(crate) letters: BTreeMap<u64, Letter>,
    pub(crate) last_letter: u64,
}

impl Model {
    /// The first sequence number that is kept.
    pub(crate) fn first_seq(&self) -> Seq {
        Seq(self.trimmed + 1)
    }

    /// The last sequence number.
    pub(crate) fn last_seq(&self) -> Seq {
        Seq(self.log.len() as u64)
    }

    /// A request that is kept, if there is one.
    pub(crate) fn pick(&self, rng: &mut SimRng) -> Option<Seq> {
        let kept = self.last_seq().0 - self.trimmed;
        (kept > 0).then(|| Seq(self.first_seq().0 + rng.below(kept)))
    }

    /// The number of a dead letter.
    pub(crate) fn letter_of(&self, consumer: &str, seq: Seq) -> Option<u64> {
        let mut letters = self.letters.iter();
        let found = letters.find(|(_, l)| l.consumer == consumer && l.seq == seq);
        found.map(|(number, _)| *number)
    }

    /// With these changes done.
    pub(crate) fn after(&self, changes: &[Change]) -> Self {
        let mut model = self.clone();
        for change in changes {
            model.apply(change);
        }
        model
    }

    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::Append(request) => self.log.push(request.clone()),
            Change::Consumer(consumer, op) => self.apply_op(consumer, op),
            Change::Letter(consumer, seq, errors) => {
                let number = self.letter_of(consumer, *seq);
                let number = number.unwrap_or(self.last_letter + 1);
                self.last_letter = self.last_letter.max(number);
                let letter = self.letters.entry(number).or_insert_with(|| Letter {
                    consumer,
                    seq: *seq,
                    errors: Vec::new(),
                    requeued: false,
                });
                letter.errors.extend(errors.iter().cloned());
                letter.requeued = false;
                if let Some(ledger) = self.ledgers.get_mut(consumer) {
                    ledger.apply(&ConsumerOp::DeadLettered { seq: *seq });
                }
            }
            Change::Requeued(number) => {
                self.letters.get_mut(number).expect("picked").requeued = true;
            }
            Change::Removed(number) => {
                self.letters.remove(number).expect("picked");
            }
            Change::Trim(before) => {
                let all = self.last_seq().0;
                self.trimmed = self.trimmed.max(before.0.saturating_sub(1).min(all));
            }
        }
    }

    fn apply_op(&mut self, consumer: &'static str, op: &ConsumerOp) {
        let is_there = self.ledgers.contains_key(consumer);
        match op {
            ConsumerOp::Delete => {
                if let Some(removed) = self.ledgers.remove(consumer) {
                    self.removed_epoch = self.removed_epoch.max(removed.epoch());
                }
                for letter in self.letters.values_mut() {
                    letter.requeued &= letter.consumer != consumer;
                }
            }
            ConsumerOp::Put { config, offset } if !is_there => {
                let ledger = Ledger::new(Some(config.clone()), *offset);
                let ledger = ledger.with_epoch(self.removed_epoch + 1);
                self.ledgers.insert(consumer, ledger);
            }
            ConsumerOp::Reset { offset } if !is_there => {
                let ledger = Ledger::new(None, *offset);
                let ledger = ledger.with_epoch(self.removed_epoch + 1);
                self.ledgers.insert(consumer, ledger);
            }
            op => {
                let ledger = self.ledgers.get_mut(consumer).expect("it is there");
                for number in ledger.apply(op) {
                    self.letters.remove(&number).expect("it had been requeued");
                }
                if let ConsumerOp::Completed { seq, reply } = op {
                    self.replies.entry(*seq).or_insert_with(|| reply.clone());
                }
            }
        }
    }

    /// Why a store does not hold exactly this; `Ok` when it does.
    pub(crate) fn compare(&self, store: &RequestStore) -> Result<(), String> {
        let first = store.reader().first_seq();
        if first != self.first_seq() {
            return Err(format!(
                "the log begins at {first}, not {}",
                self.first_seq()
            ));
        }
        let mut seq = Seq(self.trimmed);
        for entry in store.replay_from(Seq(1)) {
            let entry = entry.map_err(|error| format!("replay after seq {seq}: {error}"))?;
            seq = seq.next();
            if entry.seq() != seq {
                return Err(format!("seq {} where {seq} belongs", entry.seq()));
            }
            let record = entry.record();
            let Some(wanted) = self.log.get(seq.0 as usize - 1) else {
                return Err(format!("seq {seq} should not be there"));
            };
            let same = record.id() == wanted.id
                && record.topic_str() == wanted.topic
                && record.payload_bytes() == wanted.payload.as_ref();
            if !same {
                return Err(format!("seq {seq} is not what was sent"));
            }
        }
        if seq != self.last_seq() || store.reader().last_seq() != seq {
            return Err(format!("the log ends at {seq}, not {}", self.last_seq()));
        }
        self.compare_consumers(store)?;
        self.compare_letters(store)
    }

    fn compare_consumers(&self, store: &RequestStore) -> Result<(), String> {
        let reader = store.reader();
        let synced = reader.consumers();
        for found in [store.ledgers(), &synced] {
            let same = found.len() == self.ledgers.len()
                && found
                    .iter()
                    .all(|(name, found)| self.ledgers.get(name.as_str()) == Some(found));
            if !same {
                return Err(format!("consumers are {found:?}, not {:?}", self.ledgers));
            }
        }
        for consumer in CONSUMERS {
            let found = reader.get_consumer_offset(&name(consumer));
            let found = found.map_err(|error| error.to_string())?;
            if found != self.ledgers.get(consumer).map(Ledger::offset) {
                return Err(format!("offset of {consumer} is {found:?}"));
            }
        }
        for seq in (1..=self.last_seq().0).map(Seq) {
            let found = reader.reply(seq).map_err(|error| error.to_string())?;
            let found = found.map(|reply| Bytes::from(reply.encode_to_vec()));
            let wanted = self.replies.get(&seq).filter(|_| seq >= self.first_seq());
            if found.as_ref() != wanted {
                return Err(format!("the reply to {seq} is {found:?}, not {wanted:?}"));
            }
        }
        Ok(())
    }

    fn compare_letters(&self, store: &RequestStore) -> Result<(), String> {
        let reader = store.reader();
        let found = reader.dead_letters(0, usize::MAX);
        let mut letters = BTreeMap::new();
        for (number, letter) in found.map_err(|error| error.to_string())? {
            let consumer = CONSUMERS.into_iter().find(|name| *name == letter.consumer);
            let entry = letter.entry().map_err(|refusal| refusal.to_string())?;
            let request = &self.log[letter.seq as usize - 1];
            if entry.seq().0 != letter.seq || entry.record().id() != request.id {
                return Err(format!("dead letter {number} holds another request"));
            }
            let errors = letter.attempts.iter().map(|attempt| attempt.error.clone());
            let letter = Letter {
                consumer: consumer.expect("a name that was used"),
                seq: Seq(letter.seq),
                errors: errors.collect(),
                requeued: letter.is_requeued(),
            };
            letters.insert(number, letter);
        }
        if letters != self.letters || reader.dead_letter_count() != letters.len() as u64 {
            return Err(format!(
                "dead letters are {letters:?}, not {:?}",
                self.letters
            ));
        }
        Ok(())
    }

    /// Checks the look-ups that [`Model::compare`] leaves out: every id and every dead letter.
    pub(crate) fn check_look_ups(&self, store: &mut RequestStore) {
        let reader = store.reader();
        for (seq, request) in (1..).map(Seq).zip(&self.log) {
            let found = reader.find(request.id, Default::default()).expect("find");
            // Ids of what is trimmed are forgotten behind the horizon, which is short here.
            let forgotten = found.is_none() && seq < self.first_seq();
            assert!(
                found == Some(seq) || forgotten,
                "id of seq {seq}: {found:?}"
            );
        }
        let now = store.clock().now();
        for Letter { consumer, seq, .. } in self.letters.values() {
            let staged = store.stage_dead_letter(*seq, &name(consumer), "again", now);
            assert_eq!(staged.expect("look-up"), Ok(false), "{consumer} {seq}");
        }
        assert_eq!(store.staged_bytes(), 0, "nothing was new");
    }
}

pub(crate) fn name(consumer: &str) -> ConsumerName {
    consumer.parse().expect("consumer name")
}

/// One of a few configurations.
pub(crate) fn config(max_attempts: u32) -> ConsumerConfig {
    ConsumerConfig::responder("orders.*".parse().expect("pattern")).max_attempts(max_attempts)
}

/// A reply as its consumer's machine journals it.
pub(crate) fn reply(rng: &mut SimRng) -> Bytes {
    let mut payload = vec![0; rng.below(200) as usize];
    rng.fill(&mut payload);
    Reply::new(payload).encode_to_vec().into()
}
