//! What a later version writes: a folder of another format is left as it is, byte for byte; a row of
//! another version in a folder of a known format is named, and never taken for something else.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use edgebus::files::RealFiles;
use edgebus::{Code, RequestStore, Seq, StoreError};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::fixture::{START_MS, dir};
use super::format::{u32_at, u64_at};
use super::manual_clock::ManualClock;
use super::{contents, segments, small_config};

const BLOCK: usize = 4096;

/// A copy of the store that format 2 wrote, without its lock.
fn copied() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("folder");
    fs::create_dir(folder.path().join("journal")).expect("folder");
    for (path, bytes) in contents(&dir(2)) {
        let name = path.strip_prefix(dir(2)).expect("below it");
        if name != Path::new("LOCK") {
            fs::write(folder.path().join(name), bytes).expect("copy");
        }
    }
    folder
}

fn open(dir: &Path) -> Result<RequestStore, StoreError> {
    let clock = Arc::new(ManualClock::new(START_MS + 3_600_000));
    RequestStore::open_with(dir, small_config(), Arc::new(RealFiles), clock)
}

/// The last group of a journal: its segment and where it is.
fn last_group(dir: &Path) -> (PathBuf, Vec<u8>, usize) {
    let path = segments(dir).pop().expect("a segment");
    let bytes = fs::read(&path).expect("segment");
    let blocks = (BLOCK..bytes.len()).step_by(BLOCK);
    let last = blocks.rev().find(|at| bytes[*at..].starts_with(b"EBG1"));
    (path, bytes, last.expect("a group"))
}

/// The first operation of a type in the journal, from the last segment: its place.
fn operation(bytes: &[u8], kind: u8) -> (usize, usize) {
    for group in (BLOCK..bytes.len()).step_by(BLOCK) {
        if !bytes[group..].starts_with(b"EBG1") {
            continue;
        }
        let end = group + 64 + u32_at(bytes, group + 60) as usize;
        let mut at = group + 64;
        while at < end {
            if bytes[at + 4] == kind {
                return (group, at);
            }
            at += u32_at(bytes, at) as usize;
        }
    }
    panic!("no operation of type {kind}");
}

/// Puts the checksum of a group right.
fn reseal(bytes: &mut [u8], group: usize) {
    let end = group + 64 + u32_at(bytes, group + 60) as usize;
    let seed = crc32c::crc32c(&bytes[24..40]);
    let crc = crc32c::crc32c_append(seed, &bytes[group + 8..end]);
    bytes[group + 4..group + 8].copy_from_slice(&crc.to_le_bytes());
}

#[track_caller]
fn refused_untouched(folder: &Path, words: &[&str]) {
    let before = contents(folder);
    let error = open(folder).expect_err("of a later version");
    let said = error.to_string();
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
    let mut after = contents(folder);
    // The lock of a format that is known is taken.
    after.remove(&folder.join("LOCK"));
    assert!(after == before, "{said}");
}

#[test]
fn store_of_a_later_format_is_left_as_it_is_and_not_even_locked() {
    for format in ["3", "4000000000"] {
        let folder = copied();
        let version = folder.path().join("VERSION");
        let text = fs::read_to_string(&version).expect("VERSION");
        let later = text.replace("edgebus-store 2", &format!("edgebus-store {format}"));
        fs::write(&version, later).expect("written");
        let names = || contents(folder.path()).into_keys().collect::<BTreeSet<_>>();
        let before = (contents(folder.path()), names());
        let error = open(folder.path()).expect_err("later");
        assert_eq!(error.code(), Code::NewerFormat, "{error}");
        assert!(before == (contents(folder.path()), names()));
        assert!(!folder.path().join("LOCK").exists());
    }
}

#[test]
fn entry_of_a_later_version_in_the_journal_is_named() {
    let folder = copied();
    let path = segments(folder.path()).pop().expect("a segment");
    let mut bytes = fs::read(&path).expect("segment");
    let (group, at) = operation(&bytes, 1);
    bytes[at + 5] = 3;
    reseal(&mut bytes, group);
    fs::write(&path, bytes).expect("segment");
    let place = format!("byte {group}");
    refused_untouched(folder.path(), &[&place, "version 3", "knows up to 2"]);
}

#[test]
fn operation_of_a_later_version_or_type_in_the_journal_is_named() {
    for (offset, value, words) in [
        (5, 2, ["version 2 of type 4", "knows 1"]),
        (4, 99, ["a type that is not known", "byte"]),
    ] {
        let folder = copied();
        let path = segments(folder.path()).pop().expect("a segment");
        let mut bytes = fs::read(&path).expect("segment");
        let (group, at) = operation(&bytes, 4);
        bytes[at + offset] = value;
        reseal(&mut bytes, group);
        fs::write(&path, bytes).expect("segment");
        refused_untouched(folder.path(), &words);
    }
}

#[test]
fn segment_of_a_later_format_is_named_and_not_called_damaged() {
    let folder = copied();
    let path = segments(folder.path()).pop().expect("a segment");
    let mut bytes = fs::read(&path).expect("segment");
    bytes[12..16].copy_from_slice(&2u32.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[12..48]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, bytes).expect("segment");
    refused_untouched(folder.path(), &["format 2", "knows 1", "update edgebus"]);
}

#[test]
fn block_of_a_later_version_is_named_to_whoever_reads_it_and_others_are_read() {
    const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("request_log");
    let folder = copied();
    let tables = Database::open(folder.path().join("store.redb")).expect("a redb file");
    let (key, mut row) = {
        let read = tables.begin_read().expect("reads");
        let table = read.open_table(LOG).expect("table");
        let (key, row) = table.last().expect("reads").expect("a row");
        (key.value(), row.value().to_vec())
    };
    row[4] = 3;
    let crc = crc32c::crc32c(&row[4..]);
    row[..4].copy_from_slice(&crc.to_le_bytes());
    let write = tables.begin_write().expect("writes");
    let mut table = write.open_table(LOG).expect("table");
    table.insert(key, row.as_slice()).expect("writes");
    drop(table);
    write.commit().expect("durable");
    drop(tables);

    let store = open(folder.path()).expect("opens");
    let error = store.get_by_seq(Seq(key)).expect_err("of a later version");
    assert_eq!(error.code(), Code::Corrupt);
    let said = error.to_string();
    assert!(
        said.contains("version 3") && said.contains("update edgebus"),
        "{said}"
    );
    let behind = store.get_by_seq(Seq(key + 1)).expect("readable");
    assert!(behind.is_some());
}

/// As a power cut leaves it, whichever version wrote it: its last sectors never came.
#[test]
fn tear_in_a_store_of_either_format_is_reported_and_all_before_it_is_read() {
    for format in [1, 2] {
        let folder = tempfile::tempdir().expect("folder");
        fs::create_dir(folder.path().join("journal")).expect("folder");
        for (path, bytes) in contents(&dir(format)) {
            let name = path.strip_prefix(dir(format)).expect("below it");
            fs::write(folder.path().join(name), bytes).expect("copy");
        }
        let (path, mut bytes, at) = last_group(folder.path());
        let lsn = u64_at(&bytes, at + 24);
        bytes[at + 512..at + BLOCK].fill(0);
        fs::write(&path, bytes).expect("segment");
        let store = open(folder.path()).expect("opens");
        let torn = store.torn_tail().expect("a tear");
        assert_eq!(
            (&torn.segment, torn.offset, torn.short_by),
            (&path, at as u64, 0)
        );
        assert!(torn.copy.is_file());
        assert!(store.reader().last_seq() >= Seq(49), "before lsn {lsn}");
    }
}
