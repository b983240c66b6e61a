//! What operators ask of a running server.

use std::time::Duration;

use edgebus::admin::{DeadLetterFilter, LetterState, Position};
use edgebus::consumer::{Answer, ConsumerConfig, DeadLetterCode, Reply, Settlement};
use edgebus::query::LogQuery;
use edgebus::{Client, ClientConfig, Code, Seq};

use super::fixture::{ask, listener, name, next, pattern, responder};
use crate::bus::fixture::{id, large_message, within};
use crate::tcp::fixture::TestServer;

over_either! {
    consumers_are_made_listed_paused_and_removed
    messages_are_leased_without_a_worker
    leased_messages_fit_a_frame_and_none_is_lost
    waiting_for_messages_ends_with_the_first
    dead_letters_are_listed_requeued_and_removed
    log_is_trimmed_and_replayed
    state_of_a_request_is_told
    clients_are_listed
    question_that_makes_no_sense_is_refused_alone
}

async fn consumers_are_made_listed_paused_and_removed(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    assert_eq!(client.consumers().await.unwrap(), []);
    let config = ConsumerConfig::listener(pattern("prices.*"));
    client
        .consumer_add(name("b"), config.clone())
        .await
        .unwrap();
    client
        .consumer_add(name("a"), config.clone())
        .await
        .unwrap();
    client
        .consumer_add(name("a"), config.clone())
        .await
        .unwrap();
    let names: Vec<_> = client.consumers().await.unwrap();
    let names: Vec<_> = names.iter().map(|info| info.name.to_string()).collect();
    assert_eq!(names, ["a", "b"]);

    client.consumer_pause(name("a")).await.unwrap();
    client.send_message(ask(1)).await.unwrap();
    let mut messages = client.consumer(listener("a")).await.unwrap();
    let info = client.consumer_info(name("a")).await.unwrap();
    assert_eq!(
        (info.state.as_str(), info.in_flight, info.lag),
        ("paused", 0, 1)
    );
    client.consumer_resume(name("a")).await.unwrap();
    within(next(&mut messages).await.ack_durable())
        .await
        .unwrap();
    let info = client.consumer_info(name("a")).await.unwrap();
    assert_eq!(
        (info.state.as_str(), info.offset, info.epoch),
        ("active", Seq(1), 1)
    );

    client
        .consumer_reset(name("a"), Position::Seq(Seq(1)))
        .await
        .unwrap();
    assert_eq!(next(&mut messages).await.token().epoch, 2);
    client.consumer_remove(name("b")).await.unwrap();
    let gone = client.consumer_info(name("b")).await.unwrap_err();
    assert_eq!(gone.code, Code::NoSuchConsumer);
    assert_eq!(client.consumers().await.unwrap().len(), 1);
}

async fn messages_are_leased_without_a_worker(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    let config = ConsumerConfig::responder(pattern("prices.*"));
    client.consumer_add(name("prices"), config).await.unwrap();
    client.send_batch((1..=4).map(ask).collect()).await;
    let lease = async |count, ack| {
        let leased = client.next(name("prices"), count, ack, Duration::ZERO);
        within(leased).await.unwrap()
    };
    let leased = lease(2, false).await;
    let seqs: Vec<_> = leased
        .iter()
        .map(|delivery| delivery.entry.seq().0)
        .collect();
    assert_eq!(seqs, [1, 2]);
    assert_eq!(leased[0].attempt, 1);
    // They are bound to no connection.
    let other = connect(ClientConfig::default()).await;
    let settle = async |at: usize, settlement| {
        let settling = other.settle_by_name(name("prices"), leased[at].token, settlement);
        within(settling).await
    };
    settle(0, Settlement::Extend).await.unwrap();
    settle(0, Settlement::Complete(Reply::new("cheap")))
        .await
        .unwrap();
    settle(1, Settlement::Ack).await.unwrap();
    let response = within(client.request_message(ask(1))).await.unwrap();
    assert_eq!(response.reply, Reply::new("cheap"));
    assert_eq!(lease(1, true).await[0].entry.seq(), Seq(3));
    assert_eq!(lease(9, true).await[0].entry.seq(), Seq(4));
    assert_eq!(lease(9, true).await, []);
    let info = client.consumer_info(name("prices")).await.unwrap();
    assert_eq!((info.offset, info.in_flight), (Seq(4), 0));
}

async fn leased_messages_fit_a_frame_and_none_is_lost(
    server: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let limit = server.bus().record_limits().payload_bytes_max;
    let client = connect(ClientConfig::default()).await;
    for number in 1..=8 {
        let message = large_message(number, limit);
        client.send_message(message).await.unwrap();
    }
    let config = ConsumerConfig::listener(pattern("bulk"));
    client.consumer_add(name("bulk"), config).await.unwrap();
    let mut seqs = Vec::new();
    while seqs.len() < 8 {
        let leased = client.next(name("bulk"), 100, true, Duration::from_secs(10));
        let leased = within(leased).await.unwrap();
        assert!(!leased.is_empty());
        for delivery in leased {
            assert_eq!(delivery.attempt, 1);
            seqs.push(delivery.entry.seq().0);
        }
    }
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=8).collect::<Vec<_>>());
}

async fn waiting_for_messages_ends_with_the_first(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    let config = ConsumerConfig::listener(pattern("prices.*"));
    client.consumer_add(name("audit"), config).await.unwrap();
    let waiting = tokio::spawn({
        let client = client.clone();
        async move {
            client
                .next(name("audit"), 10, false, Duration::from_secs(60))
                .await
        }
    });
    // What comes behind it on the connection does not wait for it.
    client.stats().await.unwrap();
    client.consumers().await.unwrap();
    client.send_message(ask(1)).await.unwrap();
    let leased = within(waiting).await.unwrap().unwrap();
    assert_eq!(leased.len(), 1);
}

async fn dead_letters_are_listed_requeued_and_removed(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    client.send_batch((1..=5).map(ask).collect()).await;
    let mut messages = client.consumer(listener("audit")).await.unwrap();
    for _ in 1..=5 {
        let message = next(&mut messages).await;
        let reason = format!("bad {}", message.seq());
        message.term(reason);
    }
    let all = DeadLetterFilter::default;
    within(async { while client.dead_letter_count(all()).await.unwrap() < 5 {} }).await;
    let page = client.dead_letters(all(), 0, 3).await.unwrap();
    assert_eq!(page.letters.len(), 3);
    let rest = client
        .dead_letters(all(), page.next.unwrap(), 100)
        .await
        .unwrap();
    assert_eq!((rest.letters.len(), rest.next), (2, None));
    let first = &page.letters[0];
    assert_eq!((first.seq, first.consumer.as_str()), (Seq(1), "audit"));
    assert_eq!(
        (first.code, first.reason.as_str()),
        (DeadLetterCode::Rejected, "bad 1")
    );
    assert_eq!(
        (first.state, first.entry.record().id()),
        (LetterState::Dead, id(1))
    );

    let nothing = client.requeue(all(), false).await.unwrap_err();
    assert_eq!(nothing.code, Code::BadQuery);
    let one = || DeadLetterFilter::numbers([page.letters[1].number]);
    assert_eq!(client.requeue(one(), true).await, Ok(1));
    assert_eq!(client.requeue(one(), false).await, Ok(1));
    let message = next(&mut messages).await;
    assert_eq!((message.seq(), message.attempt()), (Seq(2), 1));
    within(message.ack_durable()).await.unwrap();
    assert_eq!(client.dead_letter_count(all()).await, Ok(4));
    let audit = DeadLetterFilter {
        consumer: Some(name("audit")),
        ..all()
    };
    assert_eq!(client.remove_dead_letters(audit.clone(), true).await, Ok(4));
    assert_eq!(client.remove_dead_letters(audit, false).await, Ok(4));
    assert_eq!(client.dead_letter_count(all()).await, Ok(0));
}

async fn log_is_trimmed_and_replayed(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    client.send_batch((1..=10).map(ask).collect()).await;
    let mut messages = client.consumer(listener("audit")).await.unwrap();
    for _ in 1..=10 {
        within(next(&mut messages).await.ack_durable())
            .await
            .unwrap();
    }
    let trimmed = client.trim(Position::Seq(Seq(4))).await.unwrap();
    assert_eq!((trimmed.first_seq, trimmed.messages), (Seq(4), 3));
    assert_eq!(client.get(Seq(3)).await, Ok(None));
    let mut query = LogQuery::from(Seq(1));
    query.to = Some(Seq(6));
    assert_eq!(client.replay_into(name("audit"), query).await, Ok(3));
    let mut again = Vec::new();
    for _ in 0..3 {
        let message = next(&mut messages).await;
        again.push(message.seq().0);
        within(message.ack_durable()).await.unwrap();
    }
    again.sort_unstable();
    assert_eq!(again, [4, 5, 6]);
    let info = client.consumer_info(name("audit")).await.unwrap();
    assert_eq!(info.offset, Seq(10));
}

async fn state_of_a_request_is_told(_: &TestServer, connect: impl AsyncFn(ClientConfig) -> Client) {
    let client = connect(ClientConfig::default()).await;
    let state = client.request_state(id(1)).await.unwrap();
    assert_eq!((state.seq, state.answer), (None, None));
    client.send_message(ask(1)).await.unwrap();
    let state = client.request_state(id(1)).await.unwrap();
    assert_eq!((state.seq, state.answer), (Some(Seq(1)), None));
    let mut messages = client.consumer(responder()).await.unwrap();
    let message = next(&mut messages).await;
    within(message.complete(Reply::new("x"))).await.unwrap();
    let state = client.request_state(id(1)).await.unwrap();
    assert_eq!(state.answer, Some(Answer::Reply(Reply::new("x"))));
}

async fn clients_are_listed(_: &TestServer, connect: impl AsyncFn(ClientConfig) -> Client) {
    let client = connect(ClientConfig::default().name("till-7")).await;
    let worker = connect(ClientConfig::default().name("oven")).await;
    client.send_batch((1..=3).map(ask).collect()).await;
    let mut messages = worker.consumer(listener("audit")).await.unwrap();
    let held = next(&mut messages).await;
    next(&mut messages).await.ack();
    within(next(&mut messages).await.ack_durable())
        .await
        .unwrap();
    let clients = client.clients().await.unwrap();
    let told: Vec<_> = clients
        .iter()
        .map(|c| (c.name.as_str(), c.streams, c.in_flight, c.sent))
        .collect();
    assert_eq!(told, [("till-7", 0, 0, 3), ("oven", 1, 1, 0)]);
    assert!(clients[0].id < clients[1].id);
    assert!(clients[0].connected_ms > 0 && !clients[0].address.is_empty());
    drop((held, messages, worker));
    within(async { while client.clients().await.unwrap().len() > 1 {} }).await;
}

async fn question_that_makes_no_sense_is_refused_alone(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    let refused = client.dead_letters(DeadLetterFilter::all(), 0, 0).await;
    assert_eq!(refused.unwrap_err().code, Code::BadQuery);
    let refused = client.next(name("a"), 0, false, Duration::ZERO).await;
    assert_eq!(refused.unwrap_err().code, Code::BadQuery);
    let refused = client.next(name("a"), 1, false, Duration::ZERO).await;
    assert_eq!(refused.unwrap_err().code, Code::NoSuchConsumer);
    client.send_message(ask(1)).await.unwrap();
}
