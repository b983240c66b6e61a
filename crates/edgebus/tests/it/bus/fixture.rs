//! A bus in a folder of its own, on files that can be held and broken.

use std::future::poll_fn;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use edgebus::clock::SystemClock;
use edgebus::{
    BusState, Code, Entry, Message, MessageBus, Receipt, Record, RecordLimits, RequestId,
    RequestStore, SendError, Seq, StoreConfig,
};

use super::files::TestFiles;

/// A test that takes this long hangs.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// The folder goes last, when nothing writes to it any more.
pub(crate) struct TestBus {
    pub(crate) bus: MessageBus,
    pub(crate) files: TestFiles,
    pub(crate) folder: tempfile::TempDir,
}

impl TestBus {
    pub(crate) fn start() -> Self {
        Self::start_with(StoreConfig::default())
    }

    pub(crate) fn start_with(config: StoreConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = TestFiles::new();
        let bus = MessageBus::start(open(folder.path(), config, &files)).unwrap();
        Self { bus, files, folder }
    }

    /// Stops the bus and opens what it left, on files that do not fail.
    pub(crate) async fn reopen(&self) -> MessageBus {
        within(self.bus.shutdown()).await;
        MessageBus::open(self.folder.path()).unwrap()
    }

    /// Waits until the bus says that it stopped for good.
    pub(crate) async fn poisoned(&self) -> String {
        let mut state = self.bus.state();
        let poisoned = within(state.wait_for(|state| *state != BusState::Running)).await;
        match &*poisoned.unwrap() {
            BusState::Poisoned(reason) => reason.clone(),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn open(dir: &Path, config: StoreConfig, files: &TestFiles) -> RequestStore {
    let clock = Arc::new(SystemClock::default());
    RequestStore::open_with(dir, config, Arc::new(files.clone()), clock).unwrap()
}

/// A store that seals at once and may hold little above its tables.
pub(crate) fn small_tail() -> StoreConfig {
    let mut config = StoreConfig::default();
    config.seal_bytes = 1;
    config.tail_bytes_max = 64 * 1024;
    config
}

/// Fails instead of hanging.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANGS_AFTER, future)
        .await
        .expect("this hangs")
}

/// Waits for something that nobody announces.
pub(crate) async fn eventually(is_so: impl Fn() -> bool) {
    within(async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Whether a future has not ended, after looking once.
pub(crate) async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx).is_pending())).await
}

pub(crate) fn id(number: u64) -> RequestId {
    let mut bytes = [0x5a; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    RequestId::from_bytes(bytes)
}

/// The request with this number; its content follows from it.
pub(crate) fn message(number: u64) -> Message {
    let topic = "orders.created".parse().unwrap();
    Message::new(id(number), topic, format!("request {number}"))
}

/// The request with this number and a payload of so many bytes.
pub(crate) fn large_message(number: u64, bytes: usize) -> Message {
    let topic = "bulk".parse().unwrap();
    Message::new(id(number), topic, vec![b'x'; bytes])
}

pub(crate) fn record(number: u64) -> Record {
    Record::encode(&message(number), &RecordLimits::default()).unwrap()
}

pub(crate) fn records(numbers: std::ops::Range<u64>) -> Vec<Record> {
    numbers.map(record).collect()
}

/// Where a request was stored, for one that was not stored before.
pub(crate) fn new(result: Result<Receipt, SendError>) -> Seq {
    let receipt = result.expect("a receipt");
    assert!(!receipt.duplicate, "{receipt:?}");
    receipt.seq
}

/// Where a request had been stored before.
pub(crate) fn duplicate(result: Result<Receipt, SendError>) -> Seq {
    let receipt = result.expect("a receipt");
    assert!(receipt.duplicate, "{receipt:?}");
    receipt.seq
}

pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, SendError>) -> Code {
    result.expect_err("no receipt").code()
}

/// The whole log, with each sequence number in its place.
pub(crate) fn log(bus: &MessageBus) -> Vec<Entry> {
    let log: Vec<_> = bus.replay(Seq(1)).map(Result::unwrap).collect();
    for (seq, entry) in (1..).zip(&log) {
        assert_eq!(entry.seq(), Seq(seq));
    }
    log
}

/// The ids in the log, in its order.
pub(crate) fn log_ids(bus: &MessageBus) -> Vec<RequestId> {
    log(bus).iter().map(|entry| entry.record().id()).collect()
}
