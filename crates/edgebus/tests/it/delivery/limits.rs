//! What one client may take, and what one that reads nothing holds back.

use edgebus::consumer::{ConsumerConfig, LeaseToken, Reply, Settlement};
use edgebus::stream::{Consume, Open, Subscribe};
use edgebus::wire::Frame;
use edgebus::wire::settle::SettleItem;
use edgebus::{ClientConfig, Code, Seq, ServerConfig, Subscription};

use super::fixture::{ask, listener, name, next, pattern, responder};
use crate::bus::fixture::{eventually, large_message, new, within};
use crate::tcp::fixture::{Socket, TestServer, short};

/// The frame that opens a stream for a consumer of everything.
fn consume(stream: u64, credit: u32) -> Frame {
    let mut consume = Consume::new(name("all"), credit);
    consume.config = Some(ConsumerConfig::listener(pattern(">")));
    let open = Box::new((&Open::Consume(consume)).into());
    Frame::Open { stream, open }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_over_the_limit_are_told_to_come_later_and_nothing_else_is() {
    let server = TestServer::start_with(|config| config.limits.replies_waiting_max = 2).await;
    let client = server.connect(ClientConfig::default()).await;
    let mut asking = Vec::new();
    for number in 1..=2 {
        let client = client.clone();
        asking.push(tokio::spawn(async move {
            client.request_message(ask(number)).await
        }));
    }
    eventually(|| server.bus().reader().last_seq() == Seq(2)).await;
    let error = within(client.request_message(ask(3))).await.unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), (Code::Busy, true));
    assert!(error.to_refusal().retry_after_ms.is_some());
    new(within(client.send_message(ask(4))).await);
    let other = server.connect(ClientConfig::default()).await;
    let mut messages = other.consumer(responder()).await.unwrap();
    for _ in 0..3 {
        next(&mut messages).await.complete_now(Reply::new("x"));
    }
    for asking in asking {
        within(asking).await.unwrap().unwrap();
    }
    let asking = tokio::spawn(async move { client.request_message(ask(3)).await });
    next(&mut messages).await.complete_now(Reply::new("x"));
    within(asking).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_and_subscriptions_over_their_limits_are_refused_until_one_is_closed() {
    let server = TestServer::start_with(|config| {
        config.limits.consumers_max = 1;
        config.limits.subscriptions_max = 1;
    })
    .await;
    let client = server.connect(ClientConfig::default()).await;
    let one = client.consumer(listener("one")).await.unwrap();
    let all = || Subscription::to(pattern(">"));
    let mut two = client.subscribe(all()).await.unwrap();
    let refused = client.consumer(listener("two")).await.unwrap_err();
    assert_eq!(refused.code, Code::Busy);
    assert_eq!(client.subscribe(all()).await.unwrap_err().code, Code::Busy);
    assert_eq!(client.publish("a", "x").await, Ok(1));
    assert!(within(two.next()).await.is_some());
    drop(one);
    // One that has ended makes room for its like.
    assert_eq!(client.subscribe(all()).await.unwrap_err().code, Code::Busy);
    let _other = client.consumer(listener("two")).await.unwrap();
}

/// It may be given 65,536 messages; asked of the engine are those that are worth 8 MiB,
/// and the systems in between hold some, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_that_reads_nothing_holds_few_large_messages_and_holds_up_nobody() {
    let server = TestServer::start().await;
    let sender = server.connect(ClientConfig::default()).await;
    let mut socket = server.welcomed().await;
    socket.send(&consume(1, u32::MAX)).await;
    assert!(matches!(socket.frame().await, Some(Frame::Opened { .. })));
    for number in 1..=150 {
        let message = large_message(number, 300_000);
        new(sender.send_message(message).await);
    }
    let bus = server.bus();
    let held = async || bus.consumer_info(name("all")).await.unwrap().in_flight;
    within(async { while held().await < 27 {} }).await;
    let mut messages = sender.consumer(listener("other")).await.unwrap();
    new(sender.send_message(ask(1000)).await);
    next(&mut messages).await.ack_durable().await.unwrap();
    let held = held().await;
    assert!((27..=65).contains(&held), "{held}");
    // It goes on as it reads and settles.
    let mut seen = 0;
    while seen < 151 {
        let Some(Frame::Deliver { deliveries, .. }) = socket.frame().await else {
            panic!("no messages")
        };
        seen += deliveries.len();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_that_reads_nothing_is_cut_in_the_end() {
    let server = TestServer::start_with(|config| config.limits.write_timeout = short()).await;
    let sender = server.connect(ClientConfig::default()).await;
    for number in 1..=60 {
        let message = large_message(number, 900_000);
        new(sender.send_message(message).await);
    }
    let mut socket = server.welcomed().await;
    socket.send(&consume(1, u32::MAX)).await;
    eventually(|| server.handle.stats().connections == 1).await;
    within(async { while sender.consumer_info(name("all")).await.unwrap().workers != 0 {} }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriber_that_reads_nothing_holds_up_nobody() {
    let server = TestServer::start().await;
    let mut socket = server.welcomed().await;
    let open = Open::Subscribe(Subscribe {
        patterns: vec![pattern(">")],
        buffer: u32::MAX,
    });
    let open = Box::new((&open).into());
    socket.send(&Frame::Open { stream: 1, open }).await;
    assert!(matches!(socket.frame().await, Some(Frame::Opened { .. })));
    let client = server.connect(ClientConfig::default()).await;
    for _ in 0..200 {
        let news = vec![b'x'; 500_000];
        assert_eq!(within(client.publish("news", news)).await, Ok(1));
    }
    let (mut read, mut missed) = (0, 0);
    while read + missed < 200 {
        match socket.frame().await {
            Some(Frame::Notify { entries, .. }) => read += entries.len() as u64,
            Some(Frame::Lagged { missed: more, .. }) => missed += more,
            other => panic!("{other:?}"),
        }
    }
    assert!(missed > 50, "{missed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fits_no_frame_is_refused_alone() {
    let server = TestServer::start_with(|config| {
        config.limits.frame_bytes_max = ServerConfig::FRAME_BYTES_MIN;
    })
    .await;
    let client = server.connect(ClientConfig::default()).await;
    let token = |seq| LeaseToken {
        epoch: 1,
        seq: Seq(seq),
        delivery: 1,
    };
    let held: Vec<_> = (0..20_000).map(token).collect();
    let refused = client.consumer(listener("audit").held(held)).await;
    assert_eq!(refused.unwrap_err().code, Code::FrameTooLarge);
    let reply = Settlement::Complete(Reply::new(vec![b'x'; 100_000]));
    let refused = client.settle_by_name(name("audit"), token(1), reply).await;
    assert_eq!(refused.unwrap_err().code, Code::FrameTooLarge);
    new(within(client.send_message(ask(1))).await);
    let mut messages = client.consumer(listener("audit")).await.unwrap();
    next(&mut messages).await.ack_durable().await.unwrap();
}

/// What comes late on a stream that was closed costs nothing; its last frame is its Close.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_ends_with_its_close_and_its_number_is_gone() {
    let server = TestServer::start().await;
    let sender = server.connect(ClientConfig::default()).await;
    sender.send_batch((1..=3).map(ask).collect()).await;
    let mut socket = server.welcomed().await;
    socket.send(&consume(1, 1)).await;
    assert!(matches!(socket.frame().await, Some(Frame::Opened { .. })));
    let deliveries = deliveries(&mut socket).await;
    assert_eq!(deliveries.len(), 1);
    let (stream, refusal) = (1, None);
    socket.send(&Frame::Credit { stream, credit: 9 }).await;
    socket.send(&Frame::Close { stream, refusal }).await;
    let late = |tag| Frame::Settle {
        stream,
        tag,
        items: vec![SettleItem {
            token: deliveries[0],
            settlement: (&Settlement::Ack).into(),
        }],
    };
    socket.send(&late(0)).await;
    socket.send(&late(1 << 62)).await;
    loop {
        match socket.frame().await {
            Some(Frame::Deliver { .. }) => {}
            Some(Frame::Close { stream: 1, refusal }) => break assert_eq!(refusal, None),
            // The answer to what was settled may overtake it.
            Some(Frame::Error { tag, refusal }) => {
                assert_eq!((tag, refusal.code), (1 << 62, Code::StaleLease));
            }
            other => panic!("{other:?}"),
        }
    }
    let info = sender.consumer_info(name("all")).await.unwrap();
    assert_eq!((info.workers, info.in_flight, info.offset), (0, 0, Seq(0)));
    // The connection goes on, under another number.
    socket.send(&consume(2, 3)).await;
    loop {
        match socket.frame().await {
            Some(Frame::Error { .. } | Frame::Opened { .. }) => {}
            Some(Frame::Deliver { stream: 2, .. }) => break,
            other => panic!("{other:?}"),
        }
    }
    socket.send(&consume(2, 3)).await;
    let mut frames = socket.frames().await;
    let goodbye = crate::tcp::fixture::goodbye(frames.pop());
    assert_eq!(goodbye.code, Code::UnexpectedFrame);
}

async fn deliveries(socket: &mut Socket) -> Vec<LeaseToken> {
    match socket.frame().await {
        Some(Frame::Deliver { deliveries, .. }) => deliveries.iter().map(|d| d.token).collect(),
        other => panic!("{other:?}"),
    }
}
