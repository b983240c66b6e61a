//! What several do at the same moment, or one does to many: it is done once, and the engine never
//! turns in circles over it.

use edgebus::admin::{DeadLetterFilter, Position};
use edgebus::consumer::Reply;
use edgebus::{Code, Delivered, MessageBus, Messages, Seq, StoreConfig};

use super::fixture::{ask, listener, name, next, responder};
use crate::bus::files::{Call, Of};
use crate::bus::fixture::{TestBus, new, within};

/// Groups of 64 KiB.
fn small_groups() -> StoreConfig {
    let mut config = StoreConfig::default();
    config.segment_bytes = 256 * 1024;
    config.record.payload_bytes_max = 8 * 1024;
    config
}

async fn taken(bus: &MessageBus, count: u64) -> (Messages, Vec<Delivered>) {
    let consume = listener("audit").credit(1_024);
    let mut messages = bus.consumer(consume).await.unwrap();
    for number in 1..=count {
        new(within(bus.send_to_server(ask(number))).await);
    }
    let mut taken = Vec::new();
    for _ in 0..count {
        taken.push(next(&mut messages).await);
    }
    (messages, taken)
}

/// Each of them looked at the dead letters before any of them was removed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_removed_and_requeued_by_several_at_once_are_decided_once() {
    let on = TestBus::start();
    let (_messages, taken) = taken(&on.bus, 20).await;
    taken
        .into_iter()
        .for_each(|delivered| delivered.term("bad"));
    within(async { while on.bus.dead_letter_count(DeadLetterFilter::all()).await != Ok(20) {} })
        .await;
    let others: Vec<_> = (0..8)
        .map(|turn| {
            let bus = on.bus.clone();
            tokio::spawn(async move {
                let all = DeadLetterFilter::all();
                match turn % 2 {
                    0 => (bus.remove_dead_letters(all, false).await, true),
                    _ => (bus.requeue(all, false).await, false),
                }
            })
        })
        .collect();
    let mut removed = 0;
    for other in others {
        let (count, removes) = within(other).await.unwrap();
        removed += if removes { count.unwrap() } else { 0 };
    }
    assert_eq!(removed, 20, "each goes once");
    let left = on.bus.dead_letter_count(DeadLetterFilter::all()).await;
    assert_eq!(left, Ok(0));
    new(within(on.bus.send_to_server(ask(21))).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_that_fill_more_than_a_group_are_written_all_the_same() {
    let on = TestBus::start_with(small_groups());
    let (mut messages, taken) = taken(&on.bus, 75).await;
    let hold = on.files.hold(Of::Journal, Call::Sync);
    let first = on.bus.try_send_to_server(ask(76)).unwrap();
    within(hold.reached()).await;
    for delivered in taken {
        delivered.nak(None, "x".repeat(1_024));
    }
    drop(hold);
    new(within(first).await);
    let mut again = 0;
    while again < 75 {
        again += u32::from(next(&mut messages).await.attempt() == 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reply_over_the_limit_is_refused_and_the_request_stays_open() {
    let on = TestBus::start_with(small_groups());
    let mut messages = on.bus.consumer(responder()).await.unwrap();
    new(within(on.bus.send_to_server(ask(1))).await);
    let message = next(&mut messages).await;
    let token = message.token();
    let large = Reply::new(vec![0; 100 * 1024]);
    let refused = within(message.complete(large)).await.unwrap_err();
    assert_eq!(refused.code, Code::PayloadTooLarge);
    let small = edgebus::consumer::Settlement::Complete(Reply::new("yes"));
    let settled = on.bus.settle_by_name(name("prices"), token, small);
    within(settled).await.unwrap();
}

/// The worker may complete what it holds; what it gives up cannot be kept any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_given_up_after_it_was_trimmed_is_a_gap_before_and_after_a_restart() {
    let on = TestBus::start();
    let (messages, mut taken) = taken(&on.bus, 3).await;
    on.bus.trim(Position::Seq(Seq(3))).await.unwrap();
    taken.remove(0).term("bad");
    for delivered in taken {
        within(delivered.ack_durable()).await.unwrap();
    }
    drop(messages);
    let before = on.bus.consumer_info(name("audit")).await.unwrap();
    assert_eq!((before.offset, before.gaps), (Seq(3), 1));
    let bus = on.reopen().await;
    let after = bus.consumer_info(name("audit")).await.unwrap();
    assert_eq!((after.offset, after.gaps), (Seq(3), 1));
    assert_eq!(after.last_gap, Some((Seq(1), Seq(1))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumer_set_to_the_last_number_there_is_holds_up_nobody() {
    let on = TestBus::start();
    let (_messages, _taken) = taken(&on.bus, 1).await;
    let set = on.bus.set_consumer_offset(name("audit"), Seq(u64::MAX));
    within(set).await.unwrap();
    new(within(on.bus.send_to_server(ask(2))).await);
    let info = on.bus.consumer_info(name("audit")).await.unwrap();
    assert_eq!((info.offset, info.epoch), (Seq(u64::MAX), 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_of_a_removed_consumer_is_stale_for_the_one_made_after_it() {
    let on = TestBus::start();
    let (messages, first) = taken(&on.bus, 1).await;
    let old = first[0].token();
    on.bus.consumer_remove(name("audit")).await.unwrap();
    drop((messages, first));
    let mut messages = on.bus.consumer(listener("audit")).await.unwrap();
    let message = next(&mut messages).await;
    assert_eq!(message.seq(), old.seq);
    let ack = edgebus::consumer::Settlement::Ack;
    let refused = on.bus.settle_by_name(name("audit"), old, ack).await;
    assert_eq!(refused.unwrap_err().code, Code::StaleLease);
    within(message.ack_durable()).await.unwrap();
}
