//! Each verb lets somebody do what it names, on the topics it is granted for, and nothing else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use edgebus::admin::{DeadLetterFilter, Position};
use edgebus::consumer::{ConsumerConfig, Hold, Reply};
use edgebus::{
    Client, Code, ConsumeConfig, Kind, LogQuery, Refusal, RequestError, SendError, Seq,
    ServerHandle, Subscription,
};

use super::fixture::{Guarded, allow, forbidden, on};
use crate::bus::fixture::{code, eventually, id, log, new, within};
use crate::delivery::fixture::{name, news, next, pattern};
use crate::tcp::fixture::{Socket, hello, send};

fn listener(consumer: &str, topics: &str) -> ConsumeConfig {
    ConsumeConfig::new(name(consumer)).config(ConsumerConfig::listener(pattern(topics)))
}

fn refusal(error: SendError) -> Refusal {
    Refusal::new(error.code(), error.to_string())
}

/// Of messages, so that none is a duplicate of another.
static NUMBERS: AtomicU64 = AtomicU64::new(100);

/// All that can be asked, on one topic; what was refused for want of a right.
async fn refused(server: &ServerHandle, client: &Client, topic: &str) -> Vec<&'static str> {
    let mut refused = Vec::new();
    let mut note = |what, result: Result<(), Refusal>| match result {
        Err(refusal) if refusal.code == Code::Forbidden => refused.push(what),
        // That nothing was there, say, is another matter.
        _ => {}
    };
    let number = NUMBERS.fetch_add(10, Ordering::Relaxed);
    let sent = client.send_message(on(topic, number)).await;
    note("send", sent.map(|_| ()).map_err(refusal));
    let before = server.stats().last_seq;
    tokio::select! {
        answer = client.request_message(on(topic, number + 1)) => match answer {
            Err(RequestError::Send(error)) => note("request", Err(refusal(error))),
            other => panic!("who answers this? {other:?}"),
        },
        // It is stored, and nobody answers it.
        () = eventually(|| server.stats().last_seq > before) => {}
    }
    let published = client.publish(topic, "x").await;
    note("publish", published.map(|_| ()));
    let persisted = client.publish_persisted(on(topic, number + 2)).await;
    note("persist", persisted.map(|_| ()).map_err(refusal));
    let consumed = client.consumer(listener(topic, topic)).await;
    note("consume", consumed.map(|_| ()));
    let subscribed = client.subscribe(Subscription::to(pattern(topic))).await;
    note("subscribe", subscribed.map(|_| ()));
    let named = Subscription::to(pattern(topic));
    let named = client.subscribe_named(name(&format!("n.{topic}")), named);
    note("subscribe by name", named.await.map(|_| ()));
    let mut query = LogQuery::from(Seq(1));
    query.topics = vec![pattern(topic)];
    note("log", client.log(query).await.map(|_| ()));
    let filter = DeadLetterFilter {
        topic: Some(pattern(topic)),
        ..DeadLetterFilter::default()
    };
    note(
        "dlq ls",
        client.dead_letters(filter.clone(), 0, 9).await.map(|_| ()),
    );
    note(
        "dlq count",
        client.dead_letter_count(filter.clone()).await.map(|_| ()),
    );
    note(
        "requeue",
        client.requeue(filter.clone(), false).await.map(|_| ()),
    );
    let removed = client.remove_dead_letters(filter, false).await;
    note("dlq rm", removed.map(|_| ()));
    note("pause", client.consumer_pause(name("of-root")).await);
    note("stats", client.stats().await.map(|_| ()));
    note("clients", client.clients().await.map(|_| ()));
    note("consumers", client.consumers().await.map(|_| ()));
    note("backup", client.backup_part(None).await.map(|_| ()));
    note("trim", client.trim(Position::Seq(Seq(0))).await.map(|_| ()));
    refused
}

const ALL: [&str; 18] = [
    "send",
    "request",
    "publish",
    "persist",
    "consume",
    "subscribe",
    "subscribe by name",
    "log",
    "dlq ls",
    "dlq count",
    "requeue",
    "dlq rm",
    "pause",
    "stats",
    "clients",
    "consumers",
    "backup",
    "trim",
];

fn all_but(allowed: &[&str]) -> Vec<&'static str> {
    ALL.into_iter()
        .filter(|what| !allowed.contains(what))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_may_do_anything_without_a_rule() {
    let guarded = Guarded::start("").await;
    for client in [
        guarded.connect("till-7").await,
        guarded.connect_anonymous().await,
    ] {
        assert_eq!(
            within(refused(&guarded.server.handle, &client, "a.b")).await,
            ALL
        );
        assert_eq!(client.find(id(1)).await, Ok(None));
        // Both went on after each refusal.
        assert!(
            client
                .stats()
                .await
                .is_err_and(|r| r.code == Code::Forbidden)
        );
    }
    assert_eq!(guarded.stats().last_seq, 0);
    // Whoever asks how the server is counts for nothing.
    assert_eq!(guarded.stats().forbidden, 2 * (ALL.len() as u64 - 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verb_lets_somebody_do_what_it_names_and_nothing_else() {
    let verbs: [(&str, &[&str]); 8] = [
        ("send", &["send"]),
        ("request", &["request"]),
        ("publish", &["publish", "persist"]),
        ("consume", &["consume"]),
        ("subscribe", &["subscribe", "subscribe by name"]),
        ("replay", &["log"]),
        (
            "dead-letters",
            &["dlq ls", "dlq count", "requeue", "dlq rm"],
        ),
        ("admin", &["pause"]),
    ];
    let guarded = Guarded::start("").await;
    let root = guarded.connect("root").await;
    let of_root = ConsumerConfig::listener(pattern("a.b"));
    within(root.consumer_add(name("of-root"), of_root))
        .await
        .unwrap();
    for (verb, allowed) in verbs {
        guarded.set_rights(&allow("till-7", verb, "a.*")).await;
        let till = guarded.connect("till-7").await;
        assert_eq!(
            within(refused(&guarded.server.handle, &till, "a.b")).await,
            all_but(allowed),
            "{verb}"
        );
        // On other topics it is worth nothing. (The consumer to be paused is on these.)
        let elsewhere: Vec<_> = allowed
            .iter()
            .filter(|what| **what == "pause")
            .copied()
            .collect();
        assert_eq!(
            within(refused(&guarded.server.handle, &till, "a.b.c")).await,
            all_but(&elsewhere),
            "{verb}"
        );
    }
    guarded.set_rights(&allow("till-7", "admin", ">")).await;
    let till = guarded.connect("till-7").await;
    let allowed = ["pause", "stats", "clients", "consumers", "trim"];
    assert_eq!(
        within(refused(&guarded.server.handle, &till, "a.b")).await,
        all_but(&allowed)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusal_names_who_what_and_where() {
    let guarded = Guarded::start(&allow("till-7", "dead-letters", "a.*")).await;
    let till = guarded.connect("till-7").await;
    let sent = till.send_message(on("orders.created", 1)).await;
    let words = forbidden(sent.map_err(refusal));
    assert!(
        words.contains("till-7 may not send on orders.created"),
        "{words}"
    );
    let subscribed = till.subscribe(Subscription::to(pattern("a.*")).pattern(pattern("b.>")));
    assert_eq!(
        forbidden(subscribed.await),
        "till-7 may not subscribe on a.*"
    );
    let log = till.log(LogQuery::from(Seq(1))).await;
    assert_eq!(forbidden(log), "till-7 may not replay on >");
    assert_eq!(
        forbidden(till.stats().await),
        "till-7 may not act as admin on >"
    );
    let letters = till.dead_letter_count(DeadLetterFilter::all()).await;
    assert_eq!(
        forbidden(letters),
        "till-7 may not handle dead-letters on >"
    );
    let nobody = guarded.connect_anonymous().await;
    let words = forbidden(nobody.publish("doors", "x").await);
    assert_eq!(words, "anonymous may not publish on doors");
}

/// Sends are read in batches: what may not be sent must take nothing else with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn record_that_may_not_be_sent_is_refused_alone() {
    let guarded = Guarded::start(&allow("till-7", "send publish", "a.* b")).await;
    let till = guarded.connect("till-7").await;
    let topics = ["a.x", "c", "a.x", "a.x", "b", "a.x.y", "a", "b"];
    let messages = topics
        .iter()
        .zip(1..)
        .map(|(topic, number)| on(topic, number));
    let results = within(till.send_batch(messages.collect())).await;
    for (topic, result) in topics.iter().zip(results) {
        let allowed = matches!(*topic, "a.x" | "b");
        match result {
            Ok(_) => assert!(allowed, "{topic}"),
            refused => assert!(code(refused) == Code::Forbidden && !allowed, "{topic}"),
        }
    }
    let stored: Vec<_> = log(guarded.server.bus())
        .iter()
        .map(|entry| entry.record().topic_str().to_owned())
        .collect();
    assert_eq!(stored, ["a.x", "a.x", "a.x", "b", "b"]);
    assert_eq!((guarded.stats().forbidden, guarded.stats().refused), (3, 3));
    // The kind of a message decides what is asked, whatever came before on the same topic.
    guarded.set_rights(&allow("till-7", "send", "a.*")).await;
    let both = vec![on("a.x", 20), on("a.x", 21).kind(Kind::Notification)];
    let mut both = within(till.send_batch(both)).await.into_iter();
    new(both.next().unwrap());
    assert_eq!(code(both.next().unwrap()), Code::Forbidden);
}

/// A request asks for more than a send does: its reply.
/// It fills the disk for everyone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumer_that_holds_the_log_for_ever_takes_an_admin() {
    let rights = allow("till-7", "consume", "a.>") + &allow("root", "all", ">");
    let guarded = Guarded::start(&rights).await;
    let till = guarded.connect("till-7").await;
    let for_ever = ConsumerConfig::listener(pattern("a.>")).hold(Hold::Forever);
    let added = within(till.consumer_add(name("held"), for_ever.clone())).await;
    assert_eq!(added.unwrap_err().code, Code::Forbidden);
    let working = ConsumeConfig::new(name("held")).config(for_ever.clone());
    assert!(within(till.consumer(working.clone())).await.is_err());
    let root = guarded.connect("root").await;
    within(root.consumer_add(name("held"), for_ever))
        .await
        .unwrap();
    within(till.consumer(working)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_answered_between_those_who_may() {
    let rights = allow("till-*", "request", "prices.*") + &allow("press", "consume", "prices.>");
    let guarded = Guarded::start(&rights).await;
    let press = guarded.connect("press").await;
    let responder = ConsumerConfig::responder(pattern("prices.*"));
    let responder = ConsumeConfig::new(name("prices")).config(responder);
    let mut messages = within(press.consumer(responder)).await.unwrap();
    let till = guarded.connect("till-7").await;
    let asking = tokio::spawn(async move { till.request("prices.ask", "apples").await });
    let message = next(&mut messages).await;
    assert_eq!(message.incoming().identity(), "till-7");
    within(message.complete(Reply::new("cheap"))).await.unwrap();
    let response = within(asking).await.unwrap().unwrap();
    assert_eq!(response.reply.payload, "cheap");
    let till = guarded.connect("till-8").await;
    let sent = till.send_message(on("prices.ask", 9)).await;
    assert_eq!(code(sent), Code::Forbidden);
}

/// The name a client gives itself opens nobody's inbox once it is known who clients are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inbox_belongs_to_an_identity() {
    let rights = allow("till-*", "subscribe publish", "doors");
    let guarded = Guarded::start(&rights).await;
    let (seven, eight) = (
        guarded.connect("till-7").await,
        guarded.connect("till-8").await,
    );
    let doors = || Subscription::to(pattern("doors"));
    let mut live = seven.subscribe(doors()).await.unwrap();
    let _other = eight.subscribe(doors()).await.unwrap();
    let mut named = seven.subscribe_named(name("seven"), doors()).await.unwrap();
    assert_eq!(eight.send_to_client("till-7", on("doors", 1)).await, Ok(1));
    assert_eq!(
        eight.send_to_client("I am till-7", on("doors", 2)).await,
        Ok(0)
    );
    assert_eq!(news(&mut live).await, "message 1");
    let stored = on("doors", 3).kind(Kind::Notification).target("till-7");
    new(eight.send_message(stored).await);
    assert_eq!(news(&mut named).await, "message 3");
    drop(named);
    // Not even whoever may listen to the topic opens it.
    let taken = eight.subscribe_named(name("seven"), doors()).await;
    let words = forbidden(taken);
    assert_eq!(
        words,
        "till-8 may not consume on the topics of consumer seven"
    );
    let taken = eight.next(name("seven"), 1, false, Duration::ZERO).await;
    assert_eq!(forbidden(taken), words);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_may_everything_where_nobody_wrote_down_who_may() {
    let guarded = Guarded::start_open().await;
    for client in [
        guarded.connect("till-7").await,
        guarded.connect_anonymous().await,
    ] {
        let refused = within(refused(&guarded.server.handle, &client, "a.b")).await;
        assert_eq!(refused, [] as [&str; 0]);
    }
    // The names of inboxes are those that clients give themselves.
    let till = guarded.connect("till-7").await;
    let doors = Subscription::to(pattern("doors"));
    let _live = till.subscribe(doors).await.unwrap();
    assert_eq!(
        till.send_to_client("I am till-7", on("doors", 1)).await,
        Ok(1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_process_may_everything_whatever_the_rights_say() {
    let guarded = Guarded::start("").await;
    let client = guarded
        .server
        .handle
        .connect(Default::default())
        .await
        .unwrap();
    assert_eq!(
        within(refused(&guarded.server.handle, &client, "a.b")).await,
        [] as [&str; 0]
    );
    assert_eq!(log(guarded.server.bus())[0].identity(), "");
}

/// Nothing may be said before Hello, whoever says it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_taken_before_it_is_known_who_asks() {
    let guarded = Guarded::start(&allow("*", "send", ">")).await;
    let mut socket = Socket::connect(&guarded.server.url).await;
    socket
        .send(&send(0, crate::bus::fixture::records(1..3)))
        .await;
    socket.send(&hello(1, 1)).await;
    let refusal = socket.goodbye().await;
    assert_eq!(refusal.code, Code::UnexpectedFrame);
    assert_eq!(guarded.stats().last_seq, 0);
}
