//! A spool as this version wrote it, kept in the tree: later versions must read every byte of it, and
//! whoever writes a reader from docs/storage-format.md alone must get the same.
//!
//! `tests/fixtures/spool-1` was written by [`write`]; to write it anew, which only a new format may
//! need, run the first test with `EDGEBUS_WRITE_FIXTURE=1`.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use edgebus::files::RealFiles;
use edgebus::spool::Waiting;

use super::*;
use crate::store::format::{u32_at, u64_at};
use crate::store::manual_clock::ManualClock;
use crate::store::segments;

const START_MS: u64 = 1_760_000_000_000;
const BLOCK: usize = 4096;

fn fixture() -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    fixtures.join("spool-1")
}

fn open_at(dir: &Path, clock: &ManualClock) -> Spool {
    let files = Arc::new(RealFiles);
    Spool::open_with(dir, small(), files, Arc::new(clock.clone())).expect("opens")
}

fn write(dir: &Path) {
    let _ = fs::remove_dir_all(dir);
    let clock = ManualClock::new(START_MS);
    let mut spool = open_at(dir, &clock);
    clock.advance(Duration::from_secs(1));
    put(&mut spool, 1..=5);
    clock.advance(Duration::from_secs(1));
    settle(&mut spool, &[dead(2), (1, Settled::Forwarded), dead(4)]);
    clock.advance(Duration::from_secs(1));
    put(&mut spool, 6..=8);
    assert_eq!(spool.remove(&[7]).expect("durable"), 1);
    assert_eq!(spool.retry(&[4]).expect("durable"), 1);
    settle(&mut spool, &forwarded([3]));
    drop(spool);
    for name in fs::read_dir(dir.join("journal")).expect("folder") {
        let path = name.expect("entry").path();
        if path.extension().is_none() {
            fs::remove_file(path).expect("spare");
        }
    }
}

#[test]
fn spool_written_by_format_1_is_read_exactly_and_written_on() {
    if std::env::var_os("EDGEBUS_WRITE_FIXTURE").is_some() {
        write(&fixture());
    }
    let folder = tempfile::tempdir().expect("folder");
    fs::create_dir(folder.path().join("journal")).expect("folder");
    for (path, bytes) in crate::store::contents(&fixture()) {
        let name = path.strip_prefix(fixture()).expect("below it");
        fs::write(folder.path().join(name), bytes).expect("copy");
    }
    let clock = ManualClock::new(START_MS + 10_000);
    for _ in 0..2 {
        let mut spool = open_at(folder.path(), &clock);
        let given = spool.next(10, usize::MAX).expect("readable");
        let ages = [9_000, 7_000, 7_000, 9_000];
        let wanted = [(5, 5), (6, 6), (8, 8), (9, 4)];
        assert_eq!(given.len(), 4);
        for (
            (
                Waiting {
                    number,
                    record: found,
                    age_ms,
                    ..
                },
                wanted,
            ),
            age,
        ) in given.into_iter().zip(wanted).zip(ages)
        {
            assert_eq!((number, found, age_ms), (wanted.0, record(wanted.1), age));
        }
        assert_eq!(dead_numbers(&spool), [2]);
        let row = spool.list(0, 1).expect("readable").remove(0);
        assert_eq!(
            (row.spooled_ms, &row.record),
            (START_MS + 1_000, &record(2))
        );
        let state = RowState::Dead {
            code: Code::IdConflict,
            reason: "no 2".into(),
            at_ms: START_MS + 2_000,
        };
        assert_eq!(row.state, state);
    }
    put(&mut open_at(folder.path(), &clock), 10..=10);
    assert_eq!(
        waiting(&mut open_at(folder.path(), &clock)),
        [5, 6, 8, 9, 10]
    );
}

/// Without any code of the spool: operations by group, as type and first number.
#[test]
fn spool_is_what_the_document_says() {
    let version = fs::read_to_string(fixture().join("VERSION")).expect("VERSION");
    assert!(version.starts_with("edgebus-spool 1\nid "), "{version}");
    let segments = segments(&fixture());
    assert_eq!(segments.len(), 1);
    let bytes = fs::read(&segments[0]).expect("segment");
    assert_eq!(bytes[..8], *b"EDGEBUSJ");
    let mut groups = Vec::new();
    let mut at = BLOCK;
    while bytes[at..at + 4] == *b"EBG1" {
        let ops_bytes = u32_at(&bytes, at + 60) as usize;
        let mut ops = &bytes[at + 64..at + 64 + ops_bytes];
        let mut found = Vec::new();
        while !ops.is_empty() {
            let (op, rest) = ops.split_at(u32_at(ops, 0) as usize);
            ops = rest;
            found.push((op[4], u64_at(op, 8)));
            if op[4] == 7 {
                found.extend([(7, u64_at(op, 16)), (7, u64_at(op, 24))]);
            }
            if op[4] == 5 {
                assert_eq!(op[6..8], [2, 0], "removed");
            }
        }
        assert_eq!(u32_at(&bytes, at + 56) as usize, found.len() - 2);
        groups.push(found);
        at += (64 + ops_bytes + 16).next_multiple_of(BLOCK);
    }
    let mark = |first, next| vec![(7, first), (7, next), (7, 1)];
    let group = |first, next, ops: &[(u8, u64)]| [mark(first, next), ops.to_vec()].concat();
    let wanted = [
        group(1, 1, &[]),
        group(1, 1, &[(1, 1), (1, 2), (1, 3), (1, 4), (1, 5)]),
        group(3, 6, &[(3, 2), (3, 4)]),
        group(3, 6, &[(1, 6), (1, 7), (1, 8)]),
        group(3, 9, &[(5, 7)]),
        group(3, 9, &[(1, 9), (5, 4)]),
        group(5, 10, &[]),
    ];
    assert_eq!(groups, wanted);
}
