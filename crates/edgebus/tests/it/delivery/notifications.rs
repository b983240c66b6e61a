//! Notifications: live ones, stored ones, and subscriptions that are too slow.

use edgebus::{Client, ClientConfig, Code, Kind, Message, Notification, Seq, Subscription};

use super::fixture::{name, news, pattern};
use crate::bus::fixture::{id, within};
use crate::tcp::fixture::TestServer;

over_either! {
    notification_reaches_whoever_listens_to_its_topic
    notification_for_a_client_reaches_that_client_alone
    stored_notification_reaches_the_log_and_whoever_listens
    named_subscription_goes_on_where_it_was
    slow_subscriber_is_told_what_it_missed_and_holds_up_nobody
    subscription_ends_when_it_is_dropped
    subscription_that_makes_no_sense_is_refused
    requests_are_no_news
}

fn told(topic: &str, text: &str) -> Message {
    let number = text.bytes().fold(7, |sum: u64, b| sum * 31 + u64::from(b));
    Message::new(id(number), topic.parse().unwrap(), text.to_owned()).kind(Kind::Notification)
}

fn to(text: &str) -> Subscription {
    Subscription::to(pattern(text))
}

async fn notification_reaches_whoever_listens_to_its_topic(
    server: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let one = connect(ClientConfig::default()).await;
    let two = connect(ClientConfig::default()).await;
    let mut apples = one.subscribe(to("apples.*")).await.unwrap();
    let mut pears = one.subscribe(to("pears.*")).await.unwrap();
    let fruit = to("apples.>").pattern(pattern("pears.>"));
    let mut fruit = two.subscribe(fruit).await.unwrap();
    assert_eq!(one.publish("apples.ripe", "a").await, Ok(2));
    assert_eq!(two.publish("pears.ripe", "p").await, Ok(2));
    assert_eq!(two.publish("plums.ripe", "x").await, Ok(0));
    assert_eq!(
        server.bus().publish_message(told("pears.x", "q")).await,
        Ok(2)
    );
    assert_eq!(news(&mut apples).await, "a");
    assert_eq!(news(&mut pears).await, "p");
    assert_eq!(news(&mut pears).await, "q");
    for text in ["a", "p", "q"] {
        assert_eq!(news(&mut fruit).await, text);
    }
    // Nothing of it is stored.
    assert_eq!(server.bus().reader().last_seq(), Seq(0));
}

async fn notification_for_a_client_reaches_that_client_alone(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let one = connect(ClientConfig::default().name("till-1")).await;
    let two = connect(ClientConfig::default().name("till-2")).await;
    let mut to_one = one.subscribe(to(">")).await.unwrap();
    let mut to_two = two.subscribe(to(">")).await.unwrap();
    assert_eq!(
        one.send_to_client("till-2", told("a", "for two")).await,
        Ok(1)
    );
    assert_eq!(
        one.send_to_client("till-3", told("a", "for nobody")).await,
        Ok(0)
    );
    let nobody = one.send_to_client("", told("a", "x")).await;
    assert_eq!(nobody.unwrap_err().code, Code::BadConfig);
    assert_eq!(one.publish("a", "for all").await, Ok(2));
    assert_eq!(news(&mut to_two).await, "for two");
    assert_eq!(news(&mut to_two).await, "for all");
    assert_eq!(news(&mut to_one).await, "for all");
}

async fn stored_notification_reaches_the_log_and_whoever_listens(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default().name("till-7")).await;
    let mut live = client.subscribe(to("alarms")).await.unwrap();
    let receipt = client
        .publish_persisted(told("alarms", "fire"))
        .await
        .unwrap();
    assert_eq!(receipt.seq, Seq(1));
    let notification = within(live.next()).await;
    let Some(Notification::Message(entry)) = notification else {
        panic!("{notification:?}")
    };
    assert_eq!(
        (entry.seq(), entry.record().kind()),
        (Seq(1), Kind::Notification)
    );
    assert_eq!(entry.record().meta().unwrap().source, "till-7");
    assert_eq!(client.get(Seq(1)).await.unwrap(), Some(entry));
    // Sent again it is told to nobody again.
    let again = client
        .publish_persisted(told("alarms", "fire"))
        .await
        .unwrap();
    assert!(again.duplicate);
    client.publish("alarms", "out").await.unwrap();
    assert_eq!(news(&mut live).await, "out");
}

async fn named_subscription_goes_on_where_it_was(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let sender = connect(ClientConfig::default()).await;
    let send = async |text: &str| {
        sender
            .publish_persisted(told("alarms", text))
            .await
            .unwrap();
    };
    send("before").await;
    let client = connect(ClientConfig::default().name("till-7")).await;
    let subscribe = async |client: &Client| {
        let subscription = client.subscribe_named(name("till-7-alarms"), to("alarms"));
        subscription.await.unwrap()
    };
    let mut alarms = subscribe(&client).await;
    send("one").await;
    send("two").await;
    assert_eq!(news(&mut alarms).await, "one");
    assert_eq!(news(&mut alarms).await, "two");
    drop(alarms);
    drop(client);
    send("three").await;
    let for_it = told("alarms", "for it").target("till-7");
    sender.publish_persisted(for_it).await.unwrap();
    let for_other = told("alarms", "for another").target("till-8");
    sender.publish_persisted(for_other).await.unwrap();
    send("four").await;
    let client = connect(ClientConfig::default().name("till-7")).await;
    let mut alarms = subscribe(&client).await;
    send("five").await;
    for text in ["three", "for it", "four", "five"] {
        assert_eq!(news(&mut alarms).await, text);
    }
}

async fn slow_subscriber_is_told_what_it_missed_and_holds_up_nobody(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    const SENT: u64 = 2000;
    let slow = connect(ClientConfig::default()).await;
    let fast = connect(ClientConfig::default()).await;
    let mut slow = slow.subscribe(to("ticks").buffer(4)).await.unwrap();
    let mut fast = fast.subscribe(to("ticks").buffer(65_536)).await.unwrap();
    let sender = connect(ClientConfig::default()).await;
    for number in 0..SENT {
        let reached = within(sender.publish("ticks", number.to_string())).await;
        assert_eq!(reached, Ok(2));
    }
    for number in 0..SENT {
        assert_eq!(news(&mut fast).await, number.to_string());
    }
    let (mut read, mut missed, mut last) = (0, 0, None);
    while read + missed < SENT {
        match within(slow.next()).await.unwrap() {
            Notification::Message(entry) => {
                let text = String::from_utf8(entry.record().payload().to_vec()).unwrap();
                let number: u64 = text.parse().unwrap();
                assert!(last < Some(number), "{number} behind {last:?}");
                // What is missing is told where it is missing.
                assert_eq!(number, read + missed);
                last = Some(number);
                read += 1;
            }
            Notification::Lagged(count) => missed += count,
            _ => {}
        }
    }
    assert_eq!(read + missed, SENT);
    assert!(read >= 4 && missed > 0, "{read} read, {missed} missed");
    sender.publish("ticks", "the end").await.unwrap();
    assert_eq!(news(&mut slow).await, "the end");
}

async fn subscription_ends_when_it_is_dropped(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    let one = client.subscribe(to("a")).await.unwrap();
    let mut two = client.subscribe(to("a")).await.unwrap();
    drop(one);
    within(async { while client.publish("a", "x").await.unwrap() != 1 {} }).await;
    assert_eq!(news(&mut two).await, "x");
}

async fn subscription_that_makes_no_sense_is_refused(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    let mut nothing = to("a");
    nothing.patterns.clear();
    let refused = client.subscribe(nothing.clone()).await.unwrap_err();
    assert_eq!(refused.code, Code::BadQuery);
    let refused = client.subscribe_named(name("n"), nothing).await;
    assert_eq!(refused.unwrap_err().code, Code::BadQuery);
    assert_eq!(client.publish("a", "x").await, Ok(0));
}

async fn requests_are_no_news(server: &TestServer, connect: impl AsyncFn(ClientConfig) -> Client) {
    let client = connect(ClientConfig::default()).await;
    let mut all = client.subscribe(to(">")).await.unwrap();
    client.send("a", "request").await.unwrap();
    client.publish("a", "news").await.unwrap();
    assert_eq!(news(&mut all).await, "news");
    assert_eq!(server.bus().reader().last_seq(), Seq(1));
}
