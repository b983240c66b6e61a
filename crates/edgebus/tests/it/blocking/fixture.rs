//! A server that runs beside a test without async.

use std::panic::resume_unwind;
use std::sync::mpsc;
use std::time::Duration;

use edgebus::ClientConfig;
use edgebus::blocking::Client;

use crate::tcp::fixture::TestServer;

/// A test that takes this long hangs.
pub(crate) const HANGS_AFTER: Duration = Duration::from_secs(60);

/// A server on a runtime of its own; it stops when this is dropped.
pub(crate) struct Hosted {
    pub(crate) server: TestServer,
    pub(crate) runtime: tokio::runtime::Runtime,
    stopped: bool,
}

impl Hosted {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        Self {
            server: runtime.block_on(TestServer::start()),
            runtime,
            stopped: false,
        }
    }

    pub(crate) fn client(&self) -> Client {
        self.connect(ClientConfig::default())
    }

    pub(crate) fn connect(&self, config: ClientConfig) -> Client {
        Client::connect_with(&self.server.url, config).unwrap()
    }

    pub(crate) fn stop(&mut self) {
        if !std::mem::replace(&mut self.stopped, true) {
            let stopping = self.server.stop();
            self.runtime.block_on(stopping);
        }
    }
}

impl Drop for Hosted {
    fn drop(&mut self) {
        // A test that failed has said so already.
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

/// Runs a test beside a server, and fails instead of hanging.
pub(crate) fn with_server(test: impl FnOnce(&mut Hosted) + Send + 'static) {
    within(|| test(&mut Hosted::start()));
}

/// Runs something on a thread of its own, and fails instead of hanging.
pub(crate) fn within<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, ended) = mpsc::channel();
    let running = std::thread::spawn(move || {
        let result = run();
        // Whoever does not wait any more has failed.
        let _ = done.send(());
        result
    });
    if let Err(mpsc::RecvTimeoutError::Timeout) = ended.recv_timeout(HANGS_AFTER) {
        panic!("this hangs");
    }
    running.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// Waits for something that nobody announces.
pub(crate) fn eventually(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        std::thread::yield_now();
    }
}
