//! What a server is run with: one value for each key, and how the parts of the server get theirs.
//!
//! The defaults are those of the library.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use edgebus::{ServerConfig, StoreConfig};

/// Everything that can be configured.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The data folder.
    pub(crate) data: PathBuf,
    /// Where HTTP is answered.
    pub(crate) http: Option<SocketAddr>,
    /// What is logged.
    pub(crate) log: String,
    pub(crate) server: ServerConfig,
    pub(crate) store: StoreConfig,
    pub(crate) tls: Tls,
    pub(crate) access: Access,
}

/// How TLS is spoken. Without a certificate it is not.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) client_ca: Option<PathBuf>,
    pub(crate) client_crl: Vec<PathBuf>,
    pub(crate) client_auth: Option<String>,
    pub(crate) min_version: String,
}

/// Who may come in, and for what.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(crate) tokens: Option<PathBuf>,
    pub(crate) rights: Option<PathBuf>,
    /// How often files are looked at for changes.
    pub(crate) reload_every: Duration,
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
                min_version: "1.3".to_owned(),
            },
            access: Access {
                tokens: None,
                rights: None,
                reload_every: Duration::from_secs(2),
            },
        }
    }
}
