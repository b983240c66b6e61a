//! What a spool keeps in memory does not grow with what waits in it.

use super::*;

/// The size of what is known is told by how it is printed: every field and every entry.
fn known(spool: &Spool) -> usize {
    format!("{spool:?}").len()
}

#[test]
fn waiting_requests_are_not_kept_in_memory() {
    let folder = tempfile::tempdir().expect("folder");
    let config = SpoolConfig::default();
    let mut spool = Spool::open(folder.path(), config).expect("opens");
    let mut number = 0;
    let mut put = |spool: &mut Spool, count: u64| {
        for _ in 0..count / 500 {
            let records = (0..500).map(|n| record(number + n + 1)).collect();
            let outcomes = spool.commit(&[], records).expect("goes on");
            number += 500;
            assert_eq!(outcomes[499], Ok(number));
        }
    };
    put(&mut spool, 2_000);
    let few = known(&spool);
    put(&mut spool, 60_000);
    let segments = crate::store::segments(folder.path()).len();
    let many = known(&spool);
    assert!(many < few + segments * 1_000, "{few} {many} for {segments}");
    drop(spool);
    let mut spool = Spool::open(folder.path(), config).expect("opens");
    assert!(known(&spool) < few + segments * 1_000);

    // Handed out as far as asked for, and forgotten when settled.
    let mut first = 1;
    let mut most = 0;
    while spool.waiting() > 0 {
        let given = spool.next(512, usize::MAX).expect("readable");
        assert_eq!(given[0].number, first);
        first += given.len() as u64;
        let settled = forwarded(given.iter().map(|w| w.number));
        drop(given);
        settle(&mut spool, &settled);
        most = most.max(known(&spool));
    }
    assert_eq!(first, 62_001);
    assert!(known(&spool) <= few + 64 * 1024, "{} {few}", known(&spool));
    assert!(most < 3 * 1024 * 1024, "{most}: one group at most");
}

#[test]
fn settling_every_second_one_is_remembered_as_runs_until_the_first_is_settled() {
    let folder = tempfile::tempdir().expect("folder");
    let mut spool = open(folder.path());
    put(&mut spool, 1..=1_000);
    settle(&mut spool, &forwarded((2..=1_000).rev()));
    assert_eq!(spool.waiting(), 1);
    assert!(known(&spool) < 64 * 1024, "{}", known(&spool));
    settle(&mut spool, &forwarded([1]));
    assert_eq!(spool.waiting(), 0);
}
