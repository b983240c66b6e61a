//! Stopping: what was accepted is finished, nothing new is taken, and the folder is free after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use edgebus::bus::LaneConfig;
use edgebus::{BusState, Code, MessageBus, Scope, Seq};

use super::files::{Call, Of};
use super::fixture::{
    TestBus, code, eventually, is_pending, log_ids, message, new, records, within,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_finishes_what_was_accepted_and_takes_nothing_new() {
    let on = TestBus::start();
    let hold = on.files.hold(Of::Journal, Call::Sync);
    let first = on.bus.try_send_to_server(message(1)).unwrap();
    within(hold.reached()).await;
    let accepted: Vec<_> = (2..=100)
        .map(|number| on.bus.try_send_to_server(message(number)).unwrap())
        .collect();
    let bus = on.bus.clone();
    let mut shutdown = Box::pin(bus.shutdown());
    assert!(is_pending(&mut shutdown).await);
    assert_eq!(
        code(on.bus.send_to_server(message(200)).await),
        Code::ShuttingDown
    );
    let results = on.bus.send_batch((201..204).map(message).collect()).await;
    assert!(results.into_iter().all(|r| code(r) == Code::ShuttingDown));
    let late = on
        .bus
        .set_consumer_offset("till".parse().unwrap(), Seq(1))
        .await;
    assert_eq!(late.unwrap_err().code, Code::ShuttingDown);
    drop(hold);

    assert_eq!(within(shutdown).await, BusState::Stopped);
    assert_eq!(new(within(first).await), Seq(1));
    for (seq, send) in (2..).zip(accepted) {
        assert_eq!(new(within(send).await), Seq(seq));
    }
    assert_eq!(on.reopen().await.reader().last_seq(), Seq(100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_last_handle_finishes_what_was_accepted() {
    let TestBus { bus, files, folder } = TestBus::start();
    let hold = files.hold(Of::Journal, Call::Sync);
    let accepted: Vec<_> = (1..=100)
        .map(|number| bus.try_send_to_server(message(number)).unwrap())
        .collect();
    within(hold.reached()).await;
    let lane = bus.lane("", Scope::default(), LaneConfig::default());
    let dropped = tokio::task::spawn_blocking(move || drop(bus));
    drop(hold);
    within(dropped).await.unwrap();
    for (seq, send) in (1..).zip(accepted) {
        assert_eq!(new(within(send).await), Seq(seq));
    }
    // What is left of it refuses, and the folder can be opened at once.
    let outcomes = within(within(lane.submit(records(200..201))).await.outcomes()).await;
    assert_eq!(outcomes[0].as_ref().unwrap_err().code, Code::ShuttingDown);
    assert_eq!(
        MessageBus::open(folder.path()).unwrap().reader().last_seq(),
        Seq(100)
    );
}

/// A lane that is never empty must not keep the bus from stopping.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_ends_while_everyone_goes_on_sending() {
    let on = TestBus::start();
    let done = Arc::new(AtomicBool::new(false));
    let mut tasks = tokio::task::JoinSet::new();
    for sender in 0..8 {
        let (bus, done) = (on.bus.clone(), done.clone());
        tasks.spawn(async move {
            let mut stored = Vec::new();
            for n in 0.. {
                let numbers = (0..64).map(|i| (sender << 40) + n * 64 + i);
                for result in bus.send_batch(numbers.map(message).collect()).await {
                    match result {
                        Ok(receipt) => stored.push(receipt.request_id),
                        Err(error) => assert_eq!(error.code(), Code::ShuttingDown),
                    }
                }
                if done.load(Ordering::SeqCst) {
                    break;
                }
            }
            stored
        });
    }
    eventually(|| on.bus.stats().appended > 1000).await;
    assert_eq!(within(on.bus.shutdown()).await, BusState::Stopped);
    done.store(true, Ordering::SeqCst);
    let mut stored = Vec::new();
    while let Some(more) = within(tasks.join_next()).await {
        stored.extend(more.unwrap());
    }
    // Refused means not stored, and acknowledged means stored.
    let mut in_log = log_ids(&on.reopen().await);
    in_log.sort();
    stored.sort();
    assert_eq!(stored, in_log);
}

/// Parts of a submission that were handed over before the stop are stored, so they must not be
/// told as refused with those that came too late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn submission_cut_by_a_stop_tells_each_record_the_truth() {
    let on = TestBus::start();
    let mut config = LaneConfig::default();
    config.messages_max = 10;
    let lane = on.bus.lane("", Scope::default(), config);
    let hold = on.files.hold(Of::Journal, Call::Sync);
    let mut submit = Box::pin(lane.submit(records(0..30)));
    assert!(is_pending(&mut submit).await);
    within(hold.reached()).await;
    let bus = on.bus.clone();
    let mut shutdown = Box::pin(bus.shutdown());
    assert!(is_pending(&mut shutdown).await);
    drop(hold);
    let outcomes = within(within(submit).await.outcomes()).await;
    within(shutdown).await;
    assert_eq!(outcomes.len(), 30);
    for (number, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Ok(stored) => assert!(number < 10, "{stored:?}"),
            Err(refusal) => {
                assert!(number >= 10);
                assert_eq!(refusal.code, Code::ShuttingDown);
            }
        }
    }
    assert_eq!(on.reopen().await.reader().last_seq(), Seq(10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_shutdown_returns_only_when_the_folder_is_free() {
    let on = TestBus::start();
    new(on.bus.send_to_server(message(1)).await);
    let hold = on.files.hold(Of::Tables, Call::Sync);
    let (one, two, three) = (on.bus.clone(), on.bus.clone(), on.bus.clone());
    // One that is given up must not let the others return early.
    let mut given_up = Box::pin(one.shutdown());
    assert!(is_pending(&mut given_up).await);
    within(hold.reached()).await;
    drop(given_up);
    let mut second = Box::pin(two.shutdown());
    let mut third = Box::pin(three.shutdown());
    assert!(is_pending(&mut second).await && is_pending(&mut third).await);
    drop(hold);
    assert_eq!(within(second).await, BusState::Stopped);
    assert_eq!(
        MessageBus::open(on.folder.path())
            .unwrap()
            .reader()
            .last_seq(),
        Seq(1)
    );
    assert_eq!(within(third).await, BusState::Stopped);
}

#[tokio::test]
async fn client_of_a_bus_that_stops_is_refused() {
    let on = TestBus::start();
    within(on.bus.shutdown()).await;
    let refused = on.bus.client(edgebus::ClientConfig::default()).await;
    assert!(matches!(
        refused,
        Err(edgebus::ConnectError::Refused(refusal)) if refusal.code == Code::ShuttingDown
    ));
}

/// It used to be given a stream that never ends.
#[tokio::test]
async fn subscription_to_a_bus_that_has_stopped_is_refused() {
    let on = TestBus::start();
    within(on.bus.shutdown()).await;
    let wanted = edgebus::Subscription::to(">".parse().unwrap());
    let refused = on.bus.subscribe(wanted).await.unwrap_err();
    assert_eq!(refused.code, Code::ShuttingDown);
}
