//! Futures that are dropped before they are done.

use std::pin::pin;

use edgebus::consumer::ConsumerConfig;
use edgebus::{ClientConfig, ConsumeConfig, Seq, Subscription};

use super::fixture::{Site, is_connected, is_lost, until};
use crate::bus::fixture::{eventually, id, is_pending, message, within};
use crate::delivery::fixture::{name, next, pattern};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn enqueue_that_is_dropped_while_it_waits_for_room_has_sent_nothing() {
    let site = Site::open().await;
    let config = ClientConfig::default().window(1);
    let client = within(site.builder().config(config).connect())
        .await
        .unwrap();
    site.unplug();
    until(&client, is_lost).await;
    let first = client.try_send(message(1)).unwrap();
    {
        let mut dropped = pin!(client.enqueue(message(2)));
        assert!(is_pending(&mut dropped).await);
        let mut dropped = pin!(client.send_message(message(3)));
        assert!(is_pending(&mut dropped).await);
    }
    site.plug();
    within(first).await.unwrap();
    // The room went to nobody.
    within(client.send_message(message(4))).await.unwrap();
    let ids: Vec<_> = site.log().iter().map(|entry| entry.record().id()).collect();
    assert_eq!(ids, [id(1), id(4)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_that_nobody_waits_for_change_nothing_for_the_requests() {
    let site = Site::open().await;
    let client = site.connect().await;
    site.unplug();
    until(&client, is_lost).await;
    for number in 0..50 {
        drop(client.try_send(message(number)).unwrap());
    }
    {
        let mut asking = pin!(client.request_message(message(50)));
        assert!(is_pending(&mut asking).await);
    }
    site.plug();
    until(&client, is_connected).await;
    let last = within(client.send_message(message(51))).await.unwrap();
    let ids: Vec<_> = site.log().iter().map(|entry| entry.record().id()).collect();
    assert_eq!(ids[..50], (0..50).map(id).collect::<Vec<_>>());
    assert!(last.seq >= Seq(51));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_that_nobody_waits_for_any_more_is_left_again() {
    let site = Site::open().await;
    let client = site.connect().await;
    let bus = site.bus().clone();
    bus.send_to_server(message(1)).await.unwrap();
    let listener = || {
        let config = ConsumerConfig::listener(pattern("orders.*"));
        ConsumeConfig::new(name("audit")).config(config)
    };
    {
        let mut opening = pin!(client.consumer(listener()));
        assert!(is_pending(&mut opening).await);
        let mut listening = pin!(client.subscribe(Subscription::to(pattern(">"))));
        assert!(is_pending(&mut listening).await);
    }
    // What it was given goes to whoever comes next, uncharged.
    let mut messages = within(client.consumer(listener())).await.unwrap();
    let message = next(&mut messages).await;
    assert_eq!((message.seq(), message.attempt()), (Seq(1), 1));
    let mut next_one = pin!(messages.next());
    assert!(is_pending(&mut next_one).await);
    within(message.ack_durable()).await.unwrap();
    within(async {
        while bus.consumer_info(name("audit")).await.unwrap().workers != 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn question_and_drain_that_are_dropped_leave_the_client_of_use_or_draining() {
    let site = Site::open().await;
    let client = site.connect().await;
    {
        let mut asking = pin!(client.stats());
        assert!(is_pending(&mut asking).await);
        let mut states = client.states();
        within(states.next()).await;
        let mut waiting = pin!(states.next());
        assert!(is_pending(&mut waiting).await);
    }
    within(client.send_message(message(1))).await.unwrap();
    site.unplug();
    until(&client, is_lost).await;
    let pending = client.try_send(message(2)).unwrap();
    {
        let mut draining = pin!(client.drain());
        assert!(is_pending(&mut draining).await);
    }
    assert!(client.try_send(message(3)).is_err());
    site.plug();
    within(pending).await.unwrap();
    within(client.drain()).await;
    let bus = site.bus().clone();
    eventually(|| bus.reader().last_seq() == Seq(2)).await;
}
