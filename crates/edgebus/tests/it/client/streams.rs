//! Workers and subscribers whose connection is lost under them.

use edgebus::consumer::ConsumerConfig;
use edgebus::{Code, ConsumeConfig, Kind, Notification, Seq, Subscription};

use super::fixture::{Site, is_connected, is_lost, until};
use crate::bus::fixture::{eventually, message, within};
use crate::delivery::fixture::{name, next, pattern};

fn audit() -> ConsumeConfig {
    let config = ConsumerConfig::listener(pattern("orders.*"));
    ConsumeConfig::new(name("audit")).config(config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_keeps_what_it_holds_and_what_it_says_while_away_counts() {
    let site = Site::open().await;
    let client = site.connect().await;
    let other = site.connect().await;
    let mut messages = client.consumer(audit()).await.unwrap();
    other.send_batch((1..=5).map(message).collect()).await;
    let mut held = Vec::new();
    for _ in 1..=3 {
        held.push(next(&mut messages).await);
    }
    site.unplug();
    until(&client, is_lost).await;
    held.remove(0).ack();
    let durable = tokio::spawn(held.remove(0).ack_durable());
    let waits = next(&mut messages).await;
    site.plug();
    until(&client, is_connected).await;
    within(durable).await.unwrap().unwrap();
    within(held.remove(0).ack_durable()).await.unwrap();
    within(waits.ack_durable()).await.unwrap();
    let last = next(&mut messages).await;
    // Nothing was given out twice.
    assert_eq!(last.token().to_string().rsplit('.').next(), Some("1"));
    assert_eq!((last.seq(), last.attempt()), (Seq(5), 1));
    assert_eq!(messages.kept().len(), 3);
    within(last.ack_durable()).await.unwrap();
    let info = client.consumer_info(name("audit")).await.unwrap();
    assert_eq!(info.offset, Seq(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_goes_on_after_restarts_and_its_credit_lasts() {
    let mut site = Site::open().await;
    let client = site.connect().await;
    let mut messages = client.consumer(audit().credit(4)).await.unwrap();
    let mut sent = 0;
    for _ in 0..4 {
        client
            .send_batch((sent..sent + 50).map(message).collect())
            .await;
        sent += 50;
        for _ in 0..25 {
            next(&mut messages).await.ack();
        }
        site.stop().await;
        until(&client, is_lost).await;
        site.start().await;
        until(&client, is_connected).await;
        for _ in 0..25 {
            next(&mut messages).await.ack();
        }
    }
    within(async {
        loop {
            let info = client.consumer_info(name("audit")).await.unwrap();
            if info.offset == Seq(200) {
                break;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumer_that_was_removed_meanwhile_is_not_made_anew() {
    let site = Site::open().await;
    let client = site.connect().await;
    let mut messages = client.consumer(audit()).await.unwrap();
    site.unplug();
    until(&client, is_lost).await;
    let bus = site.bus().clone();
    bus.consumer_remove(name("audit")).await.unwrap();
    site.plug();
    let end = within(messages.next()).await.unwrap().unwrap_err();
    assert_eq!(end.code, Code::NoSuchConsumer);
    assert!(bus.consumer_info(name("audit")).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriber_is_told_where_it_may_have_missed_something() {
    let site = Site::open().await;
    let client = site.connect().await;
    let bus = site.bus().clone();
    let mut news = client
        .subscribe(Subscription::to(pattern("prices.*")))
        .await
        .unwrap();
    bus.publish("prices.apples", "1").await.unwrap();
    assert!(matches!(
        within(news.next()).await,
        Some(Notification::Message(_))
    ));
    site.unplug();
    until(&client, is_lost).await;
    // The server has noticed.
    within(async { while bus.publish("prices.apples", "2").await != Ok(0) {} }).await;
    site.plug();
    assert_eq!(within(news.next()).await, Some(Notification::Interrupted));
    assert_eq!(bus.publish("prices.apples", "3").await, Ok(1));
    match within(news.next()).await {
        Some(Notification::Message(entry)) => assert_eq!(&entry.record().payload()[..], b"3"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn named_subscriber_misses_nothing() {
    let site = Site::open().await;
    let client = site.connect().await;
    let bus = site.bus().clone();
    let subscription = Subscription::to(pattern("prices.*"));
    let mut news = client
        .subscribe_named(name("till"), subscription)
        .await
        .unwrap();
    for round in 0..4_u8 {
        site.unplug();
        until(&client, is_lost).await;
        let stored = crate::bus::fixture::message(u64::from(round)).kind(Kind::Notification);
        let mut stored = stored;
        stored.topic = "prices.apples".parse().unwrap();
        bus.publish_persisted(stored).await.unwrap();
        site.plug();
        match within(news.next()).await {
            Some(Notification::Message(entry)) => {
                assert_eq!(entry.seq(), Seq(u64::from(round) + 1))
            }
            other => panic!("{other:?}"),
        }
        until(&client, is_connected).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_asked_for_while_no_server_is_there_is_opened_when_one_is() {
    let site = Site::open().await;
    let client = site.connect().await;
    site.unplug();
    until(&client, is_lost).await;
    let opening = tokio::spawn({
        let client = client.clone();
        async move { client.consumer(audit()).await }
    });
    let bus = site.bus().clone();
    bus.send_to_server(message(1)).await.unwrap();
    site.plug();
    let mut messages = within(opening).await.unwrap().unwrap();
    next(&mut messages).await.ack();
    // Leaving while no server is there leaves all the same, with what was said.
    let left = bus.clone();
    eventually(move || left.reader().last_seq() == Seq(1)).await;
    bus.send_to_server(message(2)).await.unwrap();
    let held = next(&mut messages).await;
    site.unplug();
    until(&client, is_lost).await;
    held.ack();
    drop(messages);
    site.plug();
    within(async {
        loop {
            let info = bus.consumer_info(name("audit")).await.unwrap();
            if info.offset == Seq(2) && info.workers == 0 {
                break;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_of_one_store_settle_nothing_in_another() {
    let (first, second) = (Site::open().await, Site::open().await);
    let builder = first.builder().server(second.proxy.url());
    let client = within(builder.connect()).await.unwrap();
    for site in [&first, &second] {
        site.bus().send_to_server(message(1)).await.unwrap();
    }
    let mut messages = client.consumer(audit()).await.unwrap();
    let held = next(&mut messages).await;
    first.unplug();
    until(&client, is_lost).await;
    until(&client, is_connected).await;
    let end = within(messages.next()).await.unwrap().unwrap_err();
    assert_eq!(end.code, Code::Disconnected);
    // The same place in another log, and another message.
    let mut there = client.consumer(audit()).await.unwrap();
    let other = next(&mut there).await;
    assert_eq!(other.token(), held.token());
    let stale = within(held.ack_durable()).await.unwrap_err();
    assert_eq!(stale.code, Code::StaleLease);
    let info = second.bus().consumer_info(name("audit")).await.unwrap();
    assert_eq!(info.offset, Seq(0));
    within(other.ack_durable()).await.unwrap();
}
