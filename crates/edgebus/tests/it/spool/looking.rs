//! Looking into a spool: without its lock, without a trace, and while it is written to.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::store::contents;

#[test]
fn look_shows_what_the_owner_would_list_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let mut spool = open(folder.path());
    let looks = |spool: &Spool| {
        let before = contents(folder.path());
        let mut look = Spool::look(folder.path()).expect("readable");
        let seen = rows(|after| look.list(after, 4).expect("readable"));
        let listed = rows(|after| spool.list(after, 4).expect("readable"));
        assert!(seen == listed);
        assert_eq!(
            (look.waiting(), look.waiting_bytes(), look.dead()),
            (spool.waiting(), spool.waiting_bytes(), spool.dead())
        );
        assert!(contents(folder.path()) == before);
    };
    looks(&spool);
    for first in (1..=100).step_by(10) {
        put(&mut spool, first..=first + 9);
        spool.remove(&[first + 8]).expect("durable");
        let mut settled = forwarded(waiting(&mut spool).into_iter().take(6));
        settled[3] = dead(settled[3].0);
        settled.push(dead(first + 7));
        settle(&mut spool, &settled);
        looks(&spool);
    }
    drop(spool);
    let tear = crate::store::segments(folder.path())
        .pop()
        .expect("a segment");
    let mut bytes = fs::read(&tear).expect("segment");
    let end = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .expect("not empty");
    bytes[end - 20] ^= 1;
    fs::write(&tear, &bytes).expect("segment");
    let before = contents(folder.path());
    Spool::look(folder.path()).expect("a tear may be a group that is being written");
    assert!(
        contents(folder.path()) == before,
        "it is its owner's to keep aside"
    );
}

#[test]
fn folder_without_a_spool_is_told_as_such() {
    let folder = tempfile::tempdir().expect("folder");
    let error = Spool::look(folder.path()).expect_err("empty");
    assert_eq!(error.code(), Code::NotFound);
    let missing = folder.path().join("missing");
    let error = Spool::look(&missing).expect_err("missing");
    assert_eq!(error.code(), Code::NotFound);
    assert!(!missing.exists());
}

/// Each look must be of one moment: no request it shows was settled before it began, and none is
/// missing that was there all the time.
#[test]
fn look_while_the_owner_writes_is_of_one_moment() {
    let folder = tempfile::tempdir().expect("folder");
    let dir = folder.path();
    let mut spool = open(dir);
    put(&mut spool, 1..=3);
    settle(&mut spool, &[dead(2)]);
    let (first, last) = (AtomicU64::new(3), AtomicU64::new(3));
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            settle(&mut spool, &forwarded([1]));
            for _ in 0..400 {
                let number = last.load(Ordering::SeqCst) + 1;
                let outcomes = spool.commit(&[], vec![large(number, 5_000), large(number + 1, 10)]);
                assert_eq!(outcomes.expect("goes on"), [Ok(number), Ok(number + 1)]);
                last.store(number + 1, Ordering::SeqCst);
                let oldest = first.load(Ordering::SeqCst);
                if number > oldest + 12 {
                    first.store(oldest + 3, Ordering::SeqCst);
                    settle(&mut spool, &forwarded(oldest..oldest + 3));
                }
            }
            is_done.store(true, Ordering::SeqCst);
        });
        let mut looks = 0;
        while !is_done.load(Ordering::SeqCst) {
            let behind = last.load(Ordering::SeqCst);
            let mut look = match Spool::look(dir) {
                Ok(look) => look,
                Err(error) => {
                    assert_eq!(error.code(), Code::Busy, "{error}");
                    continue;
                }
            };
            let seen = match look.list(0, 10_000) {
                Ok(seen) => seen,
                Err(error) => {
                    assert_eq!(error.code(), Code::Busy, "{error}");
                    continue;
                }
            };
            let oldest = first.load(Ordering::SeqCst);
            let numbers: Vec<u64> = seen.iter().map(|row| row.number).collect();
            for number in oldest.max(3)..=behind {
                assert!(numbers.contains(&number), "{number} of {oldest}..={behind}");
            }
            assert!(numbers.contains(&2), "the dead letter");
            assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
            for row in &seen {
                let wanted = match row.number {
                    1..=3 => record(row.number),
                    number if number % 2 == 0 => large(number, 5_000),
                    number => large(number, 10),
                };
                assert!(row.record == wanted);
            }
            looks += 1;
        }
        assert!(looks > 3, "{looks}");
    });
}
