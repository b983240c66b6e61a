//! Stores as each format wrote them, kept in the tree: later versions must read every byte of them.
//!
//! `tests/fixtures/format-1` was written by a version that knew no other, and cannot be written any
//! more. `tests/fixtures/format-2` was written by [`write`]; to write it anew, which only a new
//! format may need, run this with `EDGEBUS_WRITE_FIXTURE=1`:
//! `cargo test -p edgebus --test it store_written_by_format_2`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use edgebus::consumer::{
    Attempt, AttemptError, ConsumerConfig, ConsumerOp, DeadLetterCode, Failure, PlaceKind, Reply,
};
use edgebus::files::RealFiles;
use edgebus::store::NewLetter;
use edgebus::{
    ConsumerName, Kind, Message, Record, RequestStore, Scope, Seq, StoreConfig, TopicPattern,
    query::LogQuery,
};

use prost::Message as _;

use super::manual_clock::ManualClock;
use super::{all, id, large_message, message, seal, small_config};

/// Requests in the tables; the others are in the journal only.
pub(crate) const SEALED: u64 = 40;
pub(crate) const LAST: u64 = 50;
/// The wall clock when the first request was stored; each came a second after the one before.
pub(crate) const START_MS: u64 = 1_760_000_000_000;
/// The first one that is kept in format 2, and as the tables know it.
pub(crate) const FIRST: u64 = 13;
pub(crate) const FIRST_IN_TABLES: u64 = 11;
/// In another scope, under the id of request 1, by someone who proved a name.
pub(crate) const OTHER_SCOPE: u64 = 45;

pub(crate) fn dir(format: u32) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    fixtures.join(format!("format-{format}"))
}

/// Small segments, so that the fixture is small; the sizes are not part of the format.
fn config() -> StoreConfig {
    let mut config = small_config();
    config.segment_bytes = 160 * 1024;
    config.record.payload_bytes_max = 8 * 1024;
    config.seal_bytes = usize::MAX;
    config.seal_journal_bytes = u64::MAX;
    config.ids_per_generation = 15;
    config
}

fn open(dir: &Path, clock: &ManualClock) -> RequestStore {
    let clock = Arc::new(clock.clone());
    RequestStore::open_with(dir, config(), Arc::new(RealFiles), clock).expect("opens")
}

/// The request with sequence number `number`.
pub(crate) fn expected(number: u64) -> Message {
    match number {
        // Everything a request can carry.
        7 => message(7)
            .kind(Kind::Notification)
            .source("till-7")
            .target("display-3")
            .correlation_id("order 17")
            .header("currency", "EUR")
            .header("empty", "")
            .time_ms(START_MS - 1)
            .expires_ms(60_000),
        8 => Message::new(id(8), "empty".parse().expect("topic"), ""),
        // Does not compress, and is sealed in a block of its own.
        21 => large_message(21, 8_000),
        OTHER_SCOPE => Message::new(id(1), "orders.created".parse().expect("topic"), "other"),
        number => message(number),
    }
}

fn append(store: &mut RequestStore, clock: &ManualClock, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        clock.advance(Duration::from_secs(1));
        let record = Record::encode(&expected(number), &store.record_limits()).expect("fits");
        let print = store.fingerprinter().fingerprint(&record);
        let (scope, identity) = match number {
            OTHER_SCOPE => (Scope(7), "spiffe://shop/till-7"),
            _ => (Scope::default(), ""),
        };
        let staged = store.stage_append(&record, scope, identity, print, clock.read());
        assert_eq!(staged, Ok((Seq(number), false)));
        // Groups of one and of five.
        if number > 10 || number % 5 == 0 {
            store.commit(clock.read()).expect("durable");
        }
    }
}

/// The reply to a request.
pub(crate) fn reply(number: u64) -> Reply {
    Reply::new(format!("done {number}")).header("by", "till-7")
}

fn name(text: &str) -> ConsumerName {
    text.parse().expect("name")
}

fn attempt(seq: u64, place: PlaceKind, alone: bool) -> ConsumerOp {
    ConsumerOp::Attempts(vec![Attempt {
        seq: Seq(seq),
        delivery: 1,
        place,
        alone,
    }])
}

fn complete(seq: u64) -> ConsumerOp {
    ConsumerOp::Completed {
        seq: Seq(seq),
        reply: reply(seq).encode_to_vec().into(),
    }
}

/// As the consumer's machine does it.
fn change(store: &mut RequestStore, op: &ConsumerOp) {
    let till = name("till");
    let closed = store.ledger_mut(&till).expect("made").apply(op);
    store.stage_change(&till, op, &closed).expect("room");
}

fn give_up(store: &mut RequestStore, clock: &ManualClock, seq: u64, errors: &[&str]) {
    change(store, &ConsumerOp::DeadLettered { seq: Seq(seq) });
    let entry = store.get_by_seq(Seq(seq)).expect("readable");
    let attempts = errors.iter().map(|error| AttemptError {
        error: (*error).to_owned(),
        wall_ms: START_MS,
    });
    let letter = NewLetter {
        consumer: &name("till"),
        entry: &entry.expect("there"),
        number: None,
        code: DeadLetterCode::Attempts,
        reason: "tried too often",
        attempts: attempts.collect(),
    };
    store.stage_letter(letter, clock.read()).expect("room");
}

/// What format 2 has beside the requests, into the tables.
fn write_sealed(store: &mut RequestStore, clock: &ManualClock) {
    let pattern = "orders.>".parse().expect("pattern");
    let config = ConsumerConfig::responder(pattern).max_attempts(3);
    store
        .stage_put(&name("till"), config, Seq(0))
        .expect("room");
    store.stage_offset(&name("audit"), Seq(12)).expect("room");
    change(store, &attempt(3, PlaceKind::Connection, false));
    change(store, &attempt(6, PlaceKind::Process, true));
    change(
        store,
        &ConsumerOp::Done(vec![(Seq(1), Seq(2)), (Seq(9), Seq(9))]),
    );
    change(store, &complete(4));
    change(store, &complete(18));
    let failure = Failure {
        seq: Seq(3),
        charged: true,
        suspect: false,
        due_ms: 25_000,
        error: "no paper".to_owned(),
        wall_ms: START_MS,
    };
    change(store, &ConsumerOp::Failed(vec![failure]));
    give_up(store, clock, 5, &["no such article", "still not"]);
    give_up(store, clock, 10, &["no ink"]);
    store.commit(clock.read()).expect("durable");
    let by_hand = store.move_to_dead_letter(Seq(8), &name("kitchen"), "by hand");
    assert!(by_hand.expect("durable"));
    let (seq, number) = (Seq(10), 2);
    change(store, &ConsumerOp::Requeued { seq, number });
    store.stage_requeued(number).expect("room");
    store.stage_letters_removed(&[3]).expect("room");
    store.commit(clock.read()).expect("durable");
    seal(store);
}

/// The same, into the journal only.
fn write_unsealed(store: &mut RequestStore, clock: &ManualClock) {
    change(store, &attempt(41, PlaceKind::Detached, true));
    change(store, &complete(41));
    // The requeued one: its letter goes.
    change(store, &ConsumerOp::Done(vec![(Seq(10), Seq(10))]));
    change(store, &ConsumerOp::Paused(true));
    store.stage_offset(&name("audit"), Seq(30)).expect("room");
    store.stage_trim(Seq(FIRST)).expect("room");
    store.commit(clock.read()).expect("durable");
    let by_hand = store.move_to_dead_letter(Seq(44), &name("kitchen"), "");
    assert!(by_hand.expect("durable"));
}

fn write(dir: &Path) {
    let _ = fs::remove_dir_all(dir);
    let clock = ManualClock::new(START_MS);
    let mut store = open(dir, &clock);
    append(&mut store, &clock, 1..=20);
    write_sealed(&mut store, &clock);
    append(&mut store, &clock, 21..=21);
    seal(&mut store);
    append(&mut store, &clock, 22..=SEALED);
    store.trim(Seq(FIRST_IN_TABLES)).expect("durable");
    seal(&mut store);
    append(&mut store, &clock, SEALED + 1..=LAST);
    write_unsealed(&mut store, &clock);
    drop(store);
    // Empty, and made again by whoever opens it.
    for name in fs::read_dir(dir.join("journal")).expect("folder") {
        let path = name.expect("entry").path();
        if path.extension().is_none() {
            fs::remove_file(path).expect("spare");
        }
    }
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("folder");
    for entry in fs::read_dir(from).expect("folder") {
        let path = entry.expect("entry").path();
        let target = to.join(path.file_name().expect("name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("copy");
        }
    }
}

#[track_caller]
fn assert_exact(store: &RequestStore, format: u32) {
    let first = if format == 1 { 1 } else { FIRST };
    let entries = all(store);
    assert_eq!(entries.len() as u64, LAST + 1 - first);
    for (number, entry) in (first..).zip(&entries) {
        assert_eq!(entry.seq(), Seq(number));
        assert_eq!(entry.record().to_message(), Ok(expected(number)));
        assert!(entry.record().is_intact());
        assert_eq!(entry.received_ms(), START_MS + number * 1_000);
        let store_time_ms = if format == 1 { 0 } else { number * 1_000 };
        assert_eq!(entry.store_time_ms(), store_time_ms);
        let (scope, identity) = match number {
            OTHER_SCOPE => (Scope(7), "spiffe://shop/till-7"),
            _ => (Scope(0), ""),
        };
        assert_eq!((entry.scope(), entry.identity()), (scope, identity));
    }
    for number in 1..=LAST {
        let scope = Scope(if number == OTHER_SCOPE { 7 } else { 0 });
        let found = store.reader().find(expected(number).id, scope);
        assert_eq!(found.expect("readable"), Some(Seq(number)));
    }
    match format {
        1 => assert_exact_1(store),
        _ => assert_exact_2(store),
    }
}

#[track_caller]
fn assert_exact_1(store: &RequestStore) {
    let offset = |text: &str| {
        let offset = store.get_consumer_offset(&name(text));
        offset.expect("readable")
    };
    assert_eq!(offset("till"), Some(Seq(30)));
    assert_eq!(offset("kitchen"), Some(Seq(0)));
    assert_eq!(offset("audit"), None);
    assert_eq!(store.dead_letter_count(), 2);
}

#[track_caller]
fn assert_exact_2(store: &RequestStore) {
    let reader = store.reader();
    let consumers = reader.consumers();
    assert_eq!(consumers.len(), 2);
    let (till, audit) = (&consumers[&name("till")], &consumers[&name("audit")]);
    assert_eq!(till.config().map(|config| config.max_attempts), Some(3));
    assert_eq!(
        (till.epoch(), till.offset(), till.is_paused()),
        (1, Seq(2), true)
    );
    let done = (1..=LAST).filter(|seq| till.is_done(Seq(*seq)));
    assert_eq!(done.collect::<Vec<_>>(), [1, 2, 4, 5, 9, 10, 18, 41]);
    assert_eq!((audit.epoch(), audit.offset()), (2, Seq(30)));
    assert!(audit.config().is_none());

    for number in 1..=LAST {
        let found = reader.reply(Seq(number)).expect("readable");
        let wanted = [18, 41].contains(&number).then(|| reply(number));
        assert_eq!(found, wanted, "seq {number}");
    }
    let letters = reader.dead_letters(0, 10).expect("readable");
    let letters: Vec<_> = letters
        .iter()
        .map(|(number, letter)| {
            let entry = letter.entry().expect("whole");
            assert_eq!(entry.record().to_message(), Ok(expected(letter.seq)));
            let errors = letter.attempts.iter().map(|attempt| attempt.error.as_str());
            let errors: Vec<&str> = errors.collect();
            let code = letter.code.as_str();
            (*number, letter.consumer.as_str(), letter.seq, code, errors)
        })
        .collect();
    let errors = vec!["no such article", "still not"];
    let wanted = [
        (1, "till", 5, "attempts", errors),
        (4, "kitchen", 44, "moved", vec![]),
    ];
    assert_eq!(letters, wanted);
}

#[test]
fn store_written_by_format_2_is_read_exactly_and_written_on() {
    if std::env::var_os("EDGEBUS_WRITE_FIXTURE").is_some() {
        write(&dir(2));
    }
    let folder = tempfile::tempdir().expect("folder");
    copy(&dir(2), folder.path());
    let clock = ManualClock::new(START_MS + 3_600_000);
    for _ in 0..2 {
        let store = open(folder.path(), &clock);
        assert_eq!(store.torn_tail(), None);
        assert_exact(&store, 2);
        store.close().expect("closes");
    }
    let mut store = open(folder.path(), &clock);
    let receipt = store.append_request(&message(LAST + 1)).expect("stored");
    assert_eq!((receipt.seq, receipt.duplicate), (Seq(LAST + 1), false));
    let is_new = store.move_to_dead_letter(Seq(44), &name("kitchen"), "again");
    assert!(!is_new.expect("known"));
    let is_new = store.move_to_dead_letter(Seq(45), &name("kitchen"), "too");
    assert!(is_new.expect("durable"));
    let of = store.reader().dead_letter_of("kitchen", Seq(45));
    assert_eq!(of.expect("readable"), Some(5), "numbers go on");
}

#[test]
fn store_of_format_1_is_marked_before_anything_else_and_keeps_its_id() {
    let folder = tempfile::tempdir().expect("folder");
    copy(&dir(1), folder.path());
    let version = || fs::read_to_string(folder.path().join("VERSION")).expect("VERSION");
    let before = version();
    let clock = ManualClock::new(START_MS + 3_600_000);
    drop(open(folder.path(), &clock));
    let marked = before.replace("edgebus-store 1", "edgebus-store 2");
    assert!(version().starts_with(&marked), "{}", version());

    // A mark that was cut off between the tables and VERSION is made again.
    fs::write(folder.path().join("VERSION"), before).expect("write");
    let mut store = open(folder.path(), &clock);
    assert_exact(&store, 1);
    assert!(version().starts_with("edgebus-store 2\n"));

    // What has no store time of its own counts as stored at the last moment of format 1.
    seal(&mut store);
    assert_eq!(store.retention_floor(store.clock().now()), None);
    clock.advance(Duration::from_secs(6 * 24 * 3600));
    assert_eq!(store.retention_floor(store.clock().now()), None);
    clock.advance(Duration::from_secs(24 * 3600));
    let floor = store.retention_floor(store.clock().now());
    assert_eq!(floor, Some(Seq(LAST + 1)));
}

#[test]
fn store_written_by_format_1_is_read_exactly_and_written_on() {
    let folder = tempfile::tempdir().expect("folder");
    copy(&dir(1), folder.path());
    let clock = ManualClock::new(START_MS + 3_600_000);
    let mut store = open(folder.path(), &clock);
    assert_eq!(store.torn_tail(), None);
    assert_eq!(store.reader().stats().sealed_lsn, SEALED + 2);
    assert_exact(&store, 1);

    let mut query = LogQuery::from(Seq(1));
    query.topics = vec!["orders.paid.*".parse::<TopicPattern>().expect("pattern")];
    query.from_time_ms = Some(START_MS + 19_000);
    query.to_time_ms = Some(START_MS + 42_000);
    let selected: Vec<u64> = store
        .reader()
        .replay(query)
        .map(|e| e.expect("readable").seq().0)
        .collect();
    assert_eq!(selected, [19, 22, 25, 28, 31, 34, 37, 40]);

    // Every request is known again, and everything goes on behind the last.
    for number in (1..=LAST).filter(|number| *number != OTHER_SCOPE) {
        let receipt = store.append_request(&expected(number)).expect("known");
        assert_eq!((receipt.seq, receipt.duplicate), (Seq(number), true));
    }
    for (seq, consumer) in [(5, "till"), (44, "kitchen")] {
        let consumer = consumer.parse().expect("name");
        assert!(
            !store
                .move_to_dead_letter(Seq(seq), &consumer, "again")
                .expect("known")
        );
    }
    assert_exact(&store, 1);
    let receipt = store.append_request(&message(LAST + 1)).expect("stored");
    assert_eq!((receipt.seq, receipt.duplicate), (Seq(LAST + 1), false));
    store.close().expect("closes");
    let store = open(folder.path(), &clock);
    assert_eq!(all(&store).len() as u64, LAST + 1);
}
