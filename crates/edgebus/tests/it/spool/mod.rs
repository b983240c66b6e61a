//! The spool: one module for each promise it makes.

mod basics;

mod bounds;

mod check;

mod damage;

mod faults;

mod format;

mod looking;

mod memory;

use std::path::Path;
use std::sync::Arc;

use edgebus::clock::SystemClock;
use edgebus::files::Files;
use edgebus::spool::{RowState, Settled, Spool, SpoolConfig, SpoolRow, StoreError};
use edgebus::{Code, Message, Record, RecordLimits};

use crate::store::{large_message, message};

/// Segments as small as they may be.
pub(crate) fn small() -> SpoolConfig {
    SpoolConfig::default().segment_bytes(64 * 1024)
}

pub(crate) fn open(dir: &Path) -> Spool {
    Spool::open(dir, small()).expect("opens")
}

pub(crate) fn open_on(files: Arc<dyn Files>, dir: &Path) -> Result<Spool, StoreError> {
    Spool::open_with(dir, small(), files, Arc::new(SystemClock::default()))
}

pub(crate) fn encode(message: &Message) -> Record {
    Record::encode(message, &RecordLimits::default()).expect("fits")
}

/// The request with this number; its content follows from it.
pub(crate) fn record(number: u64) -> Record {
    encode(&message(number))
}

/// The request with this number and a payload of so many bytes.
pub(crate) fn large(number: u64, payload_bytes: usize) -> Record {
    encode(&large_message(number, payload_bytes))
}

/// Spools requests `numbers` as one group; number n gets number n.
pub(crate) fn put(spool: &mut Spool, numbers: std::ops::RangeInclusive<u64>) {
    let wanted: Vec<_> = numbers.clone().map(Ok).collect();
    let outcomes = spool.commit(&[], numbers.map(record).collect());
    assert_eq!(outcomes.expect("goes on"), wanted);
}

/// All that is forwarded, as settlements.
pub(crate) fn forwarded(numbers: impl IntoIterator<Item = u64>) -> Vec<(u64, Settled)> {
    let settled = numbers.into_iter().map(|n| (n, Settled::Forwarded));
    settled.collect()
}

pub(crate) fn dead(number: u64) -> (u64, Settled) {
    let settled = Settled::Dead {
        code: Code::IdConflict,
        reason: format!("no {number}"),
    };
    (number, settled)
}

pub(crate) fn settle(spool: &mut Spool, settled: &[(u64, Settled)]) {
    assert_eq!(spool.commit(settled, Vec::new()).expect("goes on"), []);
}

/// What is handed out, to the end, with its contents checked.
pub(crate) fn take(spool: &mut Spool) -> Vec<u64> {
    let mut numbers = Vec::new();
    loop {
        let given = spool.next(7, 64 * 1024).expect("readable");
        if given.is_empty() {
            return numbers;
        }
        for waiting in given {
            assert!(waiting.record.is_intact());
            numbers.push(waiting.number);
        }
    }
}

/// What waits, from the first on.
pub(crate) fn waiting(spool: &mut Spool) -> Vec<u64> {
    spool.rewind();
    let numbers = take(spool);
    assert_eq!(spool.waiting(), numbers.len() as u64);
    let rows = rows(|after| spool.list(after, 3).expect("readable"));
    let listed = rows.iter().filter(|row| row.state == RowState::Waiting);
    let listed: Vec<_> = listed.collect();
    let bytes = listed.iter().map(|row| row.record.as_bytes().len() as u64);
    assert_eq!(spool.waiting_bytes(), bytes.sum::<u64>());
    let listed: Vec<u64> = listed.iter().map(|row| row.number).collect();
    assert_eq!(listed, numbers);
    numbers
}

/// The dead letters.
pub(crate) fn dead_numbers(spool: &Spool) -> Vec<u64> {
    let rows = rows(|after| spool.list(after, 3).expect("readable"));
    let dead = rows.iter().filter(|row| row.state != RowState::Waiting);
    let dead: Vec<_> = dead.collect();
    let bytes = dead.iter().map(|row| row.record.as_bytes().len() as u64);
    assert_eq!(spool.dead_bytes(), bytes.sum::<u64>());
    assert_eq!(spool.dead(), dead.len() as u64);
    dead.iter().map(|row| row.number).collect()
}

/// All rows, page by page.
pub(crate) fn rows(mut page: impl FnMut(u64) -> Vec<SpoolRow>) -> Vec<SpoolRow> {
    let mut rows: Vec<SpoolRow> = Vec::new();
    loop {
        let after = rows.last().map_or(0, |row| row.number);
        let more = page(after);
        if more.is_empty() {
            return rows;
        }
        assert!(more[0].number > after);
        rows.extend(more);
    }
}

/// Bytes of every file in the journal.
pub(crate) fn disk_bytes(dir: &Path) -> u64 {
    let files = crate::store::contents(&dir.join("journal"));
    files.values().map(|bytes| bytes.len() as u64).sum()
}
