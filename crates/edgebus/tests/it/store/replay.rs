//! Reading the log while it is written: nothing that is not on disk is ever seen, nothing is
//! skipped, and a page holds what was asked for and not more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use edgebus::files::RealFiles;
use edgebus::store::{SealStep, Sealer};
use edgebus::{Entry, LogQuery, RequestStore, Seq, StoreReader, TopicPattern};
use proptest::prelude::*;

use super::manual_clock::ManualClock;
use super::wrapped_files::{Action, WrappedFiles};
use super::{append, id, large_message, message, open_on, open_with, small_config};

/// Longer than anything here may take: only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn replay_while_writing_shows_no_gap_and_never_goes_back() {
    const LAST: u64 = 1_500;
    let folder = tempfile::tempdir().expect("folder");
    let mut store = open_with(folder.path(), small_config()).expect("opens");
    let mut sealer = store.take_sealer().expect("not taken yet");
    let readers: Vec<StoreReader> = (0..3).map(|_| store.reader()).collect();
    let written = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reader in &readers {
            scope.spawn(|| {
                let mut last = 0;
                while last < LAST {
                    let known = reader.last_seq().0;
                    assert!(known >= last, "{known} after {last}");
                    last = 0;
                    for entry in reader.replay_from(Seq(1)) {
                        last += 1;
                        let entry = entry.expect("readable");
                        assert_eq!(entry.seq(), Seq(last));
                        assert_eq!(entry.record().id(), id(last));
                    }
                    assert!(last >= known, "{last} of {known}");
                    if last > 0 {
                        assert!(reader.is_duplicate(id(last)).expect("readable"));
                    }
                }
            });
        }
        scope.spawn(|| {
            while !written.load(Ordering::Acquire) {
                if sealer.step().expect("works") == SealStep::Idle {
                    std::thread::yield_now();
                }
            }
        });
        append(&mut store, 1..=LAST);
        written.store(true, Ordering::Release);
    });
    assert!(store.reader().stats().seals > 10);
}

/// Files whose journal waits before each sync while `closed` is set: it says so, and goes on when
/// told.
fn gated(closed: Arc<AtomicBool>) -> (Arc<WrappedFiles>, Receiver<()>, impl FnOnce()) {
    let (arrive, arrived) = channel();
    let (go, gone) = channel::<()>();
    let gone = Mutex::new(gone);
    let gate = closed.clone();
    let files = WrappedFiles::new(move |action, path| {
        let is_journal = path.extension().is_some_and(|e| e == "wal");
        if action == Action::Sync && is_journal && gate.load(Ordering::SeqCst) {
            arrive.send(()).expect("the test waits");
            let gone = gone.lock().expect("no panic while held");
            gone.recv_timeout(PATIENCE).expect("the test goes on");
        }
        Ok(())
    });
    let release = move || {
        closed.store(false, Ordering::SeqCst);
        go.send(()).expect("the writer waits");
    };
    (files, arrived, release)
}

#[test]
fn nothing_is_visible_before_its_sync_returned() {
    let folder = tempfile::tempdir().expect("folder");
    let closed = Arc::new(AtomicBool::new(false));
    let (files, arrived, release) = gated(closed.clone());
    let mut store = open_on(files, folder.path(), small_config()).expect("opens");
    append(&mut store, 1..=3);
    let till = "till".parse().expect("name");
    store.set_consumer_offset(&till, Seq(1)).expect("durable");
    let reader = store.reader();
    let before = reader.stats();

    closed.store(true, Ordering::SeqCst);
    let writer = std::thread::spawn(move || {
        let now = store.clock().now();
        store
            .stage_offset(&"till".parse().expect("name"), Seq(3))
            .expect("staged");
        let receipt = store.append_request(&message(4)).expect("stored");
        store.commit(now).expect("nothing left");
        (store, receipt)
    });
    arrived
        .recv_timeout(PATIENCE)
        .expect("the group is written");
    assert_eq!(reader.last_seq(), Seq(3));
    assert!(reader.get_by_seq(Seq(4)).expect("readable").is_none());
    assert!(!reader.is_duplicate(id(4)).expect("readable"));
    assert_eq!(reader.replay_from(Seq(1)).count(), 3);
    assert_eq!(
        reader.get_consumer_offset(&till).expect("readable"),
        Some(Seq(1))
    );
    let during = reader.stats();
    assert_eq!(
        (during.last_seq, during.synced_lsn),
        (before.last_seq, before.synced_lsn)
    );
    assert_eq!(
        (during.groups, during.appended),
        (before.groups, before.appended)
    );

    release();
    let (store, receipt) = writer.join().expect("no panic");
    assert_eq!(receipt.seq, Seq(4));
    assert!(reader.get_by_seq(Seq(4)).expect("readable").is_some());
    assert_eq!(
        reader.get_consumer_offset(&till).expect("readable"),
        Some(Seq(3))
    );
    drop(store);
}

/// The sealer keeps the file with the tables open.
type Layered = (RequestStore, Vec<Entry>, Sealer);

/// A store with a third of its log in the tables, a third waiting for the sealer, and a third in
/// the newest overlay; its entries beside it.
fn layered() -> &'static Layered {
    static LAYERED: OnceLock<Layered> = OnceLock::new();
    LAYERED.get_or_init(|| {
        let folder = tempfile::tempdir().expect("folder").keep();
        let clock = ManualClock::new(1_000_000);
        let mut config = small_config();
        config.seal_bytes = usize::MAX;
        config.seal_journal_bytes = u64::MAX;
        let files = Arc::new(RealFiles);
        let clock_of_store = Arc::new(clock.clone());
        let mut store =
            RequestStore::open_with(&folder, config, files, clock_of_store).expect("opens");
        let mut sealer = store.take_sealer().expect("not taken yet");
        for number in 1..=300 {
            // The wall clock jumps back and forth, as wall clocks do.
            clock.set_wall_ms(1_000_000 + number * 10 - number % 7 * 50);
            let sent = match number % 5 {
                0 => large_message(number, 3_000),
                _ => message(number),
            };
            store.append_request(&sent).expect("stored");
            if number % 20 == 0 && number <= 200 {
                store.close_overlay();
            }
            if number == 100 {
                while sealer.step().expect("works") != SealStep::Idle {}
            }
        }
        std::fs::remove_dir_all(&folder).expect("open files stay readable");
        let stats = store.reader().stats();
        assert!(stats.sealed_lsn == 100 && store.wants_sealer());
        let entries = super::all(&store);
        assert_eq!(entries.len(), 300);
        (store, entries, sealer)
    })
}

fn query() -> impl Strategy<Value = LogQuery> {
    let seq = 0..320u64;
    let time = 999_900..1_003_200u64;
    let topics = [
        ">",
        "orders.*",
        "orders.>",
        "*",
        "orders.paid.eu",
        "bulk",
        "nothing.here",
    ];
    let topic = prop::sample::select(topics.to_vec());
    (
        seq.clone(),
        prop::option::of(seq),
        prop::option::of(time.clone()),
        prop::option::of(time),
        prop::option::of(topic),
        prop_oneof![1..5usize, 1..400usize],
        prop_oneof![0..2_000usize, Just(1_000_000)],
    )
        .prop_map(
            |(from, to, from_time_ms, to_time_ms, topic, limit, page_bytes)| {
                let mut query = LogQuery::from(Seq(from));
                query.to = to.map(Seq);
                query.from_time_ms = from_time_ms;
                query.to_time_ms = to_time_ms;
                query.topics = topic
                    .map(|topic| topic.parse::<TopicPattern>().expect("pattern"))
                    .into_iter()
                    .collect();
                query.limit = limit;
                query.page_bytes = page_bytes;
                query
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn pages_hold_what_was_asked_for_and_keep_to_their_limits(query in query()) {
        let (store, entries, _) = layered();
        let wanted: Vec<&Entry> = entries
            .iter()
            .filter(|entry| entry.seq() >= query.from)
            .filter(|entry| query.to.is_none_or(|to| entry.seq() <= to))
            .filter(|entry| query.selects(entry))
            .collect();
        let reader = store.reader();
        let mut found = Vec::new();
        let mut next = query.clone();
        loop {
            let page = reader.read_log(&next).expect("readable");
            prop_assert!(page.entries.len() <= query.limit);
            let bytes: usize = page.entries.iter().map(|entry| entry.as_bytes().len()).sum();
            prop_assert!(bytes <= query.page_bytes || page.entries.len() == 1, "{} bytes", bytes);
            let last = page.entries.last().map(Entry::seq);
            found.extend(page.entries);
            let Some(go_on) = page.next else { break };
            prop_assert!(go_on > next.from || last.is_none() && go_on >= next.from);
            prop_assert!(last.is_none_or(|last| go_on > last));
            prop_assert!(go_on > next.from, "a page moves on");
            next.from = go_on;
        }
        prop_assert_eq!(found.iter().collect::<Vec<_>>(), wanted.clone());

        let replayed: Vec<Entry> = reader.replay(query).map(|e| e.expect("readable")).collect();
        prop_assert_eq!(replayed.iter().collect::<Vec<_>>(), wanted);
    }
}

#[test]
fn page_with_a_limit_of_nothing_still_moves_on() {
    let (store, entries, _) = layered();
    let mut query = LogQuery::from(Seq(1));
    query.limit = 0;
    assert_eq!(store.reader().replay(query).count(), entries.len());
}

#[test]
fn log_has_no_end_that_is_out_of_reach() {
    let (store, ..) = layered();
    let reader = store.reader();
    for seq in [0, 301, u64::MAX] {
        assert!(
            reader.get_by_seq(Seq(seq)).expect("readable").is_none(),
            "{seq}"
        );
    }
    let mut query = LogQuery::from(Seq(299));
    query.to = Some(Seq(u64::MAX));
    let page = reader.read_log(&query).expect("readable");
    assert_eq!((page.entries.len(), page.next), (2, None));
    let page = reader
        .read_log(&LogQuery::from(Seq(u64::MAX)))
        .expect("readable");
    assert_eq!((page.entries.len(), page.next), (0, None));
}
