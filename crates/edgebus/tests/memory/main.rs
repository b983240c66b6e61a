//! What a client takes in memory while its server is away for an hour. A program of its own, as it
//! measures all of itself; the hour passes on a clock that is set forward.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use edgebus::consumer::ConsumerConfig;
use edgebus::{
    Client, ClientBuilder, ConnectionState, ConsumeConfig, Message, MessageBus, Server,
    ServerConfig, Subscription, new_request_id,
};
use tokio::time::Instant;

/// Requests a second that the application goes on making.
const RATE: usize = 500;
const HOUR: u64 = 3600;
/// When everything that is bounded has filled up.
const FULL_AFTER: u64 = 360;
/// More than the measure is off by, and less than 10 bytes a request.
const GROWTH_KIB_MAX: u64 = 12 * 1024;

/// What is in memory, in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse().unwrap()
}

/// A server on a thread of its own, whose clock goes as it always does. It goes when this is dropped.
struct Elsewhere {
    url: String,
    runtime: Option<tokio::runtime::Runtime>,
    _folder: tempfile::TempDir,
}

impl Elsewhere {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let url = std::thread::scope(|scope| {
            let serve = async {
                let bus = MessageBus::open(folder.path()).unwrap();
                let mut config = ServerConfig::default();
                config.listen = vec!["tcp://127.0.0.1:0".parse().unwrap()];
                let server = Server::bind(bus, config).await.unwrap();
                let url = server.urls().remove(0).to_string();
                tokio::spawn(server.run(std::future::pending()));
                url
            };
            let runtime = &runtime;
            let serving = scope.spawn(move || runtime.block_on(serve));
            serving.join().unwrap()
        });
        Self {
            url,
            runtime: Some(runtime),
            _folder: folder,
        }
    }

    fn close(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn message() -> Message {
    let topic = "orders.created".parse().unwrap();
    Message::new(new_request_id(), topic, vec![b'x'; 200]).expires_ms(10_000)
}

/// Connecting is real, so the clock must not be set forward before it is done.
async fn connected(client: &Client) {
    let mut states = client.states();
    while !matches!(states.next().await, Some(ConnectionState::Connected { .. })) {}
}

async fn lost(client: &Client) {
    let mut states = client.states();
    while !matches!(states.next().await, Some(ConnectionState::Lost { .. })) {}
}

/// Has an hour pass; says how much memory that took, in KiB, once everything was full.
async fn an_hour(mut each_second: impl AsyncFnMut()) -> u64 {
    let begin = Instant::now();
    let mut full = 0;
    for second in 0..HOUR {
        each_second().await;
        if second == FULL_AFTER {
            full = resident_kib();
        }
        for _ in 0..10 {
            tokio::time::advance(Duration::from_millis(100)).await;
            tokio::task::yield_now().await;
        }
    }
    assert!(begin.elapsed() >= Duration::from_secs(HOUR));
    resident_kib().saturating_sub(full)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn builder(server: &Elsewhere) -> ClientBuilder {
    Client::builder(&server.url).name("till-7")
}

/// One test, as two would measure each other.
#[test]
fn hour_without_a_server_takes_no_more_memory_than_its_first_minutes() {
    runtime().block_on(async {
        let mut server = Elsewhere::open();
        let client = builder(&server).connect().await.unwrap();
        connected(&client).await;
        let audit = ConsumerConfig::listener("orders.*".parse().unwrap());
        let audit = ConsumeConfig::new("audit".parse().unwrap()).config(audit);
        let _messages = client.consumer(audit).await.unwrap();
        let news = Subscription::to("prices.*".parse().unwrap());
        let _news = client.subscribe(news).await.unwrap();
        server.close();
        lost(&client).await;
        tokio::time::pause();
        let growth = an_hour(async || {
            for _ in 0..RATE {
                // Over the window they are told so.
                drop(client.try_send(message()));
            }
            // Whoever asks gives up after a while.
            let asking = client.request_message(message());
            let _ = tokio::time::timeout(Duration::from_millis(1), asking).await;
            let _ = tokio::time::timeout(Duration::from_millis(1), client.stats()).await;
        })
        .await;
        println!("without a spool: {growth} KiB more after an hour");
        assert!(growth < GROWTH_KIB_MAX, "{growth} KiB");
    });
    runtime().block_on(async {
        let mut server = Elsewhere::open();
        let folder = tempfile::tempdir().unwrap();
        let spool = builder(&server).spool(folder.path());
        let till = spool.bytes_max(1 << 30).connect().await.unwrap();
        connected(till.client()).await;
        server.close();
        lost(till.client()).await;
        tokio::time::pause();
        let mut spooled = 0;
        let growth = an_hour(async || {
            let second: Vec<_> = (0..RATE)
                .map(|_| till.try_send(message()).unwrap())
                .collect();
            for pending in second {
                pending.await.unwrap();
                spooled += 1;
            }
        })
        .await;
        println!("with {spooled} requests in a spool: {growth} KiB more after an hour");
        assert_eq!((spooled, till.waiting()), (1_800_000, 1_800_000));
        assert!(growth < GROWTH_KIB_MAX, "{growth} KiB");
    });
}
