//! Clients of servers that are slow, or of no use; played by the test, frame by frame.

use std::time::Duration;

use edgebus::wire::control::Welcome;
use edgebus::wire::{Frame, PROTOCOL_VERSION};
use edgebus::{Client, ClientBuilder, Code, Refusal, ServerUrl};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::fixture::{Site, is_connected, until};
use crate::bus::files::{Call, Of};
use crate::bus::fixture::{message, records, within};
use crate::tcp::fixture::{Socket, TestServer, lane, send};

const FRAME_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A place for clients to connect to.
struct Played {
    listener: TcpListener,
}

impl Played {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener }
    }

    fn builder(&self) -> ClientBuilder {
        let url = ServerUrl::of(self.listener.local_addr().unwrap());
        Client::builder(&url.to_string())
    }

    /// The next connection, welcomed.
    async fn accept(&self) -> Socket {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut socket = Socket::over(stream);
        let hello = socket.frame().await;
        assert!(matches!(hello, Some(Frame::Hello(_))), "{hello:?}");
        let welcome = Welcome {
            version: PROTOCOL_VERSION,
            frame_bytes_max: FRAME_BYTES_MAX,
            payload_bytes_max: FRAME_BYTES_MAX / 2,
            ..Welcome::default()
        };
        socket.send(&Frame::Welcome(welcome)).await;
        socket
    }
}

/// Answers questions, takes no sends, and so is left and found again within moments.
async fn serve_questions_only(played: Played) {
    loop {
        let mut socket = played.accept().await;
        let (mut question, mut sent) = (None, None);
        while question.is_none() || sent.is_none() {
            match socket.frame().await {
                Some(Frame::Query { tag, .. }) => question = Some(tag),
                Some(Frame::Send { first_tag, .. }) => sent = Some(first_tag),
                Some(other) => panic!("{other:?}"),
                None => return,
            }
        }
        for (tag, code) in [(question, Code::BadQuery), (sent, Code::Poisoned)] {
            let refusal = Refusal::new(code, "no");
            let tag = tag.unwrap();
            socket.send(&Frame::Error { tag, refusal }).await;
        }
        while socket.stream.read_u8().await.is_ok() {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn send_is_given_up_in_time_though_connections_come_and_go_faster() {
    let played = Played::open().await;
    let builder = played
        .builder()
        .give_up_after(Some(Duration::from_millis(1_500)));
    let serving;
    let client = {
        let connecting = tokio::spawn(builder.connect());
        serving = tokio::spawn(serve_questions_only(played));
        within(connecting).await.unwrap().unwrap()
    };
    let mut pending = client.try_send(message(1)).unwrap();
    let begin = Instant::now();
    let gone = within(async {
        loop {
            tokio::select! {
                biased;
                gone = &mut pending => break gone.unwrap_err(),
                _ = client.stats() => {}
            }
        }
    })
    .await;
    // Nothing of it was stored.
    assert_eq!(gone.code(), Code::Disconnected);
    assert!(begin.elapsed() < Duration::from_secs(20));
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeat_may_be_as_long_as_anybody_likes() {
    let site = Site::open().await;
    let builder = site.builder().heartbeat(Duration::MAX);
    let client = within(builder.connect()).await.unwrap();
    within(client.send_message(message(1))).await.unwrap();
    site.proxy.cut_all();
    within(client.send_message(message(2))).await.unwrap();
    until(&client, is_connected).await;
}

/// Its disk is stuck, so it takes nothing in any more, and no question of the client's either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_is_held_up_says_so_again_and_again() {
    let server = TestServer::start_with(|config| {
        config.limits.lane = lane(2);
        config.sign_of_life = Duration::from_millis(20);
    })
    .await;
    let mut socket = server.welcomed().await;
    let hold = server.files().hold(Of::Journal, Call::Sync);
    socket.send(&send(0, records(0..1))).await;
    within(hold.reached()).await;
    socket.send(&send(1, records(1..50))).await;
    for _ in 0..20 {
        assert_eq!(socket.frame().await, Some(Frame::Ping { token: 0 }));
    }
    drop(hold);
    let mut told = 0;
    while told < 50 {
        match socket.frame().await {
            Some(Frame::Receipts(ranges)) => told += ranges.iter().map(|r| r.count).sum::<u32>(),
            Some(Frame::Ping { token: 0 }) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// A server that welcomes whoever comes, and then says nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_only_ever_welcomes_is_given_up_in_time() {
    let played = Played::open().await;
    let builder = played
        .builder()
        .heartbeat(Duration::from_millis(20))
        .give_up_after(Some(Duration::from_millis(100)));
    let welcoming = tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            open.push(played.accept().await);
        }
    });
    let client = within(builder.connect()).await.unwrap();
    let (sent, asked) = tokio::join!(
        within(client.send_message(message(1))),
        within(client.request_message(message(2)))
    );
    assert_eq!(sent.unwrap_err().code(), Code::Unknown);
    assert_eq!(asked.unwrap_err().code(), Code::Unknown);
    welcoming.abort();
}
