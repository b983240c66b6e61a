//! What stands in a certificate or a revocation list: a name, an issuer, an end.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edgebus_core::{Code, Refusal};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::time::ASN1Time;

use crate::access::{Identity, Proof};

/// How long before its end something is warned about.
const WARN_BEFORE: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Reads a certificate.
pub(super) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    match X509Certificate::from_der(der) {
        Ok((_, certificate)) => Ok(certificate),
        Err(error) => Err(format!(
            "there is a certificate in it that cannot be read: {error}"
        )),
    }
}

/// Reads a revocation list.
pub(super) fn parse_crl<'a>(
    der: &'a CertificateRevocationListDer<'_>,
) -> Result<CertificateRevocationList<'a>, String> {
    match CertificateRevocationList::from_der(der) {
        Ok((_, crl)) => Ok(crl),
        Err(error) => Err(format!(
            "there is a revocation list in it that cannot be read: {error}"
        )),
    }
}

/// Who a certificate is for: its only URI, else its first DNS name, in lower case. Never its subject,
/// which CAs fill in as they like.
///
/// # Errors
/// [`Code::Unauthenticated`]: it names nobody, or several by URI.
pub(crate) fn identity(der: &CertificateDer<'_>) -> Result<Identity, Refusal> {
    let nobody = |what: &str| Refusal::new(Code::Unauthenticated, what);
    let certificate = parse(der).map_err(|_| nobody("the certificate cannot be read"))?;
    let names = certificate.subject_alternative_name();
    let names = names.map_err(|_| nobody("the names in the certificate cannot be read"))?;
    let names = names.map_or(&[][..], |names| &names.value.general_names[..]);
    let mut uris = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    match (uris.next(), uris.next()) {
        (Some(uri), None) => return Identity::named(uri, Proof::Certificate),
        (Some(_), Some(_)) => {
            return Err(nobody(
                "the certificate names several by URI: it may name one",
            ));
        }
        (None, _) => {}
    }
    let dns = names.iter().find_map(|name| match name {
        GeneralName::DNSName(dns) => Some(dns.to_ascii_lowercase()),
        _ => None,
    });
    let dns = dns.ok_or_else(|| {
        nobody("the certificate names nobody: it needs a URI or DNS name (subjectAltName)")
    })?;
    Identity::named(&dns, Proof::Certificate)
}

/// Something that ends, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    file: PathBuf,
    what: String,
    end: ASN1Time,
}

impl Ending {
    pub(super) fn of(file: &Path, certificate: &X509Certificate<'_>) -> Self {
        Self {
            file: file.to_owned(),
            what: format!("the certificate of {}", certificate.subject()),
            end: certificate.validity().not_after,
        }
    }

    /// A list may have none.
    pub(super) fn of_crl(file: &Path, crl: &CertificateRevocationList<'_>) -> Option<Self> {
        Some(Self {
            file: file.to_owned(),
            what: format!("the revocation list of {}", crl.issuer()),
            end: crl.next_update()?,
        })
    }

    /// What to say about it at a time; nothing while the end is far.
    pub(super) fn warning(&self, now: SystemTime) -> Option<String> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let end = self.end.timestamp();
        let how = if end <= at(now) {
            "has ended on"
        } else if end <= at(now + WARN_BEFORE) {
            "ends on"
        } else {
            return None;
        };
        let (file, what, end) = (self.file.display(), &self.what, date(end));
        Some(format!("{file}: {what} {how} {end}: replace it"))
    }
}

/// A time in words.
pub(super) fn date(unix_seconds: i64) -> String {
    let time = ASN1Time::from_timestamp(unix_seconds);
    time.map_or_else(|_| unix_seconds.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_is_warned_of_two_weeks_before() {
        const DAY: u64 = 24 * 60 * 60;
        let ending = Ending {
            file: "server.pem".into(),
            what: "the certificate of CN=bus".to_owned(),
            end: ASN1Time::from_timestamp(100 * DAY as i64).expect("a time"),
        };
        let at = |days: u64| ending.warning(UNIX_EPOCH + Duration::from_secs(days * DAY));
        assert_eq!(at(85), None);
        let warning = at(86).expect("two weeks before");
        assert!(warning.starts_with("server.pem: the certificate of CN=bus ends on Apr 11"));
        assert!(at(100).expect("at its end").contains("has ended on"));
    }
}
