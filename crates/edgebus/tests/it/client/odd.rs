//! Clients of servers that are slow, or of no use; played by the test, frame by frame.

use std::time::Duration;

use edgebus::wire::control::Welcome;
use edgebus::wire::{Frame, PROTOCOL_VERSION, ReceiptRange};
use edgebus::{
    Client, ClientBuilder, ClientConfig, Code, ConnectionState, Message, Refusal, ServerUrl,
};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::fixture::{Site, is_connected, until};
use crate::bus::files::{Call, Of};
use crate::bus::fixture::{id, message, within};
use crate::tcp::fixture::{Socket, TestServer, bytes_of, lane};

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

/// Lets others run for so long.
async fn pass(time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        tokio::task::yield_now().await;
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
async fn answer_that_takes_many_beats_to_come_is_waited_for() {
    let played = Played::open().await;
    let builder = played.builder().heartbeat(Duration::from_millis(50));
    let connecting = tokio::spawn(builder.connect());
    let mut socket = within(played.accept()).await;
    let client = within(connecting).await.unwrap().unwrap();
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.stats().await }
    });
    let tag = loop {
        match socket.frame().await {
            Some(Frame::Query { tag, .. }) => break tag,
            Some(Frame::Ping { .. }) => {}
            other => panic!("{other:?}"),
        }
    };
    let refusal = Refusal::new(Code::BadQuery, "x".repeat(4_000));
    for part in bytes_of(&Frame::Error { tag, refusal }).chunks(100) {
        socket.write(part).await;
        pass(Duration::from_millis(10)).await;
    }
    let refused = within(asking).await.unwrap().unwrap_err();
    assert_eq!(refused.code, Code::BadQuery);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_that_takes_many_beats_to_leave_is_not_cut_short() {
    let played = Played::open().await;
    let builder = played.builder().heartbeat(Duration::from_millis(100));
    let connecting = tokio::spawn(builder.connect());
    let mut socket = within(played.accept()).await;
    let client = within(connecting).await.unwrap().unwrap();
    let large = vec![b'x'; 24 * 1024 * 1024];
    let large = Message::new(id(1), "bulk".parse().unwrap(), large);
    let pending = client.try_send(large).unwrap();
    let mut part = vec![0; 128 * 1024];
    let mut came = 0;
    while came < 24 * 1024 * 1024 {
        let read = within(socket.stream.read(&mut part)).await.unwrap();
        assert!(read > 0, "cut after {came} bytes");
        came += read;
        pass(Duration::from_millis(5)).await;
    }
    let range = ReceiptRange {
        first_tag: 0,
        first_seq: 1,
        count: 1,
        duplicate: false,
    };
    socket.send(&Frame::Receipts(vec![range])).await;
    assert_eq!(within(pending).await.unwrap().seq.0, 1);
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
async fn server_that_is_held_up_and_says_so_is_not_taken_for_dead() {
    let server = TestServer::start_with(|config| {
        config.limits.lane = lane(2);
        config.sign_of_life = Duration::from_millis(20);
    })
    .await;
    let config = ClientConfig::default().heartbeat(Duration::from_millis(100));
    let client = server.connect(config).await;
    let hold = server.files().hold(Of::Journal, Call::Sync);
    let mut pending = vec![client.try_send(message(0)).unwrap()];
    within(hold.reached()).await;
    pending.extend((1..50).map(|number| client.try_send(message(number)).unwrap()));
    pass(Duration::from_millis(1_000)).await;
    let connected = ConnectionState::Connected {
        server: server.url.to_string(),
        connection: 1,
    };
    assert_eq!(client.state(), connected);
    drop(hold);
    for pending in pending {
        assert!(!within(pending).await.unwrap().duplicate);
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
