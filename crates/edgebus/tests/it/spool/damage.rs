//! What a power cut leaves is told from damage: a tear goes aside and is reported once, all else is
//! refused by name, and a folder that holds something else is left alone.

use std::fs;
use std::path::PathBuf;

use edgebus::RequestStore;

use super::*;
use crate::store::{contents, segments};

const BLOCK: usize = 4096;

/// Damages a spool with requests 1 to 5, each in a group of one block behind the first mark.
fn damaged(damage: impl FnOnce(&mut Vec<u8>)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("folder");
    let mut spool = open(folder.path());
    (1..=5).for_each(|number| put(&mut spool, number..=number));
    drop(spool);
    let segment = &segments(folder.path())[0];
    let mut bytes = fs::read(segment).expect("segment");
    damage(&mut bytes);
    fs::write(segment, bytes).expect("segment");
    folder
}

/// Where the group with a request begins: behind the header and the first mark.
fn place_of(number: usize) -> usize {
    BLOCK * (1 + number)
}

#[track_caller]
fn assert_corrupt(folder: &tempfile::TempDir, names: &str) {
    let before = contents(folder.path());
    let error = Spool::open(folder.path(), small()).expect_err("damaged");
    assert_eq!(error.code(), Code::Corrupt);
    assert!(error.to_string().contains(names), "{error}");
    assert!(contents(folder.path()) == before, "nothing was changed");
    let error = Spool::look(folder.path()).expect_err("damaged");
    assert_eq!(error.code(), Code::Corrupt);
}

#[test]
fn tear_goes_aside_is_reported_once_and_nothing_is_written_behind_it() {
    for written in [0, 20, 60, 100] {
        let folder = damaged(|bytes| bytes[place_of(5)..][..BLOCK - 512][written..].fill(0));
        let torn_segment = segments(folder.path())[0].clone();
        let before = fs::read(&torn_segment).expect("segment");
        let mut spool = open(folder.path());
        let torn = spool.torn_tail().expect("reported").clone();
        assert_eq!(
            (&torn.segment, torn.offset),
            (&torn_segment, place_of(5) as u64)
        );
        assert!(fs::metadata(&torn.copy).expect("copy").len() > 0);
        assert_eq!(waiting(&mut spool), [1, 2, 3, 4]);
        assert_eq!(
            spool.commit(&[], vec![record(9)]).expect("goes on"),
            [Ok(5)]
        );
        assert!(fs::read(&torn_segment).expect("segment") == before);
        drop(spool);
        let mut spool = open(folder.path());
        assert!(spool.torn_tail().is_none());
        assert_eq!(waiting(&mut spool), [1, 2, 3, 4, 5]);
    }
}

#[test]
fn group_of_which_nothing_was_written_leaves_nothing_to_report() {
    let folder = damaged(|bytes| bytes[place_of(5)..].fill(0));
    let mut spool = open(folder.path());
    assert!(spool.torn_tail().is_none());
    assert_eq!(waiting(&mut spool), [1, 2, 3, 4]);
    put(&mut spool, 5..=5);
    assert_eq!(
        segments(folder.path()).len(),
        1,
        "it goes on where it ended"
    );
}

#[test]
fn damage_in_what_was_synced_refuses_to_open_and_names_the_place() {
    for (at, names) in [
        (place_of(3) + 100, "byte 16384"),
        (place_of(0) + 70, "byte 4096"),
        (20, "header"),
    ] {
        let folder = damaged(|bytes| bytes[at] ^= 1);
        assert_corrupt(&folder, "0000000001.wal");
        assert_corrupt(&folder, names);
    }
    let folder = damaged(|bytes| bytes.truncate(place_of(6)));
    assert_corrupt(&folder, "bytes early");
}

/// A spool of some segments in which every one counts, of the requests 1 to 60 and a dead letter.
fn of_many_segments() -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().expect("folder");
    let mut spool = open(folder.path());
    (1..=20).for_each(|number| put(&mut spool, number..=number));
    settle(&mut spool, &[dead(1)]);
    (21..=60).for_each(|number| put(&mut spool, number..=number));
    settle(&mut spool, &forwarded(2..=17));
    drop(spool);
    let segments = segments(folder.path());
    assert!(segments.len() > 3);
    (folder, segments)
}

#[test]
fn segment_that_is_missing_is_named() {
    let (folder, segments) = of_many_segments();
    assert!(
        segments[0].ends_with("0000000002.wal"),
        "the first was freed"
    );
    fs::remove_file(&segments[0]).expect("removed");
    assert_corrupt(&folder, "0000000002.wal");

    let (folder, segments) = of_many_segments();
    fs::remove_file(&segments[1]).expect("removed");
    assert_corrupt(&folder, "0000000003.wal");

    let (folder, segments) = of_many_segments();
    segments
        .iter()
        .for_each(|path| fs::remove_file(path).expect("removed"));
    assert_corrupt(&folder, "journal");

    // One that holds nothing but a dead letter is missed too.
    let (folder, segments) = of_many_segments();
    let mut spool = open(folder.path());
    settle(&mut spool, &forwarded(18..=60));
    assert_eq!(dead_numbers(&spool), [1]);
    drop(spool);
    let left = crate::store::segments(folder.path());
    assert!(left.len() < segments.len());
}

#[test]
fn folder_without_version_is_no_spool_unless_nothing_was_spooled() {
    let (folder, _) = of_many_segments();
    fs::remove_file(folder.path().join("VERSION")).expect("removed");
    let error = Spool::open(folder.path(), small()).expect_err("damaged");
    assert_eq!(error.code(), Code::Corrupt);
    assert!(error.to_string().contains("VERSION"), "{error}");

    let folder = tempfile::tempdir().expect("folder");
    drop(open(folder.path()));
    fs::remove_file(folder.path().join("VERSION")).expect("removed");
    put(&mut open(folder.path()), 1..=1);
    let version = fs::read_to_string(folder.path().join("VERSION")).expect("VERSION");
    assert!(version.starts_with("edgebus-spool 1\nid "), "{version}");
}

#[test]
fn folder_of_a_store_is_refused_as_a_spool_and_the_other_way_round() {
    let folder = tempfile::tempdir().expect("folder");
    let store = RequestStore::open(folder.path()).expect("opens");
    for is_open in [true, false] {
        let error = Spool::open(folder.path(), small()).expect_err("a store");
        assert_eq!(error.code(), Code::BadConfig, "{is_open}");
        assert!(
            error.to_string().contains("holds a store, not a spool"),
            "{error}"
        );
        assert!(
            error
                .to_string()
                .contains(&folder.path().display().to_string())
        );
        let error = Spool::look(folder.path()).expect_err("a store");
        assert_eq!(error.code(), Code::BadConfig);
        if is_open {
            assert!(store.torn_tail().is_none());
        }
    }
    drop(store);
    RequestStore::open(folder.path()).expect("as it was");

    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    let error = RequestStore::open(folder.path()).expect_err("a spool");
    assert_eq!(error.code(), Code::BadConfig);
    assert!(
        error.to_string().contains("holds a spool, not a store"),
        "{error}"
    );
    drop(spool);
    assert_eq!(waiting(&mut open(folder.path())), [0; 0]);
}

#[test]
fn spool_of_another_process_or_of_a_newer_version_is_left_alone() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    let error = Spool::open(folder.path(), small()).expect_err("in use");
    assert_eq!(error.code(), Code::DataInUse);
    drop(spool);
    let version = folder.path().join("VERSION");
    let text = fs::read_to_string(&version).expect("VERSION");
    fs::write(&version, text.replace("edgebus-spool 1", "edgebus-spool 2")).expect("written");
    let lock = folder.path().join("LOCK");
    fs::remove_file(&lock).expect("there");
    let before = crate::store::contents(folder.path());
    let error = Spool::open(folder.path(), small()).expect_err("newer");
    assert_eq!(error.code(), Code::NewerFormat);
    assert!(crate::store::contents(folder.path()) == before && !lock.exists());
    fs::write(&version, text.replace("edgebus-spool 1", "something 1")).expect("written");
    let error = Spool::open(folder.path(), small()).expect_err("unknown");
    assert_eq!(error.code(), Code::Corrupt);
    fs::write(&version, text).expect("written");
    drop(open(folder.path()));
}

/// Found out when it is read, not handed on.
#[test]
fn damage_while_a_spool_is_open_is_told_by_whoever_reads_it() {
    let folder = tempfile::tempdir().expect("folder");
    let mut spool = open(folder.path());
    (1..=5).for_each(|number| put(&mut spool, number..=number));
    let segment = &segments(folder.path())[0];
    let bytes = fs::read(segment).expect("segment");
    let mut flipped = bytes.clone();
    flipped[place_of(3) + 150] ^= 1;
    fs::write(segment, flipped).expect("segment");
    let given = spool.next(9, usize::MAX).expect("readable so far");
    assert_eq!(given.iter().map(|w| w.number).collect::<Vec<_>>(), [1, 2]);
    let error = spool.next(9, usize::MAX).expect_err("damaged");
    assert_eq!(error.code(), Code::Corrupt);
    assert!(error.to_string().contains("byte 16384"), "{error}");
    assert_eq!(spool.list(0, 9).expect_err("damaged").code(), Code::Corrupt);
    // Mended, it goes on.
    fs::write(segment, bytes).expect("segment");
    assert_eq!(take(&mut spool), [3, 4, 5]);
}
