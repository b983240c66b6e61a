//! Connections that are cut and servers that stop, with work in flight.

use edgebus::consumer::{ConsumerConfig, Reply, Settlement};
use edgebus::{ClientConfig, Code, RequestError, Seq, Subscription};

use super::fixture::{Gate, Wire, ask, listener, name, next, pattern, reply_to, responder};
use crate::bus::fixture::{eventually, id, message, within};
use crate::tcp::fixture::TestServer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_that_comes_back_in_time_keeps_its_leases() {
    let server = TestServer::start().await;
    let sender = server.connect(ClientConfig::default()).await;
    sender.send_batch((1..=3).map(ask).collect()).await;
    let wire = Wire::to(&server.url).await;
    let client = wire.connect().await;
    let mut messages = client.consumer(listener("audit")).await.unwrap();
    let mut held = Vec::new();
    for _ in 1..=3 {
        held.push(next(&mut messages).await);
    }
    wire.cut().await;
    let end = within(messages.next()).await.unwrap().unwrap_err();
    assert_eq!(end.code, Code::Disconnected);
    assert!(within(messages.next()).await.is_none());
    let gone = held.pop().unwrap().ack_durable().await.unwrap_err();
    assert_eq!(gone.code, Code::Disconnected);

    let again = server.connect(ClientConfig::default()).await;
    let tokens: Vec<_> = held.iter().map(|message| message.token()).collect();
    let config = listener("audit").held(tokens.clone());
    let messages = again.consumer(config).await.unwrap();
    assert_eq!(messages.kept(), tokens);
    for message in held {
        let message = messages.adopt(message);
        within(message.extend()).await.unwrap();
        within(message.ack_durable()).await.unwrap();
    }
    let info = again.consumer_info(name("audit")).await.unwrap();
    assert_eq!(info.offset, Seq(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn completion_that_comes_over_another_connection_counts() {
    let server = TestServer::start().await;
    let sender = server.connect(ClientConfig::default()).await;
    let wire = Wire::to(&server.url).await;
    let client = wire.connect().await;
    let mut messages = client.consumer(responder()).await.unwrap();
    let asking = tokio::spawn(async move { sender.request_message(ask(1)).await });
    let token = next(&mut messages).await.token();
    wire.cut().await;
    let other = server.connect(ClientConfig::default()).await;
    let done = Settlement::Complete(Reply::new("late, but here"));
    let completing = other.settle_by_name(name("prices"), token, done);
    within(completing).await.unwrap();
    let response = within(asking).await.unwrap().unwrap();
    assert_eq!(response.reply, Reply::new("late, but here"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_hears_that_the_connection_is_lost() {
    let server = TestServer::start().await;
    let wire = Wire::to(&server.url).await;
    let client = wire.connect().await;
    let mut messages = client.consumer(listener("audit")).await.unwrap();
    let mut news = client
        .subscribe(Subscription::to(pattern(">")))
        .await
        .unwrap();
    let gate = Gate::new();
    let gated = gate.clone();
    let mut handler = client
        .handle(pattern("prices.*"), responder(), move |_| {
            let gate = gated.clone();
            async move { gate.pass().await }
        })
        .await
        .unwrap();
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.request_message(ask(1)).await }
    });
    eventually(|| gate.begun() == 1).await;
    let held = next(&mut messages).await;
    // Receipts come in the order of the sends: that of the request has come when this one has.
    client.send_message(message(99)).await.unwrap();
    wire.cut().await;
    let lost = within(asking).await.unwrap().unwrap_err();
    assert!(matches!(lost, RequestError::Lost { .. }), "{lost:?}");
    assert_eq!((lost.code(), lost.request_id()), (Code::Unknown, id(1)));
    assert!(lost.is_retryable());
    assert!(within(messages.next()).await.unwrap().is_err());
    assert!(within(news.next()).await.is_none());
    assert_eq!(news.why_ended().unwrap().code, Code::Disconnected);
    gate.let_pass(1);
    let why = within(handler.ended()).await.unwrap_err();
    assert_eq!(why.code, Code::Disconnected);
    drop(held);
    // Nothing of it can be used any more, and all of it says so.
    let refused = client.consumer(listener("other")).await.unwrap_err();
    assert_eq!(refused.code, Code::Disconnected);
    let refused = client.publish("a", "x").await.unwrap_err();
    assert_eq!(refused.code, Code::Disconnected);
    let refused = client.consumers().await.unwrap_err();
    assert_eq!(refused.code, Code::Disconnected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_stops_ends_streams_and_gives_back_what_workers_held() {
    let mut server = TestServer::start().await;
    let client = ClientConfig::default().reconnect(false);
    let client = server.connect(client).await;
    client.send_batch((1..=3).map(ask).collect()).await;
    let mut messages = client.consumer(listener("audit")).await.unwrap();
    let held = next(&mut messages).await;
    let config = ConsumerConfig::listener(pattern("nothing.comes.here"));
    client.consumer_add(name("idle"), config).await.unwrap();
    let waiting = tokio::spawn({
        let client = client.clone();
        let wait = std::time::Duration::from_secs(300);
        async move { client.next(name("idle"), 1, false, wait).await }
    });
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.request_message(ask(4)).await }
    });
    let bus = server.bus().clone();
    eventually(|| bus.reader().last_seq() == Seq(4)).await;
    // Neither a wait of minutes nor a request that nobody answers keeps it from stopping.
    server.stop().await;
    let end = within(async {
        loop {
            match messages.next().await {
                Some(Ok(_)) => {}
                Some(Err(end)) => return end,
                None => panic!("no reason"),
            }
        }
    })
    .await;
    assert_eq!(end.code, Code::ShuttingDown);
    assert!(within(waiting).await.unwrap().is_err());
    assert!(within(asking).await.unwrap().is_err());
    drop(held);
    let mut messages = bus.consumer(listener("audit")).await.unwrap();
    for _ in 1..=4 {
        let message = next(&mut messages).await;
        assert_eq!(message.attempt(), 1, "{}", message.seq());
        message.ack();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reply_outlives_the_server() {
    let mut server = TestServer::start().await;
    let client = server.connect(ClientConfig::default()).await;
    let handler = client
        .handle(pattern("prices.*"), responder(), |message| async move {
            reply_to(&message)
        })
        .await
        .unwrap();
    let first = within(client.request_message(ask(1))).await.unwrap();
    within(handler.stop()).await;
    drop(client);
    server.stop().await;
    let bus = server.on.reopen().await;
    // Nobody works any more, and nobody has to.
    let again = within(bus.request_message(ask(1))).await.unwrap();
    assert!(again.receipt.duplicate);
    assert_eq!(
        (again.receipt.seq, again.reply),
        (first.receipt.seq, first.reply)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn word_said_before_the_client_is_dropped_arrives() {
    let server = TestServer::start().await;
    let sender = server.connect(ClientConfig::default()).await;
    sender.send_batch((1..=100).map(ask).collect()).await;
    let client = server.connect(ClientConfig::default()).await;
    let mut messages = client.consumer(listener("audit")).await.unwrap();
    drop(client);
    for _ in 1..=100 {
        next(&mut messages).await.ack();
    }
    drop(messages);
    within(async {
        loop {
            let info = sender.consumer_info(name("audit")).await.unwrap();
            if info.offset == Seq(100) && info.workers == 0 {
                break;
            }
        }
    })
    .await;
    eventually(|| server.handle.stats().connections == 1).await;
}
