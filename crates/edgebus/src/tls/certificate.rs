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

/// Whether a server can show it: clients refuse one that is a CA's, or that is only for something else,
/// and nobody would come in any more.
pub(super) fn of_a_server(certificate: &X509Certificate<'_>) -> Result<(), String> {
    let subject = certificate.subject();
    if certificate.is_ca() {
        return Err(format!(
            "the certificate of {subject} is that of a CA, which no client takes from a server: put one first that the CA issued for this server"
        ));
    }
    let usage = certificate.extended_key_usage();
    let usage = usage.map_err(|error| {
        format!("what the certificate of {subject} is for cannot be read: {error}")
    })?;
    let refused = usage.filter(|usage| !usage.value.server_auth);
    match refused.map(|usage| usage.value.client_auth) {
        None => Ok(()),
        Some(for_clients) => {
            let only = if for_clients {
                "for clients only"
            } else {
                "not for servers"
            };
            Err(format!(
                "the certificate of {subject} is {only}: take one whose extended key usage has serverAuth"
            ))
        }
    }
}

/// Something that is good for a time, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    file: PathBuf,
    what: String,
    /// `None`: whoever looks at it does not mind.
    begin: Option<ASN1Time>,
    end: ASN1Time,
    /// What comes of it when the time is not now.
    outside: &'static str,
}

impl Ending {
    /// One of the server's, which clients look at.
    pub(super) fn of_server(file: &Path, certificate: &X509Certificate<'_>) -> Self {
        Self {
            begin: Some(certificate.validity().not_before),
            outside: ": EVERY CLIENT REFUSES IT",
            ..Self::of_ca(file, certificate)
        }
    }

    /// A CA of clients.
    pub(super) fn of_ca(file: &Path, certificate: &X509Certificate<'_>) -> Self {
        Self {
            file: file.to_owned(),
            what: format!("the certificate of {}", certificate.subject()),
            begin: None,
            end: certificate.validity().not_after,
            outside: "",
        }
    }

    /// A list may have none.
    pub(super) fn of_crl(file: &Path, crl: &CertificateRevocationList<'_>) -> Option<Self> {
        Some(Self {
            file: file.to_owned(),
            what: format!("the revocation list of {}", crl.issuer()),
            begin: None,
            outside: "",
            end: crl.next_update()?,
        })
    }

    /// What to say about it at a time; nothing while that is well within.
    pub(super) fn warning(&self, now: SystemTime) -> Option<String> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let (file, what, outside) = (self.file.display(), &self.what, self.outside);
        let begin = self.begin.map(|begin| begin.timestamp());
        if let Some(begin) = begin.filter(|begin| at(now) < *begin) {
            let (begin, now) = (date(begin), date(at(now)));
            return Some(format!(
                "{file}: {what} is not valid before {begin}, and here it is {now}{outside}: is the clock right?"
            ));
        }
        let end = self.end.timestamp();
        let (how, outside) = if end <= at(now) {
            ("has ended on", outside)
        } else if end <= at(now + WARN_BEFORE) {
            ("ends on", "")
        } else {
            return None;
        };
        let end = date(end);
        Some(format!("{file}: {what} {how} {end}{outside}: replace it"))
    }
}

/// A time in words, as of RFC 3339.
pub(super) fn date(unix_seconds: i64) -> String {
    let Ok(time) = ASN1Time::from_timestamp(unix_seconds) else {
        return format!("second {unix_seconds} since 1970");
    };
    let time = time.to_datetime();
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    let (hour, minute, second) = time.to_hms();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_is_warned_of_two_weeks_before_and_the_time_before_it_is_valid() {
        const DAY: u64 = 24 * 60 * 60;
        let ending = Ending {
            file: "server.pem".into(),
            what: "the certificate of CN=bus".to_owned(),
            begin: Some(ASN1Time::from_timestamp(10 * DAY as i64).expect("a time")),
            outside: ": EVERY CLIENT REFUSES IT",
            end: ASN1Time::from_timestamp(100 * DAY as i64).expect("a time"),
        };
        let at = |days: u64| ending.warning(UNIX_EPOCH + Duration::from_secs(days * DAY));
        let early = at(9).expect("before it");
        assert!(early.contains("before 1970-01-11T00:00:00Z, and here it is 1970-01-10"));
        assert_eq!(at(10), None);
        assert_eq!(at(85), None);
        let warning = at(86).expect("two weeks before");
        assert!(warning.starts_with("server.pem: the certificate of CN=bus ends on 1970-04-11"));
        assert!(!warning.contains("EVERY CLIENT"));
        let ended = at(100).expect("at its end");
        assert!(ended.contains("has ended on 1970-04-11T00:00:00Z: EVERY CLIENT"));
    }
}
