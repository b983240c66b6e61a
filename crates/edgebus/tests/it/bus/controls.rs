//! Operations of consumers: they do not wait behind requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use edgebus::{Code, ConsumerName, Seq};

use super::files::{Call, Of};
use super::fixture::{TestBus, eventually, is_pending, large_message, message, new, within};

fn till() -> ConsumerName {
    "till".parse().unwrap()
}

#[tokio::test]
async fn offset_and_dead_letter_are_there_after_a_restart() {
    let on = TestBus::start();
    new(on.bus.send_to_server(message(1)).await);
    new(on.bus.send_to_server(message(2)).await);
    on.bus.set_consumer_offset(till(), Seq(2)).await.unwrap();
    on.bus.set_consumer_offset(till(), Seq(1)).await.unwrap();
    let moved = on
        .bus
        .move_to_dead_letter(Seq(2), till(), "no such item")
        .await;
    assert_eq!(moved, Ok(true));
    let again = on
        .bus
        .move_to_dead_letter(Seq(2), till(), "still not")
        .await;
    assert_eq!(again, Ok(false), "a request fails once for one consumer");
    let none = on.bus.move_to_dead_letter(Seq(3), till(), "what?").await;
    assert_eq!(none.unwrap_err().code, Code::NotFound);

    let reopened = on.reopen().await;
    let reader = reopened.reader();
    // What is a dead letter is done, so the offset has moved on over it.
    assert_eq!(reader.get_consumer_offset(&till()).unwrap(), Some(Seq(2)));
    assert_eq!(reader.dead_letter_count(), 1);
    let again = reopened
        .move_to_dead_letter(Seq(2), till(), "still not")
        .await;
    assert_eq!(again, Ok(false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_operation_goes_before_any_backlog_of_requests() {
    let on = TestBus::start();
    let hold = on.files.hold(Of::Journal, Call::Sync);
    let first = on.bus.try_send_to_server(message(0)).unwrap();
    within(hold.reached()).await;
    // Several groups' worth.
    let backlog: Vec<_> = (1..60)
        .map(|number| {
            let message = large_message(number, 100 * 1024);
            on.bus.try_send_to_server(message).unwrap()
        })
        .collect();
    let bus = on.bus.clone();
    let mut offset = Box::pin(bus.set_consumer_offset(till(), Seq(1)));
    assert!(is_pending(&mut offset).await);
    // Two syncs: of the group that is being written, and of the one behind it.
    hold.let_pass(2);
    new(within(first).await);
    within(offset).await.unwrap();
    drop(hold);
    for send in backlog {
        new(within(send).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_control_operations_are_told_busy() {
    let on = TestBus::start();
    let hold = on.files.hold(Of::Journal, Call::Sync);
    let first = on.bus.try_send_to_server(message(0)).unwrap();
    within(hold.reached()).await;
    let sent = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for offset in 0..4100 {
        let (bus, sent) = (on.bus.clone(), sent.clone());
        tasks.spawn(async move {
            let mut set = Box::pin(bus.set_consumer_offset(till(), Seq(offset)));
            let first_look = is_pending(&mut set).await;
            sent.fetch_add(1, Ordering::SeqCst);
            if first_look { Some(set.await) } else { None }
        });
    }
    eventually(|| sent.load(Ordering::SeqCst) == 4100).await;
    drop(hold);
    new(within(first).await);
    let mut busy = 0;
    while let Some(done) = within(tasks.join_next()).await {
        match done.unwrap() {
            Some(done) => done.unwrap(),
            None => busy += 1,
        }
    }
    assert_eq!(busy, 4);
}
