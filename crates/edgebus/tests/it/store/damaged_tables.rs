//! Bits that flip in the file with the tables: nothing wrong is ever handed out, nothing panics,
//! and what is unreadable is called corrupt.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use edgebus::{Code, RequestStore, Seq, StoreError};

use super::{append, id, large_message, message, open_with, seal, small_config};

const SMALL: u64 = 400;
const LAST: u64 = SMALL + 40;
const FLIPS: usize = 120;

/// A closed store with some of everything in its tables.
fn sealed_store() -> tempfile::TempDir {
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
    seal(&mut store);
    store.close().expect("closes");
    folder
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
    store.get_consumer_offset(&"till".parse().expect("name"))?;
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
