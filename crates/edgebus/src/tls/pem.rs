//! Certificates, keys and revocation lists out of files.
//!
//! Every refusal begins with the name of the file. Keys are only taken from files that nobody else
//! may read.

use std::path::Path;

use edgebus_core::{Code, Refusal};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, InconsistentKeys, RootCertStore};
use x509_parser::certificate::X509Certificate;

use super::certificate;
use crate::files::{Privacy, read_small};

/// What is wrong with a file.
pub(super) fn bad(file: &Path, what: impl std::fmt::Display) -> Refusal {
    Refusal::new(Code::BadConfig, format!("{}: {what}", file.display()))
}

/// All certificates in a file, at least one.
pub(super) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Refusal> {
    items(file, "certificate")
}

/// All revocation lists in a file, at least one.
pub(super) fn crls(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, Refusal> {
    items(file, "revocation list")
}

fn items<T: PemObject>(file: &Path, name: &str) -> Result<Vec<T>, Refusal> {
    let text = read_small(file, Privacy::Public).map_err(|e| bad(file, e))?;
    let items: Result<Vec<T>, pem::Error> = T::pem_slice_iter(&text).collect();
    match items {
        Ok(items) if items.is_empty() => {
            Err(bad(file, format_args!("there is no {name} in it, as PEM")))
        }
        Ok(items) => Ok(items),
        Err(error) => Err(bad(file, format_args!("it is no sound PEM: {error}"))),
    }
}

/// A certificate with the key that belongs to it, and those that lead to its CA. `suits` says what is
/// wrong with the certificate itself.
pub(super) fn certified_key(
    certificate: &Path,
    key: &Path,
    suits: impl FnOnce(&X509Certificate<'_>) -> Result<(), String>,
) -> Result<CertifiedKey, Refusal> {
    let chain = certificates(certificate)?;
    let mut suits = Some(suits);
    for one in &chain {
        certificate::parse(one)
            .and_then(|parsed| suits.take().map_or(Ok(()), |suits| suits(&parsed)))
            .map_err(|what| bad(certificate, what))?;
    }
    let provider = super::provider();
    CertifiedKey::from_der(chain, private_key(key)?, &provider).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            let certificate = certificate.display();
            bad(
                key,
                format_args!("the key does not belong to the certificate in {certificate}"),
            )
        }
        // Nothing of the key is in any of them.
        error => bad(key, error),
    })
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, Refusal> {
    let text = read_small(file, Privacy::Secret).map_err(|e| bad(file, e))?;
    // Of other errors the text may quote the file.
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound if holds(&text, b"ENCRYPTED") => bad(
            file,
            "the key is encrypted: store it decrypted, in a file of mode 0600",
        ),
        pem::Error::NoItemsFound => bad(file, "there is no private key in it, as PEM"),
        _ => bad(file, "it is no sound PEM"),
    })
}

fn holds(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

/// The CAs in a file, and their certificates.
pub(super) fn authorities(
    file: &Path,
) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), Refusal> {
    let certificates = certificates(file)?;
    let mut roots = RootCertStore::empty();
    for one in &certificates {
        let parsed = certificate::parse(one).map_err(|what| bad(file, what))?;
        if !parsed.is_ca() {
            let subject = parsed.subject();
            return Err(bad(
                file,
                format_args!("the certificate of {subject} is not that of a CA"),
            ));
        }
        roots.add(one.clone()).map_err(|error| bad(file, error))?;
    }
    Ok((roots, certificates))
}
