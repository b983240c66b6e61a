//! Questions and news while a server is away.

use std::time::Duration;

use edgebus::consumer::ConsumerConfig;
use edgebus::{Code, LogQuery, Seq};

use super::fixture::{Site, is_connected, is_lost, until};
use crate::bus::fixture::{message, within};
use crate::delivery::fixture::{name, pattern};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_wait_for_the_server_and_replay_goes_on_where_it_was() {
    let site = Site::open().await;
    let client = site.connect().await;
    client.send_batch((0..500).map(message).collect()).await;
    let mut query = LogQuery::from(Seq(1));
    query.limit = 100;
    let mut replay = client.replay(query);
    let mut count = 0;
    while count < 150 {
        within(replay.next()).await.unwrap().unwrap();
        count += 1;
    }
    site.unplug();
    until(&client, is_lost).await;
    let figures = tokio::spawn({
        let client = client.clone();
        async move { client.stats().await }
    });
    site.plug();
    assert_eq!(within(figures).await.unwrap().unwrap().last_seq, 500);
    while let Some(entry) = within(replay.next()).await {
        count += 1;
        assert_eq!(entry.unwrap().seq(), Seq(count));
    }
    assert_eq!(count, 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_is_not_kept_for_later_and_a_change_is_not_made_twice() {
    let site = Site::open().await;
    let client = site.connect().await;
    site.proxy.freeze(true);
    let published = tokio::spawn({
        let client = client.clone();
        async move { client.publish("prices.apples", "1").await }
    });
    // The cable takes one piece more, and no other.
    crate::bus::fixture::eventually(|| !site.proxy.heard().is_empty()).await;
    let changing = tokio::spawn({
        let client = client.clone();
        let config = ConsumerConfig::listener(pattern("orders.*"));
        async move { client.consumer_add(name("audit"), config).await }
    });
    // Both are said, or will be; whether they arrive nobody knows.
    tokio::task::yield_now().await;
    site.unplug();
    until(&client, is_lost).await;
    assert_eq!(
        within(published).await.unwrap().unwrap_err().code,
        Code::Unknown
    );
    let away = client.publish("prices.apples", "2").await.unwrap_err();
    assert_eq!(away.code, Code::Disconnected);
    site.proxy.freeze(false);
    site.plug();
    until(&client, is_connected).await;
    match within(changing).await.unwrap() {
        // It had not left, and was asked now.
        Ok(()) => {}
        Err(refusal) => assert_eq!(refusal.code, Code::Unknown),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_give_up_as_well() {
    let site = Site::open().await;
    let builder = site
        .builder()
        .give_up_after(Some(Duration::from_millis(50)));
    let client = within(builder.connect()).await.unwrap();
    site.unplug();
    until(&client, is_lost).await;
    let gone = within(client.stats()).await.unwrap_err();
    assert_eq!(gone.code, Code::Disconnected);
    let config = edgebus::ConsumeConfig::new(name("audit"));
    let gone = within(client.consumer(config)).await.unwrap_err();
    assert_eq!(gone.code, Code::Disconnected);
}
