//! What a server is run with: one value for each key, and how the parts of the server get theirs.
//!
//! The defaults are those of the library.

use std::net::SocketAddr;
use std::path::PathBuf;

use edgebus::{ClientAuth, ServerConfig, StoreConfig, TlsServerConfig, TlsVersion};

/// Everything that can be configured.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The data folder.
    pub(crate) data: PathBuf,
    /// Where HTTP is answered.
    pub(crate) http: Option<SocketAddr>,
    /// What is logged.
    pub(crate) log: String,
    /// Without TLS; see [`Settings::server_config`].
    pub(crate) server: ServerConfig,
    pub(crate) store: StoreConfig,
    pub(crate) tls: Tls,
}

/// How TLS is spoken. Without a certificate it is not.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) client_ca: Option<PathBuf>,
    pub(crate) client_crl: Vec<PathBuf>,
    /// As the library has it, if it is not set.
    pub(crate) client_auth: Option<ClientAuth>,
    pub(crate) min_version: TlsVersion,
}

impl Tls {
    /// As the library takes it; nothing without a certificate and its key.
    pub(crate) fn config(&self) -> Option<TlsServerConfig> {
        let (certificate, key) = self.certificate.as_ref().zip(self.key.as_ref())?;
        let mut config = TlsServerConfig::new(certificate, key);
        config.client_ca.clone_from(&self.client_ca);
        config.client_crl.clone_from(&self.client_crl);
        config.client_auth = self.client_auth.unwrap_or_default();
        config.min_version = self.min_version;
        Some(config)
    }
}

impl Settings {
    /// What the server is run with.
    pub(crate) fn server_config(&self) -> ServerConfig {
        let mut config = self.server.clone();
        config.tls = self.tls.config();
        config
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data: PathBuf::from("./edgebus-data"),
            http: None,
            log: "info".to_owned(),
            server: ServerConfig::default(),
            store: StoreConfig::default(),
            tls: Tls {
                certificate: None,
                key: None,
                client_ca: None,
                client_crl: Vec::new(),
                client_auth: None,
                min_version: TlsVersion::default(),
            },
        }
    }
}
