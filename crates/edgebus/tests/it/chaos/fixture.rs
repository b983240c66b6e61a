//! A server that comes back elsewhere.

use edgebus::{Entry, MessageBus, Seq, Server, ServerConfig};
use edgebus_testing::Proxy;
use edgebus_testing::till::within;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server in a folder; it is stopped and started, each time on another port.
pub(crate) struct Restarting {
    folder: tempfile::TempDir,
    running: Option<Running>,
}

struct Running {
    bus: MessageBus,
    url: String,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Restarting {
    pub(crate) async fn start() -> Self {
        let mut server = Self {
            folder: tempfile::tempdir().unwrap(),
            running: None,
        };
        server.begin().await;
        server
    }

    async fn begin(&mut self) {
        let bus = MessageBus::open(self.folder.path()).unwrap();
        let mut config = ServerConfig::default();
        config.listen = vec!["tcp://127.0.0.1:0".parse().unwrap()];
        let server = Server::bind(bus.clone(), config).await.unwrap();
        let url = server.urls().remove(0).to_string();
        let (stop, stopped) = oneshot::channel();
        let running = server.run(async {
            let _ = stopped.await;
        });
        self.running = Some(Running {
            bus,
            url,
            stop,
            ended: tokio::spawn(running),
        });
    }

    pub(crate) fn url(&self) -> &str {
        &self.running().url
    }

    pub(crate) fn bus(&self) -> &MessageBus {
        &self.running().bus
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs")
    }

    /// Stops it in an orderly way, as an update does, and starts it again; the proxy leads there.
    pub(crate) async fn restart(&mut self, proxy: &Proxy) {
        let Running {
            bus, stop, ended, ..
        } = self.running.take().expect("it runs");
        drop(stop);
        within(ended).await.unwrap();
        within(bus.shutdown()).await;
        drop(bus);
        self.begin().await;
        proxy.set_target(self.url());
    }

    /// Everything that is stored.
    pub(crate) fn log(&self) -> Vec<Entry> {
        self.bus().replay(Seq(1)).map(Result::unwrap).collect()
    }
}
