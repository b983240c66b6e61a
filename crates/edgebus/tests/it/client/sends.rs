//! Sends and requests that are on their way when the connection is lost.

use std::time::Duration;

use edgebus::consumer::Reply;
use edgebus::{Code, ConsumeConfig, Handled, Message, SendError, Seq};

use super::fixture::{Site, is_connected, is_lost, until, written};
use crate::bus::fixture::{id, is_pending, message, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sends_end_with_receipts_in_their_order_however_often_the_cable_is_cut() {
    let site = Site::open().await;
    let client = site.connect().await;
    let mut pending = Vec::new();
    for number in 0..6_000 {
        pending.push(within(client.enqueue(message(number))).await.unwrap());
        if number % 500 == 250 {
            until(&client, is_connected).await;
            site.proxy.cut_all();
            until(&client, is_lost).await;
        }
    }
    let log = {
        let mut receipts = Vec::new();
        for pending in pending {
            receipts.push(within(pending).await.unwrap());
        }
        let log = site.log();
        for receipt in &receipts {
            let stored = &log[receipt.seq.0 as usize - 1];
            assert_eq!(stored.record().id(), receipt.request_id);
        }
        log
    };
    let ids: Vec<_> = log.iter().map(|entry| entry.record().id()).collect();
    assert_eq!(ids, (0..6_000).map(id).collect::<Vec<_>>());
    assert!(site.proxy.accepted() > 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sends_wait_for_a_server_that_restarts_and_keep_their_order() {
    let mut site = Site::open().await;
    let client = site.connect().await;
    let sending = tokio::spawn({
        let client = client.clone();
        async move {
            let mut pending = Vec::new();
            for number in 0..4_000 {
                pending.push(client.enqueue(message(number)).await.unwrap());
            }
            let mut receipts = Vec::new();
            for pending in pending {
                receipts.push(pending.await.unwrap());
            }
            receipts
        }
    });
    for _ in 0..3 {
        site.stop().await;
        until(&client, is_lost).await;
        site.start().await;
        until(&client, is_connected).await;
    }
    let receipts = within(sending).await.unwrap();
    assert_eq!(receipts.len(), 4_000);
    let ids: Vec<_> = site.log().iter().map(|entry| entry.record().id()).collect();
    assert_eq!(ids, (0..4_000).map(id).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batch_is_stored_whole_across_a_cut() {
    let site = Site::open().await;
    let client = site.connect().await;
    let batch: Vec<_> = (0..20_000).map(message).collect();
    let sending = tokio::spawn({
        let client = client.clone();
        async move { client.send_batch(batch).await }
    });
    for _ in 0..3 {
        site.proxy.cut_all();
        until(&client, is_connected).await;
    }
    let results = within(sending).await.unwrap();
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(site.bus().reader().last_seq(), Seq(20_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_too_long_is_unknown_if_it_may_have_left_and_refused_if_not() {
    let site = Site::open().await;
    let builder = site
        .builder()
        .give_up_after(Some(Duration::from_millis(200)));
    let client = within(builder.connect()).await.unwrap();
    let builder = site
        .builder()
        .give_up_after(Some(Duration::from_millis(200)));
    let other = within(builder.connect()).await.unwrap();
    site.proxy.freeze(true);
    let left = client.try_send(message(1)).unwrap();
    let asked = tokio::spawn(async move { other.request_message(message(2)).await });
    // They wait in the cable, and may as well be at the server.
    written(&site.proxy, 1).await;
    written(&site.proxy, 2).await;
    site.unplug();
    until(&client, is_lost).await;
    let stays = client.try_send(message(3)).unwrap();
    let left = within(left).await.unwrap_err();
    assert!(matches!(left, SendError::Unknown { .. }), "{left}");
    assert_eq!(left.request_id(), id(1));
    assert_eq!(
        within(asked).await.unwrap().unwrap_err().code(),
        Code::Unknown
    );
    let stays = within(stays).await.unwrap_err();
    assert_eq!(
        (stays.code(), stays.request_id()),
        (Code::Disconnected, id(3))
    );
    // The client itself goes on, and asking again under the same id tells.
    site.proxy.freeze(false);
    site.plug();
    until(&client, is_connected).await;
    let receipt = within(client.send_message(message(1))).await.unwrap();
    assert_eq!(receipt.request_id, id(1));
    let ids: Vec<_> = site.log().iter().map(|entry| entry.record().id()).collect();
    assert_eq!(ids.iter().filter(|stored| **stored == id(1)).count(), 1);
    assert!(!ids.contains(&id(3)), "it was refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_a_request_was_given_runs_while_it_waits() {
    let site = Site::open().await;
    let client = site.connect().await;
    site.unplug();
    until(&client, is_lost).await;
    let short = client.try_send(message(1).expires_ms(50)).unwrap();
    let long = client.try_send(message(2).expires_ms(3_600_000)).unwrap();
    let over = within(short).await.unwrap_err();
    assert_eq!(over.code(), Code::Expired);
    site.plug();
    within(long).await.unwrap();
    let stored = site.log();
    let left: Vec<_> = stored
        .iter()
        .map(|entry| entry.record().expires_ms())
        .collect();
    assert_eq!(left.len(), 1);
    assert!(left[0] < 3_600_000 && left[0] > 3_000_000, "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reply_comes_over_the_next_connection_and_the_request_runs_once() {
    let mut site = Site::open().await;
    let client = site.connect().await;
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.request_message(message(1)).await }
    });
    let bus = site.bus().clone();
    crate::bus::fixture::eventually(|| bus.reader().last_seq() == Seq(1)).await;
    drop(bus);
    site.proxy.cut_all();
    site.stop().await;
    site.start().await;
    let runs = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let worker = site.connect().await;
    let handler = worker
        .handle(
            "orders.*".parse().unwrap(),
            ConsumeConfig::new("prices".parse().unwrap()),
            {
                let runs = runs.clone();
                move |_| {
                    runs.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    async { Handled::Reply(Reply::new("2.49")) }
                }
            },
        )
        .await
        .unwrap();
    let response = within(asking).await.unwrap().unwrap();
    assert_eq!(&response.reply.payload[..], b"2.49");
    assert_eq!(response.receipt.seq, Seq(1));
    let again = within(client.request_message(message(1))).await.unwrap();
    assert_eq!(again.reply, response.reply);
    assert_eq!(runs.load(std::sync::atomic::Ordering::SeqCst), 1);
    within(handler.stop()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_store_gets_what_never_left_and_nothing_else() {
    let (first, second) = (Site::open().await, Site::open().await);
    let builder = first.builder().server(second.proxy.url());
    let client = within(builder.connect()).await.unwrap();
    within(client.send_message(message(1))).await.unwrap();
    first.proxy.freeze(true);
    let left = client.try_send(message(2)).unwrap();
    written(&first.proxy, 2).await;
    second.proxy.refuse(true);
    first.unplug();
    until(&client, is_lost).await;
    let stays = client.try_send(message(3)).unwrap();
    second.plug();
    let unknown = within(left).await.unwrap_err();
    assert_eq!(
        (unknown.code(), unknown.request_id()),
        (Code::Unknown, id(2))
    );
    assert_eq!(within(stays).await.unwrap().seq, Seq(1));
    let ids: Vec<_> = second
        .log()
        .iter()
        .map(|entry| entry.record().id())
        .collect();
    assert_eq!(ids, [id(3)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn window_bounds_what_waits_for_a_server_in_count_and_bytes() {
    let site = Site::open().await;
    let config = edgebus::ClientConfig::default()
        .window(8)
        .window_bytes(4 * 1024);
    let client = within(site.builder().config(config).connect())
        .await
        .unwrap();
    site.unplug();
    until(&client, is_lost).await;
    let large = |number| {
        let topic = "bulk".parse().unwrap();
        Message::new(id(number), topic, vec![b'x'; 1_500])
    };
    let first = client.try_send(large(1)).unwrap();
    let second = client.try_send(large(2)).unwrap();
    let full = client.try_send(large(3)).unwrap_err();
    assert_eq!(full.code(), Code::Busy);
    let mut waits = std::pin::pin!(client.enqueue(large(3)));
    assert!(is_pending(&mut waits).await);
    site.plug();
    within(first).await.unwrap();
    within(second).await.unwrap();
    within(within(waits).await.unwrap()).await.unwrap();
}
