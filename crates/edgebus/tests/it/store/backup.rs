//! A backup is the store as it was at one moment, however much goes on while it is taken; what is
//! restored of it goes on where it was; and a file that is not whole is refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use edgebus::files::{Files, RealFiles};
use edgebus::store::backup::{Backup, BackupFile, Identity, Restored, restore};
use edgebus::{Code, Lsn, RequestStore, Seq, StoreError};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use super::consumers::{Act, Model, Run, act, new_run};
use super::{append, contents, id, message, open_with, seal, small_config};

/// By how much epochs go up.
const EPOCHS: u32 = 64 * 1024;

/// A backup while it is taken, and what the store held each time a piece of it was.
struct Taking {
    backup: Backup,
    page_bytes: usize,
    file: Vec<u8>,
    held: BTreeMap<Lsn, Model>,
}

impl Taking {
    fn new(run: &Run, page_bytes: usize) -> Self {
        Self {
            backup: run.store.reader().backup(7).expect("the only one"),
            page_bytes,
            file: Vec::new(),
            held: BTreeMap::new(),
        }
    }

    /// Takes a piece; says whether it was the last one.
    fn step(&mut self, run: &Run) -> bool {
        let lsn = run.store.reader().synced_lsn();
        self.held.insert(lsn, run.synced.clone());
        let page = self.backup.next_page(self.page_bytes).expect("sound");
        assert!(page.bytes.len() <= self.page_bytes);
        self.file.extend(page.bytes);
        page.done
    }
}

fn open_file(path: &Path) -> Result<BackupFile, StoreError> {
    BackupFile::open(&RealFiles, path, |_, _| {})
}

fn restore_to(file: &BackupFile, dir: &Path, identity: Identity) -> Result<Restored, StoreError> {
    let files: Arc<dyn Files> = Arc::new(RealFiles);
    restore(&files, file, dir, identity, |_, _| {})
}

fn refusal(error: StoreError) -> (Code, String) {
    (error.code(), error.to_string())
}

/// Restores a file and compares the store with what it should hold.
fn check(file: &[u8], held: &BTreeMap<Lsn, Model>) {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("file");
    fs::write(&path, file).expect("write");
    let backup = open_file(&path).expect("whole");
    let dir = folder.path().join("restored");
    let restored = restore_to(&backup, &dir, Identity::New).expect("fits");
    let mut wanted = held[&restored.lsn].clone();
    for ledger in wanted.ledgers.values_mut() {
        *ledger = ledger.clone().restored(EPOCHS);
    }
    assert_eq!(restored.requests, wanted.last + 1 - wanted.first);
    for life in 0..2 {
        let mut config = small_config();
        config.ids_per_generation = 16;
        let mut store = open_with(&dir, config).expect("opens");
        assert_eq!(store.store_id(), restored.store_id);
        wanted.check(&store);
        // Everything is known again, whether it is kept or not; nothing newer is.
        for number in 1..=wanted.last {
            let found = store.reader().find(id(number), Default::default());
            assert_eq!(found.expect("readable"), Some(Seq(number)));
            let receipt = store.append_request(&message(number)).expect("known");
            assert_eq!((receipt.seq, receipt.duplicate), (Seq(number), true));
        }
        assert!(!store.is_duplicate(id(wanted.last + 1)).expect("readable"));
        // And everything goes on behind it.
        wanted.last += 1;
        append(&mut store, wanted.last..=wanted.last);
        if life == 0 {
            seal(&mut store);
        }
    }
}

fn run(acts: Vec<(Act, bool)>, page_bytes: usize) {
    let mut run = new_run();
    let mut taking: Option<Taking> = None;
    let mut taken = 0;
    for (act, step) in acts {
        if matches!(act, Act::Reopen | Act::Crash) {
            // It is given up with its server.
            taking = None;
        }
        run.act(act);
        // Two are enough: to look at one takes longer than to take it.
        if !step || taken == 2 {
            continue;
        }
        let now = taking.get_or_insert_with(|| Taking::new(&run, page_bytes));
        if now.step(&run) {
            taken += 1;
            check(&now.file, &now.held);
            taking = None;
        }
    }
    run.commit();
    drop(taking);
    if taken == 0 {
        let mut last = Taking::new(&run, page_bytes);
        while !last.step(&run) {}
        check(&last.file, &last.held);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 16,
        max_shrink_iters: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn backup_is_the_store_at_one_moment(
        acts in prop::collection::vec((act(), prop::bool::weighted(0.6)), 1..100),
        page_bytes in prop_oneof![1 => 1..200usize, 2 => 200..4000usize, 1 => Just(1 << 20)],
    ) {
        run(acts, page_bytes);
    }
}

/// A small file, of a store with a bit of everything.
fn small_file() -> Vec<u8> {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let acts = prop::collection::vec(act(), 120..121);
    let acts = acts.new_tree(&mut runner).expect("acts").current();
    let mut run = new_run();
    for act in acts {
        run.act(act);
    }
    run.commit();
    let mut taking = Taking::new(&run, 1 << 20);
    while !taking.step(&run) {}
    check(&taking.file, &taking.held);
    taking.file
}

#[test]
fn file_with_any_bit_flipped_or_cut_anywhere_is_refused() {
    let file = small_file();
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("file");
    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).expect("write");
        let (code, message) = refusal(open_file(&path).expect_err("refused"));
        let newer = code == Code::NewerFormat && message.contains("update edgebus");
        assert!(
            newer || code == Code::Corrupt && message.contains("byte"),
            "{message}"
        );
    };
    for at in (0..file.len()).step_by(3) {
        let mut flipped = file.clone();
        flipped[at] ^= 1 << (at % 8);
        refused(&flipped);
        if at % 31 == 0 {
            refused(&file[..at]);
        }
    }
    let longer = [file.as_slice(), b"x"].concat();
    refused(&longer);
    // Two whole chunks that changed places, or one that is missing, are not what was written.
    let mut newer = file.clone();
    newer[15] = b'2';
    fs::write(&path, newer).expect("write");
    let (code, _) = refusal(open_file(&path).expect_err("refused"));
    assert_eq!(code, Code::NewerFormat);
}

#[test]
fn restore_overwrites_nothing_and_says_whose_store_it_is() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("file");
    fs::write(&path, small_file()).expect("write");
    let backup = open_file(&path).expect("whole");
    let dir = folder.path().join("restored");
    let same = restore_to(&backup, &dir, Identity::Same).expect("fits");
    assert_eq!(same.store_id, backup.contents().store_id);
    let before = contents(&dir);
    let (code, message) = refusal(restore_to(&backup, &dir, Identity::New).expect_err("there"));
    assert_eq!(code, Code::BadConfig);
    assert!(message.contains("overwrites nothing"), "{message}");
    assert_eq!(contents(&dir), before);

    let other = folder.path().join("other");
    fs::create_dir(&other).expect("folder");
    fs::write(other.join("letter.txt"), "dear").expect("write");
    let (code, _) = refusal(restore_to(&backup, &other, Identity::New).expect_err("not empty"));
    assert_eq!(code, Code::BadConfig);
    assert_eq!(contents(&other).len(), 1);

    let new = restore_to(&backup, &folder.path().join("a/b"), Identity::New).expect("fits");
    assert_ne!(new.store_id, same.store_id);
}

#[test]
fn folder_of_an_unfinished_restore_is_opened_by_nobody() {
    let folder = tempfile::tempdir().expect("folder");
    fs::write(folder.path().join("VERSION"), "edgebus-restoring 1\n").expect("write");
    let error = RequestStore::open(folder.path()).expect_err("refused");
    assert!(error.to_string().contains("remove the folder"), "{error}");
    assert_eq!(contents(folder.path()).len(), 1);
}

#[test]
fn one_backup_at_a_time_and_one_given_up_leaves_no_trace() {
    let folder = tempfile::tempdir().expect("folder");
    let mut store = open_with(folder.path(), small_config()).expect("opens");
    append(&mut store, 1..=20);
    let first = store.reader().backup(0).expect("the only one");
    let (code, _) = refusal(store.reader().backup(0).expect_err("another one"));
    assert_eq!(code, Code::Busy);
    drop(first);
    seal(&mut store);
    store.reader().backup(0).expect("the only one again");
}
