//! The last group, cut by a power failure: it was never acknowledged, so the store opens without
//! it, says so once, and keeps its bytes.

use std::fs;
use std::path::Path;

use edgebus::store::TornTail;

use super::{append, assert_holds, contents, large_message, open_with, segments, unsealed_config};

const BLOCK: usize = 4096;
/// Requests before the last one; each is a group of one block.
const WHOLE: u64 = 5;
/// Where the last group starts: behind the segment's header and the groups before.
const LAST_AT: usize = BLOCK * (1 + WHOLE as usize);
/// The last group's payload: it takes two blocks.
const LAST_PAYLOAD: usize = 8_000;

/// A store with [`WHOLE`] requests and a last one, whose segment `damage` may change.
fn torn_store(damage: impl FnOnce(&mut Vec<u8>)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("folder");
    let mut store = open_with(folder.path(), unsealed_config()).expect("opens");
    append(&mut store, 1..=WHOLE);
    let last = large_message(WHOLE + 1, LAST_PAYLOAD);
    store.append_request(&last).expect("stored");
    drop(store);
    let segment = &segments(folder.path())[0];
    let mut bytes = fs::read(segment).expect("segment");
    damage(&mut bytes);
    fs::write(segment, bytes).expect("segment");
    folder
}

/// What the next start reports. All before the tear must be there, and the one after that start
/// must have nothing to report.
fn open_twice(dir: &Path) -> Option<TornTail> {
    let damaged = fs::read(&segments(dir)[0]).expect("segment");
    let mut store = open_with(dir, unsealed_config()).expect("a tear is no corruption");
    let torn = store.torn_tail().cloned();
    assert_holds(&store, WHOLE);
    append(&mut store, WHOLE + 1..=WHOLE + 1);
    drop(store);
    let segment = fs::read(&segments(dir)[0]).expect("segment");
    match torn {
        Some(_) => assert!(segment == damaged, "nothing is written behind a tear"),
        None => assert!(
            segment[..LAST_AT] == damaged[..LAST_AT],
            "what is whole stays"
        ),
    }

    let store = open_with(dir, unsealed_config()).expect("opens again");
    assert_eq!(store.torn_tail(), None, "it is reported once");
    assert_holds(&store, WHOLE + 1);
    torn
}

#[track_caller]
fn assert_reported(folder: &tempfile::TempDir) {
    let dir = folder.path();
    let segment = segments(dir)[0].clone();
    let bytes = fs::read(&segment).expect("segment");
    let torn = open_twice(dir).expect("the tear is reported");
    assert_eq!(torn.segment, segment);
    assert_eq!(torn.offset, LAST_AT as u64);
    let kept = fs::read(&torn.copy).expect("copy");
    let rest = &bytes[LAST_AT..];
    assert!(rest.starts_with(&kept), "the copy is what was there");
    assert!(rest[kept.len()..].iter().all(|byte| *byte == 0));
}

#[test]
fn group_whose_end_was_not_written_is_a_torn_tail() {
    for written in [512, BLOCK, 2 * BLOCK - 512, LAST_PAYLOAD] {
        let folder = torn_store(|bytes| bytes[LAST_AT + written..].fill(0));
        assert_reported(&folder);
    }
}

#[test]
fn group_of_which_any_one_sector_was_not_written_is_a_torn_tail() {
    for missing in 0..2 * BLOCK / 512 {
        let from = LAST_AT + missing * 512;
        let folder = torn_store(|bytes| bytes[from..from + 512].fill(0));
        assert_reported(&folder);
    }
}

#[test]
fn flipped_bit_in_the_last_group_reads_as_a_torn_tail() {
    let in_header = (0..64 * 8).step_by(31);
    let in_ops = (64 * 8..(64 + LAST_PAYLOAD) * 8).step_by(4_001);
    let in_footer = (0..16 * 8)
        .step_by(31)
        .map(|bit| (2 * BLOCK - 16) * 8 + bit);
    for bit in in_header.chain(in_ops).chain(in_footer) {
        let folder = torn_store(|bytes| bytes[LAST_AT + bit / 8] ^= 1 << (bit % 8));
        assert_reported(&folder);
    }
}

#[test]
fn segment_cut_off_in_the_last_group_is_a_torn_tail() {
    for left in [64, 100, BLOCK, LAST_PAYLOAD] {
        let folder = torn_store(|bytes| bytes.truncate(LAST_AT + left));
        assert_reported(&folder);
    }
}

#[test]
fn group_of_which_nothing_was_written_leaves_nothing_to_report() {
    let zeroed = torn_store(|bytes| bytes[LAST_AT..].fill(0));
    assert_eq!(open_twice(zeroed.path()), None);
}

/// Segments are made at full length, so no crash leaves a shorter one. What was behind the cut may
/// have been acknowledged, and nothing else would tell.
#[test]
fn segment_cut_off_between_two_groups_is_corruption() {
    let folder = torn_store(|bytes| bytes.truncate(LAST_AT));
    let error = open_with(folder.path(), unsealed_config()).expect_err("shortened");
    assert_eq!(error.code(), edgebus::Code::Corrupt);
    assert!(error.to_string().contains("bytes early"), "{error}");
}

#[test]
fn every_tear_is_kept_under_a_name_of_its_own() {
    let folder = torn_store(|bytes| bytes[LAST_AT + 70] ^= 1);
    let mut copies = Vec::new();
    for number in 0..3 {
        let mut store = open_with(folder.path(), unsealed_config()).expect("opens");
        let torn = store.torn_tail().expect("torn").clone();
        assert!(fs::metadata(&torn.copy).expect("copy").len() > 0);
        copies.push(torn.copy);
        append(&mut store, WHOLE + 1 + number..=WHOLE + 1 + number);
        let last = large_message(99 + number, 100);
        store.append_request(&last).expect("stored");
        drop(store);
        let segment = segments(folder.path()).pop().expect("segment");
        let mut bytes = fs::read(&segment).expect("segment");
        bytes[2 * BLOCK + 70] ^= 1;
        fs::write(&segment, bytes).expect("segment");
    }
    copies.dedup();
    assert_eq!(copies.len(), 3);
    let there = contents(folder.path());
    assert!(copies.iter().all(|copy| there.contains_key(copy)));
}
