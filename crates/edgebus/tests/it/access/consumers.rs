//! Consumers: who may work for one, see it and change it; and that nobody else learns whether it
//! is there.

use std::time::Duration;

use edgebus::admin::Position;
use edgebus::consumer::{ConsumerConfig, LeaseToken, Settlement};
use edgebus::{Client, Code, ConsumeConfig, LogQuery, Seq};

use super::fixture::{Guarded, allow, forbidden, on};
use crate::bus::fixture::{new, within};
use crate::delivery::fixture::{name, next, pattern};

/// All that names a consumer; the words with which each was refused, without the name.
async fn refused(client: &Client, consumer: &str, token: LeaseToken) -> Vec<String> {
    let n = || name(consumer);
    let ack = Settlement::Ack;
    let words = [
        forbidden(client.consumer(ConsumeConfig::new(n())).await),
        forbidden(client.next(n(), 1, false, Duration::ZERO).await),
        forbidden(client.settle_by_name(n(), token, ack).await),
        forbidden(client.consumer_info(n()).await),
        forbidden(client.consumer_pause(n()).await),
        forbidden(client.consumer_resume(n()).await),
        forbidden(client.consumer_reset(n(), Position::Seq(Seq(1))).await),
        forbidden(client.consumer_remove(n()).await),
        forbidden(client.replay_into(n(), LogQuery::from(Seq(1))).await),
    ];
    words.map(|text| text.replace(consumer, "NAME")).to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusal_does_not_tell_whether_a_consumer_is_there() {
    let rights = allow("till-7", "consume subscribe admin dead-letters", "doors.*")
        + &allow("till-7", "replay", ">");
    let guarded = Guarded::start(&rights).await;
    let root = guarded.connect("root").await;
    let secret = ConsumerConfig::listener(pattern("orders.secret"));
    within(root.consumer_add(name("there"), secret))
        .await
        .unwrap();
    new(within(root.send_message(on("orders.secret", 1))).await);
    let leased = within(root.next(name("there"), 1, false, Duration::from_secs(5))).await;
    let token = leased.unwrap()[0].token;
    let till = guarded.connect("till-7").await;
    let there = within(refused(&till, "there", token)).await;
    let not_there = within(refused(&till, "not-there", token)).await;
    assert_eq!(there, not_there);
    let work = "till-7 may not consume on the topics of consumer NAME";
    let change = "till-7 may not act as admin on the topics of consumer NAME";
    assert_eq!(there[..4], [work; 4]);
    assert_eq!(there[4..], [change; 5]);
    // Nothing was done.
    let info = within(root.consumer_info(name("there"))).await.unwrap();
    assert_eq!((info.in_flight, &*info.state), (1, "idle"));
    // Set up for topics of one's own, it is not told what the other is for.
    let mine = || ConsumerConfig::listener(pattern("doors.*"));
    let taken = within(till.consumer_add(name("there"), mine())).await;
    assert_eq!(forbidden(taken), work.replace("NAME", "there"));
    let open = ConsumeConfig::new(name("there")).config(mine());
    let taken = within(till.consumer(open)).await;
    assert_eq!(forbidden(taken), work.replace("NAME", "there"));
    assert_eq!(
        within(till.consumer_add(name("mine"), mine())).await,
        Ok(())
    );
    // Who may see all is told.
    let gone = within(root.consumer_pause(name("not-there"))).await;
    assert_eq!(gone.expect_err("not there").code, Code::NoSuchConsumer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pattern_of_a_consumer_has_to_be_granted() {
    let guarded = Guarded::start(&allow("till-7", "consume", "a.* b")).await;
    let till = guarded.connect("till-7").await;
    let listener = |patterns: &[&str]| {
        let mut config = ConsumerConfig::listener(pattern(patterns[0]));
        for other in &patterns[1..] {
            config = config.pattern(pattern(other));
        }
        ConsumeConfig::new(name("c")).config(config)
    };
    for (patterns, over) in [
        (&["a.b", "c"][..], "c"),
        (&["a.>"], "a.>"),
        (&["*"], "*"),
        (&["b", ">"], ">"),
    ] {
        let words = forbidden(within(till.consumer(listener(patterns))).await);
        assert_eq!(words, format!("till-7 may not consume on {over}"));
    }
    let root = guarded.connect("root").await;
    new(within(root.send_message(on("a.b", 1))).await);
    let mut messages = within(till.consumer(listener(&["a.*", "b"])))
        .await
        .unwrap();
    within(next(&mut messages).await.ack_durable())
        .await
        .unwrap();
    let info = within(till.consumer_info(name("c"))).await.unwrap();
    assert_eq!(info.offset, Seq(1));
    // To work for it is not to change it.
    let words = forbidden(within(till.consumer_remove(name("c"))).await);
    assert_eq!(
        words,
        "till-7 may not act as admin on the topics of consumer c"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_may_change_a_consumer_may_see_it() {
    let rights = allow("till-7", "admin", "a.*") + &allow("till-7", "replay", "a.b");
    let guarded = Guarded::start(&rights).await;
    let root = guarded.connect("root").await;
    let a = ConsumerConfig::listener(pattern("a.*"));
    within(root.consumer_add(name("a"), a)).await.unwrap();
    let till = guarded.connect("till-7").await;
    within(till.consumer_info(name("a"))).await.unwrap();
    within(till.consumer_pause(name("a"))).await.unwrap();
    let words = forbidden(within(till.next(name("a"), 1, false, Duration::ZERO)).await);
    assert_eq!(words, "till-7 may not consume on the topics of consumer a");
    // A replay gives somebody messages of the log: both have to be granted.
    let mut query = LogQuery::from(Seq(1));
    query.topics = vec![pattern("a.b")];
    assert_eq!(
        within(till.replay_into(name("a"), query.clone())).await,
        Ok(0)
    );
    query.topics = vec![pattern("a.*")];
    let words = forbidden(within(till.replay_into(name("a"), query)).await);
    assert_eq!(words, "till-7 may not replay on a.*");
}
