//! What is durable about consumers, replies and dead letters is after any crash what it would be
//! without, while overlays are sealed and the log is trimmed all the time.

use std::collections::BTreeMap;

use edgebus::consumer::{
    Attempt, AttemptError, ConsumerConfig, ConsumerOp, DeadLetterCode, Failure, Ledger, PlaceKind,
    Reply,
};
use edgebus::store::{DeadLetter, NewLetter, StageError, TailRead};
use edgebus::{ConsumerName, RequestStore, Seq};
use proptest::prelude::*;
use prost::Message as _;

use super::{append, id, message, open_with, seal, small_config};

const CONSUMERS: [&str; 3] = ["till", "kitchen", "audit"];

/// One thing that happens; numbers are taken modulo what there is.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Append,
    Put(usize, u64),
    Delete(usize),
    Reset(usize, u64),
    Change(usize, ConsumerOp),
    /// A machine gives up on a message.
    GiveUp(usize, u64, Vec<String>),
    /// By hand.
    Move(usize, u64),
    Requeue(u64),
    Remove(u64),
    Trim(u64),
    Commit,
    Seal,
    Reopen,
    Crash,
}

fn name(index: usize) -> ConsumerName {
    CONSUMERS[index].parse().expect("name")
}

fn config(max_attempts: u32) -> ConsumerConfig {
    ConsumerConfig::responder("orders.>".parse().expect("pattern")).max_attempts(max_attempts)
}

fn reply(text: &str) -> Reply {
    Reply::new(text.to_owned()).header("a", "b")
}

fn change() -> impl Strategy<Value = ConsumerOp> {
    let seq = || (1..60u64).prop_map(Seq);
    let range = || (seq(), 0..5u64).prop_map(|(from, more)| (from, Seq(from.0 + more)));
    let ranges = || {
        prop::collection::btree_map(0..8u64, 0..6u64, 1..4).prop_map(|parts| {
            let parts = parts.into_iter();
            parts
                .map(|(from, more)| (Seq(from * 8 + 1), Seq(from * 8 + 1 + more)))
                .collect()
        })
    };
    let attempt = (seq(), 1..4u32, any::<bool>()).prop_map(|(seq, delivery, alone)| Attempt {
        seq,
        delivery,
        place: PlaceKind::Connection,
        alone,
    });
    let failure = (seq(), any::<bool>(), 0..99u64).prop_map(|(seq, charged, due_ms)| Failure {
        seq,
        charged,
        suspect: !charged,
        due_ms,
        error: "no".to_owned(),
        wall_ms: due_ms,
    });
    prop_oneof![
        3 => prop::collection::vec(attempt, 1..4).prop_map(ConsumerOp::Attempts),
        3 => ranges().prop_map(ConsumerOp::Done),
        4 => (seq(), "[a-z]{0,9}").prop_map(|(seq, text)| ConsumerOp::Completed {
            seq,
            reply: reply(&text).encode_to_vec().into(),
        }),
        2 => prop::collection::vec(failure, 1..4).prop_map(ConsumerOp::Failed),
        1 => ranges().prop_map(ConsumerOp::Again),
        1 => seq().prop_map(|offset| ConsumerOp::Progress { offset }),
        1 => range().prop_map(|(from, to)| ConsumerOp::Gap { from, to }),
        1 => any::<bool>().prop_map(ConsumerOp::Paused),
    ]
}

pub(super) fn act() -> impl Strategy<Value = Act> {
    let consumer = || 0..CONSUMERS.len();
    prop_oneof![
        8 => Just(Act::Append),
        3 => (consumer(), 0..40u64).prop_map(|(c, s)| Act::Put(c, s)),
        1 => consumer().prop_map(Act::Delete),
        2 => (consumer(), 0..40u64).prop_map(|(c, s)| Act::Reset(c, s)),
        12 => (consumer(), change()).prop_map(|(c, op)| Act::Change(c, op)),
        3 => (consumer(), any::<u64>(), prop::collection::vec("[a-z]{0,9}", 0..3))
            .prop_map(|(c, s, errors)| Act::GiveUp(c, s, errors)),
        2 => (consumer(), any::<u64>()).prop_map(|(c, s)| Act::Move(c, s)),
        3 => any::<u64>().prop_map(Act::Requeue),
        1 => any::<u64>().prop_map(Act::Remove),
        1 => any::<u64>().prop_map(Act::Trim),
        4 => Just(Act::Commit),
        3 => Just(Act::Seal),
        1 => Just(Act::Reopen),
        2 => Just(Act::Crash),
    ]
}

/// What the store should hold.
#[derive(Clone, Default)]
pub(super) struct Model {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) ledgers: BTreeMap<ConsumerName, Ledger>,
    /// The highest epoch of those that were removed.
    removed_epoch: u32,
    replies: BTreeMap<Seq, Reply>,
    /// By number: consumer, request, errors, whether it is requeued.
    letters: BTreeMap<u64, Letter>,
    last_letter: u64,
}

#[derive(Clone, Debug, PartialEq)]
struct Letter {
    consumer: ConsumerName,
    seq: Seq,
    errors: Vec<String>,
    requeued: bool,
}

impl Model {
    /// A request that is kept.
    fn pick(&self, number: u64) -> Option<Seq> {
        let kept = self.last + 1 - self.first;
        (kept > 0).then(|| Seq(self.first + number % kept))
    }

    fn letter_of(&self, consumer: &ConsumerName, seq: Seq) -> Option<u64> {
        let mut letters = self.letters.iter();
        let found = letters.find(|(_, l)| l.consumer == *consumer && l.seq == seq);
        found.map(|(number, _)| *number)
    }

    fn put_letter(&mut self, consumer: &ConsumerName, seq: Seq, errors: Vec<String>) -> u64 {
        let number = self
            .letter_of(consumer, seq)
            .unwrap_or(self.last_letter + 1);
        self.last_letter = self.last_letter.max(number);
        let letter = self.letters.entry(number).or_insert_with(|| Letter {
            consumer: consumer.clone(),
            seq,
            errors: Vec::new(),
            requeued: false,
        });
        letter.errors.extend(errors);
        letter.requeued = false;
        number
    }

    pub(super) fn check(&self, store: &RequestStore) {
        assert_eq!(store.ledgers(), &self.ledgers);
        let reader = store.reader();
        assert_eq!(reader.consumers(), self.ledgers);
        assert_eq!(
            (reader.first_seq().0, reader.last_seq().0),
            (self.first, self.last)
        );
        let found: Vec<u64> = super::all(store)
            .iter()
            .map(|entry| entry.seq().0)
            .collect();
        assert!(
            found.iter().copied().eq(self.first..=self.last),
            "{found:?}"
        );
        for seq in (0..self.last + 70).map(Seq) {
            let wanted = self.replies.get(&seq).filter(|_| seq.0 >= self.first);
            assert_eq!(
                reader.reply(seq).expect("readable").as_ref(),
                wanted,
                "{seq}"
            );
        }
        assert_eq!(reader.dead_letter_count(), self.letters.len() as u64);
        let letters = reader.dead_letters(0, 1_000).expect("readable");
        let found: BTreeMap<u64, Letter> = letters
            .into_iter()
            .map(|(number, letter)| (number, seen(&letter)))
            .collect();
        assert_eq!(found, self.letters);
        for (number, letter) in &self.letters {
            let of = reader.dead_letter_of(letter.consumer.as_str(), letter.seq);
            assert_eq!(of.expect("readable"), Some(*number));
        }
        for index in 0..CONSUMERS.len() {
            let offset = reader.get_consumer_offset(&name(index)).expect("readable");
            assert_eq!(offset, self.ledgers.get(&name(index)).map(Ledger::offset));
        }
    }
}

fn seen(letter: &DeadLetter) -> Letter {
    let entry = letter.entry().expect("whole");
    assert_eq!(entry.seq(), Seq(letter.seq));
    assert_eq!(entry.record().to_message(), Ok(message(letter.seq)));
    Letter {
        consumer: letter.consumer.parse().expect("name"),
        seq: Seq(letter.seq),
        errors: letter
            .attempts
            .iter()
            .map(|attempt| attempt.error.clone())
            .collect(),
        requeued: letter.is_requeued(),
    }
}

/// The store, and what it should hold: on disk, and with what is staged.
pub(super) struct Run {
    folder: tempfile::TempDir,
    pub(super) store: RequestStore,
    pub(super) synced: Model,
    staged: Model,
}

fn open(folder: &tempfile::TempDir) -> RequestStore {
    let mut config = small_config();
    config.ids_per_generation = 16;
    open_with(folder.path(), config).expect("opens")
}

impl Run {
    pub(super) fn act(&mut self, act: Act) {
        let (store, model) = (&mut self.store, &mut self.staged);
        let now = store.clock().now();
        match act {
            Act::Append => {
                self.commit();
                self.staged.last += 1;
                append(&mut self.store, self.staged.last..=self.staged.last);
                self.synced = self.staged.clone();
            }
            Act::Put(index, offset) => {
                let config = config(1 + offset as u32);
                let staged = store.stage_put(&name(index), config.clone(), Seq(offset));
                staged.expect("room");
                let op = ConsumerOp::Put {
                    config: config.clone(),
                    offset: Seq(offset),
                };
                match model.ledgers.get_mut(&name(index)) {
                    Some(ledger) => drop(ledger.apply(&op)),
                    None => {
                        let ledger = Ledger::new(Some(config), Seq(offset));
                        let ledger = ledger.with_epoch(model.removed_epoch + 1);
                        model.ledgers.insert(name(index), ledger);
                    }
                }
            }
            Act::Delete(index) => {
                store.stage_delete(&name(index)).expect("room");
                if let Some(removed) = model.ledgers.remove(&name(index)) {
                    model.removed_epoch = model.removed_epoch.max(removed.epoch());
                }
                // Nobody is to get them again.
                for letter in model.letters.values_mut() {
                    letter.requeued &= letter.consumer != name(index);
                }
            }
            Act::Reset(index, offset) => {
                store.stage_offset(&name(index), Seq(offset)).expect("room");
                let op = ConsumerOp::Reset {
                    offset: Seq(offset),
                };
                match model.ledgers.get_mut(&name(index)) {
                    Some(ledger) => drop(ledger.apply(&op)),
                    None => {
                        let ledger = Ledger::new(None, Seq(offset));
                        let ledger = ledger.with_epoch(model.removed_epoch + 1);
                        model.ledgers.insert(name(index), ledger);
                    }
                }
            }
            Act::Change(index, op) => {
                let Some(ledger) = store.ledger_mut(&name(index)) else {
                    return;
                };
                // Only what is not done is given out.
                if let ConsumerOp::Attempts(attempts) = &op
                    && attempts.iter().any(|attempt| ledger.is_done(attempt.seq))
                {
                    return;
                }
                let closed = ledger.apply(&op);
                store
                    .stage_change(&name(index), &op, &closed)
                    .expect("room");
                let ledger = model.ledgers.get_mut(&name(index)).expect("the same");
                assert_eq!(ledger.apply(&op), closed);
                for number in closed {
                    model.letters.remove(&number).expect("it had been requeued");
                }
                if let ConsumerOp::Completed { seq, reply } = op {
                    let reply = Reply::decode(reply).expect("a reply");
                    // The first one stays, and none comes to a request that is gone.
                    if seq.0 >= model.first {
                        model.replies.entry(seq).or_insert(reply);
                    }
                }
            }
            Act::GiveUp(index, number, errors) => self.give_up(&name(index), number, errors),
            Act::Move(index, number) => {
                let Some(seq) = model.pick(number) else {
                    return;
                };
                let staged = store.stage_dead_letter(seq, &name(index), "moved", now);
                let is_new = staged.expect("readable").expect("room");
                assert_eq!(is_new, model.letter_of(&name(index), seq).is_none());
                if is_new {
                    model.put_letter(&name(index), seq, Vec::new());
                    if let Some(ledger) = model.ledgers.get_mut(&name(index)) {
                        ledger.apply(&ConsumerOp::DeadLettered { seq });
                    }
                }
            }
            Act::Requeue(number) => self.requeue(number),
            Act::Remove(number) => self.remove(number),
            Act::Trim(number) => {
                self.commit();
                let before = Seq(number % (self.staged.last + 2));
                self.store.trim(before).expect("durable");
                self.staged.first = self.staged.first.max(before.0.min(self.staged.last + 1));
                self.synced = self.staged.clone();
            }
            Act::Commit => self.commit(),
            Act::Seal => {
                self.commit();
                seal(&mut self.store);
            }
            Act::Reopen | Act::Crash => self.reopen(matches!(act, Act::Reopen)),
        }
    }

    pub(super) fn commit(&mut self) {
        let now = self.store.clock().now();
        self.store.commit(now).expect("durable");
        self.synced = self.staged.clone();
    }

    /// What a machine does when a message failed too often.
    fn give_up(&mut self, name: &ConsumerName, number: u64, errors: Vec<String>) {
        let (store, model) = (&mut self.store, &mut self.staged);
        let now = store.clock().now();
        let Some(seq) = model.pick(number) else {
            return;
        };
        let Some(ledger) = store.ledger_mut(name) else {
            return;
        };
        let op = ConsumerOp::DeadLettered { seq };
        let number = ledger.requeued(seq);
        assert_eq!(ledger.apply(&op), []);
        store.stage_change(name, &op, &[]).expect("room");
        let entry = store.get_by_seq(seq).expect("readable").expect("kept");
        let attempts = errors.iter().map(|error| AttemptError {
            error: error.clone(),
            wall_ms: 7,
        });
        let letter = NewLetter {
            consumer: name,
            entry: &entry,
            number,
            code: DeadLetterCode::Attempts,
            reason: "too often",
            attempts: attempts.collect(),
        };
        // Earlier errors are read from what is on disk.
        let before = model.letter_of(name, seq);
        if before.is_some() && self.synced.letter_of(name, seq) != before {
            self.commit();
        }
        let (store, model) = (&mut self.store, &mut self.staged);
        let number = store.stage_letter(letter, now).expect("room");
        model.ledgers.get_mut(name).expect("the same").apply(&op);
        assert_eq!(number, model.put_letter(name, seq, errors));
    }

    fn requeue(&mut self, number: u64) {
        self.commit();
        let (store, model) = (&mut self.store, &mut self.staged);
        let Some(number) = pick_letter(model, number) else {
            return;
        };
        let letter = model.letters.get_mut(&number).expect("picked");
        let name = letter.consumer.clone();
        let Some(ledger) = store.ledger_mut(&name) else {
            return;
        };
        let op = ConsumerOp::Requeued {
            seq: letter.seq,
            number,
        };
        ledger.apply(&op);
        store.stage_requeued(number).expect("room");
        store.stage_change(&name, &op, &[]).expect("room");
        model.ledgers.get_mut(&name).expect("the same").apply(&op);
        letter.requeued = true;
    }

    fn remove(&mut self, number: u64) {
        self.commit();
        let (store, model) = (&mut self.store, &mut self.staged);
        let Some(number) = pick_letter(model, number) else {
            return;
        };
        let letter = model.letters.remove(&number).expect("picked");
        let op = ConsumerOp::Dropped { seq: letter.seq };
        if letter.requeued
            && let Some(ledger) = store.ledger_mut(&letter.consumer)
        {
            ledger.apply(&op);
            store
                .stage_change(&letter.consumer, &op, &[])
                .expect("room");
            let ledger = model.ledgers.get_mut(&letter.consumer);
            ledger.expect("the same").apply(&op);
        }
        store.stage_letters_removed(&[number]).expect("room");
    }

    /// What was only staged is gone after a crash.
    fn reopen(&mut self, closed: bool) {
        let elsewhere = tempfile::tempdir().expect("folder");
        let placeholder = open(&elsewhere);
        let store = std::mem::replace(&mut self.store, placeholder);
        if closed {
            store.close().expect("closes");
            self.synced = self.staged.clone();
        } else {
            drop(store);
        }
        self.store = open(&self.folder);
        self.staged = self.synced.clone();
        self.synced.check(&self.store);
    }
}

fn pick_letter(model: &Model, number: u64) -> Option<u64> {
    let count = model.letters.len() as u64;
    let index = number.checked_rem(count)?;
    model.letters.keys().nth(index as usize).copied()
}

/// An empty store.
pub(super) fn new_run() -> Run {
    let folder = tempfile::tempdir().expect("folder");
    let model = Model {
        first: 1,
        ..Model::default()
    };
    Run {
        store: open(&folder),
        folder,
        synced: model.clone(),
        staged: model,
    }
}

fn run(acts: Vec<Act>) {
    let mut run = new_run();
    for act in acts {
        run.act(act);
    }
    run.commit();
    run.staged.check(&run.store);
    run.reopen(false);
    run.reopen(true);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn consumers_replies_and_dead_letters_survive_any_crash(acts in prop::collection::vec(act(), 1..90)) {
        run(acts);
    }
}

fn till_with(last: u64) -> (tempfile::TempDir, RequestStore, ConsumerName) {
    let folder = tempfile::tempdir().expect("folder");
    let mut store = open(&folder);
    append(&mut store, 1..=last);
    (folder, store, name(0))
}

fn complete(store: &mut RequestStore, name: &ConsumerName, seq: Seq, text: &str) {
    let reply = reply(text).encode_to_vec().into();
    let op = ConsumerOp::Completed { seq, reply };
    let closed = store.ledger_mut(name).expect("made").apply(&op);
    store.stage_change(name, &op, &closed).expect("room");
}

#[test]
fn nobody_sees_what_is_only_staged_but_the_engine_itself() {
    let (_folder, mut store, till) = till_with(3);
    let now = store.clock().now();
    store.stage_put(&till, config(5), Seq(0)).expect("room");
    complete(&mut store, &till, Seq(1), "done");
    store.stage_trim(Seq(2)).expect("room");
    let reader = store.reader();
    assert_eq!(store.ledgers()[&till].offset(), Seq(1));
    assert_eq!(reader.consumers().len(), 0);
    assert_eq!(reader.get_consumer_offset(&till).expect("readable"), None);
    assert_eq!(reader.reply(Seq(1)).expect("readable"), None);
    assert_eq!(reader.first_seq(), Seq(1));
    store.commit(now).expect("durable");
    assert_eq!(
        reader.get_consumer_offset(&till).expect("readable"),
        Some(Seq(1))
    );
    assert_eq!(reader.first_seq(), Seq(2));
    assert_eq!(
        reader.reply(Seq(1)).expect("readable"),
        None,
        "it is trimmed"
    );
}

#[test]
fn first_reply_of_a_request_stays_wherever_it_is() {
    let (folder, mut store, till) = till_with(3);
    let now = store.clock().now();
    store.stage_put(&till, config(5), Seq(0)).expect("room");
    complete(&mut store, &till, Seq(1), "first");
    store.commit(now).expect("durable");
    for round in 0..4 {
        complete(&mut store, &till, Seq(1), "later");
        store.commit(now).expect("durable");
        let found = store.reader().reply(Seq(1)).expect("readable");
        assert_eq!(found, Some(reply("first")), "round {round}");
        match round {
            0 => seal(&mut store),
            1 => store.close_overlay(),
            _ => {
                drop(store);
                store = open(&folder);
            }
        }
    }
}

#[test]
fn tail_gives_what_is_synced_and_staged_and_never_what_is_on_disk_only() {
    let (_folder, mut store, _) = till_with(4);
    seal(&mut store);
    append(&mut store, 5..=7);
    store.close_overlay();
    append(&mut store, 8..=9);
    let now = store.clock().now();
    for number in 10..=11 {
        let message = message(number);
        let record = edgebus::Record::encode(&message, &store.record_limits()).expect("fits");
        let print = store.fingerprinter().fingerprint(&record);
        let staged = store.stage_append(&record, Default::default(), "", print, now);
        assert_eq!(staged, Ok((Seq(number), false)));
    }
    let seqs = |from: u64, count, bytes| match store.tail_from(Seq(from), count, bytes) {
        TailRead::Entries(entries) => entries.iter().map(|entry| entry.seq().0).collect(),
        other => panic!("{other:?}"),
    };
    let all: Vec<u64> = seqs(9, 100, usize::MAX);
    assert_eq!(all, [9, 10, 11]);
    assert_eq!(store.tail_from(Seq(4), 9, 9), TailRead::InTables);
    assert_eq!(store.tail_from(Seq(12), 9, 9), TailRead::End);
    let some: Vec<u64> = seqs(10, 1, usize::MAX);
    assert_eq!(some, [10]);
    let at_least_one: Vec<u64> = seqs(11, 9, 1);
    assert_eq!(at_least_one, [11]);
    let at_least_one: Vec<u64> = seqs(9, 9, 0);
    assert_eq!(at_least_one, [9]);
    store.drop_staged_appends();
    assert_eq!(store.tail_from(Seq(10), 9, 9), TailRead::End);
    assert_eq!(store.staged_bytes(), 0);
    assert!(!store.is_duplicate(id(10)).expect("readable"));
}

#[test]
fn unknown_dead_letter_is_refused_by_name() {
    let (_folder, mut store, _) = till_with(1);
    for staged in [store.stage_requeued(7), store.stage_letters_removed(&[7])] {
        let Err(StageError::Refused(refusal)) = staged else {
            panic!("{staged:?}");
        };
        assert_eq!(refusal.code, edgebus::Code::NoSuchDeadLetter);
        assert!(refusal.message.contains('7'), "{refusal}");
    }
}

#[test]
fn dead_letters_are_bounded_by_hand_too() {
    let folder = tempfile::tempdir().expect("folder");
    let mut bounded = small_config();
    bounded.dead_letters_max = 2;
    let mut store = open_with(folder.path(), bounded).expect("opens");
    append(&mut store, 1..=3);
    for seq in [1, 2] {
        assert!(!store.dead_letters_full());
        assert!(
            store
                .move_to_dead_letter(Seq(seq), &name(0), "no")
                .expect("durable")
        );
    }
    assert!(store.dead_letters_full());
    let error = store
        .move_to_dead_letter(Seq(3), &name(0), "no")
        .expect_err("full");
    assert_eq!(error.code(), edgebus::Code::StorageFull);
    store.stage_letters_removed(&[1]).expect("room");
    let now = store.clock().now();
    store.commit(now).expect("durable");
    assert!(
        store
            .move_to_dead_letter(Seq(3), &name(0), "no")
            .expect("durable")
    );
}

/// The store was set up for larger requests once; its groups and segments are smaller now.
#[test]
fn dead_letter_larger_than_a_group_is_kept_whole() {
    let folder = tempfile::tempdir().expect("folder");
    let mut large = small_config();
    large.segment_bytes = 2 * 1024 * 1024;
    large.record.payload_bytes_max = 400 * 1024;
    let mut store = open_with(folder.path(), large).expect("opens");
    let message = super::large_message(1, 400 * 1024);
    store.append_request(&message).expect("stored");
    store.close().expect("closes");

    let mut store = open(&folder);
    append(&mut store, 2..=3);
    let moved = store.move_to_dead_letter(Seq(1), &name(0), "no");
    assert!(moved.expect("durable"));
    append(&mut store, 4..=5);
    for _ in 0..3 {
        let letter = store.reader().dead_letter(1).expect("readable");
        let entry = letter.expect("kept").entry().expect("whole");
        assert_eq!(entry.record().to_message().as_ref(), Ok(&message));
        assert_eq!(store.reader().last_seq(), Seq(5));
        drop(store);
        store = open(&folder);
    }
    seal(&mut store);
    append(&mut store, 6..=6);
    seal(&mut store);
    append(&mut store, 7..=7);
    seal(&mut store);
    let sizes = super::segments(folder.path());
    let sizes = sizes
        .iter()
        .map(|path| path.metadata().expect("file").len());
    assert!(sizes.max() <= Some(256 * 1024), "the large one is gone");
}

/// Room for what is decided about requests is made before; when more is decided, it waits for the
/// next group. Else it would stay when the requests are refused, and meet others of the same number.
#[test]
fn change_beyond_the_room_that_was_made_does_not_go_with_the_requests() {
    let (_folder, mut store, till) = till_with(1);
    let now = store.clock().now();
    store.stage_put(&till, config(5), Seq(0)).expect("room");
    store.commit(now).expect("durable");
    // Almost to the end of the segment.
    let mut number = 2;
    loop {
        let message = super::large_message(number, 8 * 1024);
        let record = edgebus::Record::encode(&message, &store.record_limits()).expect("fits");
        let print = store.fingerprinter().fingerprint(&record);
        let staged = store.stage_append(&record, Default::default(), "", print, now);
        staged.expect("room");
        store.reserve(100).expect("room");
        let reply = bytes::Bytes::from(vec![7; 40 * 1024]);
        let seq = Seq(number);
        let op = ConsumerOp::Completed { seq, reply };
        number += 1;
        if store.stage_change(&till, &op, &[]) == Err(StageError::GroupFull) {
            break;
        }
        store.commit(now).expect("durable");
        assert!(number < 100, "a segment has an end");
    }
}

/// A worker that slept through it all must not settle messages of the new consumer with a token of
/// the old one.
#[test]
fn consumer_made_again_has_an_epoch_that_was_never_used_for_its_name() {
    let (folder, mut store, till) = till_with(1);
    let now = store.clock().now();
    let mut last = 0;
    for round in 0..6 {
        match round % 2 {
            0 => store.stage_put(&till, config(5), Seq(0)).expect("room"),
            _ => store.stage_offset(&till, Seq(0)).expect("room"),
        }
        let epoch = store.ledgers()[&till].epoch();
        assert!(epoch > last, "{epoch} after {last}");
        store.stage_offset(&till, Seq(0)).expect("room");
        last = store.ledgers()[&till].epoch();
        store.stage_delete(&till).expect("room");
        store.commit(now).expect("durable");
        if round % 3 == 0 {
            seal(&mut store);
        }
        if round > 1 {
            drop(store);
            store = open(&folder);
        }
    }
}

#[test]
fn consumer_that_is_done_with_everything_there_will_ever_be_survives() {
    let (folder, mut store, till) = till_with(1);
    let last = Seq(u64::MAX);
    store.set_consumer_offset(&till, last).expect("durable");
    seal(&mut store);
    drop(store);
    let store = open(&folder);
    let found = store.get_consumer_offset(&till).expect("readable");
    assert_eq!(found, Some(last));
}

/// Requests are given to workers in their own group. What would not fit the room that was made for
/// it goes into the next one: on a full disk it must not take the requests with it.
#[test]
fn group_with_requests_is_full_when_the_room_that_was_made_is_used_up() {
    let (_folder, mut store, consumer) = till_with(1);
    let now = store.clock().now();
    let record = edgebus::Record::encode(&message(2), &store.record_limits()).expect("fits");
    let print = store.fingerprinter().fingerprint(&record);
    let staged = store.stage_append(&record, Default::default(), "", print, now);
    assert_eq!(staged, Ok((Seq(2), false)));
    let before = store.staged_bytes();
    store.reserve(200).expect("room");
    let paused = ConsumerOp::Paused(true);
    let stages = |store: &mut RequestStore| {
        let all = 0..10_000;
        let full = |_: &i32| store.stage_change(&consumer, &paused, &[]) != Ok(());
        all.clone().find(full).unwrap_or(all.end)
    };
    assert!((1..=200).contains(&stages(&mut store)));
    let bytes = store.staged_bytes() - before;
    assert!(bytes <= 200, "{bytes}");
    store.commit(now).expect("durable");
    assert!(stages(&mut store) > 200);
}
