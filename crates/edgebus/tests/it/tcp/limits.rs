//! What one client may take: places, memory, and the server's time.

use std::time::Instant;

use edgebus::query::{LogQuery, Query};
use edgebus::wire::Frame;
use edgebus::{ClientConfig, Code, ConnectError, Seq};

use super::fixture::{TestServer, bytes_of, goodbye, lane, outcomes, send, short};
use crate::bus::files::{Call, Of};
use crate::bus::fixture::{eventually, large_message, log_ids, message, new, records, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_over_the_limit_is_told_so_and_takes_no_place() {
    let server = TestServer::start_with(|config| config.limits.connections_max = 2).await;
    let first = server.connect(ClientConfig::default()).await;
    let _second = server.connect(ClientConfig::default()).await;
    let mut turned_away = Vec::new();
    for _ in 0..5 {
        let mut socket = server.socket().await;
        let refusal = goodbye(socket.frame().await);
        assert_eq!(refusal.code, Code::TooManyConnections);
        assert!(refusal.retry_after_ms.is_some());
        // It does not hang up.
        turned_away.push(socket);
    }
    let refused = server.try_connect(ClientConfig::default()).await;
    assert!(matches!(
        refused,
        Err(ConnectError::Refused(refusal)) if refusal.code == Code::TooManyConnections
    ));
    let stats = server.handle.stats();
    assert_eq!(
        (
            stats.connections,
            stats.connections_accepted,
            stats.connections_cut
        ),
        (2, 8, 6)
    );

    drop(first);
    eventually(|| server.handle.stats().connections == 1).await;
    let third = server.connect(ClientConfig::default()).await;
    new(third.send_message(message(1)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn address_with_as_many_connections_as_it_may_have_is_told_so() {
    let limits = |config: &mut edgebus::ServerConfig| {
        config.limits.connections_per_address_max = 2;
    };
    let server = TestServer::start_with(limits).await;
    let first = server.connect(ClientConfig::default()).await;
    let _second = server.connect(ClientConfig::default()).await;
    let mut third = server.socket().await;
    let refusal = goodbye(third.frame().await);
    assert_eq!(refusal.code, Code::TooManyConnections);
    assert!(refusal.message.contains("127.0.0.1 has 2 connections"));
    let stats = server.handle.stats();
    assert_eq!(
        (
            stats.connections_refused_address,
            stats.connections_refused_total
        ),
        (1, 0)
    );
    drop(first);
    eventually(|| server.handle.stats().connections == 1).await;
    server.connect(ClientConfig::default()).await;
}

/// They wait for as long as a Hello may take, which would keep everyone else out for as long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crowd_that_says_nothing_keeps_no_client_out() {
    const CROWD: usize = 280;
    let server = TestServer::start().await;
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        crowd.push(server.socket().await);
    }
    let client = server.connect(ClientConfig::default()).await;
    new(client.send_message(message(1)).await);
    let refusal = goodbye(crowd[0].frame().await);
    assert_eq!(refusal.code, Code::TooManyConnections);
    assert!(refusal.retry_after_ms.is_some());
    let stats = server.handle.stats();
    assert!(stats.connections_new <= 256);
    assert!(stats.handshakes_failed >= 24, "{stats:?}");
}

/// The end of a frame is not worth waiting for at any pace, and whoever keeps up the pace may be as
/// slow as it likes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frame_that_comes_too_slowly_ends_the_connection() {
    let server = TestServer::start().await;
    let mut idle = server.welcomed().await;
    let mut slow = Vec::new();
    for bytes in [1, 4, 5, 23] {
        let mut socket = server.welcomed().await;
        let frame = bytes_of(&send(0, records(1..2)));
        socket.write(&frame[..bytes]).await;
        slow.push(socket);
    }
    let began = Instant::now();
    for socket in &mut slow {
        let refusal = socket.goodbye().await;
        assert_eq!(refusal.code, Code::TooSlow);
    }
    let took = began.elapsed();
    assert!((4..10).contains(&took.as_secs()), "{took:?}");
    drop(slow);
    eventually(|| server.handle.stats().too_slow == 4).await;
    idle.send(&Frame::Ping { token: 3 }).await;
    assert_eq!(idle.frame().await, Some(Frame::Pong { token: 3 }));
}

/// What is announced costs nothing: there is memory for less than one frame, and hundreds of
/// clients that wait in the middle of one, yet a client with small requests notices nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn announced_frames_take_no_memory_from_others() {
    let limits = |config: &mut edgebus::ServerConfig| {
        config.limits.in_flight_bytes_max = 1;
    };
    let server = TestServer::start_with(limits).await;
    let mut announcing = Vec::new();
    for _ in 0..100 {
        let mut socket = server.welcomed().await;
        socket.write(&(900u32 * 1024).to_le_bytes()).await;
        announcing.push(socket);
    }
    let mut endless = server.welcomed().await;
    endless.write(&u32::MAX.to_le_bytes()).await;
    assert_eq!(endless.goodbye().await.code, Code::FrameTooLarge);
    let client = server.connect(ClientConfig::default()).await;
    for number in 0..20 {
        new(within(client.send_message(message(number))).await);
    }
    assert!(server.handle.stats().receiving_bytes <= 4 + 1024 * 1024);
    // All of them give up: those that wait for memory, and the one that has it and does not use it.
    for socket in &mut announcing {
        let code = socket.goodbye().await.code;
        assert!(matches!(code, Code::Busy | Code::TooSlow), "{code}");
    }
    eventually(|| server.handle.stats().receiving_bytes == 0).await;
    new(within(client.send_message(large_message(99, 900 * 1024))).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_frame_that_is_larger_than_any_hello_is_refused_from_its_length() {
    let server = TestServer::start().await;
    let mut socket = server.socket().await;
    socket.write(&(9u32 * 1024).to_le_bytes()).await;
    assert_eq!(socket.goodbye().await.code, Code::FrameTooLarge);
}

/// Answers are looked up a few at a time, so that a client which asks and does not read makes the
/// server hold a few pages, not thousands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_without_end_are_all_answered_beside_sends() {
    const QUESTIONS: u64 = 2000;
    let server = TestServer::start().await;
    for number in 0..5 {
        new(server
            .bus()
            .send_to_server(large_message(number, 100 * 1024))
            .await);
    }
    let mut socket = server.welcomed().await;
    let question = |tag| Frame::Query {
        tag,
        query: (&Query::Log(LogQuery::from(Seq(1)))).into(),
    };
    let mut bytes = Vec::new();
    for tag in 0..QUESTIONS {
        bytes.extend_from_slice(&super::fixture::bytes_of(&question(1000 + tag)));
        if tag % 100 == 0 {
            let record = records(100 + tag..101 + tag);
            bytes.extend_from_slice(&super::fixture::bytes_of(&send(tag / 100, record)));
        }
    }
    // All of it is sent before anything is read.
    socket.write(&bytes).await;
    socket.end().await;
    let (mut pages, mut receipts) = (0, 0);
    while let Some(frame) = socket.frame().await {
        match frame {
            Frame::Page { page, .. } => {
                assert_eq!(page.entries[0].seq(), Seq(1));
                pages += 1;
            }
            frame => receipts += outcomes(&[frame]).len(),
        }
    }
    assert_eq!((pages, receipts), (QUESTIONS, 20));
}

/// It must not keep the server from stopping either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_reads_nothing_is_cut() {
    let mut server = TestServer::start_with(|config| config.limits.write_timeout = short()).await;
    for number in 0..5 {
        new(server
            .bus()
            .send_to_server(large_message(number, 900 * 1024))
            .await);
    }
    let mut deaf = Vec::new();
    for _ in 0..2 {
        let mut socket = server.welcomed().await;
        // More than the buffers of both ends hold.
        for tag in 0..64 {
            let query = (&Query::Log(LogQuery::from(Seq(1)))).into();
            socket.send(&Frame::Query { tag, query }).await;
        }
        deaf.push(socket);
    }
    server.stop().await;
    assert_eq!(server.handle.stats().connections, 0);
    drop(deaf);
}

/// The lane of one connection is full: the server stops reading it, and nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_with_a_full_lane_waits_and_loses_nothing() {
    let server = TestServer::start_with(|config| config.limits.lane = lane(10)).await;
    let mut socket = server.welcomed().await;
    let hold = server.files().hold(Of::Journal, Call::Sync);
    for first in 0..20 {
        let tag = first * 50;
        socket.send(&send(tag, records(tag..tag + 50))).await;
    }
    within(hold.reached()).await;
    assert!(server.bus().stats().queued <= 10);
    drop(hold);
    socket.end().await;
    let told = outcomes(&socket.frames().await);
    let expected: Vec<_> = (0..1000).map(|tag| (tag, Ok((tag + 1, false)))).collect();
    assert_eq!(told, expected);
    assert_eq!(log_ids(server.bus()).len(), 1000);
}

/// Frames are limited by the server, so its clients keep within its limit, whatever it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_keeps_within_a_small_limit_of_its_server() {
    let server = TestServer::start_with(|config| config.limits.frame_bytes_max = 1).await;
    let client = server.connect(ClientConfig::default()).await;
    let pending: Vec<_> = (0..1000)
        .map(|number| client.try_send(large_message(number, 1000)).unwrap())
        .collect();
    for pending in pending {
        new(within(pending).await);
    }
    let batch = (1000..1200)
        .map(|number| large_message(number, 1000))
        .collect();
    for result in within(client.send_batch(batch)).await {
        new(result);
    }
    // 64 KiB is the least it can be, and half of that is for payload.
    new(client.send_message(large_message(2000, 32 * 1024)).await);
    let error = client
        .send_message(large_message(2001, 32 * 1024 + 1))
        .await;
    assert_eq!(error.unwrap_err().code(), Code::PayloadTooLarge);
    let mut replay = client.replay(LogQuery::from(Seq(1)));
    let mut seen = 0;
    while let Some(entry) = within(replay.next()).await {
        entry.unwrap();
        seen += 1;
    }
    assert_eq!(seen, 1201);
    assert_eq!(server.handle.stats().connections_cut, 0);
}

/// A request larger than what the client takes by default comes through when the server lets
/// requests be that large.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_reads_requests_as_large_as_its_server_takes() {
    let mut config = edgebus::StoreConfig::default();
    config.record.payload_bytes_max = 3 * 1024 * 1024;
    let on = crate::bus::fixture::TestBus::start_with(config);
    let server = TestServer::start_on(on, |config| config.limits.frame_bytes_max = 4 << 20).await;
    let client = server.connect(ClientConfig::default()).await;
    new(within(client.send_message(large_message(1, 3 << 20))).await);
    let entry = within(client.get(Seq(1))).await.unwrap().unwrap();
    assert_eq!(entry.record().payload_bytes().len(), 3 << 20);
}
