//! A store as format 1 wrote it, kept in the tree: later versions must read every byte of it.
//!
//! `tests/fixtures/format-1` was written by [`write`]; to write it anew, which only a new format
//! may need, run this with `EDGEBUS_WRITE_FIXTURE=1`:
//! `cargo test -p edgebus --test it store_written_by_format_1`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use edgebus::files::RealFiles;
use edgebus::{
    Kind, Message, Record, RequestStore, Scope, Seq, StoreConfig, TopicPattern, query::LogQuery,
};

use super::manual_clock::ManualClock;
use super::{all, id, large_message, message, seal, small_config};

/// Requests in the tables; the others are in the journal only.
pub(crate) const SEALED: u64 = 40;
pub(crate) const LAST: u64 = 50;
/// The wall clock when the first request was stored; each came a second after the one before.
pub(crate) const START_MS: u64 = 1_760_000_000_000;
/// In another scope, under the id of request 1, by someone who proved a name.
pub(crate) const OTHER_SCOPE: u64 = 45;

pub(crate) fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-1")
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

fn write(dir: &Path) {
    let _ = fs::remove_dir_all(dir);
    let clock = ManualClock::new(START_MS);
    let mut store = open(dir, &clock);
    let (till, kitchen) = (
        "till".parse().expect("name"),
        "kitchen".parse().expect("name"),
    );
    append(&mut store, &clock, 1..=20);
    store.set_consumer_offset(&till, Seq(12)).expect("durable");
    assert!(
        store
            .move_to_dead_letter(Seq(5), &till, "no such article")
            .expect("durable")
    );
    seal(&mut store);
    append(&mut store, &clock, 21..=21);
    seal(&mut store);
    append(&mut store, &clock, 22..=SEALED);
    seal(&mut store);
    append(&mut store, &clock, SEALED + 1..=LAST);
    store.set_consumer_offset(&till, Seq(30)).expect("durable");
    store
        .set_consumer_offset(&kitchen, Seq(0))
        .expect("durable");
    assert!(
        store
            .move_to_dead_letter(Seq(44), &kitchen, "")
            .expect("durable")
    );
    drop(store);
    // Empty, and made again by whoever opens it.
    for name in fs::read_dir(dir.join("journal")).expect("folder") {
        let path = name.expect("entry").path();
        if path.extension().is_none() {
            fs::remove_file(path).expect("spare");
        }
    }
}

fn copy(from: &Path, to: &Path) {
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
fn assert_exact(store: &RequestStore) {
    let entries = all(store);
    assert_eq!(entries.len() as u64, LAST);
    for (number, entry) in (1..).zip(&entries) {
        assert_eq!(entry.seq(), Seq(number));
        assert_eq!(entry.record().to_message(), Ok(expected(number)));
        assert!(entry.record().is_intact());
        assert_eq!(entry.received_ms(), START_MS + number * 1_000);
        let (scope, identity) = match number {
            OTHER_SCOPE => (Scope(7), "spiffe://shop/till-7"),
            _ => (Scope(0), ""),
        };
        assert_eq!((entry.scope(), entry.identity()), (scope, identity));
        let found = store.reader().find(expected(number).id, scope);
        assert_eq!(found.expect("readable"), Some(Seq(number)));
    }
    let offset = |name: &str| {
        let offset = store.get_consumer_offset(&name.parse().expect("name"));
        offset.expect("readable")
    };
    assert_eq!(offset("till"), Some(Seq(30)));
    assert_eq!(offset("kitchen"), Some(Seq(0)));
    assert_eq!(offset("audit"), None);
    assert_eq!(store.dead_letter_count(), 2);
}

#[test]
fn store_written_by_format_1_is_read_exactly_and_written_on() {
    if std::env::var_os("EDGEBUS_WRITE_FIXTURE").is_some() {
        write(&dir());
    }
    let folder = tempfile::tempdir().expect("folder");
    copy(&dir(), folder.path());
    let clock = ManualClock::new(START_MS + 3_600_000);
    let mut store = open(folder.path(), &clock);
    assert_eq!(store.torn_tail(), None);
    assert_eq!(store.reader().stats().sealed_lsn, SEALED + 2);
    assert_exact(&store);

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
    assert_exact(&store);
    let receipt = store.append_request(&message(LAST + 1)).expect("stored");
    assert_eq!((receipt.seq, receipt.duplicate), (Seq(LAST + 1), false));
    store.close().expect("closes");
    let store = open(folder.path(), &clock);
    assert_eq!(all(&store).len() as u64, LAST + 1);
}
