//! What is durable about consumers and dead letters, as of the last sync.
//!
//! Every ledger is here, and for each dead letter whose it is; the letters themselves are in
//! overlays and tables. One [`Consumers::apply`] serves live traffic and recovery: it does to the
//! ledgers what the journal says and tells what the overlay has to keep.
//!
//! Invariant: nothing in here is ahead of the disk. The engine works on ledgers of its own
//! ([`super::RequestStore`]), which hold what is staged too; a snapshot of those would put into the
//! tables what the journal then does once more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use edgebus_core::consumer::{ConsumerOp, Ledger};
use edgebus_core::{Code, ConsumerName, Refusal, Seq};
use redb::{Database, ReadableTable as _, ReadableTableMetadata as _};

use super::dead_letter::{DeadLetter, Fate};
use super::op::Op;
use super::tables::{
    CONSUMER_OFFSETS, CONSUMER_STATE, DEAD_LETTER_KEYS, DEAD_LETTERS, METADATA, meta, metadata,
};

/// The consumers by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledgers {
    pub(super) by_name: BTreeMap<ConsumerName, Ledger>,
    /// The highest epoch of those that were removed: a new one begins above it, so that a token of
    /// one that had its name before is stale.
    pub(super) removed_epoch: u32,
}

/// Consumers and dead letters, as of the last sync.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    pub(super) ledgers: Ledgers,
    pub(super) letters: Letters,
    /// Made, changed or removed since the last overlay was closed.
    changed: BTreeSet<ConsumerName>,
}

/// What an overlay keeps of an operation.
#[derive(Debug)]
pub(super) enum Change {
    /// A reply, unless there is one already.
    Reply { seq: Seq, reply: Bytes },
    /// A dead letter as it is now.
    Letter { number: u64, letter: DeadLetter },
    /// What becomes of a dead letter.
    Fate { number: u64, fate: Fate },
    /// Nothing before is kept.
    Trim { before: Seq },
}

/// A consumer as it stands in the tables.
#[derive(Debug)]
pub(super) struct ConsumerRow {
    pub(super) offset: Seq,
    pub(super) state: Vec<u8>,
}

impl Ledgers {
    /// Does an operation to the ledgers; the numbers of the dead letters that are done with it.
    pub(super) fn apply(&mut self, name: &ConsumerName, op: &ConsumerOp) -> Vec<u64> {
        if let Some(ledger) = self.by_name.get_mut(name) {
            if *op == ConsumerOp::Delete {
                self.removed_epoch = self.removed_epoch.max(ledger.epoch());
                self.by_name.remove(name);
                return Vec::new();
            }
            return ledger.apply(op);
        }
        let made = match op {
            ConsumerOp::Put { config, offset } => Ledger::new(Some(config.clone()), *offset),
            ConsumerOp::Reset { offset } => Ledger::new(None, *offset),
            _ => return Vec::new(),
        };
        let made = made.with_epoch(self.removed_epoch.saturating_add(1));
        self.by_name.insert(name.clone(), made);
        Vec::new()
    }
}

impl Consumers {
    /// As the tables have them.
    pub(super) fn load(database: &Database) -> Result<Self, redb::Error> {
        let txn = redb::ReadableDatabase::begin_read(database)?;
        let corrupt = |what: String| Err(redb::Error::Corrupted(what));
        let mut loaded = Self::default();
        for row in txn.open_table(CONSUMER_OFFSETS)?.iter()? {
            let (name, offset) = row?;
            match name.value().parse() {
                // Of format 1, which had nothing but offsets, unless there is more below.
                Ok(name) => loaded
                    .ledgers
                    .by_name
                    .insert(name, Ledger::new(None, Seq(offset.value()))),
                Err(_) => return corrupt("consumer_offsets: a row names no consumer".to_owned()),
            };
        }
        let states = txn.open_table(CONSUMER_STATE)?;
        let numbers = txn.open_table(METADATA)?;
        let removed_epoch = metadata(&numbers, meta::REMOVED_EPOCH)?;
        loaded.ledgers.removed_epoch = u32::try_from(removed_epoch).unwrap_or(u32::MAX);
        if metadata(&numbers, meta::CONSUMERS)? != states.len()? {
            return corrupt("consumer_state: a row is missing".to_owned());
        }
        for row in states.iter()? {
            let (name, row) = row?;
            let known = name.value().parse().ok();
            let known = known.and_then(|name: ConsumerName| loaded.ledgers.by_name.get_mut(&name));
            let place = |what: &str| format!("consumer_state, consumer {:?}: {what}", name.value());
            let ledger = match ConsumerRow::decode(name.value(), row.value()) {
                Ok(ledger) => ledger,
                Err(refusal) => return corrupt(place(&refusal.message)),
            };
            match known {
                Some(known) if known.offset() == ledger.offset() => *known = ledger,
                _ => return corrupt(place("consumer_offsets says otherwise")),
            }
        }
        let keys = txn.open_table(DEAD_LETTER_KEYS)?;
        for row in keys.iter()? {
            let (key, number) = row?;
            let (consumer, seq) = key.value();
            loaded.letters.put(number.value(), consumer, Seq(seq));
        }
        if loaded.letters.count() != txn.open_table(DEAD_LETTERS)?.len()? {
            return corrupt("dead_letter_keys: a row is missing".to_owned());
        }
        Ok(loaded)
    }

    /// Takes in an operation that is on disk.
    pub(super) fn apply(&mut self, op: Op, changes: &mut Vec<Change>) {
        match op {
            // A mark is refused where a store's journal is read, and never made here.
            Op::Append(_) | Op::Mark(_) => {}
            Op::Consumer { name, op } => self.apply_consumer(name, &op, changes),
            Op::DeadLetter { number, letter } => {
                let seq = Seq(letter.seq);
                let name = letter.consumer.parse::<ConsumerName>().ok();
                if let Some(name) = name.filter(|name| self.ledgers.by_name.contains_key(name)) {
                    self.ledgers.apply(&name, &ConsumerOp::DeadLettered { seq });
                    self.changed.insert(name);
                }
                self.letters.put(number, &letter.consumer, seq);
                changes.push(Change::Letter { number, letter });
            }
            Op::Letters { numbers, fate } => {
                numbers
                    .into_iter()
                    .for_each(|number| self.decide(number, fate, changes));
            }
            Op::Trim { before } => changes.push(Change::Trim { before }),
        }
    }

    fn apply_consumer(&mut self, name: ConsumerName, op: &ConsumerOp, changes: &mut Vec<Change>) {
        if let ConsumerOp::Completed { seq, reply } = op {
            let (seq, reply) = (*seq, reply.clone());
            changes.push(Change::Reply { seq, reply });
        }
        let requeued = match op {
            ConsumerOp::Delete | ConsumerOp::Reset { .. } => self.requeued(&name),
            _ => Vec::new(),
        };
        for number in self.ledgers.apply(&name, op) {
            self.decide(number, Fate::Removed, changes);
        }
        if !requeued.is_empty() {
            // Who was to get them has forgotten them: they wait for someone to decide again.
            let still: BTreeSet<u64> = self.requeued(&name).into_iter().collect();
            let forgotten = requeued.into_iter().filter(|n| !still.contains(n));
            for number in forgotten {
                self.decide(number, Fate::Dead, changes);
            }
        }
        self.changed.insert(name);
    }

    fn decide(&mut self, number: u64, fate: Fate, changes: &mut Vec<Change>) {
        let known = match fate {
            Fate::Removed => self.letters.remove(number),
            Fate::Dead | Fate::Requeued => self.letters.contains(number),
        };
        if known {
            changes.push(Change::Fate { number, fate });
        }
    }

    /// Numbers of the dead letters that a consumer is to get again.
    fn requeued(&self, name: &ConsumerName) -> Vec<u64> {
        let Some(ledger) = self.ledgers.by_name.get(name) else {
            return Vec::new();
        };
        let letters = self.letters.of(name.as_str());
        letters
            .filter(|(seq, number)| ledger.requeued(*seq) == Some(*number))
            .map(|(_, number)| number)
            .collect()
    }

    /// The rows of those that changed since this was last asked for; `None` for one that is gone.
    pub(super) fn take_changed(&mut self) -> Vec<(ConsumerName, Option<ConsumerRow>)> {
        let changed = std::mem::take(&mut self.changed).into_iter();
        changed
            .map(|name| {
                let row = self.ledgers.by_name.get(&name);
                let row = row.map(|ledger| ConsumerRow::new(&name, ledger));
                (name, row)
            })
            .collect()
    }
}

impl ConsumerRow {
    /// Of a ledger.
    pub(super) fn new(name: &ConsumerName, ledger: &Ledger) -> Self {
        let body = ledger.encode();
        debug_assert_eq!(
            Ledger::decode(&body).as_ref(),
            Ok(ledger),
            "what is written must be read again"
        );
        let crc = row_crc(name.as_str(), &body);
        Self {
            offset: ledger.offset(),
            state: [&crc, body.as_slice()].concat(),
        }
    }

    /// From a row of the table.
    ///
    /// # Errors
    /// [`Code::Corrupt`].
    pub(super) fn decode(name: &str, row: &[u8]) -> Result<Ledger, Refusal> {
        let body = row.get(4..);
        match body.filter(|body| row[..4] == row_crc(name, body)) {
            Some(body) => Ledger::decode(body),
            None => {
                let what = "stored bytes do not match their checksum";
                Err(Refusal::new(Code::Corrupt, what))
            }
        }
    }
}

/// Covers the name too: a flipped bit in it would give one consumer the state of another.
fn row_crc(name: &str, body: &[u8]) -> [u8; 4] {
    crc32c::crc32c_append(crc32c::crc32c(name.as_bytes()), body).to_le_bytes()
}

/// Whose dead letters there are.
#[derive(Debug, Default)]
pub(super) struct Letters {
    by_number: BTreeMap<u64, (Arc<str>, Seq)>,
    by_consumer: BTreeMap<Arc<str>, BTreeMap<Seq, u64>>,
}

impl Letters {
    fn put(&mut self, number: u64, consumer: &str, seq: Seq) {
        let name = match self.by_consumer.get_key_value(consumer) {
            Some((name, _)) => name.clone(),
            None => Arc::from(consumer),
        };
        let of_consumer = self.by_consumer.entry(name.clone()).or_default();
        of_consumer.insert(seq, number);
        self.by_number.insert(number, (name, seq));
    }

    fn remove(&mut self, number: u64) -> bool {
        let Some((consumer, seq)) = self.by_number.remove(&number) else {
            return false;
        };
        if let Some(of_consumer) = self.by_consumer.get_mut(&consumer) {
            of_consumer.remove(&seq);
            if of_consumer.is_empty() {
                self.by_consumer.remove(&consumer);
            }
        }
        true
    }

    fn contains(&self, number: u64) -> bool {
        self.by_number.contains_key(&number)
    }

    /// Requests and numbers of a consumer's dead letters.
    pub(super) fn of(&self, consumer: &str) -> impl Iterator<Item = (Seq, u64)> + '_ {
        let of_consumer = self.by_consumer.get(consumer).into_iter().flatten();
        of_consumer.map(|(seq, number)| (*seq, *number))
    }

    /// How many a consumer has.
    pub(super) fn count_of(&self, consumer: &str) -> u64 {
        self.by_consumer
            .get(consumer)
            .map_or(0, |of_consumer| of_consumer.len() as u64)
    }

    /// The number of a consumer's dead letter.
    pub(super) fn number_of(&self, consumer: &str, seq: Seq) -> Option<u64> {
        self.by_consumer.get(consumer)?.get(&seq).copied()
    }

    /// Whose a dead letter is.
    pub(super) fn whose(&self, number: u64) -> Option<(Arc<str>, Seq)> {
        self.by_number.get(&number).cloned()
    }

    /// Numbers above one, ascending.
    pub(super) fn after(&self, number: u64) -> impl Iterator<Item = u64> + '_ {
        let above = (
            std::ops::Bound::Excluded(number),
            std::ops::Bound::Unbounded,
        );
        self.by_number.range(above).map(|(number, _)| *number)
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.by_number.len() as u64
    }
}
