//! The client's end of TLS, as its files say.

use std::fmt;
use std::sync::Arc;

use edgebus_core::{Code, Refusal};
use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::version::TLS13;

use super::config::TlsClientConfig;
use super::pem;

/// The client's end of TLS: whom it trusts, and its own certificate.
pub(crate) struct ClientTls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl ClientTls {
    /// Reads the files, for a server of that name. Blocks for as long as they take.
    ///
    /// # Errors
    /// [`Code::BadConfig`], with the name of the file or what to do.
    pub(crate) fn load(config: &TlsClientConfig, host: &str) -> Result<Self, Refusal> {
        let bad = |what: String| Refusal::new(Code::BadConfig, what);
        let Some(ca) = &config.ca else {
            let what = "tls:// needs the CA of the server's certificate: name its file (--ca)";
            return Err(bad(what.to_owned()));
        };
        let (roots, _) = pem::authorities(ca)?;
        let building = ClientConfig::builder_with_provider(super::provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| bad(error.to_string()))?
            .with_root_certificates(roots);
        let mut tls = match config.certificate() {
            Some((certificate, key)) => {
                let certified = pem::certified_key(certificate, key, |_| Ok(()))?;
                building.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
            None => building.with_no_client_auth(),
        };
        // Nobody resumes: see the server.
        tls.resumption = Resumption::disabled();
        let name = config.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| bad(format!("{name:?} is no name that a server can have")))?;
        Ok(Self {
            config: Arc::new(tls),
            name,
        })
    }

    /// What does the handshake, and for whom.
    pub(crate) fn connector(self) -> (TlsConnector, ServerName<'static>) {
        (self.config.into(), self.name)
    }
}

impl fmt::Debug for ClientTls {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").finish_non_exhaustive()
    }
}
