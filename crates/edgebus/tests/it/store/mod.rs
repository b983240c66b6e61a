//! The store: one module for each promise it makes.

pub(crate) mod wrapped_files;

pub(crate) mod manual_clock;

mod model;

mod backup;

mod consumers;

mod torn_tail;

mod corruption;

mod check;

pub(crate) mod damaged_tables;

mod folder;

mod growth;

mod ids;

mod replay;

mod retention;

mod space;

mod fixture;

pub(crate) mod format;

mod newer;

mod format_rows;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use edgebus::clock::SystemClock;
use edgebus::files::{Files, RealFiles};
use edgebus::{Entry, Message, RequestId, RequestStore, Seq, StoreConfig, StoreError};

/// A store that seals and recycles segments every few requests.
pub(crate) fn small_config() -> StoreConfig {
    let mut config = StoreConfig::default();
    config.segment_bytes = 256 * 1024;
    config.record.payload_bytes_max = 8 * 1024;
    config.seal_bytes = 16 * 1024;
    config.seal_journal_bytes = 64 * 1024;
    config.seal_after = Duration::from_secs(3600);
    config.disk_free_bytes_min = 0;
    config.cache_bytes = 1024 * 1024;
    config
}

/// The same, but nothing is sealed unless asked for: what is stored stays in the journal.
pub(crate) fn unsealed_config() -> StoreConfig {
    let mut config = small_config();
    config.seal_bytes = usize::MAX;
    config.seal_journal_bytes = u64::MAX;
    config
}

pub(crate) fn open_with(dir: &Path, config: StoreConfig) -> Result<RequestStore, StoreError> {
    open_on(Arc::new(RealFiles), dir, config)
}

pub(crate) fn open_on(
    files: Arc<dyn Files>,
    dir: &Path,
    config: StoreConfig,
) -> Result<RequestStore, StoreError> {
    RequestStore::open_with(dir, config, files, Arc::new(SystemClock::default()))
}

pub(crate) fn id(number: u64) -> RequestId {
    // Spread over the tables like random ids, and still the same each time.
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&spread.to_be_bytes());
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    RequestId::from_bytes(bytes)
}

/// The request with this number; its content follows from it.
pub(crate) fn message(number: u64) -> Message {
    let topic = ["orders.created", "orders.paid.eu", "doors"][(number % 3) as usize];
    let payload = format!("request {number}");
    Message::new(id(number), topic.parse().expect("topic"), payload)
}

/// The request with this number and a payload of so many bytes that do not compress.
pub(crate) fn large_message(number: u64, payload_bytes: usize) -> Message {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let payload: Vec<u8> = (0..payload_bytes)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect();
    Message::new(id(number), "bulk".parse().expect("topic"), payload)
}

/// Stores requests `numbers`, each in a group of its own; number n gets seq n.
pub(crate) fn append(store: &mut RequestStore, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        let receipt = store.append_request(&message(number)).expect("stored");
        assert_eq!((receipt.seq, receipt.duplicate), (Seq(number), false));
    }
}

/// Seals everything there is.
pub(crate) fn seal(store: &mut RequestStore) {
    store.close_overlay();
    let now = store.clock().now();
    store.commit(now).expect("sealed");
    assert!(!store.wants_sealer());
}

pub(crate) fn all(store: &RequestStore) -> Vec<Entry> {
    store
        .replay_from(Seq(1))
        .collect::<Result<_, _>>()
        .expect("readable")
}

/// Checks that exactly requests 1 to `last` are there, in order, and found by their ids.
pub(crate) fn assert_holds(store: &RequestStore, last: u64) {
    let entries = all(store);
    assert_eq!(entries.len() as u64, last);
    for (number, entry) in (1..).zip(&entries) {
        assert_eq!(entry.seq(), Seq(number));
        assert_eq!(entry.record().to_message().as_ref(), Ok(&message(number)));
        let found = store.reader().find(id(number), Default::default());
        assert_eq!(found.expect("readable"), Some(Seq(number)));
    }
    assert!(!store.is_duplicate(id(last + 1)).expect("readable"));
}

/// Every file below a folder and its bytes.
pub(crate) fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            found.append(&mut contents(&path));
        } else {
            let bytes = fs::read(&path).expect("file");
            found.insert(path, bytes);
        }
    }
    found
}

/// The journal's segments, oldest first.
pub(crate) fn segments(dir: &Path) -> Vec<PathBuf> {
    let journal = contents(&dir.join("journal")).into_keys();
    journal
        .filter(|path| path.extension().is_some_and(|e| e == "wal"))
        .collect()
}
