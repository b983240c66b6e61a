//! Requests and their replies.

use edgebus::consumer::{Answer, ConsumerConfig, Reply};
use edgebus::{Client, ClientConfig, Code, ConsumeConfig, Handled, RequestError, Seq};

use super::fixture::{Gate, ask, listener, name, next, pattern, reply_to, responder};
use crate::bus::fixture::{eventually, id, is_pending, within};
use crate::tcp::fixture::{TestServer, window};

over_either! {
    request_brings_the_reply_of_its_handler
    same_id_brings_the_same_bytes_and_runs_once
    request_that_is_running_is_waited_for_by_whoever_asks
    request_that_was_done_is_answered_to_whoever_asks_first
    request_sent_without_waiting_is_asked_for_later
    rejected_request_says_why_and_is_answered_once_it_is_done_after_all
    handler_that_panics_is_tried_again
    reply_that_is_too_large_is_a_failure_with_its_reason
    window_bounds_requests_only_until_they_are_stored
    request_that_nobody_waits_for_goes_on
    many_requests_each_get_their_own_reply
    large_replies_come_to_a_slow_reader_whole
    refused_request_has_no_reply
}

async fn request_brings_the_reply_of_its_handler(
    server: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let worker = connect(ClientConfig::default()).await;
    let handler = worker
        .handle(
            pattern("prices.ask"),
            ConsumeConfig::new(name("prices")),
            |message| async move { reply_to(&message) },
        )
        .await
        .unwrap();
    let client = connect(ClientConfig::default().name("till-7")).await;
    let response = within(client.request("prices.ask", "apples"))
        .await
        .unwrap();
    assert_eq!(response.receipt.seq, Seq(1));
    assert!(!response.receipt.duplicate);
    let expected = Reply::new("no idea apples").header("currency", "EUR");
    assert_eq!(response.reply, expected);
    within(handler.stop()).await;
    assert_eq!(server.bus().reader().last_seq(), Seq(1));
}

async fn same_id_brings_the_same_bytes_and_runs_once(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let worker = connect(ClientConfig::default()).await;
    let gate = Gate::new();
    gate.let_pass(100);
    let counted = gate.clone();
    let handler = worker
        .handle(pattern("prices.*"), responder(), move |message| {
            let gate = counted.clone();
            async move {
                gate.pass().await;
                // Another one each time it runs.
                Reply::new(format!("{} of {}", gate.begun(), message.seq()))
            }
        })
        .await
        .unwrap();
    let client = connect(ClientConfig::default()).await;
    let first = within(client.request_message(ask(1))).await.unwrap();
    let other = connect(ClientConfig::default().name("other")).await;
    for client in [&client, &other] {
        let again = within(client.request_message(ask(1))).await.unwrap();
        assert!(again.receipt.duplicate);
        assert_eq!(again.receipt.seq, first.receipt.seq);
        assert_eq!(again.reply, first.reply);
    }
    assert_eq!(gate.begun(), 1);
    within(handler.stop()).await;
    // Nobody is needed to answer it.
    let again = within(other.request_message(ask(1))).await.unwrap();
    assert_eq!(again.reply, first.reply);
}

async fn request_that_is_running_is_waited_for_by_whoever_asks(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let worker = connect(ClientConfig::default()).await;
    let gate = Gate::new();
    let gated = gate.clone();
    let _handler = worker
        .handle(pattern("prices.*"), responder(), move |message| {
            let gate = gated.clone();
            async move {
                gate.pass().await;
                reply_to(&message)
            }
        })
        .await
        .unwrap();
    let one = connect(ClientConfig::default()).await;
    let two = connect(ClientConfig::default()).await;
    let first = tokio::spawn(async move { one.request_message(ask(1)).await });
    eventually(|| gate.begun() == 1).await;
    let mut second = Box::pin(two.request_message(ask(1)));
    assert!(is_pending(&mut second).await);
    // Answered only when what was sent before it is known to the engine.
    assert!(two.send_message(ask(1)).await.unwrap().duplicate);
    gate.let_pass(1);
    let first = within(first).await.unwrap().unwrap();
    let second = within(second).await.unwrap();
    assert_eq!(first.reply, second.reply);
    assert!(second.receipt.duplicate && !first.receipt.duplicate);
    assert_eq!(gate.begun(), 1);
}

async fn request_that_was_done_is_answered_to_whoever_asks_first(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    client.send_message(ask(1)).await.unwrap();
    let mut messages = client.consumer(responder()).await.unwrap();
    let message = next(&mut messages).await;
    let reply = reply_to(&message);
    within(message.complete(reply.clone())).await.unwrap();
    let response = within(client.request_message(ask(1))).await.unwrap();
    assert_eq!((response.receipt.duplicate, response.reply), (true, reply));
}

async fn request_sent_without_waiting_is_asked_for_later(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    client.send_message(ask(1)).await.unwrap();
    let mut asking = Box::pin(client.request_message(ask(1)));
    assert!(is_pending(&mut asking).await);
    let worker = connect(ClientConfig::default()).await;
    let _handler = worker
        .handle(pattern("prices.*"), responder(), |message| async move {
            reply_to(&message)
        })
        .await
        .unwrap();
    let response = within(asking).await.unwrap();
    assert!(response.receipt.duplicate);
}

async fn rejected_request_says_why_and_is_answered_once_it_is_done_after_all(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    let mut messages = client.consumer(responder()).await.unwrap();
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.request_message(ask(1)).await }
    });
    next(&mut messages).await.term("no such product");
    let dead = |result: Result<_, RequestError>| match result {
        Err(RequestError::DeadLettered { request_id, reason }) => (request_id, reason),
        other => panic!("{other:?}"),
    };
    let told = (id(1), "no such product".to_owned());
    assert_eq!(dead(within(asking).await.unwrap()), told);
    // The same for whoever asks afterwards.
    assert_eq!(dead(within(client.request_message(ask(1))).await), told);
    let state = client.request_state(id(1)).await.unwrap();
    let reason = told.1.clone();
    assert_eq!(state.answer, Some(Answer::DeadLettered { reason }));

    let filter = edgebus::admin::DeadLetterFilter::all();
    assert_eq!(client.requeue(filter, false).await, Ok(1));
    let message = next(&mut messages).await;
    assert_eq!((message.seq(), message.attempt()), (Seq(1), 1));
    within(message.complete(Reply::new("found"))).await.unwrap();
    let response = within(client.request_message(ask(1))).await.unwrap();
    assert_eq!(response.reply, Reply::new("found"));
}

async fn handler_that_panics_is_tried_again(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let worker = connect(ClientConfig::default()).await;
    let _handler = worker
        .handle(pattern("prices.*"), responder(), |message| async move {
            assert!(message.attempt() > 2, "not today");
            Reply::new(message.attempt().to_string())
        })
        .await
        .unwrap();
    let response = within(worker.request_message(ask(1))).await.unwrap();
    assert_eq!(response.reply, Reply::new("3"));
}

async fn reply_that_is_too_large_is_a_failure_with_its_reason(
    server: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let limit = server.bus().record_limits().payload_bytes_max;
    let worker = connect(ClientConfig::default()).await;
    let config = ConsumerConfig::responder(pattern("prices.*")).max_attempts(1);
    let config = ConsumeConfig::new(name("prices")).config(config);
    let mut messages = worker.consumer(config).await.unwrap();
    let asking = tokio::spawn({
        let client = worker.clone();
        async move { client.request_message(ask(1)).await }
    });
    let message = next(&mut messages).await;
    let refusal = within(message.complete(Reply::new(vec![b'x'; limit + 1]))).await;
    assert_eq!(refusal.unwrap_err().code, Code::PayloadTooLarge);
    let error = within(asking).await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::DeadLettered);
    assert!(error.to_string().contains("bytes"), "{error}");
}

async fn window_bounds_requests_only_until_they_are_stored(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(window(2)).await;
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..20 {
        let client = client.clone();
        asking.spawn(async move { client.request_message(ask(number)).await });
    }
    let worker = connect(ClientConfig::default()).await;
    let gate = Gate::new();
    let gated = gate.clone();
    let config = responder().concurrency(20);
    let _handler = worker
        .handle(pattern("prices.*"), config, move |message| {
            let gate = gated.clone();
            async move {
                gate.pass().await;
                reply_to(&message)
            }
        })
        .await
        .unwrap();
    // All of them are stored, and none is answered.
    eventually(|| gate.begun() == 20).await;
    gate.let_pass(20);
    while let Some(response) = within(asking.join_next()).await {
        response.unwrap().unwrap();
    }
}

async fn request_that_nobody_waits_for_goes_on(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    let mut messages = client.consumer(responder()).await.unwrap();
    for number in 0..50 {
        let asking = client.request_message(ask(number));
        tokio::select! {
            _ = asking => panic!("nobody answered"),
            message = next(&mut messages) => message.complete_now(Reply::new("late")),
        }
    }
    let response = within(client.request_message(ask(7))).await.unwrap();
    assert_eq!(response.reply, Reply::new("late"));
}

async fn many_requests_each_get_their_own_reply(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let mut handlers = Vec::new();
    for _ in 0..3 {
        let worker = connect(ClientConfig::default()).await;
        let handler = worker.handle(pattern("prices.*"), responder(), |message| async move {
            match message.seq().0 % 7 {
                0 if message.attempt() == 1 => Handled::Retry("once more".into()),
                _ => Handled::Reply(reply_to(&message)),
            }
        });
        handlers.push(handler.await.unwrap());
    }
    let client = connect(ClientConfig::default()).await;
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..500 {
        let client = client.clone();
        asking.spawn(async move { (number, client.request_message(ask(number)).await) });
    }
    while let Some(done) = within(asking.join_next()).await {
        let (number, response) = done.unwrap();
        let expected = format!("no idea what costs {number}");
        assert_eq!(response.unwrap().reply.payload, expected.as_bytes());
    }
    for handler in handlers {
        within(handler.stop()).await;
    }
}

/// More than the server keeps for a client that does not read: the rest is read again.
async fn large_replies_come_to_a_slow_reader_whole(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let worker = connect(ClientConfig::default()).await;
    let _handler = worker
        .handle(pattern("prices.*"), responder(), |message| async move {
            let byte = message.seq().0 as u8;
            Reply::new(vec![byte; 900_000])
        })
        .await
        .unwrap();
    let client = connect(ClientConfig::default()).await;
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..24 {
        let client = client.clone();
        asking.spawn(async move { client.request_message(ask(number)).await });
    }
    while let Some(response) = within(asking.join_next()).await {
        let response = response.unwrap().unwrap();
        let byte = response.receipt.seq.0 as u8;
        assert!(response.reply.payload == vec![byte; 900_000]);
    }
}

async fn refused_request_has_no_reply(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    client.send_message(ask(1)).await.unwrap();
    let mut other = ask(1);
    other.payload = "something else".into();
    let error = within(client.request_message(other)).await.unwrap_err();
    assert_eq!(error.code(), Code::IdConflict);
    // A listener's word is no answer.
    let mut messages = client.consumer(listener("audit")).await.unwrap();
    next(&mut messages)
        .await
        .complete(Reply::new("x"))
        .await
        .unwrap();
    let state = client.request_state(id(1)).await.unwrap();
    assert_eq!((state.seq, state.answer), (Some(Seq(1)), None));
}
