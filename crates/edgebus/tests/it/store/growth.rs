//! A store does not grow with the number of its starts, nor its journal with what is sealed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use edgebus::files::RealFiles;
use edgebus::{Code, RequestStore, Seq};

use super::manual_clock::ManualClock;
use super::{
    append, assert_holds, contents, open_with, seal, segments, small_config, unsealed_config,
};

fn names(dir: &Path) -> BTreeSet<String> {
    let paths = contents(dir).into_keys();
    paths
        .map(|path| {
            path.file_name()
                .expect("file")
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

#[test]
fn starting_again_and_again_piles_up_neither_segments_nor_files() {
    let folder = tempfile::tempdir().expect("folder");
    let mut files_max = 0;
    let mut segments_max = 0;
    for cycle in 0..60 {
        let mut store = open_with(folder.path(), small_config()).expect("opens");
        let last = store.reader().last_seq().0;
        assert_eq!(last, cycle * 3, "all of the last cycle is there");
        append(&mut store, last + 1..=last + 3);
        if cycle % 2 == 0 {
            store.close().expect("closes");
        } else {
            drop(store);
        }
        files_max = files_max.max(names(folder.path()).len());
        segments_max = segments_max.max(segments(folder.path()).len());
    }
    // VERSION, LOCK, store.redb, two spares, and the segments.
    assert!(segments_max <= 4, "{segments_max} segments");
    assert!(files_max <= 5 + 4, "{files_max} files");
    assert_holds(
        &open_with(folder.path(), small_config()).expect("opens"),
        180,
    );
}

#[test]
fn start_without_any_work_changes_no_segment_and_adds_no_file() {
    let folder = tempfile::tempdir().expect("folder");
    let mut store = open_with(folder.path(), small_config()).expect("opens");
    append(&mut store, 1..=10);
    store.close().expect("closes");
    let journal = contents(&folder.path().join("journal"));
    let before = names(folder.path());
    for _ in 0..5 {
        drop(open_with(folder.path(), small_config()).expect("opens"));
        open_with(folder.path(), small_config())
            .expect("opens")
            .close()
            .expect("closes");
    }
    assert_eq!(names(folder.path()), before);
    assert!(contents(&folder.path().join("journal")) == journal);
}

#[test]
fn journal_space_is_used_again_once_it_is_sealed() {
    let folder = tempfile::tempdir().expect("folder");
    let mut store = open_with(folder.path(), small_config()).expect("opens");
    // Each is a group of its own, of 4 KiB: a segment takes 63 of them.
    let last = 63 * 12;
    append(&mut store, 1..=last);
    let newest = segments(folder.path()).pop().expect("segment");
    assert!(newest.ends_with("0000000012.wal"), "{}", newest.display());
    let bytes: u64 = contents(&folder.path().join("journal"))
        .values()
        .map(|bytes| bytes.len() as u64)
        .sum();
    let segment_bytes = small_config().segment_bytes;
    assert!(bytes <= 6 * segment_bytes, "{bytes} bytes of journal");
    assert!(store.reader().stats().journal_segments <= 4);
    assert_holds(&store, last);
    drop(store);
    assert_holds(
        &open_with(folder.path(), small_config()).expect("opens"),
        last,
    );
}

#[test]
fn segment_is_freed_one_seal_late() {
    let folder = tempfile::tempdir().expect("folder");
    let mut store = open_with(folder.path(), unsealed_config()).expect("opens");
    append(&mut store, 1..=63 + 10);
    assert_eq!(segments(folder.path()).len(), 2);
    seal(&mut store);
    assert_eq!(
        segments(folder.path()).len(),
        2,
        "what was just sealed is still in the journal"
    );
    append(&mut store, 63 + 11..=63 + 20);
    seal(&mut store);
    assert_eq!(
        segments(folder.path()).len(),
        1,
        "what was sealed before is not needed any more"
    );
}

/// redb does not fall back from a commit whose bytes the disk lost; the journal still has them.
#[test]
fn lost_commit_of_the_tables_is_made_good_from_the_journal_and_a_second_is_corruption() {
    let folder = tempfile::tempdir().expect("folder");
    let tables = folder.path().join("store.redb");
    let mut store = open_with(folder.path(), unsealed_config()).expect("opens");
    let mut last = 0;
    let mut copies = Vec::new();
    for _ in 0..4 {
        // More than a segment takes.
        append(&mut store, last + 1..=last + 100);
        last += 100;
        seal(&mut store);
        copies.push(fs::read(&tables).expect("tables"));
    }
    drop(store);
    let whole = copies.pop().expect("copy");
    let one_lost = copies.pop().expect("copy");
    let two_lost = copies.pop().expect("copy");

    fs::write(&tables, two_lost).expect("write");
    let error = open_with(folder.path(), unsealed_config()).expect_err("a gap");
    assert_eq!(error.code(), Code::Corrupt);
    assert!(error.to_string().contains("missing"), "{error}");
    for tables_then in [whole, one_lost] {
        fs::write(&tables, tables_then).expect("write");
        let store = open_with(folder.path(), unsealed_config()).expect("opens");
        assert_holds(&store, last);
    }
    let mut store = open_with(folder.path(), unsealed_config()).expect("opens");
    append(&mut store, last + 1..=last + 100);
    seal(&mut store);
    assert_holds(&store, last + 100);
}

#[test]
fn other_segment_size_is_taken_on_and_old_segments_are_not_used_again() {
    let folder = tempfile::tempdir().expect("folder");
    let mut last = 0;
    for kib in [256, 512, 192, 256] {
        let mut config = small_config();
        config.segment_bytes = kib * 1024;
        let mut store = open_with(folder.path(), config).expect("opens");
        for _ in 0..30 {
            append(&mut store, last + 1..=last + 10);
            last += 10;
            for (path, bytes) in contents(&folder.path().join("journal")) {
                let is_spare = path.extension().is_none();
                assert!(
                    !is_spare || bytes.len() as u64 == kib * 1024,
                    "{}",
                    path.display()
                );
            }
        }
        assert_holds(&store, last);
    }
}

#[test]
fn what_waits_too_long_is_sealed() {
    let folder = tempfile::tempdir().expect("folder");
    let clock = ManualClock::new(1_000_000);
    let mut config = small_config();
    config.seal_after = Duration::from_secs(30);
    let files = Arc::new(RealFiles);
    let clock_of_store = Arc::new(clock.clone());
    let mut store =
        RequestStore::open_with(folder.path(), config, files, clock_of_store).expect("opens");
    assert_eq!(store.seal_due_in(clock.read()), None);
    append(&mut store, 1..=1);
    clock.advance(Duration::from_secs(29));
    store.commit(clock.read()).expect("nothing to do");
    assert_eq!(store.reader().stats().seals, 0);
    assert_eq!(
        store.seal_due_in(clock.read()),
        Some(Duration::from_secs(1))
    );
    clock.advance(Duration::from_secs(1));
    store.commit(clock.read()).expect("seals");
    assert_eq!(store.reader().stats().seals, 1);
    assert_eq!(store.seal_due_in(clock.read()), None);
    assert_eq!(
        store
            .get_by_seq(Seq(1))
            .expect("readable")
            .expect("there")
            .seq(),
        Seq(1)
    );
}

#[test]
fn leftovers_of_an_interrupted_rotation_are_used_or_removed() {
    let folder = tempfile::tempdir().expect("folder");
    let mut store = open_with(folder.path(), small_config()).expect("opens");
    append(&mut store, 1..=5);
    drop(store);
    let journal = folder.path().join("journal");
    let whole = vec![7; small_config().segment_bytes as usize];
    for number in 10..14 {
        fs::write(journal.join(format!("spare-{number}")), &whole).expect("write");
    }
    fs::write(journal.join("spare-20"), "cut short").expect("write");
    fs::write(journal.join("notes.txt"), "not ours").expect("write");
    let mut store = open_with(folder.path(), small_config()).expect("opens");
    append(&mut store, 6..=63 * 3);
    assert_holds(&store, 63 * 3);
    drop(store);
    let names = names(&journal);
    let spares = names
        .iter()
        .filter(|name| name.starts_with("spare-"))
        .count();
    assert!(spares <= 2, "{names:?}");
    assert!(
        names.contains("notes.txt"),
        "what is not ours is left alone"
    );
    assert_holds(
        &open_with(folder.path(), small_config()).expect("opens"),
        63 * 3,
    );
}
