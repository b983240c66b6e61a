//! A request id is stored once, in whatever table of ids it came to lie, before and after restarts,
//! with filters and without.

use std::path::Path;

use edgebus::store::StageError;
use edgebus::{Code, Message, Record, RequestStore, Scope, Seq, StoreConfig, StoreError};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::{all, append, id, message, open_with, seal, small_config};

const FILTERS: TableDefinition<(u64, u32), &[u8]> = TableDefinition::new("id_filters");
const METADATA: TableDefinition<&str, u64> = TableDefinition::new("metadata");

fn config() -> StoreConfig {
    let mut config = small_config();
    config.ids_per_generation = 100;
    config
}

fn generations(dir: &Path) -> u64 {
    let database = Database::open(dir.join("store.redb")).expect("closed by the store");
    let read = database.begin_read().expect("read");
    let rows = read.open_table(METADATA).expect("table");
    let last = rows.get("last_generation").expect("read");
    last.expect("row").value()
}

#[track_caller]
fn assert_all_known(store: &mut RequestStore, last: u64) {
    for number in 1..=last {
        let receipt = store.append_request(&message(number)).expect("known");
        assert_eq!((receipt.seq, receipt.duplicate), (Seq(number), true));
    }
    assert_eq!(store.reader().last_seq(), Seq(last), "nothing was added");
}

#[test]
fn duplicates_are_found_in_every_generation_and_after_restarts() {
    let folder = tempfile::tempdir().expect("folder");
    let mut last = 0;
    for _ in 0..4 {
        let mut store = open_with(folder.path(), config()).expect("opens");
        append(&mut store, last + 1..=last + 250);
        last += 250;
        assert_all_known(&mut store, last);
        drop(store);

        // The open generation has no filter at first; its ids are found all the same.
        let mut store = open_with(folder.path(), config()).expect("opens");
        assert_all_known(&mut store, last);
        // Sealing rebuilds the filter.
        append(&mut store, last + 1..=last + 1);
        last += 1;
        seal(&mut store);
        assert_all_known(&mut store, last);
        for number in last + 1..last + 2_000 {
            assert!(
                !store.is_duplicate(id(number)).expect("readable"),
                "{number}"
            );
        }
        store.close().expect("closes");
    }
    assert!(
        generations(folder.path()) >= 6,
        "{}",
        generations(folder.path())
    );
}

#[test]
fn generations_made_with_another_size_are_still_known() {
    let folder = tempfile::tempdir().expect("folder");
    let mut last = 0;
    for ids_per_generation in [50, 1_000, 10, 100_000] {
        let mut config = config();
        config.ids_per_generation = ids_per_generation;
        let mut store = open_with(folder.path(), config).expect("opens");
        append(&mut store, last + 1..=last + 120);
        last += 120;
        assert_all_known(&mut store, last);
        store.close().expect("closes");
    }
}

#[test]
fn damaged_filter_lets_no_duplicate_pass() {
    let folder = tempfile::tempdir().expect("folder");
    let mut store = open_with(folder.path(), config()).expect("opens");
    append(&mut store, 1..=350);
    store.close().expect("closes");

    let database = Database::open(folder.path().join("store.redb")).expect("closed");
    let write = database.begin_write().expect("write");
    {
        let mut filters = write.open_table(FILTERS).expect("table");
        let rows: Vec<((u64, u32), Vec<u8>)> = filters
            .iter()
            .expect("rows")
            .map(|row| row.map(|(key, bytes)| (key.value(), bytes.value().to_vec())))
            .collect::<Result<_, _>>()
            .expect("rows");
        assert!(rows.len() >= 2, "a filter for each closed generation");
        for (key, mut bytes) in rows {
            // Every id would be a stranger.
            bytes[4..].fill(0);
            filters.insert(key, bytes.as_slice()).expect("insert");
        }
    }
    write.commit().expect("commit");
    drop(database);

    let mut store = open_with(folder.path(), config()).expect("opens");
    assert_all_known(&mut store, 350);
}

#[test]
fn other_content_under_a_known_id_is_a_conflict_wherever_the_first_is() {
    let folder = tempfile::tempdir().expect("folder");
    let mut store = open_with(folder.path(), config()).expect("opens");
    append(&mut store, 1..=220);
    seal(&mut store);
    append(&mut store, 221..=222);
    let conflict = |store: &mut RequestStore, other: &Message| match store.append_request(other) {
        Err(StoreError::Refused(refusal)) => {
            assert_eq!(refusal.code, Code::IdConflict);
            assert!(refusal.message.contains(&other.id.to_string()), "{refusal}");
        }
        answer => panic!("{answer:?}"),
    };
    for number in [1, 150, 222] {
        let mut other = message(number);
        other.payload = "other".into();
        conflict(&mut store, &other);
        let mut other = message(number);
        other.topic = "elsewhere".parse().expect("topic");
        conflict(&mut store, &other);

        // Headers, times and names do not count: a retry is a retry.
        let again = message(number)
            .source("till-2")
            .header("try", "2")
            .time_ms(5)
            .expires_ms(9);
        let receipt = store.append_request(&again).expect("the same request");
        assert_eq!((receipt.seq, receipt.duplicate), (Seq(number), true));
    }
    assert_eq!(all(&store).len(), 222);
}

#[test]
fn same_id_in_another_scope_is_another_request() {
    let folder = tempfile::tempdir().expect("folder");
    let mut store = open_with(folder.path(), config()).expect("opens");
    let now = store.clock().now();
    let stage = |store: &mut RequestStore, scope: u32, text: &str| {
        let mut message = message(1);
        message.payload = text.to_owned().into();
        let record = Record::encode(&message, &store.record_limits()).expect("fits");
        let print = store.fingerprinter().fingerprint(&record);
        store.stage_append(&record, Scope(scope), "till-7", print, now)
    };
    assert_eq!(stage(&mut store, 0, "a"), Ok((Seq(1), false)));
    assert_eq!(
        stage(&mut store, 7, "b"),
        Ok((Seq(2), false)),
        "staged in one group"
    );
    store.commit(now).expect("durable");
    for round in 0..3 {
        assert_eq!(
            stage(&mut store, 0, "a"),
            Ok((Seq(1), true)),
            "round {round}"
        );
        assert_eq!(stage(&mut store, 7, "b"), Ok((Seq(2), true)));
        for (scope, text) in [(0, "b"), (7, "a")] {
            match stage(&mut store, scope, text) {
                Err(StageError::Refused(refusal)) => assert_eq!(refusal.code, Code::IdConflict),
                staged => panic!("{staged:?}"),
            }
        }
        assert_eq!(
            store.reader().find(id(1), Scope(7)).expect("readable"),
            Some(Seq(2))
        );
        assert_eq!(
            store.reader().find(id(1), Scope(8)).expect("readable"),
            None
        );
        match round {
            0 => seal(&mut store),
            _ => {
                drop(store);
                store = open_with(folder.path(), config()).expect("opens");
            }
        }
    }
    let entries = all(&store);
    assert_eq!(entries[1].scope(), Scope(7));
    assert_eq!(entries[1].identity(), "till-7");
}
