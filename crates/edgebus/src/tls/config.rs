//! Which files say who a server or a client is, and whom it trusts.

use std::path::{Path, PathBuf};

/// How a server proves who it is, and what it asks of clients.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct TlsServerConfig {
    /// The server's certificate and those that lead to its CA, as PEM.
    pub certificate: PathBuf,
    /// The key of the certificate, as PEM; nobody else may read the file.
    pub key: PathBuf,
    /// The CAs whose certificates clients may have, as PEM. `None`: clients are not asked for one.
    pub client_ca: Option<PathBuf>,
    /// Lists of certificates that were revoked, as PEM. If there are any, each CA must have one. One
    /// that is past its end still counts, and is warned about: it must not lock everybody out.
    pub client_crl: Vec<PathBuf>,
    /// Whether clients must have a certificate. Without `client_ca` it says nothing.
    pub client_auth: ClientAuth,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
}

/// Whether clients must have a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum ClientAuth {
    /// They must.
    #[default]
    Required,
    /// Who has none may prove who they are with a token, or is anonymous.
    Optional,
}

/// A version of TLS.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum TlsVersion {
    /// For foreign clients that know nothing newer.
    V1_2,
    /// What every edgebus speaks.
    #[default]
    V1_3,
}

impl TlsServerConfig {
    /// A server with a certificate, which asks clients for none.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            certificate: certificate.into(),
            key: key.into(),
            client_ca: None,
            client_crl: Vec::new(),
            client_auth: ClientAuth::default(),
            min_version: TlsVersion::default(),
        }
    }

    /// Everything that is read.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let own = [&self.certificate, &self.key];
        let of_clients = self.client_ca.iter().chain(&self.client_crl);
        own.into_iter().chain(of_clients).cloned().collect()
    }
}

/// Whom a client trusts, and how it proves who it is. All of it is read for each connection, so what
/// was replaced meanwhile is used from then on.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct TlsClientConfig {
    /// The CAs whose certificates servers may have, as PEM. `tls://` needs it.
    pub ca: Option<PathBuf>,
    /// The client's certificate with those that lead to its CA, and the key of it, as PEM; nobody
    /// else may read the latter.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The name that the server's certificate must be for; if not set, the one in the URL.
    pub server_name: Option<String>,
}

impl TlsClientConfig {
    /// The two files of the certificate.
    pub(crate) fn certificate(&self) -> Option<(&Path, &Path)> {
        let (certificate, key) = self.certificate.as_ref()?;
        Some((certificate, key))
    }
}
