//! Why a TLS connection did not come to be, in words that say what to do.
//!
//! With TLS 1.3 a client hears what the server thinks of its certificate only when it first reads:
//! then the same words are found in the error of that read.

use std::io;

use edgebus_core::{Code, Refusal};
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

use super::certificate::date;

/// Names of a certificate that are told.
const NAMES_MAX: usize = 8;

/// What a client makes of an error of the handshake, or of its first read: [`Code::Unauthenticated`]
/// when one end refused the other's certificate, else [`Code::Disconnected`]. `None` when it has
/// nothing to do with TLS.
pub(crate) fn seen_by_client(error: &io::Error) -> Option<Refusal> {
    let untrusted = |what: String| Refusal::new(Code::Unauthenticated, what);
    let broken = |what: &str| Refusal::new(Code::Disconnected, what);
    Some(match tls(error)? {
        Error::InvalidCertificate(error) => untrusted(format!(
            "the server's certificate {}",
            of(error, "a server")
        )),
        Error::AlertReceived(AlertDescription::CertificateRequired) => untrusted(
            "the server wants a certificate of this client: give one (--cert and --key)".to_owned(),
        ),
        Error::AlertReceived(alert) => match of_alert(*alert) {
            Some(why) => untrusted(format!(
                "the server refused this client's certificate: it {why}"
            )),
            None if *alert == AlertDescription::ProtocolVersion => {
                broken("the server does not speak TLS 1.3")
            }
            None => broken(&format!(
                "the server ended the TLS handshake: {}",
                plain(alert)
            )),
        },
        Error::InvalidMessage(_) => broken("the server does not speak TLS: is it one for tcp://?"),
        Error::PeerIncompatible(why) => broken(&format!(
            "client and server share no way to speak TLS 1.3: {}",
            plain(why)
        )),
        other => broken(&format!("TLS failed: {other}")),
    })
}

/// What a server makes of a handshake that failed; codes as for a client.
pub(crate) fn seen_by_server(error: &io::Error) -> Refusal {
    let untrusted = |what: String| Refusal::new(Code::Unauthenticated, what);
    let broken = |what: String| Refusal::new(Code::Disconnected, what);
    let error = match tls(error) {
        Some(error) => error,
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            return broken("it hung up during the TLS handshake".to_owned());
        }
        None => return broken(format!("the TLS handshake failed: {error}")),
    };
    match error {
        Error::NoCertificatesPresented => untrusted("it showed no certificate".to_owned()),
        Error::InvalidCertificate(error) => {
            untrusted(format!("its certificate {}", of(error, "a client")))
        }
        Error::InvalidCertRevocationList(error) => untrusted(format!(
            "its certificate cannot be looked up in the revocation list of its CA: {error:?}"
        )),
        Error::AlertReceived(alert) => match of_alert(*alert) {
            // What both rustls and OpenSSL say of a name.
            Some(_) if *alert == AlertDescription::BadCertificate => untrusted(
                "it refused this server's certificate, most likely because it is not for the name that the client connects to"
                    .to_owned(),
            ),
            Some(why) => untrusted(format!("it refused this server's certificate, which {why}")),
            None => broken(format!("it ended the TLS handshake: {}", plain(alert))),
        },
        Error::InvalidMessage(_) => broken(
            "what came is not TLS, and this port speaks edgebus over TLS: connect by tls://"
                .to_owned(),
        ),
        Error::PeerIncompatible(
            PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => broken(
            "it speaks no newer TLS than 1.2, which this server takes only with tls.min_version = \"1.2\""
                .to_owned(),
        ),
        Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered) => {
            broken("it speaks only versions of TLS before 1.2, which are not safe".to_owned())
        }
        Error::PeerIncompatible(why) => broken(format!(
            "it shares no way to speak TLS with this server: {}",
            plain(why)
        )),
        other => broken(format!("the TLS handshake failed: {other}")),
    }
}

/// What the name of a variant says, in words: `NoCipherSuitesInCommon`.
fn plain(variant: &impl std::fmt::Debug) -> String {
    let mut words = String::new();
    for char in format!("{variant:?}").chars() {
        if char.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(char.to_lowercase());
    }
    words
}

fn tls(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// What is wrong with a certificate. `role` is whom it should be for.
pub(super) fn of(error: &CertificateError, role: &str) -> String {
    let seconds = |time: u64| date(i64::try_from(time).unwrap_or(i64::MAX));
    match error {
        CertificateError::Expired => "has expired".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("has expired, on {}", seconds(not_after.as_secs()))
        }
        CertificateError::NotValidYet => "is not valid yet: is the clock right?".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            let from = seconds(not_before.as_secs());
            format!("is not valid before {from}: is the clock right?")
        }
        CertificateError::Revoked => "was revoked".to_owned(),
        CertificateError::UnknownIssuer => "is of another CA".to_owned(),
        CertificateError::UnknownRevocationStatus => {
            "is of a CA that has no revocation list here".to_owned()
        }
        CertificateError::BadSignature => "has a signature that is not its CA's".to_owned(),
        CertificateError::NotValidForName => "is not for that name".to_owned(),
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let names = presented.iter().map(|name| bare(name));
            let names = match presented.len() {
                0 => "no name at all".to_owned(),
                many if many > NAMES_MAX => {
                    let names: Vec<_> = names.take(NAMES_MAX).collect();
                    format!("{} and {} more", names.join(", "), many - NAMES_MAX)
                }
                _ => names.collect::<Vec<_>>().join(", "),
            };
            let expected = expected.to_str();
            format!(
                "is not for {expected}, but for {names}: connect to such a name, or say which to expect (--server-name)"
            )
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            format!("is not meant for {role}")
        }
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            format!("is one of a CA, which {role} cannot have")
        }
        other => format!("cannot be used: {other}"),
    }
}

/// A name as rustls shows it, `DnsName("bus")` or `IpAddress(10.0.0.1)`, without what it puts around it.
fn bare(presented: &str) -> String {
    let inner = presented
        .split_once('(')
        .map_or(presented, |(_, rest)| rest);
    let inner = inner.strip_suffix(')').unwrap_or(inner);
    inner.trim_matches('"').escape_debug().to_string()
}

/// What the other end thinks of our certificate; `None` when it says nothing about that.
fn of_alert(alert: AlertDescription) -> Option<&'static str> {
    Some(match alert {
        AlertDescription::CertificateExpired => "has expired, or is not valid yet",
        AlertDescription::CertificateRevoked => "was revoked",
        AlertDescription::UnknownCA => {
            "is of another CA, or of one whose revocation list the other end does not have"
        }
        AlertDescription::UnsupportedCertificate => "is not meant for this end of a connection",
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied
        | AlertDescription::DecryptError => "cannot be used",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::{ServerName, UnixTime};

    use super::*;

    fn failed(error: Error) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    #[test]
    fn each_end_says_whose_certificate_was_refused_and_why() {
        let name = CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("bus.example").expect("a name"),
            presented: vec![
                "DnsName(\"a.example\")".into(),
                "IpAddress(10.0.0.1)".into(),
            ],
        };
        let expired = CertificateError::ExpiredContext {
            time: UnixTime::since_unix_epoch(std::time::Duration::from_secs(2)),
            not_after: UnixTime::since_unix_epoch(std::time::Duration::ZERO),
        };
        for (error, at_client) in [
            (
                Error::InvalidCertificate(name),
                "the server's certificate is not for bus.example, but for a.example, 10.0.0.1: ",
            ),
            (
                Error::InvalidCertificate(expired),
                "the server's certificate has expired, on 1970-01-01T00:00:00Z",
            ),
            (
                Error::InvalidCertificate(CertificateError::InvalidPurpose),
                "the server's certificate is not meant for a server",
            ),
            (
                Error::AlertReceived(AlertDescription::CertificateRevoked),
                "the server refused this client's certificate: it was revoked",
            ),
            (
                Error::AlertReceived(AlertDescription::CertificateRequired),
                "the server wants a certificate of this client",
            ),
        ] {
            let refusal = seen_by_client(&failed(error)).expect("TLS");
            assert_eq!(refusal.code, Code::Unauthenticated);
            assert!(refusal.message.starts_with(at_client), "{refusal}");
        }
        for (error, code, at_server) in [
            (
                Error::NoCertificatesPresented,
                Code::Unauthenticated,
                "it showed no certificate",
            ),
            (
                Error::InvalidCertificate(CertificateError::UnknownRevocationStatus),
                Code::Unauthenticated,
                "its certificate is of a CA that has no revocation list here",
            ),
            (
                Error::AlertReceived(AlertDescription::UnknownCA),
                Code::Unauthenticated,
                "it refused this server's certificate, which is of another CA",
            ),
            (
                Error::AlertReceived(AlertDescription::BadCertificate),
                Code::Unauthenticated,
                "it refused this server's certificate, most likely because it is not for the name",
            ),
            (
                Error::PeerIncompatible(PeerIncompatible::SupportedVersionsExtensionRequired),
                Code::Disconnected,
                "it speaks no newer TLS than 1.2, which this server takes only with tls.min_version",
            ),
            (
                Error::AlertReceived(AlertDescription::InternalError),
                Code::Disconnected,
                "it ended the TLS handshake: internal error",
            ),
        ] {
            let refusal = seen_by_server(&failed(error));
            assert_eq!(refusal.code, code);
            assert!(refusal.message.starts_with(at_server), "{refusal}");
        }
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert!(seen_by_client(&reset).is_none(), "that is no matter of TLS");
    }
}
