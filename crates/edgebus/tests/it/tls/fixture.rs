//! A shop with a CA, a server behind TLS, and tills.

use std::time::Duration;

use edgebus::{
    Client, ClientConfig, ConnectError, Refusal, ServerConfig, ServerUrl, StoreConfig,
    TlsServerConfig,
};
use tempfile::TempDir;

use super::authority::{Authority, Issued, Wanted};
use crate::bus::fixture::{TestBus, within};
use crate::tcp::fixture::TestServer;

/// A CA and the certificate of a server.
pub(crate) struct Shop {
    pub(crate) folder: TempDir,
    pub(crate) ca: Authority,
    pub(crate) server: Issued,
}

impl Shop {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut ca = Authority::new(folder.path(), "shop");
        ca.write_crl();
        let server = ca.issue("server", Wanted::server(&["127.0.0.1", "bus.shop.example"]));
        Self { folder, ca, server }
    }

    /// A CA of somebody else.
    pub(crate) fn other_ca(&self) -> Authority {
        Authority::new(self.folder.path(), "other")
    }

    /// What a server needs that looks at the certificates of its clients.
    pub(crate) fn mutual(&self) -> TlsServerConfig {
        let mut config = TlsServerConfig::new(&self.server.certificate, &self.server.key);
        config.client_ca = Some(self.ca.ca());
        config.client_crl = vec![self.ca.crl()];
        config
    }

    pub(crate) async fn start(&self) -> TestServer {
        self.start_with(self.mutual(), |_| ()).await
    }

    pub(crate) async fn start_with(
        &self,
        tls: TlsServerConfig,
        set_up: impl FnOnce(&mut ServerConfig),
    ) -> TestServer {
        let on = TestBus::start_with(StoreConfig::default());
        TestServer::start_on(on, |config| {
            config.listen = vec!["tls://127.0.0.1:0".parse().unwrap()];
            config.tls = Some(tls);
            config.reload_every = Duration::from_millis(10);
            set_up(config);
        })
        .await
    }

    /// A client that has no certificate.
    pub(crate) fn nobody(&self) -> ClientConfig {
        ClientConfig::default().ca(self.ca.ca())
    }

    /// A client with a certificate of this shop.
    pub(crate) fn till(&mut self, name: &str) -> ClientConfig {
        let issued = self.ca.issue(name, Wanted::client(&[name]));
        self.with(&issued)
    }

    pub(crate) fn with(&self, issued: &Issued) -> ClientConfig {
        self.nobody().certificate(&issued.certificate, &issued.key)
    }
}

/// Why a server, or the client itself, refuses to connect.
pub(crate) async fn refusal(url: &ServerUrl, config: ClientConfig) -> Refusal {
    match within(Client::connect_with(url, config)).await {
        Err(ConnectError::Refused(refusal)) => refusal,
        Err(error) => panic!("not refused: {error}"),
        Ok(_) => panic!("let in"),
    }
}

/// Why a server cannot be reached.
pub(crate) async fn unreachable(url: &ServerUrl, config: ClientConfig) -> String {
    match within(Client::connect_with(url, config)).await {
        Err(ConnectError::Unreachable { reason, .. }) => reason,
        Err(error) => panic!("reached: {error}"),
        Ok(_) => panic!("let in"),
    }
}
