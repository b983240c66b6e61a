//! What is spooled is there, in its order, until it is settled: also after every start.

use std::time::Duration;

use edgebus::Code;
use edgebus::clock::Clock as _;
use edgebus::files::RealFiles;
use edgebus::spool::{RowState, Settled, Spool};
use std::sync::Arc;

use super::*;
use crate::store::manual_clock::ManualClock;

#[test]
fn requests_are_handed_out_in_order_once_and_again_after_a_rewind_or_a_start() {
    let folder = tempfile::tempdir().expect("folder");
    let mut spool = open(folder.path());
    put(&mut spool, 1..=20);
    assert_eq!(take(&mut spool), (1..=20).collect::<Vec<_>>());
    assert_eq!(take(&mut spool), [0; 0], "each once");
    put(&mut spool, 21..=25);
    assert_eq!(take(&mut spool), (21..=25).collect::<Vec<_>>());
    assert_eq!(waiting(&mut spool), (1..=25).collect::<Vec<_>>());
    drop(spool);
    let mut spool = open(folder.path());
    assert_eq!(take(&mut spool), (1..=25).collect::<Vec<_>>());
    let given = {
        spool.rewind();
        spool.next(3, usize::MAX).expect("readable")
    };
    let numbers: Vec<u64> = given.iter().map(|w| w.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(given[1].record, record(2));
    let given = spool.next(100, 1).expect("readable");
    assert_eq!(given.len(), 1, "at least one");
}

#[test]
fn settled_in_any_order_only_what_is_settled_goes() {
    let folder = tempfile::tempdir().expect("folder");
    let mut spool = open(folder.path());
    put(&mut spool, 1..=10);
    assert_eq!(spool.next(6, usize::MAX).expect("readable").len(), 6);
    settle(&mut spool, &forwarded([3, 2]));
    assert_eq!(waiting(&mut spool), [1, 4, 5, 6, 7, 8, 9, 10]);
    settle(&mut spool, &forwarded([9, 1, 9, 77]));
    assert_eq!(waiting(&mut spool), [4, 5, 6, 7, 8, 10]);
    drop(spool);
    let mut spool = open(folder.path());
    assert_eq!(waiting(&mut spool), [4, 5, 6, 7, 8, 9, 10], "9 once more");
    settle(&mut spool, &forwarded(4..=10));
    assert_eq!((spool.waiting(), spool.waiting_bytes()), (0, 0));
    drop(spool);
    let mut spool = open(folder.path());
    assert_eq!(waiting(&mut spool), [0; 0]);
    put(&mut spool, 11..=11);
    assert_eq!(waiting(&mut spool), [11]);
}

#[test]
fn dead_letters_are_kept_with_their_reason_and_wait_again_when_told() {
    let folder = tempfile::tempdir().expect("folder");
    let clock = ManualClock::new(1_000_000);
    let open = || {
        let files = Arc::new(RealFiles);
        Spool::open_with(folder.path(), small(), files, Arc::new(clock.clone())).expect("opens")
    };
    let mut spool = open();
    put(&mut spool, 1..=6);
    clock.advance(Duration::from_millis(500));
    settle(
        &mut spool,
        &[dead(2), (1, Settled::Forwarded), dead(4), dead(5)],
    );
    for _ in 0..2 {
        assert_eq!(waiting(&mut spool), [3, 6]);
        assert_eq!(dead_numbers(&spool), [2, 4, 5]);
        let row = &spool.list(1, 1).expect("readable")[0];
        assert_eq!((row.number, &row.record), (2, &record(2)));
        assert_eq!(row.spooled_ms, 1_000_000);
        let state = RowState::Dead {
            code: Code::IdConflict,
            reason: "no 2".into(),
            at_ms: 1_000_500,
        };
        assert_eq!(row.state, state);
        drop(spool);
        spool = open();
    }
    assert_eq!(spool.retry(&[5, 2, 3, 99, 2]).expect("durable"), 2);
    assert_eq!(dead_numbers(&spool), [4]);
    assert_eq!(waiting(&mut spool), [3, 6, 7, 8], "behind all others");
    drop(spool);
    clock.advance(Duration::from_secs(60));
    let mut spool = open();
    assert_eq!(waiting(&mut spool), [3, 6, 7, 8]);
    spool.rewind();
    let given = spool.next(9, usize::MAX).expect("readable");
    assert_eq!(given[2].record, record(2));
    assert_eq!(given[3].record, record(5));
    assert!(
        given.iter().all(|w| w.age_ms == 60_500),
        "as old as they were"
    );
    assert_eq!(clock.now().wall_ms, 1_060_500);
    assert_eq!(spool.remove(&[4, 7, 3, 3, 5]).expect("durable"), 3);
    assert_eq!(
        (dead_numbers(&spool), waiting(&mut spool)),
        (vec![], vec![6, 8])
    );
    drop(spool);
    let mut spool = open();
    assert_eq!(
        (dead_numbers(&spool), waiting(&mut spool)),
        (vec![], vec![6, 8])
    );
}

#[test]
fn numbers_are_never_used_twice() {
    let folder = tempfile::tempdir().expect("folder");
    let mut next = 1;
    for round in 0..60 {
        let mut spool = open(folder.path());
        let count = 1 + round % 7;
        put(&mut spool, next..=next + count - 1);
        next += count;
        if round % 3 == 0 {
            let all = waiting(&mut spool);
            settle(&mut spool, &forwarded(all));
        }
        if round % 5 == 0 {
            let all = waiting(&mut spool);
            spool.remove(&all).expect("durable");
        }
    }
}

#[test]
fn command_for_each_request_stays_small_on_disk() {
    let folder = tempfile::tempdir().expect("folder");
    let open = || Spool::open(folder.path(), SpoolConfig::default()).expect("opens");
    for number in 1..=1_000 {
        let mut spool = open();
        put(&mut spool, number..=number);
    }
    let bytes = disk_bytes(folder.path());
    assert!(bytes < 1_000 * 4_096 + 3 * 1_024 * 1_024, "{bytes}");
    let mut spool = open();
    assert_eq!(waiting(&mut spool), (1..=1_000).collect::<Vec<_>>());
    for number in 1..=1_000 {
        settle(&mut spool, &forwarded([number]));
    }
    drop(spool);
    for number in 1_001..=1_200 {
        let mut spool = open();
        put(&mut spool, number..=number);
        settle(&mut spool, &forwarded([number]));
    }
    let bytes = disk_bytes(folder.path());
    assert!(bytes <= 4 * 1_024 * 1_024, "{bytes}");
}
