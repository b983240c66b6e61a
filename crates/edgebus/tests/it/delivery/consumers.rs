//! Workers of consumers: what they are given, and what their words do.

use std::time::Duration;

use edgebus::consumer::{ConsumerConfig, Reply, Start};
use edgebus::{Client, ClientConfig, Code, ConsumeConfig, Seq};

use super::fixture::{ask, listener, name, next, pattern, responder};
use crate::bus::fixture::{eventually, is_pending, large_message, within};
use crate::tcp::fixture::TestServer;

over_either! {
    each_word_does_what_it_says
    what_is_done_is_done_for_whoever_comes_next
    late_word_is_refused_by_name
    lease_that_is_extended_stays
    workers_of_one_consumer_share_its_messages
    each_consumer_gets_every_message
    credit_bounds_what_a_worker_holds
    worker_that_leaves_gives_back_what_it_did_not_do
    worker_that_leaves_may_finish_what_it_took
    consumer_that_is_not_there_is_refused
    consumer_of_another_kind_is_refused
    second_responder_for_a_topic_is_refused
    new_consumer_begins_where_it_is_told
    removed_consumer_ends_its_streams
    large_messages_come_whole
    many_streams_of_one_connection_do_not_mix
}

async fn each_word_does_what_it_says(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    for number in 1..=7 {
        client.send_message(ask(number)).await.unwrap();
    }
    let mut messages = client.consumer(listener("audit")).await.unwrap();
    let mut taken = Vec::new();
    for seq in 1..=7 {
        let message = next(&mut messages).await;
        assert_eq!((message.seq(), message.attempt()), (Seq(seq), 1));
        assert_eq!(message.topic(), "prices.ask");
        assert_eq!(message.payload(), format!("what costs {seq}").as_bytes());
        taken.push(message);
    }
    let mut taken = taken.into_iter();
    let mut message = || taken.next().unwrap();
    message().ack();
    within(message().ack_durable()).await.unwrap();
    within(message().complete(Reply::new("x"))).await.unwrap();
    message().nak(None, "not now");
    message().nak(Some(Duration::from_millis(1)), "nor now");
    message().term("never");
    drop(message());
    // Charged, charged, and not charged.
    let mut again = Vec::new();
    for _ in 0..3 {
        let message = next(&mut messages).await;
        again.push((message.seq().0, message.attempt()));
        within(message.ack_durable()).await.unwrap();
    }
    again.sort_unstable();
    assert_eq!(again, [(4, 2), (5, 2), (7, 1)]);
    let info = client.consumer_info(name("audit")).await.unwrap();
    assert_eq!((info.offset, info.lag, info.dead_letters), (Seq(7), 0, 1));
    assert_eq!((info.in_flight, info.workers), (0, 1));
    let mut next = Box::pin(messages.next());
    assert!(is_pending(&mut next).await);
}

async fn what_is_done_is_done_for_whoever_comes_next(
    server: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    for number in 1..=100 {
        client.send_message(ask(number)).await.unwrap();
    }
    let mut messages = client.consumer(listener("audit")).await.unwrap();
    for _ in 0..60 {
        next(&mut messages).await.ack();
    }
    drop(messages);
    let mut messages = client.consumer(listener("audit")).await.unwrap();
    for seq in 61..=100 {
        let message = next(&mut messages).await;
        assert_eq!((message.seq(), message.attempt()), (Seq(seq), 1));
        message.ack();
    }
    drop(messages);
    drop(client);
    let other = connect(ClientConfig::default()).await;
    let mut messages = other.consumer(listener("audit")).await.unwrap();
    other.send_message(ask(101)).await.unwrap();
    assert_eq!(next(&mut messages).await.seq(), Seq(101));
    assert_eq!(server.bus().reader().last_seq(), Seq(101));
}

async fn late_word_is_refused_by_name(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    let mut messages = client.consumer(listener("audit")).await.unwrap();
    client.send_message(ask(1)).await.unwrap();
    let message = next(&mut messages).await;
    let token = message.token();
    message.ack_durable().await.unwrap();
    let ack = edgebus::consumer::Settlement::Ack;
    let late = client.settle_by_name(name("audit"), token, ack.clone());
    assert_eq!(late.await.unwrap_err().code, Code::AlreadyCompleted);

    client.send_message(ask(2)).await.unwrap();
    let message = next(&mut messages).await;
    let (stale, mut other) = (message.token(), message.token());
    other.epoch += 1;
    let refused = client.settle_by_name(name("audit"), other, ack.clone());
    assert_eq!(refused.await.unwrap_err().code, Code::StaleLease);
    let to = edgebus::admin::Position::Seq(Seq(1));
    client.consumer_reset(name("audit"), to).await.unwrap();
    assert_eq!(message.extend().await.unwrap_err().code, Code::StaleLease);
    assert_eq!(
        message.ack_durable().await.unwrap_err().code,
        Code::StaleLease
    );
    let refused = client.settle_by_name(name("audit"), stale, ack);
    assert_eq!(refused.await.unwrap_err().code, Code::StaleLease);
}

async fn lease_that_is_extended_stays(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    client.send_message(ask(1)).await.unwrap();
    let mut messages = client.consumer(listener("audit")).await.unwrap();
    let message = next(&mut messages).await;
    within(message.extend()).await.unwrap();
    let incoming = message.incoming().clone();
    within(incoming.extend()).await.unwrap();
    within(message.ack_durable()).await.unwrap();
    drop(messages);
    let left = within(incoming.extend()).await.unwrap_err();
    assert_eq!(left.code, Code::StaleLease);
}

async fn workers_of_one_consumer_share_its_messages(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    const MESSAGES: u64 = 300;
    let mut workers = tokio::task::JoinSet::new();
    let (seen, mut all) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..3 {
        let client = connect(ClientConfig::default()).await;
        let mut messages = client.consumer(listener("audit").credit(8)).await.unwrap();
        let seen = seen.clone();
        workers.spawn(async move {
            while let Some(Ok(message)) = messages.next().await {
                seen.send(message.seq().0).unwrap();
                message.ack();
            }
        });
    }
    let client = connect(ClientConfig::default()).await;
    client.send_batch((1..=MESSAGES).map(ask).collect()).await;
    let mut done = Vec::new();
    while done.len() < MESSAGES as usize {
        done.push(within(all.recv()).await.unwrap());
    }
    done.sort_unstable();
    assert_eq!(done, (1..=MESSAGES).collect::<Vec<_>>());
    workers.shutdown().await;
    assert!(all.try_recv().is_err());
}

async fn each_consumer_gets_every_message(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    client.send_batch((1..=20).map(ask).collect()).await;
    for consumer in ["one", "two", "three"] {
        let mut messages = client.consumer(listener(consumer)).await.unwrap();
        for seq in 1..=20 {
            let message = next(&mut messages).await;
            assert_eq!(message.seq(), Seq(seq));
            message.ack();
        }
    }
}

async fn credit_bounds_what_a_worker_holds(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    client.send_batch((1..=20).map(ask).collect()).await;
    let mut messages = client.consumer(listener("audit").credit(4)).await.unwrap();
    let mut held = std::collections::VecDeque::new();
    for _ in 0..4 {
        held.push_back(next(&mut messages).await);
    }
    for seq in 5..=20 {
        // The server has nothing more to give.
        let info = client.consumer_info(name("audit")).await.unwrap();
        assert_eq!(info.in_flight, 4);
        {
            let mut more = Box::pin(messages.next());
            assert!(is_pending(&mut more).await);
        }
        within(held.pop_front().unwrap().ack_durable())
            .await
            .unwrap();
        let message = next(&mut messages).await;
        assert_eq!(message.seq(), Seq(seq));
        held.push_back(message);
    }
}

async fn worker_that_leaves_gives_back_what_it_did_not_do(
    server: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    client.send_batch((1..=20).map(ask).collect()).await;
    let one = connect(ClientConfig::default()).await;
    let mut messages = one.consumer(listener("audit")).await.unwrap();
    let first = next(&mut messages).await;
    let bus = server.bus();
    while bus.consumer_info(name("audit")).await.unwrap().in_flight < 20 {}
    drop(messages);
    drop(first);
    // Without waiting for a grace, and without a charge.
    let mut messages = client.consumer(listener("audit")).await.unwrap();
    let mut seen = Vec::new();
    for _ in 1..=20 {
        let message = next(&mut messages).await;
        assert_eq!(message.attempt(), 1);
        seen.push(message.seq().0);
        message.ack();
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=20).collect::<Vec<_>>());
}

async fn worker_that_leaves_may_finish_what_it_took(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    client.send_batch((1..=3).map(ask).collect()).await;
    let one = connect(ClientConfig::default()).await;
    let mut messages = one.consumer(listener("audit")).await.unwrap();
    let first = next(&mut messages).await;
    drop(messages);
    drop(one);
    let mut messages = client.consumer(listener("audit")).await.unwrap();
    let mut seen = Vec::new();
    for _ in 2..=3 {
        let message = next(&mut messages).await;
        assert_eq!(message.attempt(), 1);
        seen.push(message.seq().0);
        message.ack();
    }
    seen.sort_unstable();
    assert_eq!(seen, [2, 3]);
    within(first.ack_durable()).await.unwrap();
    // The worker has left with it.
    eventually_workers(&client, 1).await;
    let info = client.consumer_info(name("audit")).await.unwrap();
    assert_eq!((info.offset, info.in_flight), (Seq(3), 0));
}

async fn eventually_workers(client: &Client, workers: u64) {
    within(async {
        while client.consumer_info(name("audit")).await.unwrap().workers != workers {}
    })
    .await;
}

async fn consumer_that_is_not_there_is_refused(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    let refused = client.consumer(ConsumeConfig::new(name("nobody"))).await;
    assert_eq!(refused.unwrap_err().code, Code::NoSuchConsumer);
    // The connection goes on, and so does the name once it is there.
    let config = ConsumerConfig::listener(pattern(">"));
    client.consumer_add(name("nobody"), config).await.unwrap();
    client.send_message(ask(1)).await.unwrap();
    let mut messages = client
        .consumer(ConsumeConfig::new(name("nobody")))
        .await
        .unwrap();
    assert_eq!(next(&mut messages).await.seq(), Seq(1));
}

async fn consumer_of_another_kind_is_refused(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    let messages = client.consumer(listener("audit")).await.unwrap();
    let config = ConsumerConfig::listener(pattern("other.*"));
    let other = ConsumeConfig::new(name("audit")).config(config);
    let refused = client.consumer(other).await.unwrap_err();
    assert_eq!(refused.code, Code::ConsumerExists);
    assert!(refused.message.contains("audit"), "{refused}");
    let bad = ConsumerConfig::listener(pattern("a")).max_attempts(0);
    let bad = ConsumeConfig::new(name("bad")).config(bad);
    assert_eq!(
        client.consumer(bad).await.unwrap_err().code,
        Code::BadConfig
    );
    drop(messages);
}

async fn second_responder_for_a_topic_is_refused(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    let _messages = client.consumer(responder()).await.unwrap();
    let config = ConsumerConfig::responder(pattern("*.ask"));
    let other = ConsumeConfig::new(name("other")).config(config);
    let refused = client.consumer(other).await.unwrap_err();
    assert_eq!(refused.code, Code::ResponderOverlap);
}

async fn new_consumer_begins_where_it_is_told(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    client.send_batch((1..=5).map(ask).collect()).await;
    let from = |text: &str, start| {
        let config = ConsumerConfig::listener(pattern("prices.*")).start(start);
        ConsumeConfig::new(name(text)).config(config)
    };
    let mut new = client.consumer(from("new", Start::New)).await.unwrap();
    let third = from("third", Start::Seq(Seq(3)));
    let mut third = client.consumer(third).await.unwrap();
    let mut all = client.consumer(from("all", Start::All)).await.unwrap();
    let time = from("time", Start::TimeMs(0));
    let mut time = client.consumer(time).await.unwrap();
    client.send_message(ask(6)).await.unwrap();
    assert_eq!(next(&mut new).await.seq(), Seq(6));
    assert_eq!(next(&mut third).await.seq(), Seq(3));
    assert_eq!(next(&mut all).await.seq(), Seq(1));
    assert_eq!(next(&mut time).await.seq(), Seq(1));
}

async fn removed_consumer_ends_its_streams(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    let mut messages = client.consumer(listener("audit")).await.unwrap();
    client.consumer_remove(name("audit")).await.unwrap();
    let end = within(messages.next()).await.unwrap().unwrap_err();
    assert_eq!(end.code, Code::NoSuchConsumer);
    assert!(within(messages.next()).await.is_none());
    // The connection, and other streams, go on.
    let mut messages = client.consumer(listener("other")).await.unwrap();
    client.send_message(ask(1)).await.unwrap();
    next(&mut messages).await.ack();
}

async fn large_messages_come_whole(
    server: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let limit = server.bus().record_limits().payload_bytes_max;
    let client = connect(ClientConfig::default()).await;
    for number in 1..=40 {
        let bytes = if number % 2 == 0 { limit } else { 10 };
        client
            .send_message(large_message(number, bytes))
            .await
            .unwrap();
    }
    let config = ConsumerConfig::listener(pattern("bulk"));
    let config = ConsumeConfig::new(name("bulk")).config(config);
    let mut messages = client.consumer(config).await.unwrap();
    for number in 1..=40 {
        let message = next(&mut messages).await;
        let bytes = if number % 2 == 0 { limit } else { 10 };
        assert_eq!((message.seq().0, message.payload().len()), (number, bytes));
        message.ack();
    }
}

async fn many_streams_of_one_connection_do_not_mix(
    server: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    const STREAMS: u64 = 40;
    let client = connect(ClientConfig::default()).await;
    let mut streams = Vec::new();
    for stream in 0..STREAMS {
        let config = ConsumerConfig::listener(pattern(&format!("stream.{stream}")));
        let config = ConsumeConfig::new(name(&format!("c{stream}"))).config(config);
        streams.push(client.consumer(config).await.unwrap());
    }
    for number in 0..STREAMS * 5 {
        let mut message = ask(number);
        message.topic = format!("stream.{}", number % STREAMS).parse().unwrap();
        client.send_message(message).await.unwrap();
    }
    for (stream, messages) in streams.iter_mut().enumerate() {
        for _ in 0..5 {
            let message = next(messages).await;
            assert_eq!(message.topic(), format!("stream.{stream}"));
            message.ack();
        }
    }
    let listed = server.handle.stats().connections;
    assert_eq!(listed, 1);
    drop(streams);
    within(async { while client.clients().await.unwrap()[0].streams != 0 {} }).await;
    eventually(|| server.handle.stats().connections == 1).await;
}
