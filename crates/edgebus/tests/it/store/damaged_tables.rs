//! Bits that flip in the file with the tables: nothing wrong is ever handed out, nothing panics,
//! and what is unreadable is called corrupt.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use edgebus::consumer::{ConsumerConfig, ConsumerOp, Reply};
use edgebus::{Code, ConsumerName, RequestStore, Seq, StoreError};
use prost::Message as _;
use redb::{Database, TableDefinition};

use super::{append, id, large_message, message, open_with, seal, small_config};

const SMALL: u64 = 400;
const LAST: u64 = SMALL + 40;
const FLIPS: usize = 120;
/// Requests with a reply, from the tenth on.
const REPLIES: u64 = 60;

/// A closed store with some of everything in its tables.
pub(crate) fn sealed_store() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("folder");
    let mut config = small_config();
    config.ids_per_generation = 150;
    let mut store = open_with(folder.path(), config).expect("opens");
    append(&mut store, 1..=SMALL);
    for number in SMALL + 1..=LAST {
        let stored = store.append_request(&large_message(number, 5_000));
        stored.expect("stored");
    }
    for consumer in ["till", "kitchen"] {
        let consumer = consumer.parse().expect("name");
        store
            .set_consumer_offset(&consumer, Seq(7))
            .expect("durable");
        store
            .move_to_dead_letter(Seq(9), &consumer, "no")
            .expect("durable");
    }
    let till: ConsumerName = "till".parse().expect("name");
    let config = ConsumerConfig::responder("orders.>".parse().expect("pattern"));
    store.stage_put(&till, config, Seq(0)).expect("room");
    for seq in (10..10 + REPLIES).map(Seq) {
        let reply = reply(seq).encode_to_vec().into();
        let op = ConsumerOp::Completed { seq, reply };
        store.ledger_mut(&till).expect("made").apply(&op);
        store.stage_change(&till, &op, &[]).expect("room");
    }
    let now = store.clock().now();
    store.commit(now).expect("durable");
    seal(&mut store);
    store.close().expect("closes");
    folder
}

fn reply(seq: Seq) -> Reply {
    Reply::new(large_message(seq.0, 900).payload)
}

fn expected(seq: Seq) -> edgebus::Message {
    match seq.0 {
        small @ 1..=SMALL => message(small),
        large => large_message(large, 5_000),
    }
}

/// Reads everything. Errors must say that something is corrupt; what is read must be right.
fn read_all(store: &RequestStore) -> Result<(), StoreError> {
    let mut wanted = Seq(1);
    for entry in store.replay_from(Seq(1)) {
        let entry = entry?;
        assert_eq!(entry.seq(), wanted);
        assert_eq!(
            entry.record().to_message(),
            Ok(expected(wanted)),
            "seq {wanted}"
        );
        wanted = wanted.next();
    }
    assert!(
        wanted > Seq(LAST),
        "the log ends before seq {wanted} without a word"
    );
    for number in 1..=LAST {
        let found = store.reader().find(id(number), Default::default())?;
        assert!(
            found.is_none_or(|seq| seq == Seq(number)),
            "id {number}: {found:?}"
        );
    }
    let reader = store.reader();
    for seq in (1..=LAST).map(Seq) {
        // One whose key flipped is not found.
        let found = reader.reply(seq)?;
        assert!(found.is_none_or(|found| found == reply(seq)), "seq {seq}");
    }
    for (number, letter) in reader.dead_letters(0, 10)? {
        assert_eq!((letter.seq, letter.reason.as_str()), (9, "no"), "{number}");
        assert_eq!(letter.entry()?.record().to_message(), Ok(expected(Seq(9))));
    }
    let consumers = reader.consumers();
    assert_eq!(consumers.len(), 2);
    let till = &consumers[&"till".parse::<ConsumerName>().expect("name")];
    assert_eq!(till.offset(), Seq(7));
    assert!(till.config().is_some() && till.is_done(Seq(10)));
    Ok(())
}

/// Opens, reads, and writes on. Whether anything was found to be wrong.
fn live(dir: &Path) -> Result<(), StoreError> {
    let mut config = small_config();
    config.ids_per_generation = 150;
    let mut store = open_with(dir, config)?;
    read_all(&store)?;
    for number in LAST + 1..=LAST + 3 {
        let receipt = store.append_request(&large_message(number, 5_000))?;
        assert_eq!(receipt.seq, Seq(number), "no sequence number is used twice");
    }
    store.close_overlay();
    store.commit(store.clock().now())?;
    read_all(&store)
}

fn flip_and_live(bits: impl Iterator<Item = usize>) -> usize {
    let base = sealed_store();
    let names = ["VERSION", "LOCK", "store.redb"];
    let journal: Vec<_> = super::contents(&base.path().join("journal"))
        .into_iter()
        .collect();
    let tables = fs::read(base.path().join("store.redb")).expect("tables");
    let mut found_out = 0;
    for bit in bits {
        let copy = tempfile::tempdir().expect("folder");
        let dir = copy.path();
        for name in names {
            fs::copy(base.path().join(name), dir.join(name)).expect("copy");
        }
        fs::create_dir(dir.join("journal")).expect("folder");
        for (path, bytes) in &journal {
            let name = path.file_name().expect("file");
            fs::write(dir.join("journal").join(name), bytes).expect("copy");
        }
        let mut flipped = tables.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(dir.join("store.redb"), flipped).expect("write");
        match catch_unwind(AssertUnwindSafe(|| live(dir))) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                assert!(
                    matches!(error.code(), Code::Corrupt | Code::Poisoned),
                    "bit {bit}: {error:?}"
                );
                found_out += 1;
            }
            Err(_) => panic!("bit {bit}: it panicked"),
        }
    }
    found_out
}

#[test]
fn flipped_bits_in_the_tables_never_give_wrong_requests() {
    let folder = sealed_store();
    let bits = fs::metadata(folder.path().join("store.redb"))
        .expect("tables")
        .len() as usize
        * 8;
    let step = bits / FLIPS;
    // Not a multiple of a page, so that all parts of pages are met.
    let found_out = flip_and_live((0..FLIPS).map(|flip| (flip * (step + 4_099) + 77) % bits));
    eprintln!("{found_out} of {FLIPS} flips found out");
    assert!(found_out > 0);
}

#[test]
fn flipped_bits_in_the_header_of_the_tables_never_give_wrong_requests() {
    let found_out = flip_and_live((0..320 * 8).step_by(97));
    assert!(found_out > 0);
}

const STATES: TableDefinition<&str, &[u8]> = TableDefinition::new("consumer_state");
const KEYS: TableDefinition<(&str, u64), u64> = TableDefinition::new("dead_letter_keys");

/// A store whose tables were changed by hand.
fn changed(change: impl FnOnce(&redb::WriteTransaction)) -> tempfile::TempDir {
    let folder = sealed_store();
    let database = Database::open(folder.path().join("store.redb")).expect("closed");
    let txn = database.begin_write().expect("write");
    change(&txn);
    txn.commit().expect("commit");
    folder
}

/// With the last bit of a row of numbered rows flipped.
fn row_flipped(table: &'static str, key: u64) -> tempfile::TempDir {
    changed(|txn| {
        let table: TableDefinition<u64, &[u8]> = TableDefinition::new(table);
        let mut rows = txn.open_table(table).expect("table");
        let mut row = rows
            .remove(key)
            .expect("read")
            .expect("row")
            .value()
            .to_vec();
        *row.last_mut().expect("not empty") ^= 1;
        rows.insert(key, row.as_slice()).expect("insert");
    })
}

fn open(folder: &tempfile::TempDir) -> Result<RequestStore, StoreError> {
    open_with(folder.path(), small_config())
}

#[test]
fn damaged_consumer_is_called_corrupt_by_its_name_and_not_forgotten() {
    for by_hand in ["flip", "remove", "rename"] {
        let folder = changed(|txn| {
            let mut rows = txn.open_table(STATES).expect("table");
            let row = rows
                .remove("till")
                .expect("read")
                .expect("row")
                .value()
                .to_vec();
            match by_hand {
                "flip" => {
                    let mut row = row;
                    row[9] ^= 1;
                    rows.insert("till", row.as_slice()).expect("insert");
                }
                "rename" => {
                    rows.insert("kitchen", row.as_slice()).expect("insert");
                    rows.insert("till", row.as_slice()).expect("insert");
                }
                _ => {}
            }
        });
        let error = open(&folder).expect_err(by_hand);
        assert_eq!(error.code(), Code::Corrupt);
        let text = error.to_string();
        assert!(text.contains("consumer_state"), "{text}");
    }
}

#[test]
fn damaged_reply_or_dead_letter_is_corrupt_for_whoever_asks_for_it_alone() {
    let folder = row_flipped("replies", 11);
    let store = open(&folder).expect("opens");
    let reader = store.reader();
    let error = reader.reply(Seq(11)).expect_err("damaged");
    assert_eq!(error.code(), Code::Corrupt);
    assert!(error.to_string().contains("seq 11"), "{error}");
    assert_eq!(reader.reply(Seq(12)).expect("sound"), Some(reply(Seq(12))));

    let folder = row_flipped("dead_letters", 1);
    let mut store = open(&folder).expect("opens");
    let reader = store.reader();
    let error = reader.dead_letter(1).expect_err("damaged");
    assert_eq!(error.code(), Code::Corrupt);
    assert!(error.to_string().contains("number 1"), "{error}");
    let sound = reader.dead_letter(2).expect("sound").expect("there");
    assert_eq!(sound.consumer, "kitchen");
    // It can still be removed.
    store.stage_letters_removed(&[1]).expect("room");
    seal(&mut store);
    assert_eq!(store.dead_letter_count(), 1);
    let kept = store.reader().dead_letters(0, 9).expect("readable");
    assert_eq!(kept.len(), 1);
}

#[test]
fn missing_key_of_a_dead_letter_is_corruption() {
    let folder = changed(|txn| {
        let mut keys = txn.open_table(KEYS).expect("table");
        keys.remove(("till", 9)).expect("read").expect("row");
    });
    let error = open(&folder).expect_err("a letter that nobody finds");
    assert_eq!(error.code(), Code::Corrupt);
    assert!(error.to_string().contains("dead_letter_keys"), "{error}");
}

#[tokio::test]
async fn operator_removes_a_damaged_dead_letter_by_its_number() {
    let folder = row_flipped("dead_letters", 1);
    let bus = edgebus::MessageBus::start(open(&folder).expect("opens")).expect("starts");
    let all = edgebus::admin::DeadLetterFilter::all();
    let error = bus.remove_dead_letters(all.clone(), false).await;
    let error = error.expect_err("it cannot be read");
    assert_eq!(error.code, Code::Corrupt);
    assert!(error.message.contains("number 1"), "{error}");
    let one = edgebus::admin::DeadLetterFilter::numbers([1]);
    assert_eq!(bus.remove_dead_letters(one, false).await, Ok(1));
    assert_eq!(bus.remove_dead_letters(all, false).await, Ok(1));
    bus.shutdown().await;
}
