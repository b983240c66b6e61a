//! The server's end of TLS, as its files say.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use edgebus_core::{Code, Refusal};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{Error, ServerConfig};
use x509_parser::certificate::X509Certificate;

use super::certificate::{self, Ending};
use super::claims::{self, Remembering};
use super::config::{ClientAuth, TlsServerConfig, TlsVersion};
use super::{pem, words};
use crate::access::Identity;

/// The server's end of TLS: its certificate, and which clients it trusts.
pub struct ServerTls {
    config: Arc<ServerConfig>,
    clients: Option<Clients>,
    endings: Vec<Ending>,
    summary: String,
}

/// Which clients are trusted.
struct Clients {
    verifier: Arc<dyn ClientCertVerifier>,
    authorities: Vec<CertificateDer<'static>>,
    crls: Vec<CertificateRevocationListDer<'static>>,
}

impl ServerTls {
    /// Reads the files. Blocks for as long as they take.
    ///
    /// # Errors
    /// [`Code::BadConfig`], with the name of the file.
    pub fn load(config: &TlsServerConfig) -> Result<Self, Refusal> {
        let mut endings = Vec::new();
        let certified =
            pem::certified_key(&config.certificate, &config.key, certificate::of_a_server)?;
        endings.extend(each(&certified.cert, |one| {
            Ending::of_server(&config.certificate, one)
        }));
        let clients = match &config.client_ca {
            Some(file) => Some(Clients::load(config, file, &mut endings)?),
            None if config.client_crl.is_empty() => None,
            None => {
                let what =
                    "revocation lists of clients say nothing without their CA: set client_ca";
                return Err(Refusal::new(Code::BadConfig, what));
            }
        };
        let versions = match config.min_version {
            TlsVersion::V1_3 => &[&TLS13][..],
            TlsVersion::V1_2 => &[&TLS13, &TLS12],
        };
        let building = ServerConfig::builder_with_provider(super::provider())
            .with_protocol_versions(versions)
            .map_err(|error| pem::bad(&config.certificate, error))?;
        let building = match &clients {
            Some(clients) => {
                building.with_client_cert_verifier(Arc::new(Remembering(clients.verifier.clone())))
            }
            None => building.with_no_client_auth(),
        };
        let summary = certified.cert.first().map(claims::summary);
        let summary = summary.unwrap_or_default();
        let resolver = Arc::new(SingleCertAndKey::from(certified));
        let mut tls = building.with_cert_resolver(resolver);
        // A session that is resumed is not looked up in the revocation lists again.
        tls.session_storage = Arc::new(NoServerSessionStorage {});
        tls.send_tls13_tickets = 0;
        Ok(Self {
            config: Arc::new(tls),
            clients,
            endings,
            summary,
        })
    }

    /// What ends within two weeks, has ended, or is not valid yet, in words.
    pub fn warnings(&self, now: SystemTime) -> Vec<String> {
        let warning = |ending: &Ending| ending.warning(now);
        self.endings.iter().filter_map(warning).collect()
    }

    /// The server's certificate in words: its names, serial number and end.
    pub(crate) fn summary(&self) -> &str {
        &self.summary
    }

    /// What does the handshakes.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.config.clone().into()
    }

    /// Who a client is by the certificate it proved to have.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`]: the certificate names nobody.
    pub(crate) fn identity(chain: &[CertificateDer<'_>]) -> Result<Identity, Refusal> {
        let leaf = chain.first();
        leaf.map_or_else(|| Ok(Identity::anonymous()), certificate::identity)
    }

    /// Whether it trusts the same clients as another.
    pub(crate) fn trusts_as(&self, other: &Self) -> bool {
        match (&self.clients, &other.clients) {
            (Some(ours), Some(theirs)) => {
                ours.authorities == theirs.authorities && ours.crls == theirs.crls
            }
            (None, None) => true,
            _ => false,
        }
    }

    /// Looks again at a certificate that a client proved to have.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`]: it would not be let in now.
    pub(crate) fn check(&self, chain: &[CertificateDer<'_>]) -> Result<(), Refusal> {
        let (Some(clients), [leaf, others @ ..]) = (&self.clients, chain) else {
            return Ok(());
        };
        let checked = clients
            .verifier
            .verify_client_cert(leaf, others, UnixTime::now());
        let why = match checked {
            Ok(_) => return Ok(()),
            Err(Error::InvalidCertificate(error)) => words::of(&error, "a client"),
            Err(error) => format!("cannot be checked any more: {error}"),
        };
        let what = format!("this client's certificate {why}");
        Err(Refusal::new(Code::Unauthenticated, what))
    }
}

impl Clients {
    fn load(
        config: &TlsServerConfig,
        file: &Path,
        endings: &mut Vec<Ending>,
    ) -> Result<Self, Refusal> {
        let (roots, authorities) = pem::authorities(file)?;
        endings.extend(each(&authorities, |one| Ending::of_ca(file, one)));
        let mut crls = Vec::new();
        for file in &config.client_crl {
            let lists = pem::crls(file)?;
            for list in &lists {
                check_crl(file, list, &authorities, endings)?;
            }
            crls.extend(lists);
        }
        if !crls.is_empty() {
            each_has_a_list(file, &authorities, &crls)?;
        }
        let building =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), super::provider())
                .with_crls(crls.iter().cloned());
        let building = match config.client_auth {
            ClientAuth::Required => building,
            ClientAuth::Optional => building.allow_unauthenticated(),
        };
        let verifier = building.build().map_err(|error| pem::bad(file, error))?;
        Ok(Self {
            verifier,
            authorities,
            crls,
        })
    }
}

/// A list that is not its issuer's would refuse every client when it is too late.
fn check_crl(
    file: &Path,
    list: &CertificateRevocationListDer<'_>,
    authorities: &[CertificateDer<'_>],
    endings: &mut Vec<Ending>,
) -> Result<(), Refusal> {
    let crl = certificate::parse_crl(list).map_err(|what| pem::bad(file, what))?;
    let mut issuers = authorities
        .iter()
        .filter_map(|one| certificate::parse(one).ok())
        .filter(|authority| authority.subject() == crl.issuer())
        .peekable();
    // That of a CA in between may be in it as well; nobody can look at its signature yet.
    let known = issuers.peek().is_some();
    if known && !issuers.any(|authority| crl.verify_signature(authority.public_key()).is_ok()) {
        let issuer = crl.issuer();
        let what = format!("the revocation list of {issuer} is not signed by that CA in client_ca");
        return Err(pem::bad(file, what));
    }
    endings.extend(Ending::of_crl(file, &crl));
    Ok(())
}

/// Without a list of its CA nobody can say that a certificate was not revoked, and it is refused.
fn each_has_a_list(
    file: &Path,
    authorities: &[CertificateDer<'_>],
    crls: &[CertificateRevocationListDer<'_>],
) -> Result<(), Refusal> {
    for one in authorities {
        let authority = certificate::parse(one).map_err(|what| pem::bad(file, what))?;
        let mut lists = crls
            .iter()
            .filter_map(|crl| certificate::parse_crl(crl).ok());
        if !lists.any(|crl| crl.issuer() == authority.subject()) {
            let subject = authority.subject();
            let what =
                format!("{subject} has no revocation list: with client_crl each CA needs one");
            return Err(pem::bad(file, what));
        }
    }
    Ok(())
}

/// What is made of each certificate that can be read; all of them could when they were loaded.
fn each(
    certificates: &[CertificateDer<'_>],
    of: impl Fn(&X509Certificate<'_>) -> Ending,
) -> Vec<Ending> {
    let certificates = certificates.iter();
    let parsed = certificates.filter_map(|one| certificate::parse(one).ok());
    parsed.map(|one| of(&one)).collect()
}

impl fmt::Debug for ServerTls {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}
