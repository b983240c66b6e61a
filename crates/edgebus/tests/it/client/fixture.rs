//! A server that goes away and comes back, at the other end of a cable that can be cut.

use edgebus::{
    ClientBuilder, ClientConfig, ConnectionState, Entry, MessageBus, Server, ServerConfig,
};
use edgebus_testing::proxy::Proxy;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::bus::fixture::{eventually, id, log, within};

/// Goes in this order: the folder last.
pub(crate) struct Site {
    pub(crate) proxy: Proxy,
    running: Option<Running>,
    folder: tempfile::TempDir,
}

struct Running {
    bus: MessageBus,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Site {
    pub(crate) async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (running, url) = run(&folder).await;
        Self {
            proxy: Proxy::to(&url),
            running: Some(running),
            folder,
        }
    }

    pub(crate) fn bus(&self) -> &MessageBus {
        &self.running.as_ref().unwrap().bus
    }

    pub(crate) fn log(&self) -> Vec<Entry> {
        log(self.bus())
    }

    pub(crate) fn builder(&self) -> ClientBuilder {
        edgebus::Client::builder(self.proxy.url()).config(ClientConfig::default().name("till-7"))
    }

    pub(crate) async fn connect(&self) -> edgebus::Client {
        within(self.builder().connect()).await.unwrap()
    }

    /// The server stops in good order and is away.
    pub(crate) async fn stop(&mut self) {
        let running = self.running.take().unwrap();
        drop(running.stop);
        within(running.task).await.unwrap();
        within(running.bus.shutdown()).await;
    }

    /// The cable is out: connections are cut and refused.
    pub(crate) fn unplug(&self) {
        self.proxy.refuse(true);
        self.proxy.cut_all();
    }

    pub(crate) fn plug(&self) {
        self.proxy.refuse(false);
    }

    /// The server is back, on another port behind the same cable.
    pub(crate) async fn start(&mut self) {
        let (running, url) = run(&self.folder).await;
        self.proxy.set_target(&url);
        self.running = Some(running);
    }
}

async fn run(folder: &tempfile::TempDir) -> (Running, String) {
    let bus = MessageBus::open(folder.path()).unwrap();
    let mut config = ServerConfig::default();
    config.listen = vec!["tcp://127.0.0.1:0".parse().unwrap()];
    let server = Server::bind(bus.clone(), config).await.unwrap();
    let url = server.urls().remove(0).to_string();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(server.run(async {
        let _ = stopped.await;
    }));
    (Running { bus, stop, task }, url)
}

/// Waits for a state that fits.
pub(crate) async fn until(client: &edgebus::Client, fits: impl Fn(&ConnectionState) -> bool) {
    let mut states = client.states();
    within(async {
        while let Some(state) = states.next().await {
            if fits(&state) {
                return;
            }
        }
        panic!("the client was closed");
    })
    .await;
}

pub(crate) fn is_lost(state: &ConnectionState) -> bool {
    matches!(state, ConnectionState::Lost { .. })
}

pub(crate) fn is_connected(state: &ConnectionState) -> bool {
    matches!(state, ConnectionState::Connected { .. })
}

/// Waits until a request has been written into the cable.
pub(crate) async fn written(proxy: &Proxy, number: u64) {
    eventually(|| proxy.heard().contains_key(&id(number))).await;
}
