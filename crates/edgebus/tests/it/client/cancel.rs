//! Futures that are dropped before they are done. What would end them is held meanwhile: the answer
//! in the cable, the sync in the file; an answer may be faster than the first look otherwise.

use std::pin::pin;
use std::sync::Arc;

use edgebus::clock::SystemClock;
use edgebus::consumer::{ConsumerConfig, Reply};
use edgebus::{
    Client, ClientConfig, ConsumeConfig, Kind, LogQuery, Notification, Seq, ServerUrl, Subscription,
};
use futures_util::FutureExt as _;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::fixture::{Site, is_connected, is_lost, until};
use crate::bus::files::{Call, Of, TestFiles};
use crate::bus::fixture::{eventually, id, is_pending, message, within};
use crate::delivery::fixture::{Gate, ask, name, next, pattern, responder};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn enqueue_that_is_dropped_while_it_waits_for_room_has_sent_nothing() {
    let site = Site::open().await;
    let config = ClientConfig::default().window(1);
    let client = within(site.builder().config(config).connect())
        .await
        .unwrap();
    site.unplug();
    until(&client, is_lost).await;
    let first = client.try_send(message(1)).unwrap();
    {
        let mut dropped = pin!(client.enqueue(message(2)));
        assert!(is_pending(&mut dropped).await);
        let mut dropped = pin!(client.send_message(message(3)));
        assert!(is_pending(&mut dropped).await);
    }
    site.plug();
    within(first).await.unwrap();
    // The room went to nobody.
    within(client.send_message(message(4))).await.unwrap();
    let ids: Vec<_> = site.log().iter().map(|entry| entry.record().id()).collect();
    assert_eq!(ids, [id(1), id(4)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_that_nobody_waits_for_change_nothing_for_the_requests() {
    let site = Site::open().await;
    let client = site.connect().await;
    site.unplug();
    until(&client, is_lost).await;
    for number in 0..50 {
        drop(client.try_send(message(number)).unwrap());
    }
    {
        let mut asking = pin!(client.request_message(message(50)));
        assert!(is_pending(&mut asking).await);
    }
    site.plug();
    until(&client, is_connected).await;
    let last = within(client.send_message(message(51))).await.unwrap();
    let ids: Vec<_> = site.log().iter().map(|entry| entry.record().id()).collect();
    assert_eq!(ids[..50], (0..50).map(id).collect::<Vec<_>>());
    assert!(last.seq >= Seq(51));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_that_nobody_waits_for_any_more_is_left_again() {
    let site = Site::open().await;
    let client = site.connect().await;
    let bus = site.bus().clone();
    bus.send_to_server(message(1)).await.unwrap();
    let listener = || {
        let config = ConsumerConfig::listener(pattern("orders.*"));
        ConsumeConfig::new(name("audit")).config(config)
    };
    site.proxy.mute(true);
    {
        let mut opening = pin!(client.consumer(listener()));
        assert!(is_pending(&mut opening).await);
        let mut listening = pin!(client.subscribe(Subscription::to(pattern(">"))));
        assert!(is_pending(&mut listening).await);
        // Both are there, and only the client does not know.
        eventually(|| bus.stats().in_flight == 1 && bus.stats().subscribers == 1).await;
    }
    site.proxy.mute(false);
    // What it was given goes to whoever comes next, uncharged.
    let mut messages = within(client.consumer(listener())).await.unwrap();
    let message = next(&mut messages).await;
    assert_eq!((message.seq(), message.attempt()), (Seq(1), 1));
    let mut next_one = pin!(messages.next());
    assert!(is_pending(&mut next_one).await);
    within(message.ack_durable()).await.unwrap();
    within(async {
        while bus.consumer_info(name("audit")).await.unwrap().workers != 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn question_and_drain_that_are_dropped_leave_the_client_of_use_or_draining() {
    let site = Site::open().await;
    let client = site.connect().await;
    {
        site.proxy.mute(true);
        let mut asking = pin!(client.stats());
        assert!(is_pending(&mut asking).await);
        site.proxy.mute(false);
        let mut states = client.states();
        within(states.next()).await;
        let mut waiting = pin!(states.next());
        assert!(is_pending(&mut waiting).await);
    }
    within(client.send_message(message(1))).await.unwrap();
    site.unplug();
    until(&client, is_lost).await;
    let pending = client.try_send(message(2)).unwrap();
    {
        let mut draining = pin!(client.drain());
        assert!(is_pending(&mut draining).await);
    }
    assert!(client.try_send(message(3)).is_err());
    site.plug();
    within(pending).await.unwrap();
    within(client.drain()).await;
    let bus = site.bus().clone();
    eventually(|| bus.reader().last_seq() == Seq(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connecting_that_is_dropped_leaves_nothing_behind() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = ServerUrl::of(listener.local_addr().unwrap()).to_string();
    let connecting = tokio::spawn(async move { Client::connect(&url).await.map(drop) });
    // It waits for a welcome that does not come.
    let (mut stream, _) = within(listener.accept()).await.unwrap();
    let mut said = Vec::new();
    within(stream.read_buf(&mut said)).await.unwrap();
    connecting.abort();
    within(stream.read_to_end(&mut said)).await.unwrap();
    // The folder of a spool is free again.
    let site = Site::open().await;
    let folder = tempfile::tempdir().unwrap();
    let files = TestFiles::new();
    let hold = files.hold(Of::Others, Call::Sync);
    {
        let builder = site.builder().spool(folder.path());
        let builder = builder.on(Arc::new(files.clone()), Arc::new(SystemClock::default()));
        let connecting = pin!(builder.connect());
        tokio::select! {
            _ = connecting => panic!("without a folder"),
            () = within(hold.reached()) => {}
        }
    }
    drop(hold);
    within(async {
        while site.builder().spool(folder.path()).connect().await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batch_that_is_dropped_has_sent_what_had_room_and_nothing_behind_that() {
    let site = Site::open().await;
    let config = ClientConfig::default().window(4);
    let client = within(site.builder().config(config).connect())
        .await
        .unwrap();
    site.unplug();
    until(&client, is_lost).await;
    {
        let mut sending = pin!(client.send_batch((0..10).map(message).collect()));
        assert!(is_pending(&mut sending).await);
        let mut publishing = pin!(client.publish("orders.created", "never"));
        assert!(is_pending(&mut publishing).await);
        let mut stored = pin!(client.publish_persisted(message(10)));
        assert!(is_pending(&mut stored).await);
        let mut asking = pin!(client.request("orders.created", "never"));
        assert!(is_pending(&mut asking).await);
    }
    site.plug();
    // The whole window is there again.
    let sent = within(client.send_batch((20..24).map(message).collect())).await;
    assert!(sent.iter().all(Result::is_ok));
    let ids: Vec<_> = site.log().iter().map(|entry| entry.record().id()).collect();
    let expected: Vec<_> = (0..4).chain(20..24).map(id).collect();
    assert_eq!(ids, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batch_of_a_spooling_client_that_is_dropped_is_on_disk_as_far_as_it_had_room() {
    let site = Site::open().await;
    let folder = tempfile::tempdir().unwrap();
    let files = TestFiles::new();
    let clock = Arc::new(SystemClock::default());
    let builder = site.builder().spool(folder.path());
    let builder = builder.on(Arc::new(files.clone()), clock);
    let client = within(builder.connect()).await.unwrap();
    site.unplug();
    until(client.client(), is_lost).await;
    {
        let _hold = files.hold(Of::Journal, Call::Sync);
        let mut sending = pin!(client.send_batch((0..10).map(message).collect()));
        assert!(is_pending(&mut sending).await);
        let mut one = pin!(client.send_message(message(10)));
        assert!(is_pending(&mut one).await);
        let mut flushing = pin!(client.flush());
        assert!(is_pending(&mut flushing).await);
    }
    site.plug();
    within(client.flush()).await.unwrap();
    let ids: Vec<_> = site.log().iter().map(|entry| entry.record().id()).collect();
    assert_eq!(ids, (0..11).map(id).collect::<Vec<_>>());
    {
        let mut draining = pin!(client.drain());
        is_pending(&mut draining).await;
    }
    assert!(client.try_send(message(11)).is_err());
    within(client.drain()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_what_comes_can_be_dropped_without_losing_any_of_it() {
    let site = Site::open().await;
    let client = site.connect().await;
    let audit = ConsumerConfig::listener(pattern("orders.*"));
    let audit = ConsumeConfig::new(name("audit")).config(audit);
    let mut messages = within(client.consumer(audit)).await.unwrap();
    let news = Subscription::to(pattern("orders.*"));
    let mut named = within(client.subscribe_named(name("till"), news.clone()))
        .await
        .unwrap();
    let mut news = within(client.subscribe(news)).await.unwrap();
    // Each waits a little between what comes, and is dropped.
    for number in 1..=100 {
        let kind = [Kind::Request, Kind::Notification][number as usize % 2];
        let sending = client.send_message(message(number).kind(kind));
        if kind == Kind::Request {
            assert!(is_pending(&mut pin!(messages.next())).await);
            let receipt = within(sending).await.unwrap();
            let came = next(&mut messages).await;
            assert_eq!(came.seq(), receipt.seq);
            came.ack();
            continue;
        }
        assert!(is_pending(&mut pin!(news.next())).await);
        assert!(is_pending(&mut pin!(named.next())).await);
        let receipt = within(sending).await.unwrap();
        for came in [within(news.next()).await, within(named.next()).await] {
            let Some(Notification::Message(entry)) = came else {
                panic!("{came:?}");
            };
            assert_eq!(entry.seq(), receipt.seq);
        }
    }
    let mut query = LogQuery::from(Seq(1));
    query.limit = 10;
    let mut replay = client.replay(query);
    let mut seqs = Vec::new();
    for page in 0..10 {
        // A page is asked for, and nobody waits for it, unless it comes at once.
        let early = replay.next().now_or_never().flatten();
        seqs.extend(early.map(|entry| entry.unwrap().seq().0));
        while seqs.len() % 10 != 0 || seqs.len() == page * 10 {
            let entry = within(replay.next()).await.unwrap().unwrap();
            seqs.push(entry.seq().0);
        }
    }
    assert_eq!(seqs, (1..=100).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settlement_that_nobody_waits_for_any_more_counts() {
    let site = Site::open().await;
    let client = site.connect().await;
    let bus = site.bus().clone();
    for number in 1..=3 {
        bus.send_to_server(ask(number)).await.unwrap();
    }
    let mut messages = within(client.consumer(responder())).await.unwrap();
    let first = next(&mut messages).await;
    let second = next(&mut messages).await;
    {
        site.proxy.mute(true);
        let mut extending = pin!(first.extend());
        assert!(is_pending(&mut extending).await);
    }
    {
        let mut acking = Box::pin(first.ack_durable());
        assert!(is_pending(&mut acking).await);
    }
    {
        let reply = Reply::new("2.49");
        let mut completing = Box::pin(second.complete(reply));
        assert!(is_pending(&mut completing).await);
    }
    site.proxy.mute(false);
    // Not so much as said.
    drop(next(&mut messages).await.ack_durable());
    let again = next(&mut messages).await;
    assert_eq!((again.seq(), again.attempt()), (Seq(3), 1));
    within(again.ack_durable()).await.unwrap();
    let info = within(client.consumer_info(name("prices"))).await.unwrap();
    assert_eq!(info.offset, Seq(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handler_whose_stopping_is_dropped_gives_back_what_it_worked_on() {
    let site = Site::open().await;
    let client = site.connect().await;
    let gate = Gate::new();
    let at_work = gate.clone();
    let working = move |_| {
        let gate = at_work.clone();
        async move { gate.pass().await }
    };
    site.proxy.mute(true);
    {
        let mut making = pin!(client.handle(pattern("prices.*"), responder(), working.clone()));
        assert!(is_pending(&mut making).await);
    }
    site.proxy.mute(false);
    let handling = client.handle(pattern("prices.*"), responder(), working);
    let mut handler = within(handling).await.unwrap();
    site.bus().send_to_server(ask(1)).await.unwrap();
    eventually(|| gate.begun() == 1).await;
    assert!(is_pending(&mut pin!(handler.ended())).await);
    {
        let mut stopping = Box::pin(handler.stop());
        assert!(is_pending(&mut stopping).await);
    }
    let mut messages = within(client.consumer(responder())).await.unwrap();
    let again = next(&mut messages).await;
    assert_eq!((again.seq(), again.attempt()), (Seq(1), 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_change_that_nobody_waits_for_is_made_all_the_same() {
    let site = Site::open().await;
    let client = site.connect().await;
    let config = ConsumerConfig::listener(pattern("orders.*"));
    site.proxy.mute(true);
    {
        let mut adding = pin!(client.consumer_add(name("audit"), config));
        assert!(is_pending(&mut adding).await);
        let mut looking = pin!(client.find(id(1)));
        assert!(is_pending(&mut looking).await);
    }
    site.proxy.mute(false);
    let bus = site.bus().clone();
    within(async {
        while bus.consumer_info(name("audit")).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
