//! A TCP proxy on loopback with a bad network in it: [`weather`] what goes wrong how often,
//! [`carry`] one connection on its way, [`heard`] what clients said.
//!
//! It has a thread of its own, so that asynchronous and blocking tests use it alike. The seed
//! decides what happens to the n-th chunk of the n-th connection; which chunks there are is up to
//! the clients and the machine.

mod carry;
mod heard;
mod weather;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use edgebus_core::RequestId;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};

use carry::Carrier;
use heard::Heard;
pub use weather::{Faults, Weather};

/// Stands between clients and a server. Ends with everything on it when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    orders: watch::Sender<Orders>,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What a test wants of the network now.
#[derive(Clone, Debug)]
struct Orders {
    /// The server, as HOST:PORT.
    target: String,
    weather: Weather,
    refusing: bool,
    frozen: bool,
    muted: bool,
    /// How often everything was cut.
    cuts: u64,
}

/// What connections tell the test.
#[derive(Debug, Default)]
struct Shared {
    accepted: AtomicU64,
    open: AtomicU64,
    lost: AtomicU64,
    heard: Mutex<Heard>,
}

impl Proxy {
    /// A way to the server at `tcp://HOST:PORT` on which nothing goes wrong.
    pub fn to(target: &str) -> Self {
        Self::with(target, 0, Weather::calm())
    }

    /// A way to the server at `tcp://HOST:PORT` in some weather.
    ///
    /// # Panics
    /// When this machine gives no port or thread.
    pub fn with(target: &str, seed: u64, weather: Weather) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("it is bound");
        let orders = watch::Sender::new(Orders {
            target: authority(target),
            weather,
            refusing: false,
            frozen: false,
            muted: false,
            cuts: 0,
        });
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let all = Accepting {
            seed,
            orders: orders.clone(),
            shared: shared.clone(),
        };
        let thread = std::thread::spawn(move || all.run(&runtime, listener, stopped));
        Self {
            url: url_of(address),
            orders,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Where clients connect.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Cuts every connection now, by a reset.
    pub fn cut_all(&self) {
        self.orders.send_modify(|orders| orders.cuts += 1);
    }

    /// Connections from now on lead to another server, at `tcp://HOST:PORT`.
    pub fn set_target(&self, target: &str) {
        let target = authority(target);
        self.orders.send_modify(|orders| orders.target = target);
    }

    /// Other weather, for what comes from now on.
    pub fn set_weather(&self, weather: Weather) {
        self.orders.send_modify(|orders| orders.weather = weather);
    }

    /// Nothing goes wrong from now on: nothing is refused, nothing is held. What is silent for ever
    /// stays so, or is cut by [`Proxy::cut_all`].
    pub fn calm(&self) {
        self.orders.send_modify(|orders| {
            orders.weather = Weather::calm();
            orders.refusing = false;
            orders.frozen = false;
            orders.muted = false;
        });
    }

    /// Whether connections are refused; those that are open stay.
    pub fn refuse(&self, refusing: bool) {
        self.orders.send_modify(|orders| orders.refusing = refusing);
    }

    /// Whether nothing passes any more, in either direction, on connections that stay open: a cable
    /// that was pulled. What was held passes afterwards.
    pub fn freeze(&self, frozen: bool) {
        self.orders.send_modify(|orders| orders.frozen = frozen);
    }

    /// Whether nothing passes any more of what the server says, while it hears everything: whoever
    /// asks now has no answer before this is taken back. What was held passes then.
    pub fn mute(&self, muted: bool) {
        self.orders.send_modify(|orders| orders.muted = muted);
    }

    /// Connections that clients made so far, with those that were refused.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Connections that are open.
    pub fn open(&self) -> u64 {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Connections that did not end by the will of an end: cut, refused, silent for ever, or without
    /// a server to lead to.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// The id of everything that clients sent, asked or published in frames that came here whole,
    /// and how often; whether it reached the server or not.
    pub fn heard(&self) -> BTreeMap<RequestId, u64> {
        self.shared.heard.lock().ids.clone()
    }

    /// How often clients asked whether the server is there.
    pub fn pings(&self) -> u64 {
        self.shared.heard.lock().pings
    }

    /// Frames that came here with a wrong length or checksum. No client makes such.
    pub fn broken_frames(&self) -> u64 {
        self.shared.heard.lock().broken
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed and shows as lost connections.
            let _ = thread.join();
        }
    }
}

/// The loop that takes connections.
struct Accepting {
    seed: u64,
    orders: watch::Sender<Orders>,
    shared: Arc<Shared>,
}

impl Accepting {
    fn run(
        self,
        runtime: &Runtime,
        listener: std::net::TcpListener,
        stopped: oneshot::Receiver<()>,
    ) {
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).expect("a listener");
            tokio::select! {
                () = self.accept(listener) => {}
                _ = stopped => {}
            }
        });
    }

    async fn accept(&self, listener: TcpListener) {
        loop {
            let Ok((client, _)) = listener.accept().await else {
                continue;
            };
            let number = self.shared.accepted.fetch_add(1, Ordering::Relaxed);
            let orders = self.orders.subscribe();
            let carrier = Carrier::new(self.seed, number, orders, self.shared.clone());
            tokio::spawn(carrier.run(client));
        }
    }
}

fn authority(url: &str) -> String {
    url.strip_prefix("tcp://")
        .expect("a server's URL begins with tcp://")
        .to_owned()
}

fn url_of(address: SocketAddr) -> String {
    format!("tcp://{address}")
}
