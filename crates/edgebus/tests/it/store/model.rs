//! Any sequence of calls gives what a list in memory gives, with restarts and crashes of the
//! process between them, while overlays are sealed and segments recycled all the time.

use std::collections::{BTreeMap, BTreeSet};

use edgebus::consumer::{ConsumerOp, Ledger};
use edgebus::store::StageError;
use edgebus::{Code, ConsumerName, Message, Record, RequestStore, Scope, Seq, StoreError};
use proptest::prelude::*;

use super::{id, open_with, small_config};

const IDS: u64 = 60;
const CONSUMERS: [&str; 3] = ["till", "kitchen", "audit"];

/// A request: its id, which content it has, and how large that is.
#[derive(Clone, Copy, Debug)]
struct Sent {
    id: u64,
    content: u8,
    payload_bytes: u16,
}

#[derive(Clone, Debug)]
enum Op {
    Append(Sent),
    Group(Vec<Sent>),
    SetOffset(usize, u64),
    DeadLetter(usize, u64),
    Get(u64),
    IsDuplicate(u64),
    ReplayFrom(u64),
    Seal,
    Reopen,
    Crash,
}

fn sent() -> impl Strategy<Value = Sent> {
    // Mostly the usual content, so that duplicates are more frequent than conflicts.
    let content = prop_oneof![6 => Just(0u8), 1 => 1..3u8];
    let payload_bytes = prop_oneof![3 => 0..64u16, 1 => 2_000..8_000u16];
    (0..IDS, content, payload_bytes).prop_map(|(id, content, payload_bytes)| Sent {
        id,
        content,
        payload_bytes,
    })
}

fn op() -> impl Strategy<Value = Op> {
    let seq = 0..IDS + 5;
    prop_oneof![
        8 => sent().prop_map(Op::Append),
        6 => prop::collection::vec(sent(), 1..20).prop_map(Op::Group),
        2 => (0..CONSUMERS.len(), seq.clone()).prop_map(|(c, s)| Op::SetOffset(c, s)),
        2 => (0..CONSUMERS.len(), seq.clone()).prop_map(|(c, s)| Op::DeadLetter(c, s)),
        2 => seq.clone().prop_map(Op::Get),
        2 => (0..IDS).prop_map(Op::IsDuplicate),
        1 => seq.prop_map(Op::ReplayFrom),
        3 => Just(Op::Seal),
        2 => Just(Op::Reopen),
        2 => Just(Op::Crash),
    ]
}

impl Sent {
    fn message(self) -> Message {
        let byte = b'a' + self.content;
        let payload = vec![byte; usize::from(self.payload_bytes)];
        let topic = format!("topic.{}", self.content);
        Message::new(id(self.id), topic.parse().expect("topic"), payload)
    }
}

/// What the store should hold.
#[derive(Default)]
struct Model {
    log: Vec<Message>,
    seq_by_id: BTreeMap<u64, Seq>,
    ledgers: BTreeMap<usize, Ledger>,
    dead: BTreeSet<(usize, Seq)>,
}

/// What becomes of a request.
#[derive(Debug, PartialEq)]
enum Outcome {
    New(Seq),
    Duplicate(Seq),
    Conflict,
}

impl Model {
    fn append(&mut self, sent: Sent) -> Outcome {
        let message = sent.message();
        match self.seq_by_id.get(&sent.id) {
            None => {
                self.log.push(message);
                let seq = Seq(self.log.len() as u64);
                self.seq_by_id.insert(sent.id, seq);
                Outcome::New(seq)
            }
            Some(seq) => {
                let stored = &self.log[seq.0 as usize - 1];
                if (&stored.topic, &stored.payload) == (&message.topic, &message.payload) {
                    Outcome::Duplicate(*seq)
                } else {
                    Outcome::Conflict
                }
            }
        }
    }

    fn set_offset(&mut self, index: usize, offset: Seq) {
        match self.ledgers.get_mut(&index) {
            Some(ledger) => drop(ledger.apply(&ConsumerOp::Reset { offset })),
            None => drop(self.ledgers.insert(index, Ledger::new(None, offset))),
        }
    }

    /// What failed for good is done.
    fn dead_letter(&mut self, index: usize, seq: Seq) -> bool {
        let is_new = self.dead.insert((index, seq));
        if let Some(ledger) = self.ledgers.get_mut(&index).filter(|_| is_new) {
            ledger.apply(&ConsumerOp::DeadLettered { seq });
        }
        is_new
    }

    fn check(&self, store: &RequestStore) {
        let found: Vec<Message> = super::all(store)
            .iter()
            .map(|entry| entry.record().to_message().expect("sound"))
            .collect();
        assert!(found == self.log, "the log differs");
        assert_eq!(store.reader().last_seq(), Seq(self.log.len() as u64));
        for id_number in 0..IDS {
            let found = store.reader().find(id(id_number), Scope::default());
            let wanted = self.seq_by_id.get(&id_number).copied();
            assert_eq!(found.expect("readable"), wanted, "id {id_number}");
        }
        for index in 0..CONSUMERS.len() {
            let found = store.get_consumer_offset(&consumer(index));
            let wanted = self.ledgers.get(&index).map(Ledger::offset);
            assert_eq!(found.expect("readable"), wanted);
        }
        assert_eq!(store.dead_letter_count(), self.dead.len() as u64);
    }
}

fn consumer(index: usize) -> ConsumerName {
    CONSUMERS[index].parse().expect("name")
}

fn append(store: &mut RequestStore, sent: Sent) -> Outcome {
    match store.append_request(&sent.message()) {
        Ok(receipt) if receipt.duplicate => Outcome::Duplicate(receipt.seq),
        Ok(receipt) => Outcome::New(receipt.seq),
        Err(StoreError::Refused(refusal)) if refusal.code == Code::IdConflict => Outcome::Conflict,
        Err(error) => panic!("{error}"),
    }
}

/// Sends several requests as one group, or a few when they do not fit one.
fn append_group(store: &mut RequestStore, group: &[Sent]) -> Vec<Outcome> {
    let now = store.clock().now();
    let keys = store.fingerprinter();
    let mut outcomes = Vec::new();
    for sent in group {
        let record = Record::encode(&sent.message(), &store.record_limits()).expect("fits");
        let print = keys.fingerprint(&record);
        let mut staged = store.stage_append(&record, Scope::default(), "", print, now);
        if staged == Err(StageError::GroupFull) {
            store.commit(now).expect("durable");
            staged = store.stage_append(&record, Scope::default(), "", print, now);
        }
        outcomes.push(match staged {
            Ok((seq, true)) => Outcome::Duplicate(seq),
            Ok((seq, false)) => Outcome::New(seq),
            Err(StageError::Refused(refusal)) if refusal.code == Code::IdConflict => {
                Outcome::Conflict
            }
            Err(error) => panic!("{error:?}"),
        });
    }
    store.commit(now).expect("durable");
    outcomes
}

fn run(ops: Vec<Op>) {
    let folder = tempfile::tempdir().expect("folder");
    let mut config = small_config();
    config.ids_per_generation = 16;
    let open = || open_with(folder.path(), config.clone()).expect("opens");
    let mut store = open();
    let mut model = Model::default();
    for op in ops {
        match op {
            Op::Append(sent) => assert_eq!(append(&mut store, sent), model.append(sent)),
            Op::Group(group) => {
                let outcomes = append_group(&mut store, &group);
                let wanted: Vec<Outcome> = group.iter().map(|sent| model.append(*sent)).collect();
                assert_eq!(outcomes, wanted);
            }
            Op::SetOffset(index, offset) => {
                let done = store.set_consumer_offset(&consumer(index), Seq(offset));
                done.expect("durable");
                model.set_offset(index, Seq(offset));
            }
            Op::DeadLetter(index, seq) => {
                let there = (1..=model.log.len() as u64).contains(&seq);
                match store.move_to_dead_letter(Seq(seq), &consumer(index), "no") {
                    Ok(is_new) => assert_eq!(is_new, model.dead_letter(index, Seq(seq))),
                    Err(error) => {
                        assert_eq!((error.code(), there), (Code::NotFound, false));
                    }
                }
            }
            Op::Get(seq) => {
                let found = store.get_by_seq(Seq(seq)).expect("readable");
                let found = found.map(|entry| entry.record().to_message().expect("sound"));
                let wanted = seq.checked_sub(1).and_then(|i| model.log.get(i as usize));
                assert_eq!(found.as_ref(), wanted);
            }
            Op::IsDuplicate(number) => {
                let found = store.is_duplicate(id(number)).expect("readable");
                assert_eq!(found, model.seq_by_id.contains_key(&number));
            }
            Op::ReplayFrom(seq) => {
                let found = store
                    .replay_from(Seq(seq))
                    .map(|e| e.expect("readable").seq().0);
                let wanted = seq.max(1)..=model.log.len() as u64;
                assert!(found.eq(wanted), "from {seq}");
            }
            Op::Seal => super::seal(&mut store),
            Op::Reopen => {
                store.close().expect("closes");
                store = open();
                assert_eq!(store.reader().stats().tail_bytes, 0, "all was sealed");
                model.check(&store);
            }
            Op::Crash => {
                drop(store);
                store = open();
                model.check(&store);
            }
        }
    }
    model.check(&store);
    drop(store);
    model.check(&open());
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn store_does_what_a_list_in_memory_does(ops in prop::collection::vec(op(), 1..80)) {
        run(ops);
    }
}
