//! What holds whichever way a client is connected: each case runs over TCP and over memory.

use edgebus::query::LogQuery;
use edgebus::{Client, ClientConfig, Code, Seq};

use super::fixture::{TestServer, window};
use crate::bus::files::{Call, Of};
use crate::bus::fixture::{
    code, duplicate, eventually, id, is_pending, large_message, log_ids, message, new, within,
};

macro_rules! over_either {
    ($($case:ident)+) => {
        mod tcp {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let mut server = super::TestServer::start().await;
                super::$case(&server, async |config| server.connect(config).await).await;
                server.stop().await;
            })+
        }

        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let mut server = super::TestServer::start().await;
                let connect = async |config| server.bus().client(config).await.unwrap();
                super::$case(&server, connect).await;
                server.stop().await;
            })+
        }
    };
}

over_either! {
    sends_of_one_connection_are_stored_in_order
    id_sent_again_gets_the_first_receipt
    same_ids_from_two_connections_are_stored_once
    only_topic_and_payload_make_another_request
    bad_message_is_refused_before_it_is_sent
    batch_gives_results_in_order
    batch_larger_than_window_and_lane_is_stored_in_order
    window_bounds_what_is_undecided
    window_of_one_has_room_when_the_receipt_is_there
    dropped_sends_give_their_room_back
    clones_share_the_connection
    large_backlog_does_not_hold_up_another_client
    log_is_read_in_pages
    log_of_large_requests_is_read
    bad_question_is_refused_alone
    many_questions_are_answered_beside_sends
    bus_that_stops_refuses_each_send
}

async fn sends_of_one_connection_are_stored_in_order(
    server: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    let mut pending = Vec::new();
    for number in 0..3000 {
        pending.push(within(client.enqueue(message(number))).await.unwrap());
    }
    for (seq, pending) in (1..).zip(pending) {
        assert_eq!(new(within(pending).await), Seq(seq));
    }
    assert_eq!(log_ids(server.bus()), (0..3000).map(id).collect::<Vec<_>>());
}

async fn id_sent_again_gets_the_first_receipt(
    server: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    let first = client.send_message(message(1)).await.unwrap();
    assert_eq!((first.seq, first.duplicate), (Seq(1), false));
    assert_eq!(new(client.send_message(message(2)).await), Seq(2));
    assert_eq!(duplicate(client.send_message(message(1)).await), Seq(1));
    let other = connect(ClientConfig::default().name("other")).await;
    assert_eq!(duplicate(other.send_message(message(1)).await), Seq(1));
    assert_eq!(server.bus().reader().last_seq(), Seq(2));
}

async fn same_ids_from_two_connections_are_stored_once(
    server: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    const IDS: u64 = 500;
    let hold = server.files().hold(Of::Journal, Call::Sync);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let client = connect(ClientConfig::default()).await;
        tasks.spawn(async move { client.send_batch((0..IDS).map(message).collect()).await });
    }
    // Both are on their way while nothing of either is on disk.
    eventually(|| server.bus().stats().queued == 2 * IDS).await;
    drop(hold);
    let one = within(tasks.join_next()).await.unwrap().unwrap();
    let two = within(tasks.join_next()).await.unwrap().unwrap();
    for (one, two) in one.into_iter().zip(two) {
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!((one.request_id, one.seq), (two.request_id, two.seq));
        assert!(one.duplicate != two.duplicate, "{one:?} {two:?}");
    }
    let stats = server.bus().stats();
    assert_eq!((stats.stored, stats.duplicates), (IDS, IDS));
}

async fn only_topic_and_payload_make_another_request(
    server: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    let first = message(1).source("till-1").header("a", "b").time_ms(5);
    assert_eq!(new(client.send_message(first).await), Seq(1));
    let retries = [
        message(1),
        message(1).source("till-2").correlation_id("c").target("t"),
        message(1).header("x", "y").time_ms(9).expires_ms(9),
    ];
    for retry in retries {
        assert_eq!(duplicate(client.send_message(retry).await), Seq(1));
    }
    let mut topic = message(1);
    topic.topic = "orders.deleted".parse().unwrap();
    assert_eq!(code(client.send_message(topic).await), Code::IdConflict);
    let mut payload = message(1);
    payload.payload = "something else".into();
    assert_eq!(code(client.send_message(payload).await), Code::IdConflict);

    let stored = server.bus().reader().get_by_seq(Seq(1)).unwrap().unwrap();
    let stored = stored.record().to_message().unwrap();
    assert_eq!((stored.source.as_str(), stored.time_ms), ("till-1", 5));
    assert_eq!(stored.headers, [("a".to_owned(), "b".to_owned())]);
}

async fn bad_message_is_refused_before_it_is_sent(
    server: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    assert_eq!(code(client.send("a..b", "x").await), Code::BadTopic);
    let bad = message(1).header("a=b", "x");
    assert_eq!(code(client.send_message(bad).await), Code::BadHeader);
    let limit = server.bus().record_limits().payload_bytes_max;
    let error = client.send_message(large_message(1, limit + 1)).await;
    assert_eq!(code(error), Code::PayloadTooLarge);
    // The largest that fits, with as much beside it as is allowed.
    let mut largest = large_message(1, limit).header("h", "x".repeat(16_000));
    largest.topic = "t".repeat(255).parse().unwrap();
    assert_eq!(new(within(client.send_message(largest)).await), Seq(1));
}

async fn batch_gives_results_in_order(
    server: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(window(3)).await;
    let too_large = server.bus().record_limits().payload_bytes_max + 1;
    let mut other = message(1);
    other.payload = "something else".into();
    let batch = vec![
        large_message(9, too_large),
        message(1),
        message(2),
        message(1),
        message(3).header("not allowed", "x"),
        other,
        message(4),
        message(5),
        large_message(9, too_large),
    ];
    let ids: Vec<_> = batch.iter().map(|message| message.id).collect();
    let results = within(client.send_batch(batch)).await;
    for (id, result) in ids.iter().zip(&results) {
        let told = match result {
            Ok(receipt) => receipt.request_id,
            Err(error) => error.request_id(),
        };
        assert_eq!(told, *id);
    }
    let told: Vec<_> = results
        .into_iter()
        .map(|result| match result {
            Ok(receipt) => Ok((receipt.seq.0, receipt.duplicate)),
            Err(error) => Err(error.code()),
        })
        .collect();
    let expected = [
        Err(Code::PayloadTooLarge),
        Ok((1, false)),
        Ok((2, false)),
        Ok((1, true)),
        Err(Code::BadHeader),
        Err(Code::IdConflict),
        Ok((3, false)),
        Ok((4, false)),
        Err(Code::PayloadTooLarge),
    ];
    assert_eq!(told, expected);
    assert!(client.send_batch(Vec::new()).await.is_empty());
}

async fn batch_larger_than_window_and_lane_is_stored_in_order(
    server: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(window(30_000)).await;
    let results = within(client.send_batch((0..40_000).map(message).collect())).await;
    for (seq, result) in (1..).zip(results) {
        assert_eq!(new(result), Seq(seq));
    }
    assert_eq!(server.bus().stats().stored, 40_000);
}

async fn window_bounds_what_is_undecided(
    server: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(window(3)).await;
    let hold = server.files().hold(Of::Journal, Call::Sync);
    let mut pending = Vec::new();
    for number in 1..=3 {
        pending.push(within(client.enqueue(message(number))).await.unwrap());
    }
    let busy = client.try_send(message(4)).unwrap_err();
    assert_eq!((busy.code(), busy.request_id()), (Code::Busy, id(4)));
    let mut fourth = Box::pin(client.enqueue(message(4)));
    assert!(is_pending(&mut fourth).await);
    let mut given_up = Box::pin(client.enqueue(message(5)));
    assert!(is_pending(&mut given_up).await);
    // A future that is dropped has sent nothing.
    drop(given_up);
    within(hold.reached()).await;
    assert!(server.bus().stats().queued <= 3);
    drop(hold);
    for pending in pending {
        new(within(pending).await);
    }
    let fourth = within(fourth).await.unwrap();
    assert_eq!(new(within(fourth).await), Seq(4));
    assert_eq!(log_ids(server.bus()), [1, 2, 3, 4].map(id));
}

async fn window_of_one_has_room_when_the_receipt_is_there(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let mut config = ClientConfig::default();
    config.window = 0;
    let client = connect(config).await;
    for number in 0..300 {
        let pending = client.try_send(message(number)).expect("room for one");
        new(within(pending).await);
    }
    for number in 300..310 {
        let batch = vec![message(number), message(number + 100)];
        within(client.send_batch(batch)).await;
        let pending = client.try_send(message(number + 200)).expect("room");
        new(within(pending).await);
    }
}

async fn dropped_sends_give_their_room_back(
    server: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(window(4)).await;
    for number in 0..50 {
        // Sent, and nobody waits for the receipt.
        drop(within(client.enqueue(message(number))).await.unwrap());
        let mut batch = Box::pin(client.send_batch((1000..1010).map(message).collect()));
        let _ = is_pending(&mut batch).await;
        drop(batch);
    }
    let mut all = Vec::new();
    for number in 2000..2004 {
        all.push(within(client.enqueue(message(number))).await.unwrap());
    }
    for pending in all {
        new(within(pending).await);
    }
    assert_eq!(server.bus().stats().queued, 0);
}

async fn clones_share_the_connection(
    server: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(window(7)).await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..20 {
        let client = client.clone();
        tasks.spawn(async move {
            for n in 0..50 {
                // Every id twice, by two tasks.
                let number = (task / 2) * 50 + n;
                client.send_message(message(number)).await.unwrap();
            }
        });
    }
    drop(client);
    while let Some(done) = within(tasks.join_next()).await {
        done.unwrap();
    }
    assert_eq!(server.bus().stats().stored, 500);
}

/// Counted in groups, not in time: the one that is being written and the next.
async fn large_backlog_does_not_hold_up_another_client(
    server: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    const BACKLOG: u64 = 50_000;
    let greedy = connect(window(BACKLOG as usize)).await;
    let modest = connect(ClientConfig::default()).await;
    let hold = server.files().hold(Of::Journal, Call::Sync);
    let first = within(greedy.enqueue(message(0))).await.unwrap();
    within(hold.reached()).await;
    // In large frames: how far the server reads ahead is bounded in reads too, and one that brings
    // a single record would count as much.
    let messages = (1..BACKLOG).map(message).collect();
    let backlog = tokio::spawn(async move { greedy.send_batch(messages).await });
    // Its lane is full.
    eventually(|| server.bus().stats().queued >= 10_000).await;
    let single = modest.try_send(message(BACKLOG)).unwrap();
    // Answered only when what was sent before it has been handed over.
    within(modest.stats()).await.unwrap();
    hold.let_pass(3);
    let seq = new(within(single).await);
    assert!(seq.0 < 20_000, "behind {seq} of {BACKLOG}");
    drop(hold);
    new(within(first).await);
    for result in within(backlog).await.unwrap() {
        new(result);
    }
}

async fn log_is_read_in_pages(_: &TestServer, connect: impl AsyncFn(ClientConfig) -> Client) {
    let client = connect(ClientConfig::default().name("till-7")).await;
    assert_eq!(
        client.log(LogQuery::from(Seq(1))).await.unwrap().entries,
        []
    );
    assert!(client.replay(LogQuery::from(Seq(1))).next().await.is_none());
    for number in 1..=100 {
        let mut message = message(number);
        if number % 10 == 0 {
            message.topic = "orders.deleted".parse().unwrap();
        }
        client.send_message(message).await.unwrap();
    }
    let mut query = LogQuery::from(Seq(11));
    query.limit = 7;
    let page = client.log(query.clone()).await.unwrap();
    assert_eq!((page.entries.len(), page.next), (7, Some(Seq(18))));
    let mut replay = client.replay(query.clone());
    for number in 11..=100 {
        let entry = within(replay.next()).await.unwrap().unwrap();
        assert_eq!(
            (entry.seq(), entry.record().id()),
            (Seq(number), id(number))
        );
        assert_eq!(entry.record().meta().unwrap().source, "till-7");
    }
    assert!(within(replay.next()).await.is_none());

    query.topics = vec!["*.deleted".parse().unwrap()];
    query.to = Some(Seq(90));
    let mut replay = client.replay(query);
    for number in [20, 30, 40, 50, 60, 70, 80, 90] {
        let entry = within(replay.next()).await.unwrap().unwrap();
        assert_eq!(entry.seq(), Seq(number));
    }
    assert!(within(replay.next()).await.is_none());

    let found = client.find(id(50)).await.unwrap().unwrap();
    assert_eq!(found.seq(), Seq(50));
    assert_eq!(client.find(id(500)).await, Ok(None));
    assert_eq!(client.get(Seq(50)).await.unwrap(), Some(found));
    assert_eq!(client.get(Seq(101)).await, Ok(None));
    assert_eq!(client.stats().await.unwrap().last_seq, 100);
}

async fn log_of_large_requests_is_read(
    server: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let limit = server.bus().record_limits().payload_bytes_max;
    let client = connect(ClientConfig::default()).await;
    for number in 1..=5 {
        new(within(client.send_message(large_message(number, limit))).await);
    }
    let mut replay = client.replay(LogQuery::from(Seq(1)));
    for number in 1..=5 {
        let entry = within(replay.next()).await.unwrap().unwrap();
        assert_eq!(entry.seq(), Seq(number));
        assert_eq!(entry.record().payload_bytes().len(), limit);
    }
}

async fn bad_question_is_refused_alone(
    server: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    let hold = server.files().hold(Of::Journal, Call::Sync);
    let pending = client.try_send(message(1)).unwrap();
    let mut nothing = LogQuery::from(Seq(1));
    nothing.limit = 0;
    let refusal = within(client.log(nothing)).await.unwrap_err();
    assert_eq!(refusal.code, Code::BadQuery);
    drop(hold);
    assert_eq!(new(within(pending).await), Seq(1));
    assert_eq!(client.stats().await.unwrap().last_seq, 1);
}

async fn many_questions_are_answered_beside_sends(
    _: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..1000 {
        let client = client.clone();
        tasks.spawn(async move {
            new(client.send_message(message(number)).await);
            let found = client.find(id(number)).await.unwrap();
            assert_eq!(found.expect("acknowledged").record().id(), id(number));
            client.stats().await.unwrap();
        });
    }
    while let Some(done) = within(tasks.join_next()).await {
        done.unwrap();
    }
}

async fn bus_that_stops_refuses_each_send(
    server: &TestServer,
    connect: impl AsyncFn(ClientConfig) -> Client,
) {
    let client = connect(ClientConfig::default().reconnect(false)).await;
    new(client.send_message(message(1)).await);
    within(server.bus().shutdown()).await;
    for number in 2..5 {
        let error = within(client.send_message(message(number))).await;
        assert_eq!(code(error), Code::ShuttingDown);
    }
}
