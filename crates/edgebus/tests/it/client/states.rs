//! What a client tells about its connection, and how it ends.

use std::time::Duration;

use edgebus::{Client, Code, ConnectionState};

use super::fixture::{Site, is_connected, is_lost, until};
use crate::bus::fixture::{message, within};
use crate::delivery::fixture::{name, next, pattern};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn states_are_told_as_they_come() {
    let mut site = Site::open().await;
    let client = site.connect().await;
    let mut states = client.states();
    let server = site.proxy.url().to_owned();
    let connected = |connection| {
        let server = server.clone();
        ConnectionState::Connected { server, connection }
    };
    assert_eq!(within(states.next()).await, Some(connected(1)));
    site.stop().await;
    match within(states.next()).await {
        Some(ConnectionState::Lost { reason }) => assert!(reason.code.is_retryable()),
        other => panic!("{other:?}"),
    }
    site.start().await;
    let state = within(async {
        loop {
            match states.next().await {
                Some(ConnectionState::Lost { .. }) => {}
                other => break other,
            }
        }
    })
    .await;
    assert!(
        matches!(
            state,
            Some(ConnectionState::Connected {
                connection: 2..,
                ..
            })
        ),
        "{state:?}"
    );
    within(client.drain()).await;
    let closed = within(states.next()).await;
    assert!(
        matches!(closed, Some(ConnectionState::Closed { .. })),
        "{closed:?}"
    );
    assert_eq!(within(states.next()).await, None);
    let refused = client.send_message(message(1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Disconnected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_says_nothing_any_more_is_found_out() {
    let site = Site::open().await;
    let builder = site.builder().heartbeat(Duration::from_millis(20));
    let client = within(builder.connect()).await.unwrap();
    site.proxy.freeze(true);
    let pending = client.try_send(message(1)).unwrap();
    until(&client, is_lost).await;
    site.proxy.freeze(false);
    site.proxy.cut_all();
    within(pending).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drained_client_has_every_answer_and_gives_back_what_it_did_not_begin() {
    let site = Site::open().await;
    let client = site.connect().await;
    let config = edgebus::consumer::ConsumerConfig::listener(pattern("orders.*"));
    let config = edgebus::ConsumeConfig::new(name("audit")).config(config);
    let mut messages = client.consumer(config).await.unwrap();
    let mut pending = Vec::new();
    for number in 0..200 {
        pending.push(client.enqueue(message(number)).await.unwrap());
    }
    let held = next(&mut messages).await;
    let draining = tokio::spawn({
        let client = client.clone();
        async move { client.drain().await }
    });
    let end = within(async {
        loop {
            match messages.next().await {
                Some(Ok(_)) => {}
                end => break end,
            }
        }
    })
    .await;
    assert_eq!(end.unwrap().unwrap_err().code, Code::ShuttingDown);
    let refused = client.try_send(message(1_000)).unwrap_err();
    assert_eq!(refused.code(), Code::ShuttingDown);
    within(held.ack_durable()).await.unwrap();
    drop(messages);
    within(draining).await.unwrap();
    for pending in pending {
        within(pending).await.unwrap();
    }
    let info = site.bus().consumer_info(name("audit")).await.unwrap();
    assert_eq!(info.workers, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_waits_for_no_reply_that_nobody_wants() {
    let site = Site::open().await;
    let client = site.connect().await;
    {
        let mut asking = std::pin::pin!(client.request_message(message(1)));
        let bus = site.bus().clone();
        within(async {
            while bus.reader().last_seq().0 == 0 {
                assert!(crate::bus::fixture::is_pending(&mut asking).await);
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    // Nobody will ever answer it.
    let begin = tokio::time::Instant::now();
    within(client.drain()).await;
    assert!(begin.elapsed() < Duration::from_secs(20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_waits_for_nothing_that_was_given_to_others_or_came_too_late() {
    let mut site = Site::open().await;
    let client = site.connect().await;
    let config = edgebus::consumer::ConsumerConfig::listener(pattern("orders.*"));
    let config = edgebus::ConsumeConfig::new(name("audit")).config(config);
    let mut messages = client.consumer(config.clone().credit(64)).await.unwrap();
    client.send_batch((0..500).map(message).collect()).await;
    // It is taken from the stream and done; the others wait in it.
    within(next(&mut messages).await.ack_durable())
        .await
        .unwrap();
    // Removed and made anew, so that nothing is kept.
    site.unplug();
    until(&client, is_lost).await;
    site.bus().consumer_remove(name("audit")).await.unwrap();
    let bus = site.bus().clone();
    bus.consumer_add(name("audit"), config.config.unwrap())
        .await
        .unwrap();
    site.plug();
    until(&client, is_connected).await;
    // Until the stream is open again, what is taken from it may be stale.
    while within(next(&mut messages).await.ack_durable())
        .await
        .is_err()
    {}
    let begin = tokio::time::Instant::now();
    let draining = tokio::spawn({
        let client = client.clone();
        async move { client.drain().await }
    });
    while let Some(message) = within(messages.next()).await {
        drop(message);
    }
    within(draining).await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(20));
    drop(messages);
    site.stop().await;
}

/// Counts the tasks of a runtime of its own.
#[test]
fn nothing_runs_after_the_last_clone() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let site = Site::open().await;
        let tasks = || {
            tokio::runtime::Handle::current()
                .metrics()
                .num_alive_tasks()
        };
        let settled = async |count| {
            within(async {
                while tasks() > count {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        };
        let folder = tempfile::tempdir().unwrap();
        drop(site.connect().await);
        // The server's own: one that runs it, one that takes connections.
        let before = 2;
        settled(before).await;
        // Connected; while the server is away; with a spool; with something still to be said.
        for away in [false, true] {
            eprintln!("TASKS away {away}");
            let client: Client = site.connect().await;
            let spooling = site.builder().spool(folder.path()).connect().await.unwrap();
            if away {
                site.unplug();
                until(&client, is_lost).await;
                until(spooling.client(), is_lost).await;
            }
            drop(client.try_send(message(1)).unwrap());
            drop(spooling.try_send(message(2)).unwrap());
            let clone = client.clone();
            drop(client);
            assert!(tasks() > before);
            drop((clone, spooling));
            if away {
                site.plug();
            }
            settled(before).await;
        }
        let client = site.connect().await;
        until(&client, is_connected).await;
    });
}
