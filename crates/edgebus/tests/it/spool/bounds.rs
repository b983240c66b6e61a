//! How much a spool takes: refused by code beyond it, and taken again as soon as there is room.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::store::segments;
use crate::store::wrapped_files::{Action, WrappedFiles};

fn refused(outcomes: &[Result<u64, edgebus::Refusal>]) -> Vec<Option<Code>> {
    let codes = outcomes.iter().map(|outcome| outcome.as_ref().err());
    codes.map(|refusal| refusal.map(|r| r.code)).collect()
}

#[test]
fn requests_over_the_bound_are_refused_by_code_and_taken_when_others_are_settled() {
    let folder = tempfile::tempdir().expect("folder");
    let config = small().bytes_max(100_000);
    let mut spool = Spool::open(folder.path(), config).expect("opens");
    assert_eq!(spool.bytes_max(), 100_000);
    let outcomes = spool.commit(&[], (1..=12).map(|n| large(n, 9_000)).collect());
    let outcomes = outcomes.expect("goes on");
    assert_eq!(outcomes[..11], (1..=11).map(Ok).collect::<Vec<_>>());
    assert_eq!(refused(&outcomes[11..]), [Some(Code::StorageFull)]);
    assert_eq!(waiting(&mut spool), (1..=11).collect::<Vec<_>>());

    // A small one would fit, but not before the one that did not.
    let outcomes = spool.commit(&[], vec![large(12, 9_000), record(13)]);
    assert_eq!(
        refused(&outcomes.expect("goes on")),
        [Some(Code::StorageFull); 2]
    );

    // Dead letters count.
    settle(&mut spool, &[dead(1), dead(2)]);
    let outcomes = spool.commit(&[], vec![large(12, 9_000)]);
    assert_eq!(
        refused(&outcomes.expect("goes on")),
        [Some(Code::StorageFull)]
    );
    assert_eq!(spool.remove(&[1]).expect("durable"), 1);
    let outcomes = spool.commit(&forwarded([3]), vec![large(12, 9_000), large(13, 9_000)]);
    assert_eq!(outcomes.expect("goes on"), [Ok(12), Ok(13)]);
    drop(spool);

    let mut spool = Spool::open(folder.path(), config).expect("opens");
    assert_eq!(waiting(&mut spool), (4..=13).collect::<Vec<_>>());
    assert_eq!(dead_numbers(&spool), [2]);
    let outcomes = spool.commit(&[], vec![large(14, 9_000)]);
    assert_eq!(
        refused(&outcomes.expect("goes on")),
        [Some(Code::StorageFull)]
    );
}

#[test]
fn full_disk_refuses_new_requests_while_what_waits_goes_out_and_recovers_by_itself() {
    let folder = tempfile::tempdir().expect("folder");
    let is_full = Arc::new(AtomicBool::new(false));
    let full = is_full.clone();
    let files = WrappedFiles::new(move |action, _| match action {
        Action::Allocate if full.load(Ordering::Relaxed) => Err(io::ErrorKind::StorageFull.into()),
        _ => Ok(()),
    });
    let mut spool = open_on(files.clone(), folder.path()).expect("opens");
    put(&mut spool, 1..=10);

    is_full.store(true, Ordering::Relaxed);
    let mut last = 10;
    let refusal = loop {
        match spool
            .commit(&[], vec![record(last + 1)])
            .expect("goes on")
            .remove(0)
        {
            Ok(number) => last = number,
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(refusal.code, Code::StorageFull);
    for start in 0..4 {
        let outcomes = spool.commit(&[], vec![record(last + 1), record(last + 2)]);
        assert_eq!(
            refused(&outcomes.expect("goes on")),
            [Some(Code::StorageFull); 2]
        );
        let first = 1 + start * 2;
        settle(&mut spool, &[(first, Settled::Forwarded), dead(first + 1)]);
        assert_eq!(waiting(&mut spool), (first + 2..=last).collect::<Vec<_>>());
        drop(spool);
        spool = open_on(files.clone(), folder.path()).expect("opens on a full disk");
        assert_eq!(waiting(&mut spool), (first + 2..=last).collect::<Vec<_>>());
        assert_eq!(dead_numbers(&spool).len() as u64, start + 1);
    }
    // What is freed is used again, without the disk having room.
    let all = waiting(&mut spool);
    settle(&mut spool, &forwarded(all));
    put(&mut spool, last + 1..=last + 5);
    is_full.store(false, Ordering::Relaxed);
    put(&mut spool, last + 6..=last + 100);
    assert_eq!(
        waiting(&mut spool),
        (last + 1..=last + 100).collect::<Vec<_>>()
    );
}

/// What is settled has no outcome of its own: it must not fail, and must not be lost.
#[test]
fn dead_letters_without_any_room_are_owed_and_written_later() {
    let folder = tempfile::tempdir().expect("folder");
    let is_full = Arc::new(AtomicBool::new(false));
    let full = is_full.clone();
    let files = WrappedFiles::new(move |action, _| match action {
        Action::Allocate if full.load(Ordering::Relaxed) => Err(io::ErrorKind::StorageFull.into()),
        _ => Ok(()),
    });
    let mut spool = open_on(files.clone(), folder.path()).expect("opens");
    let outcomes = spool.commit(&[], (1..=4).map(|n| large(n, 50_000)).collect());
    assert_eq!(outcomes.expect("room").len(), 4);
    is_full.store(true, Ordering::Relaxed);
    // Each takes a segment of its own, and there is one spare of the usual size.
    settle(&mut spool, &[dead(1), dead(2), (3, Settled::Forwarded)]);
    assert_eq!(waiting_numbers(&mut spool), [4], "not handed out again");
    assert_eq!(dead_numbers(&spool), [0; 0]);

    is_full.store(false, Ordering::Relaxed);
    settle(&mut spool, &[]);
    assert_eq!(dead_numbers(&spool), [1, 2]);
    drop(spool);
    let mut spool = open_on(files, folder.path()).expect("opens");
    assert_eq!(waiting(&mut spool), [4]);
    assert_eq!(dead_numbers(&spool), [1, 2]);
}

fn waiting_numbers(spool: &mut Spool) -> Vec<u64> {
    spool.rewind();
    take(spool)
}

#[test]
fn segments_are_freed_when_all_in_them_is_settled_and_used_again() {
    let folder = tempfile::tempdir().expect("folder");
    let mut spool = open(folder.path());
    let mut most = 0;
    for round in 0..300 {
        let first = 1 + round * 5;
        let outcomes = spool.commit(&[], (first..first + 5).map(|n| large(n, 2_000)).collect());
        assert_eq!(outcomes.expect("goes on")[4], Ok(first + 4));
        let given = take(&mut spool);
        settle(&mut spool, &forwarded(given));
        most = most.max(disk_bytes(folder.path()));
    }
    assert!(most <= 5 * 64 * 1024, "{most}");
}

/// A dead letter used to keep the segment it is in, and with it all behind, for as long as it is.
#[test]
fn dead_letters_hold_no_segment_and_are_written_again() {
    let folder = tempfile::tempdir().expect("folder");
    let mut spool = open(folder.path());
    let mut most = 0;
    for round in 0..200 {
        let first = 1 + round * 5;
        let outcomes = spool.commit(&[], (first..first + 5).map(|n| large(n, 2_000)).collect());
        assert_eq!(outcomes.expect("goes on")[4], Ok(first + 4));
        let mut settled = forwarded(take(&mut spool));
        if round % 20 == 7 {
            settled[2] = dead(first + 2);
        }
        settle(&mut spool, &settled);
        most = most.max(disk_bytes(folder.path()));
        if round % 50 == 49 {
            drop(spool);
            spool = open(folder.path());
        }
    }
    assert!(most <= 6 * 64 * 1024, "{most}");
    let wanted: Vec<u64> = (0..10).map(|n| 38 + n * 100).collect();
    assert_eq!(dead_numbers(&spool), wanted);
    for row in spool.list(0, 20).expect("readable") {
        assert_eq!(row.record, large(row.number, 2_000));
        let RowState::Dead { reason, .. } = row.state else {
            panic!("{} waits", row.number);
        };
        assert_eq!(reason, format!("no {}", row.number));
    }
}

/// Dead letters that fill their segments are left where they are: writing them again and again would
/// free nothing. When as much was settled behind them, they are moved once.
#[test]
fn dense_dead_letters_are_not_written_round_and_round() {
    let folder = tempfile::tempdir().expect("folder");
    let mut spool = open(folder.path());
    let outcomes = spool.commit(&[], (1..=60).map(|n| large(n, 3_500)).collect());
    assert_eq!(outcomes.expect("goes on")[59], Ok(60));
    settle(&mut spool, &(1..=60).map(dead).collect::<Vec<_>>());
    let last_number = || {
        let name = segments(folder.path()).pop().expect("a segment");
        let number = name
            .file_stem()
            .expect("name")
            .to_string_lossy()
            .parse::<u64>();
        number.expect("a number")
    };
    let mut dense = segments(folder.path());
    dense.pop();
    assert!(dense.len() >= 3, "{dense:?}");
    let bytes = |paths: &[PathBuf]| -> Vec<_> { paths.iter().map(|p| fs::read(p).ok()).collect() };
    let before = bytes(&dense);
    for number in 61..=70 {
        put(&mut spool, number..=number);
        settle(&mut spool, &forwarded([number]));
    }
    assert!(bytes(&dense) == before, "none of them was touched");

    let first = last_number();
    for number in 71..=700 {
        put(&mut spool, number..=number);
        settle(&mut spool, &forwarded([number]));
    }
    // Two blocks a request, and no more than twice that for the letters.
    let segments_used = last_number() - first;
    assert!(segments_used <= 3 * 630 * 2 / 15, "{segments_used}");
    assert_eq!(dead_numbers(&spool), (1..=60).collect::<Vec<_>>());
    assert!(disk_bytes(folder.path()) < 14 * 64 * 1024);
}

#[test]
fn request_larger_than_a_segment_goes_in_and_out() {
    let folder = tempfile::tempdir().expect("folder");
    let mut spool = open(folder.path());
    let records = vec![record(1), large(2, 300_000), record(3), large(4, 900_000)];
    let outcomes = spool.commit(&[], records.clone()).expect("goes on");
    assert_eq!(outcomes, [Ok(1), Ok(2), Ok(3), Ok(4)]);
    settle(&mut spool, &[dead(2)]);
    drop(spool);
    let mut spool = open(folder.path());
    let given = spool.next(9, usize::MAX).expect("readable");
    let given: Vec<_> = given.into_iter().map(|w| w.record).collect();
    let without_2 = [&records[0], &records[2], &records[3]];
    assert!(given.iter().eq(without_2));
    assert!(spool.list(1, 1).expect("readable")[0].record == records[1]);
    settle(&mut spool, &forwarded([1, 3, 4]));
    spool.remove(&[2]).expect("durable");
    put(&mut spool, 5..=5);
    assert!(disk_bytes(folder.path()) < 5_000_000);
}
