//! A full disk: new requests are refused by name, everything else goes on, and so do they when
//! there is room again.

use std::io::ErrorKind;
use std::time::Duration;

use edgebus::consumer::{ConsumerConfig, Reply};
use edgebus::delivery::{ConsumeConfig, Delivered};
use edgebus::{BusState, Code, ConsumerName, Seq, StoreConfig};

use super::files::{Call, Fault, Of};
use super::fixture::{
    TestBus, duplicate, eventually, large_message, log_ids, message, new, small_tail, within,
};

/// Sends until the store has noticed how little room there is.
async fn fill(on: &TestBus) -> u64 {
    on.files.set_free_bytes(1024);
    within(async {
        for number in 2.. {
            match on.bus.send_to_server(message(number)).await {
                Ok(_) => {}
                Err(error) => {
                    let refusal = error.to_refusal();
                    assert_eq!(refusal.code, Code::StorageFull);
                    assert!(refusal.retry_after_ms.is_some() && error.is_retryable());
                    return number;
                }
            }
        }
        unreachable!()
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disk_refuses_new_requests_only_and_resumes_by_itself() {
    let mut config = StoreConfig::default();
    // Nothing else wakes the engine.
    config.seal_after = Duration::from_secs(3600);
    let on = TestBus::start_with(config);
    assert_eq!(new(on.bus.send_to_server(message(1)).await), Seq(1));
    let refused = fill(&on).await;

    assert_eq!(duplicate(on.bus.send_to_server(message(1)).await), Seq(1));
    let till: ConsumerName = "till".parse().unwrap();
    on.bus
        .set_consumer_offset(till.clone(), Seq(1))
        .await
        .unwrap();
    assert_eq!(
        on.bus.move_to_dead_letter(Seq(1), till, "x").await,
        Ok(true)
    );
    assert_eq!(*on.bus.state().borrow(), BusState::Running);

    // Nobody sends anything, and still the bus finds out that there is room.
    on.files.set_free_bytes(u64::MAX);
    eventually(|| !on.bus.stats().storage_full).await;
    assert_eq!(
        new(on.bus.send_to_server(message(refused)).await),
        Seq(refused)
    );
    assert_eq!(log_ids(&on.bus).len() as u64, refused);
}

/// With the tail at its bound and no room to seal, requests would wait for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disk_answers_those_who_wait_for_the_sealer() {
    let on = TestBus::start_with(small_tail());
    let hold = on.files.hold(Of::Tables, Call::Sync);
    let first = on.bus.try_send_to_server(message(1)).unwrap();
    new(within(first).await);
    let bulk: Vec<_> = (2..10)
        .map(|number| large_message(number, 20 * 1024))
        .map(|message| on.bus.try_send_to_server(message).unwrap())
        .collect();
    eventually(|| on.bus.stats().tail_bytes >= 64 * 1024).await;
    let again = on.bus.try_send_to_server(message(1)).unwrap();
    on.files.set_free_bytes(1024);
    for send in bulk {
        if let Err(error) = within(send).await {
            assert_eq!(error.code(), Code::StorageFull);
        }
    }
    assert_eq!(duplicate(within(again).await), Seq(1));
    let late = on.bus.send_to_server(message(20)).await;
    assert_eq!(late.unwrap_err().code(), Code::StorageFull);
    drop(hold);
}

/// The journal finds no room for its next segment: nothing of the group is there, and nothing else
/// is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn journal_without_room_for_a_segment_refuses_the_group() {
    let mut config = StoreConfig::default();
    config.record.payload_bytes_max = 16 * 1024;
    config.segment_bytes = 256 * 1024;
    let on = TestBus::start_with(config);
    assert_eq!(new(on.bus.send_to_server(message(1)).await), Seq(1));
    on.files.fault(
        Of::Others,
        Call::Allocate,
        Fault::Fails(ErrorKind::StorageFull),
    );
    let mut stored = 1;
    let refusal = within(async {
        loop {
            let message = large_message(stored + 1, 16 * 1024);
            match on.bus.send_to_server(message).await {
                Ok(receipt) => stored = receipt.seq.0,
                Err(error) => break error.to_refusal(),
            }
        }
    })
    .await;
    assert_eq!(refusal.code, Code::StorageFull);
    assert!(refusal.retry_after_ms.is_some());
    assert_eq!(duplicate(on.bus.send_to_server(message(1)).await), Seq(1));
    assert_eq!(*on.bus.state().borrow(), BusState::Running);

    on.files.no_faults();
    let again = on
        .bus
        .send_to_server(large_message(stored + 1, 16 * 1024))
        .await;
    assert_eq!(new(again), Seq(stored + 1));
    assert_eq!(on.reopen().await.reader().last_seq(), Seq(stored + 1));
}

/// What a consumer has decided waits while the journal has no room. Operators are answered all the
/// same, and are told what is on disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_journal_tells_operators_only_what_is_on_disk() {
    let on = TestBus::start_with(small_segments());
    let consumer: ConsumerName = "all".parse().unwrap();
    let held = leased(&on).await;
    journal_is_full(&on).await;
    for message in held {
        message.complete_now(Reply::new(vec![7; 16 * 1024]));
    }
    let reader = on.bus.reader();
    let replied = || (1..).take_while(|seq| reader.reply(Seq(*seq)).unwrap().is_some());
    let info = within(on.bus.consumer_info(consumer.clone()))
        .await
        .unwrap();
    let on_disk = replied().count() as u64;
    assert!(on_disk < REQUESTS, "the journal had room for everything");
    assert!(info.offset.0 <= on_disk, "{} of {on_disk}", info.offset);

    on.files.no_faults();
    on.files.set_free_bytes(u64::MAX);
    eventually(|| replied().count() as u64 == REQUESTS).await;
    let info = within(on.bus.consumer_info(consumer)).await.unwrap();
    assert_eq!(info.offset, Seq(REQUESTS));
}

/// What waits for room in the journal keeps nobody from stopping: it is decided again later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_journal_keeps_nobody_from_stopping() {
    let on = TestBus::start_with(small_segments());
    let held = leased(&on).await;
    journal_is_full(&on).await;
    for message in held {
        message.complete_now(Reply::new(vec![7; 16 * 1024]));
    }
    assert_eq!(within(on.bus.shutdown()).await, BusState::Stopped);
    on.files.no_faults();
    let reopened = on.reopen().await;
    let reader = reopened.reader();
    assert_eq!(reader.last_seq(), Seq(REQUESTS));
    let info = within(reopened.consumer_info("all".parse().unwrap())).await;
    assert!(info.unwrap().offset < Seq(REQUESTS));
}

const REQUESTS: u64 = 64;

fn small_segments() -> StoreConfig {
    let mut config = StoreConfig::default();
    config.record.payload_bytes_max = 16 * 1024;
    config.segment_bytes = 256 * 1024;
    config
}

/// Requests that a responder of this process holds.
async fn leased(on: &TestBus) -> Vec<Delivered> {
    for number in 1..=REQUESTS {
        new(on.bus.send_to_server(message(number)).await);
    }
    let responder = ConsumerConfig::responder(">".parse().unwrap());
    let config = ConsumeConfig::new("all".parse().unwrap()).config(responder);
    let mut messages = within(on.bus.consumer(config)).await.unwrap();
    let mut held = Vec::new();
    while (held.len() as u64) < REQUESTS {
        held.push(within(messages.next()).await.unwrap().unwrap());
    }
    held
}

/// No room is left for another segment, and the store knows.
async fn journal_is_full(on: &TestBus) {
    on.files.set_free_bytes(1024);
    let no_room = Fault::Fails(ErrorKind::StorageFull);
    on.files.fault(Of::Others, Call::Allocate, no_room);
    eventually(|| on.bus.stats().storage_full).await;
}

/// The file of the tables may find no room although the disk has some, as it grows in large steps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sealer_without_room_refuses_at_the_bound_and_keeps_nobody_from_stopping() {
    let on = TestBus::start_with(small_tail());
    let no_room = Fault::Fails(ErrorKind::StorageFull);
    on.files.fault(Of::Tables, Call::Write, no_room);
    let send = |number| {
        let message = large_message(number, 20 * 1024);
        on.bus.try_send_to_server(message).unwrap()
    };
    let mut stored = 0;
    while on.bus.stats().tail_bytes < 64 * 1024 {
        new(within(send(stored + 1)).await);
        stored += 1;
    }
    let refused = within(send(stored + 1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::StorageFull);
    assert_eq!(duplicate(within(send(1)).await), Seq(1));

    on.files.no_faults();
    eventually(|| !on.bus.stats().storage_full).await;
    assert_eq!(new(within(send(stored + 1)).await), Seq(stored + 1));
    stored += 1;
    // A seal that had begun before the fault would still make room.
    let last = on.bus.stats().synced_lsn;
    eventually(|| on.bus.stats().sealed_lsn == last).await;

    on.files.fault(Of::Tables, Call::Write, no_room);
    while on.bus.stats().tail_bytes < 64 * 1024 {
        new(within(send(stored + 1)).await);
        stored += 1;
    }
    let waiting = send(stored + 1);
    assert_eq!(within(on.bus.shutdown()).await, BusState::Stopped);
    let code = within(waiting).await.unwrap_err().code();
    assert_eq!(code, Code::StorageFull);
    on.files.no_faults();
    assert_eq!(on.reopen().await.reader().last_seq(), Seq(stored));
}
