//! Names, messages and short ways to wait; and a wire that can be cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use edgebus::consumer::{ConsumerConfig, Reply};
use edgebus::{
    Client, ClientConfig, ConsumeConfig, ConsumerName, Delivered, Incoming, Message, Messages,
    Notification, Notifications, ServerUrl, TopicPattern,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::bus::fixture::{id, within};

pub(crate) fn name(text: &str) -> ConsumerName {
    text.parse().unwrap()
}

pub(crate) fn pattern(text: &str) -> TopicPattern {
    text.parse().unwrap()
}

/// A request for the price of something, with an id that follows from its number.
pub(crate) fn ask(number: u64) -> Message {
    Message::new(
        id(number),
        "prices.ask".parse().unwrap(),
        format!("what costs {number}"),
    )
}

/// Whoever answers [`ask`]; tries again at once.
pub(crate) fn responder() -> ConsumeConfig {
    let config = ConsumerConfig::responder(pattern("prices.*")).backoff_ms([1]);
    ConsumeConfig::new(name("prices")).config(config)
}

/// Whoever listens to [`ask`]; tries again at once.
pub(crate) fn listener(consumer: &str) -> ConsumeConfig {
    let config = ConsumerConfig::listener(pattern("prices.*")).backoff_ms([1]);
    ConsumeConfig::new(name(consumer)).config(config)
}

/// The reply of a well-behaved responder.
pub(crate) fn reply_to(message: &Incoming) -> Reply {
    let asked = message.payload();
    Reply::new([b"no idea ".as_slice(), &asked].concat()).header("currency", "EUR")
}

pub(crate) async fn next(messages: &mut Messages) -> Delivered {
    let next = within(messages.next()).await;
    next.expect("a message").expect("no end")
}

/// The text of the next notification.
pub(crate) async fn news(notifications: &mut Notifications) -> String {
    match within(notifications.next()).await {
        Some(Notification::Message(entry)) => {
            String::from_utf8(entry.record().payload().to_vec()).unwrap()
        }
        other => panic!("no notification: {other:?}"),
    }
}

/// Counts what begins, and lets it go on when it is told to.
#[derive(Clone)]
pub(crate) struct Gate {
    begun: Arc<AtomicU64>,
    open: Arc<Semaphore>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self {
            begun: Arc::default(),
            open: Arc::new(Semaphore::new(0)),
        }
    }

    pub(crate) async fn pass(&self) {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.open.acquire().await.unwrap().forget();
    }

    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    pub(crate) fn let_pass(&self, count: usize) {
        self.open.add_permits(count);
    }
}

/// A wire between a client and a server that can be cut.
pub(crate) struct Wire {
    pub(crate) url: ServerUrl,
    carrying: JoinHandle<()>,
}

impl Wire {
    pub(crate) async fn to(server: &ServerUrl) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = ServerUrl::of(listener.local_addr().unwrap());
        let authority = server.authority().to_owned();
        let carrying = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = TcpStream::connect(authority).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
        Self { url, carrying }
    }

    pub(crate) async fn connect(&self) -> Client {
        let config = ClientConfig::default().name("till-7").reconnect(false);
        within(Client::connect_with(&self.url, config))
            .await
            .unwrap()
    }

    /// Neither end hears of the other any more.
    pub(crate) async fn cut(self) {
        self.carrying.abort();
        let _ = self.carrying.await;
    }
}
