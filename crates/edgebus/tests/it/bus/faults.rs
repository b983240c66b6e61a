//! I/O errors: what was in flight is unknown, nothing more is accepted, and opening the folder
//! again finds everything that was acknowledged.

use std::io::ErrorKind;
use std::sync::Arc;

use edgebus::bus::{Engine, Queue, Turn};
use edgebus::clock::{Clock, SystemClock};
use edgebus::{BusState, Code, ConsumerName, MessageBus, SendError, Seq, StoreConfig};

use super::files::{Call, Fault, Of, TestFiles};
use super::fixture::{
    TestBus, code, duplicate, is_pending, large_message, log_ids, message, new, open, small_tail,
    within,
};

fn till() -> ConsumerName {
    "till".parse().unwrap()
}

/// Request 1 is acknowledged, 2 is in flight when the fault hits, 3 waits behind it.
async fn journal_fault(call: Call, fault: Fault) {
    let on = TestBus::start();
    assert_eq!(new(on.bus.send_to_server(message(1)).await), Seq(1));
    let hold = on.files.hold(Of::Journal, call);
    let in_flight = on.bus.try_send_to_server(message(2)).unwrap();
    within(hold.reached()).await;
    let behind = on.bus.try_send_to_server(message(3)).unwrap();
    let mut control = Box::pin(on.bus.set_consumer_offset(till(), Seq(1)));
    assert!(is_pending(&mut control).await);
    on.files.fault(Of::Journal, call, fault);
    drop(hold);

    let error = within(in_flight).await.expect_err("its group failed");
    assert!(matches!(error, SendError::Unknown { .. }), "{error}");
    assert_eq!(code(within(behind).await), Code::Poisoned);
    assert_eq!(within(control).await.unwrap_err().code, Code::Poisoned);
    on.poisoned().await;
    assert_eq!(
        on.bus.reader().last_seq(),
        Seq(1),
        "the rest is not visible"
    );
    assert!(on.bus.stats().poisoned);

    // It stays so, even when the disk behaves again.
    on.files.no_faults();
    assert_eq!(
        code(on.bus.send_to_server(message(4)).await),
        Code::Poisoned
    );
    assert_eq!(
        code(on.bus.send_to_server(message(1)).await),
        Code::Poisoned
    );
    let control = on.bus.move_to_dead_letter(Seq(1), till(), "x").await;
    assert_eq!(control.unwrap_err().code, Code::Poisoned);
    assert!(matches!(
        within(on.bus.shutdown()).await,
        BusState::Poisoned(_)
    ));

    let reopened = on.reopen().await;
    assert_eq!(duplicate(reopened.send_to_server(message(1)).await), Seq(1));
    // Unknown means: ask again with the same id.
    let again = reopened.send_to_server(message(2)).await.unwrap();
    assert_eq!(again.seq, Seq(2));
    assert_eq!(new(reopened.send_to_server(message(3)).await), Seq(3));
    assert_eq!(
        log_ids(&reopened),
        [message(1).id, message(2).id, message(3).id]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_journal_write_makes_what_is_in_flight_unknown() {
    journal_fault(Call::Write, Fault::Fails(ErrorKind::Other)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_journal_sync_makes_what_is_in_flight_unknown() {
    journal_fault(Call::Sync, Fault::Fails(ErrorKind::Other)).await;
}

/// "No room" at a sync is no full disk: pages may be gone already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn journal_sync_without_room_is_an_error_like_any_other() {
    journal_fault(Call::Sync, Fault::Fails(ErrorKind::StorageFull)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panic_of_the_engine_answers_everyone() {
    journal_fault(Call::Sync, Fault::Panics).await;
}

/// A damaged table can make a look-up panic.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn look_up_that_fails_is_answered_and_so_is_what_waits_behind_it() {
    let on = TestBus::start();
    // Enough that ids take more pages than the one redb keeps.
    for stored in on.bus.send_batch((0..5000).map(message).collect()).await {
        new(stored);
    }
    within(on.bus.shutdown()).await;
    // Opened again, so that ids are looked up in the file.
    let mut config = StoreConfig::default();
    config.cache_bytes = 0;
    let store = open(on.folder.path(), config, &on.files);
    let on = TestBus {
        bus: MessageBus::start(store).unwrap(),
        ..on
    };
    let hold = on.files.hold(Of::Journal, Call::Sync);
    let first = on.bus.try_send_to_server(message(9999)).unwrap();
    within(hold.reached()).await;
    let behind: Vec<_> = (0..5)
        .map(|number| on.bus.try_send_to_server(message(number)).unwrap())
        .collect();
    on.files.fault(Of::Tables, Call::Read, Fault::Panics);
    drop(hold);
    new(within(first).await);
    for send in behind {
        // The sealer may have met it too, which stops the bus.
        let code = code(within(send).await);
        assert!(matches!(code, Code::Corrupt | Code::Poisoned), "{code}");
    }
    assert_eq!(on.bus.stats().queued, 0);
    on.files.no_faults();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_seal_stops_the_bus_and_loses_nothing() {
    let on = TestBus::start_with(small_tail());
    on.files
        .fault(Of::Tables, Call::Sync, Fault::Fails(ErrorKind::Other));
    assert_eq!(new(on.bus.send_to_server(message(1)).await), Seq(1));
    on.poisoned().await;
    assert_eq!(
        code(on.bus.send_to_server(message(2)).await),
        Code::Poisoned
    );
    on.files.no_faults();
    let reopened = on.reopen().await;
    assert_eq!(duplicate(reopened.send_to_server(message(1)).await), Seq(1));
}

/// The sealer makes room; once it is gone, whoever waits for room would wait for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_the_sealer_is_answered_when_it_fails() {
    let on = TestBus::start_with(small_tail());
    let hold = on.files.hold(Of::Tables, Call::Sync);
    let mut stored = 0;
    // As much as the tail may hold; the next one waits.
    let mut waiting = loop {
        let send = on
            .bus
            .try_send_to_server(large_message(stored, 20 * 1024))
            .unwrap();
        let mut send = Box::pin(send);
        let tail = || on.bus.stats().tail_bytes >= 64 * 1024;
        let appended = || on.bus.stats().appended > stored;
        super::fixture::eventually(|| tail() || appended()).await;
        if !appended() {
            break send;
        }
        new(within(&mut send).await);
        stored += 1;
    };
    assert!(is_pending(&mut waiting).await);
    on.files
        .fault(Of::Tables, Call::Sync, Fault::Fails(ErrorKind::Other));
    drop(hold);
    assert_eq!(code(within(waiting).await), Code::Poisoned);
    on.poisoned().await;
    on.files.no_faults();
    assert_eq!(on.reopen().await.reader().last_seq(), Seq(stored));
}

/// The last seal is at the end; a bus that says "stopped" says that it worked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failure_of_the_last_seal_is_told_by_shutdown() {
    let on = TestBus::start();
    assert_eq!(new(on.bus.send_to_server(message(1)).await), Seq(1));
    on.files
        .fault(Of::Tables, Call::Sync, Fault::Fails(ErrorKind::Other));
    let state = within(on.bus.shutdown()).await;
    assert!(matches!(state, BusState::Poisoned(_)), "{state:?}");
    on.files.no_faults();
    let reopened = on.reopen().await;
    assert_eq!(duplicate(reopened.send_to_server(message(1)).await), Seq(1));
}

/// What was due for sealing when the store stopped stays due; the engine used to look at it
/// again and again without a pause.
#[test]
fn engine_of_a_poisoned_store_sleeps() {
    let folder = tempfile::tempdir().unwrap();
    let files = TestFiles::new();
    let mut store = open(folder.path(), StoreConfig::default(), &files);
    store.append_request(&message(1)).unwrap();
    files.fault(Of::Journal, Call::Write, Fault::Fails(ErrorKind::Other));
    store.append_request(&message(2)).unwrap_err();
    let mut now = SystemClock::default().now();
    let (mut engine, _feeder) = Engine::new(store, Arc::new(Queue::default()), now);
    now.monotonic += std::time::Duration::from_secs(3600);
    let turn = engine.step(now);
    assert_eq!(
        turn,
        Turn::Idle {
            appends: true,
            until: None
        }
    );
}
