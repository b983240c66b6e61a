//! Many senders at once: each id is stored once, whoever sends it how often.

use std::collections::HashMap;

use edgebus::{Code, Seq};

use super::fixture::{TestBus, code, duplicate, id, log, message, new, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_senders_of_the_same_ids_store_each_once() {
    const SENDERS: u64 = 8;
    const IDS: u64 = 200;
    let on = TestBus::start();
    let mut tasks = tokio::task::JoinSet::new();
    for sender in 0..SENDERS {
        let bus = on.bus.clone();
        // Each in an order of its own.
        let step = 2 * sender + 1;
        tasks.spawn(async move {
            let mut receipts = Vec::new();
            for n in 0..IDS {
                let number = (n * step + sender) % IDS;
                receipts.push(bus.send_to_server(message(number)).await.unwrap());
            }
            receipts
        });
    }
    let mut seqs = HashMap::<_, (Seq, u64)>::new();
    while let Some(receipts) = within(tasks.join_next()).await {
        for receipt in receipts.unwrap() {
            let (seq, first) = seqs.entry(receipt.request_id).or_insert((receipt.seq, 0));
            assert_eq!(*seq, receipt.seq);
            *first += u64::from(!receipt.duplicate);
        }
    }
    assert_eq!(seqs.len() as u64, IDS);
    assert!(seqs.values().all(|(_, first)| *first == 1), "{seqs:?}");
    for entry in log(&on.bus) {
        assert_eq!(seqs[&entry.record().id()].0, entry.seq());
    }
    let stats = on.bus.stats();
    assert_eq!(
        (stats.stored, stats.appended, stats.duplicates, stats.queued),
        (IDS, IDS, (SENDERS - 1) * IDS, 0)
    );
}

#[tokio::test]
async fn batch_gives_one_result_for_each_message_in_their_order() {
    let on = TestBus::start();
    let too_large = on.bus.record_limits().payload_bytes_max + 1;
    let mut other = message(1);
    other.payload = "something else".into();
    let results = on
        .bus
        .send_batch(vec![
            message(1),
            super::fixture::large_message(2, too_large),
            message(3),
            message(1),
            other,
            message(4).header("not allowed", "x"),
            message(5),
        ])
        .await;
    let ids = results.iter().map(|result| match result {
        Ok(receipt) => receipt.request_id,
        Err(error) => error.request_id(),
    });
    assert_eq!(ids.collect::<Vec<_>>(), [1, 2, 3, 1, 1, 4, 5].map(id));
    let mut results = results.into_iter();
    let mut next = || results.next().unwrap();
    assert_eq!(new(next()), Seq(1));
    assert_eq!(code(next()), Code::PayloadTooLarge);
    assert_eq!(new(next()), Seq(2));
    assert_eq!(duplicate(next()), Seq(1));
    assert_eq!(code(next()), Code::IdConflict);
    assert_eq!(code(next()), Code::BadHeader);
    assert_eq!(new(next()), Seq(3));
    assert!(on.bus.send_batch(Vec::new()).await.is_empty());
}

#[tokio::test]
async fn batch_larger_than_a_lane_is_stored_in_order() {
    let on = TestBus::start();
    let messages: Vec<_> = (0..40_000).map(message).collect();
    let results = within(on.bus.send_batch(messages)).await;
    for (seq, result) in (1..).zip(results) {
        assert_eq!(new(result), Seq(seq));
    }
}
