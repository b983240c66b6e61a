//! Rights and tokens that change while clients are connected.

use std::time::Duration;

use edgebus::consumer::ConsumerConfig;
use edgebus::{Code, ConsumeConfig, Subscription};

use super::fixture::{Guarded, allow, forbidden, on, token};
use crate::bus::fixture::{code, eventually, new, within};
use crate::delivery::fixture::{name, news, next, pattern};

fn on_doors(consumer: &str) -> ConsumeConfig {
    ConsumeConfig::new(name(consumer)).config(ConsumerConfig::listener(pattern("doors")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_that_change_count_at_once_and_for_those_who_are_connected() {
    let guarded = Guarded::start("").await;
    let till = guarded.connect("till-7").await;
    assert_eq!(
        code(within(till.send_message(on("a", 1))).await),
        Code::Forbidden
    );
    guarded.set_rights(&allow("till-7", "send", "a")).await;
    new(within(till.send_message(on("a", 1))).await);
    guarded.set_rights(&allow("till-7", "send", "b")).await;
    assert_eq!(
        code(within(till.send_message(on("a", 2))).await),
        Code::Forbidden
    );
    new(within(till.send_message(on("b", 2))).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_without_a_right_end_and_the_others_go_on() {
    let both = allow("till-7", "consume subscribe", "doors windows");
    let guarded = Guarded::start(&both).await;
    let till = guarded.connect("till-7").await;
    let root = guarded.connect("root").await;
    let mut messages = within(till.consumer(on_doors("c"))).await.unwrap();
    new(within(root.send_message(on("doors", 1))).await);
    let held = next(&mut messages).await;
    let doors = Subscription::to(pattern("doors"));
    let mut doors = within(till.subscribe(doors)).await.unwrap();
    let windows = Subscription::to(pattern("windows"));
    let mut windows = within(till.subscribe(windows)).await.unwrap();
    guarded
        .set_rights(&allow("till-7", "subscribe", "windows"))
        .await;
    let ended = within(messages.next()).await.expect("the reason");
    let refusal = ended.expect_err("its end");
    assert_eq!(refusal.code, Code::Forbidden);
    assert!(refusal.message.contains("consumer c"), "{refusal}");
    assert!(within(doors.next()).await.is_none());
    let why = doors.why_ended().expect("a reason").clone();
    assert_eq!(
        forbidden(Err::<(), _>(why)),
        "till-7 may not subscribe on doors"
    );
    within(root.publish("windows", "open")).await.unwrap();
    assert_eq!(news(&mut windows).await, "open");
    // What it held is given to others, and what it says of it counts no more.
    assert!(within(held.ack_durable()).await.is_err());
    let mut others = within(root.consumer(on_doors("c"))).await.unwrap();
    assert_eq!(
        next(&mut others).await.entry().record().id(),
        on("doors", 1).id
    );
    assert_eq!(guarded.stats().forbidden, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_messages_is_told_when_the_right_is_gone() {
    let guarded = Guarded::start(&allow("till-7", "consume", "doors")).await;
    let till = guarded.connect("till-7").await;
    let root = guarded.connect("root").await;
    let doors = ConsumerConfig::listener(pattern("doors"));
    within(root.consumer_add(name("c"), doors)).await.unwrap();
    let waiting = tokio::spawn(async move {
        let minutes = Duration::from_secs(240);
        till.next(name("c"), 1, false, minutes).await
    });
    // What changes before it is asked for is refused in the same words.
    guarded
        .set_rights(&allow("till-7", "consume", "windows"))
        .await;
    let words = forbidden(within(waiting).await.unwrap());
    assert_eq!(words, "till-7 may not consume on the topics of consumer c");
    new(within(root.send_message(on("doors", 1))).await);
    let info = within(root.consumer_info(name("c"))).await.unwrap();
    assert_eq!(info.in_flight, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_file_is_refused_by_name_and_the_old_one_stays() {
    let guarded = Guarded::start(&allow("till-7", "send", "a")).await;
    let till = guarded.connect("till-7").await;
    for bad in ["", "[[allow]]\nidentity = \"till-7\"\n", "\u{0}"] {
        guarded.write_rights(bad);
        let refused = within(guarded.server.handle.reload()).await;
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].code, Code::BadConfig);
        assert!(refused[0].message.contains("rights.toml"), "{}", refused[0]);
    }
    guarded.write_tokens("till-7 short");
    let refused = within(guarded.server.handle.reload()).await;
    assert_eq!(refused.len(), 2, "both are told");
    new(within(till.send_message(on("a", 1))).await);
    new(within(guarded.connect("till-7").await.send_message(on("a", 2))).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_that_is_gone_takes_its_connections_with_it_and_no_others() {
    let guarded = Guarded::start_open().await;
    let (seven, eight) = (
        guarded.connect("till-7").await,
        guarded.connect("till-8").await,
    );
    let nobody = guarded.connect_anonymous().await;
    let text = format!(
        "till-7 another-token-for-seven\ntill-8 {}\n",
        token("till-8")
    );
    guarded.write_tokens(&text);
    assert_eq!(within(guarded.server.handle.reload()).await, []);
    // Its connection is cut, with the reason.
    eventually(|| guarded.stats().unauthenticated == 1).await;
    assert!(within(seven.send_message(on("a", 1))).await.is_err());
    new(within(eight.send_message(on("a", 2))).await);
    new(within(nobody.send_message(on("a", 3))).await);
    assert!(
        guarded
            .try_connect("till-7", &token("till-7"))
            .await
            .is_err()
    );
    let again = guarded
        .try_connect("till-7", "another-token-for-seven")
        .await;
    let again = again.unwrap();
    new(within(again.send_message(on("a", 1))).await);
    // Given to somebody else it is the same.
    let swapped = format!(
        "till-9 another-token-for-seven\ntill-8 {}\n",
        token("till-8")
    );
    guarded.write_tokens(&swapped);
    assert_eq!(within(guarded.server.handle.reload()).await, []);
    eventually(|| guarded.stats().unauthenticated == 3).await;
    assert!(within(again.send_message(on("a", 5))).await.is_err());
    new(within(eight.send_message(on("a", 4))).await);
}

/// Nobody has to say that files have changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_change_are_read_again() {
    let every = Duration::from_millis(10);
    let guarded = Guarded::start_with(Some(""), |config| config.reload_every = every).await;
    let till = guarded.connect("till-7").await;
    guarded.write_rights(&allow("till-7", "send", "a"));
    within(async {
        let mut number = 1;
        while till.send_message(on("a", number)).await.is_err() {
            number += 1;
            tokio::task::yield_now().await;
        }
    })
    .await;
}
