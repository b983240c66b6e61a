//! What is trimmed is gone at once and for good, its ids are known on, its room is used again, and
//! nothing goes before its time.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use edgebus::consumer::{ConsumerConfig, ConsumerOp, Reply};
use edgebus::files::RealFiles;
use edgebus::store::TailRead;
use edgebus::{Code, ConsumerName, RequestStore, Seq, StoreConfig, StoreError};
use prost::Message as _;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::manual_clock::ManualClock;
use super::{all, append, id, large_message, message, open_with, seal, small_config};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// 2070, in unix milliseconds.
const YEAR_2070_MS: u64 = 3_155_760_000_000;

fn open_at(dir: &Path, config: StoreConfig, clock: &ManualClock) -> RequestStore {
    let clock = Arc::new(clock.clone());
    RequestStore::open_with(dir, config, Arc::new(RealFiles), clock).expect("opens")
}

fn seqs(store: &RequestStore) -> Vec<u64> {
    all(store).iter().map(|entry| entry.seq().0).collect()
}

/// Trims what retention says; returns the oldest request that is kept.
fn retain(store: &mut RequestStore) -> u64 {
    while let Some(floor) = store.retention_floor(store.clock().now()) {
        assert!(floor > store.first_seq(), "something goes");
        store.trim(floor).expect("durable");
    }
    store.first_seq().0
}

fn row(dir: &Path, name: &str) -> u64 {
    let table: TableDefinition<&str, u64> = TableDefinition::new("metadata");
    let database = Database::open(dir.join("store.redb")).expect("closed by the store");
    let read = database.begin_read().expect("read");
    let rows = read.open_table(table).expect("table");
    let row = rows.get(name).expect("read");
    row.map_or(0, |row| row.value())
}

/// The sum of the lengths of a table's values.
fn table_bytes(dir: &Path, name: &str) -> u64 {
    let table: TableDefinition<u64, &[u8]> = TableDefinition::new(name);
    let database = Database::open(dir.join("store.redb")).expect("closed by the store");
    let read = database.begin_read().expect("read");
    let rows = read.open_table(table).expect("table");
    let rows = rows.iter().expect("rows");
    rows.map(|row| row.expect("row").1.value().len() as u64)
        .sum()
}

#[test]
fn trimmed_requests_are_gone_at_once_and_their_ids_are_known_on() {
    let folder = tempfile::tempdir().expect("folder");
    let mut store = open_with(folder.path(), small_config()).expect("opens");
    append(&mut store, 1..=20);
    seal(&mut store);
    append(&mut store, 21..=30);
    let check = |store: &mut RequestStore, first: u64| {
        assert_eq!(seqs(store), (first..=30).collect::<Vec<_>>());
        assert_eq!(store.first_seq(), Seq(first));
        let reader = store.reader();
        assert_eq!(reader.first_seq(), Seq(first));
        assert_eq!(reader.stats().stored, 31 - first);
        assert_eq!(reader.get_by_seq(Seq(first - 1)).expect("readable"), None);
        for number in 1..=30 {
            let receipt = store.append_request(&message(number)).expect("known");
            assert_eq!((receipt.seq, receipt.duplicate), (Seq(number), true));
        }
        let till: ConsumerName = "till".parse().expect("name");
        let gone = store.move_to_dead_letter(Seq(first - 1), &till, "no");
        assert_eq!(gone.expect_err("gone").code(), Code::NotFound);
    };
    // Within a sealed block, at its end, and within what is in memory only.
    for first in [8, 21, 25, 31] {
        store.trim(Seq(first)).expect("durable");
        check(&mut store, first);
        store.trim(Seq(first - 5)).expect("nothing to do");
        check(&mut store, first);
        drop(store);
        store = open_with(folder.path(), small_config()).expect("opens");
        check(&mut store, first);
    }
    assert_eq!(store.tail_from(Seq(1), 9, 9), TailRead::End);
    store.trim(Seq(1_000)).expect("at most all there is");
    check(&mut store, 31);
    store.close().expect("closes");
    assert_eq!(table_bytes(folder.path(), "request_log"), 0);
    let mut store = open_with(folder.path(), small_config()).expect("opens");
    check(&mut store, 31);
    append(&mut store, 31..=32);
    assert_eq!(seqs(&store), [31, 32]);
}

#[test]
fn requests_go_by_age_in_whole_blocks() {
    let folder = tempfile::tempdir().expect("folder");
    let clock = ManualClock::new(1_000_000);
    let mut config = small_config();
    config.retention_age = 2 * DAY;
    config.seal_after = 365 * DAY;
    let mut store = open_at(folder.path(), config, &clock);
    // Two blocks a day.
    for day in 0..5 {
        for half in 0..2 {
            let first = day * 20 + half * 10;
            append(&mut store, first + 1..=first + 10);
            seal(&mut store);
            clock.advance(DAY / 2);
        }
        let kept = [1, 1, 31, 51, 71][day as usize];
        assert_eq!(retain(&mut store), kept, "day {day}");
    }
    // What is in memory only is kept until it is sealed.
    append(&mut store, 101..=103);
    clock.advance(3 * DAY);
    assert_eq!(retain(&mut store), 101);
    seal(&mut store);
    assert_eq!(retain(&mut store), 104);
}

#[test]
fn no_wall_clock_makes_requests_old() {
    let folder = tempfile::tempdir().expect("folder");
    let clock = ManualClock::new(1_700_000_000_000);
    let mut config = small_config();
    config.retention_age = 2 * DAY;
    config.dedupe_horizon = 3 * DAY;
    config.ids_per_generation = 5;
    let mut store = open_at(folder.path(), config.clone(), &clock);
    append(&mut store, 1..=20);
    seal(&mut store);
    for wall_ms in [YEAR_2070_MS, 0, 1_700_000_000_000] {
        clock.set_wall_ms(wall_ms);
        assert_eq!(retain(&mut store), 1);
    }
    // A restart counts as a day at most, whatever the clock says.
    clock.set_wall_ms(YEAR_2070_MS);
    drop(store);
    let mut store = open_at(folder.path(), config.clone(), &clock);
    append(&mut store, 21..=22);
    seal(&mut store);
    assert_eq!(retain(&mut store), 1);
    assert!(store.is_duplicate(id(1)).expect("readable"));
    assert_eq!(store.log_share() as u64, 0);
}

#[test]
fn requests_go_by_count_in_whole_blocks() {
    let folder = tempfile::tempdir().expect("folder");
    let mut config = small_config();
    config.retention_count = 25;
    let mut store = open_with(folder.path(), config).expect("opens");
    for block in 0..6 {
        append(&mut store, block * 10 + 1..=block * 10 + 10);
        seal(&mut store);
        let kept = [1, 1, 1, 11, 21, 31][block as usize];
        assert_eq!(retain(&mut store), kept);
    }
}

fn complete(store: &mut RequestStore, seq: Seq, reply_bytes: usize) {
    let till: ConsumerName = "till".parse().expect("name");
    let now = store.clock().now();
    if store.ledger_mut(&till).is_none() {
        let config = ConsumerConfig::responder(">".parse().expect("pattern"));
        store.stage_put(&till, config, Seq(0)).expect("room");
    }
    // What does not compress.
    let payload = large_message(seq.0, reply_bytes).payload;
    let reply = Reply::new(payload).encode_to_vec().into();
    let op = ConsumerOp::Completed { seq, reply };
    let closed = store.ledger_mut(&till).expect("made").apply(&op);
    store.stage_change(&till, &op, &closed).expect("room");
    store.commit(now).expect("durable");
}

#[test]
fn files_do_not_grow_while_as_much_goes_as_comes_and_figures_are_exact() {
    let folder = tempfile::tempdir().expect("folder");
    let tables = folder.path().join("store.redb");
    let mut config = small_config();
    config.retention_bytes = 256 * 1024;
    config.seal_bytes = 32 * 1024;
    config.ids_per_generation = 64;
    // Ids go as soon as their requests are gone.
    config.dedupe_horizon = Duration::from_millis(1);
    let clock = ManualClock::new(1_000_000);
    let mut store = open_at(folder.path(), config.clone(), &clock);
    let mut sizes = Vec::new();
    let mut number = 0;
    for _ in 0..16 {
        for _ in 0..60 {
            number += 1;
            clock.advance(Duration::from_millis(10));
            let receipt = store.append_request(&large_message(number, 1_500));
            assert_eq!(receipt.expect("stored").seq, Seq(number));
            complete(&mut store, Seq(number), 1_000);
            retain(&mut store);
            assert!(store.log_share() < 1.3, "{}", store.log_share());
        }
        sizes.push(fs::metadata(&tables).expect("tables").len());
    }
    let kept = number + 1 - store.first_seq().0;
    assert!(
        (60..=110).contains(&kept),
        "{kept} requests of 2.5 KB in 256 KiB"
    );
    // redb grows by doubling, so once is the most that a spike may add.
    assert!(sizes[15] <= sizes[5], "{sizes:?}");

    let first = store.first_seq();
    store.close().expect("closes");
    let dir = folder.path();
    assert_eq!(row(dir, "first_seq"), first.0);
    assert_eq!(row(dir, "log_bytes"), table_bytes(dir, "request_log"));
    assert_eq!(row(dir, "reply_bytes"), table_bytes(dir, "replies"));
    assert!(row(dir, "reply_bytes") > 0, "those of what is kept");
    assert!(
        row(dir, "first_generation") > 8,
        "ids go with their requests"
    );

    let store = open_at(folder.path(), config, &clock);
    let reader = store.reader();
    assert_eq!(reader.reply(Seq(first.0 - 1)).expect("readable"), None);
    assert!(reader.reply(first).expect("readable").is_some());
}

#[test]
fn ids_go_a_table_at_a_time_once_they_are_old_and_their_requests_gone() {
    let folder = tempfile::tempdir().expect("folder");
    let clock = ManualClock::new(1_000_000);
    let mut config = small_config();
    config.ids_per_generation = 10;
    config.dedupe_horizon = 7 * DAY / 2;
    let mut store = open_at(folder.path(), config, &clock);
    for table in 0..3 {
        append(&mut store, table * 10 + 1..=table * 10 + 10);
        seal(&mut store);
        clock.advance(DAY);
    }
    let known = |store: &RequestStore| -> Vec<u64> {
        let known = |number: &u64| store.is_duplicate(id(*number)).expect("readable");
        (1..=30).filter(known).collect()
    };
    let look_around = |store: &mut RequestStore| {
        let now = store.clock().now();
        store.commit(now).expect("it only looks");
        seal(store);
    };
    // Old enough but kept; then gone but not old enough; then both.
    clock.advance(DAY);
    look_around(&mut store);
    assert_eq!(known(&store), (1..=30).collect::<Vec<_>>());
    store.trim(Seq(26)).expect("durable");
    look_around(&mut store);
    assert_eq!(known(&store), (11..=30).collect::<Vec<_>>());
    clock.advance(DAY);
    store.trim(Seq(27)).expect("durable");
    look_around(&mut store);
    assert_eq!(
        known(&store),
        (21..=30).collect::<Vec<_>>(),
        "seq 30 is kept"
    );
    clock.advance(30 * DAY);
    store.trim(Seq(28)).expect("durable");
    look_around(&mut store);
    assert_eq!(
        known(&store),
        (21..=30).collect::<Vec<_>>(),
        "it is kept still"
    );
    store.trim(Seq(31)).expect("durable");
    look_around(&mut store);
    assert_eq!(known(&store), []);
    // A new request under an id that nobody knows any more.
    let receipt = store.append_request(&message(1)).expect("stored");
    assert_eq!((receipt.seq, receipt.duplicate), (Seq(31), false));
}

#[test]
fn retention_that_makes_no_sense_is_refused_by_name() {
    type Spoil = fn(&mut StoreConfig);
    let cases: [(&str, Spoil); 5] = [
        ("retention_age", |c| c.retention_age = Duration::ZERO),
        ("retention_bytes", |c| c.retention_bytes = 65_535),
        ("retention_count", |c| c.retention_count = 0),
        ("dedupe_horizon", |c| c.dedupe_horizon = Duration::ZERO),
        ("dead_letters_max", |c| c.dead_letters_max = 0),
    ];
    for (name, spoil) in cases {
        let folder = tempfile::tempdir().expect("folder");
        let mut config = small_config();
        spoil(&mut config);
        match open_with(folder.path(), config) {
            Err(StoreError::Refused(refusal)) => {
                assert_eq!(refusal.code, Code::BadConfig);
                assert!(refusal.message.contains(name), "{refusal}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}
