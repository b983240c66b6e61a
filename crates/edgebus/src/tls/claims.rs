//! What certificates say of themselves, for lines in the log, and those that clients were refused with.
//!
//! Invariants: a line is bounded and has no control characters, whatever somebody wrote into a
//! certificate. What was not verified is said to be claimed.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use rustls_pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use super::certificate::{date, parse};

/// Names that are told, and how much of each.
const NAMES_MAX: usize = 3;
const NAME_CHARS_MAX: usize = 128;
/// Bytes of a serial number; RFC 5280 allows no more, and one for the sign.
const SERIAL_BYTES_MAX: usize = 21;

tokio::task_local! {
    /// What the certificate that was refused in this handshake claims.
    static CLAIMED: RefCell<Option<String>>;
}

/// Shakes hands, and says what the certificate claims that was refused meanwhile, if one was.
pub(crate) async fn remembering<F: Future>(handshake: F) -> (F::Output, Option<String>) {
    let claims = async {
        let ended = handshake.await;
        (ended, CLAIMED.with(RefCell::take))
    };
    CLAIMED.scope(RefCell::new(None), claims).await
}

/// What a certificate that nobody vouches for claims.
pub(crate) fn claimed(der: &CertificateDer<'_>) -> String {
    match parse(der) {
        Ok(certificate) => format!(
            "the certificate claims, unverified: {}, serial {}",
            names(&certificate),
            serial(&certificate)
        ),
        Err(_) => "the certificate cannot be read".to_owned(),
    }
}

/// Which certificate it is, and how long it is good for.
pub(super) fn summary(der: &CertificateDer<'_>) -> String {
    let Ok(certificate) = parse(der) else {
        return "a certificate that cannot be read".to_owned();
    };
    let (names, serial) = (names(&certificate), serial(&certificate));
    let end = date(certificate.validity().not_after.timestamp());
    format!("{names}, serial {serial}, ends on {end}")
}

/// Its names, or else its subject.
fn names(certificate: &X509Certificate<'_>) -> String {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map_or(&[][..], |names| &names.value.general_names[..]);
    let mut names = names.iter().filter_map(|name| match name {
        GeneralName::URI(name) | GeneralName::DNSName(name) => Some(quoted(name)),
        GeneralName::IPAddress(bytes) => Some(address(bytes)),
        _ => None,
    });
    let told: Vec<_> = names.by_ref().take(NAMES_MAX).collect();
    match (told.len(), names.count()) {
        (0, _) => format!("subject {}", quoted(&certificate.subject().to_string())),
        (1, 0) => format!("name {}", told.join(", ")),
        (_, 0) => format!("names {}", told.join(", ")),
        (_, more) => format!("names {} and {more} more", told.join(", ")),
    }
}

/// As much of a text as is told, in quotes, without anything that a terminal would act on.
fn quoted(text: &str) -> String {
    let mut chars = text.chars();
    let told: String = chars.by_ref().take(NAME_CHARS_MAX).collect();
    let more = if chars.next().is_some() { "…" } else { "" };
    format!("\"{}{more}\"", told.escape_default())
}

fn address(bytes: &[u8]) -> String {
    let four = <[u8; 4]>::try_from(bytes).map(std::net::IpAddr::from);
    let address = four.or_else(|_| <[u8; 16]>::try_from(bytes).map(std::net::IpAddr::from));
    address.map_or_else(
        |_| "a broken address".to_owned(),
        |address| address.to_string(),
    )
}

fn serial(certificate: &X509Certificate<'_>) -> String {
    let serial = certificate.raw_serial();
    let told = serial.iter().take(SERIAL_BYTES_MAX);
    let told: Vec<_> = told.map(|byte| format!("{byte:02x}")).collect();
    let more = if serial.len() > SERIAL_BYTES_MAX {
        "…"
    } else {
        ""
    };
    format!("{}{more}", told.join(":"))
}

/// Looks at certificates as another does, and remembers what one claims that it refuses: whoever waits
/// for the handshake hears nothing of it otherwise.
pub(super) struct Remembering(pub(super) Arc<dyn ClientCertVerifier>);

fn remember<T>(der: &CertificateDer<'_>, result: Result<T, Error>) -> Result<T, Error> {
    if result.is_err() {
        // Outside of a handshake nobody asks.
        let _ = CLAIMED.try_with(|remembered| remembered.replace(Some(claimed(der))));
    }
    result
}

impl ClientCertVerifier for Remembering {
    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.0.verify_client_cert(end_entity, intermediates, now);
        remember(end_entity, verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        remember(cert, self.0.verify_tls12_signature(message, cert, signed))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        remember(cert, self.0.verify_tls13_signature(message, cert, signed))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.0.requires_raw_public_keys()
    }
}

impl fmt::Debug for Remembering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Remembering").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType, SerialNumber};

    use super::*;

    fn certificate(names: &[&str]) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from_slice(&[0x4a, 0, 0xff]));
        let san = |name: &&str| SanType::URI((*name).try_into().expect("ASCII"));
        params.subject_alt_names = names.iter().map(san).collect();
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("signed").der().clone()
    }

    #[test]
    fn line_about_a_certificate_is_bounded_and_shows_no_control_characters() {
        let line = claimed(&certificate(&["till\n\u{1b}[31m-7"]));
        let expected = r#"claims, unverified: name "till\n\u{1b}[31m-7", serial 4a:00:ff"#;
        assert!(line.ends_with(expected), "{line}");
        let long = "x".repeat(10_000);
        let line = claimed(&certificate(&[long.as_str(); 50]));
        assert!(line.len() < 600, "{line}");
        assert!(line.contains("…\" and 47 more"), "{line}");
        assert!(claimed(&certificate(&[])).contains("subject \"CN="));
        assert!(claimed(&vec![0x30; 9].into()).contains("cannot be read"));
    }

    #[tokio::test]
    async fn each_handshake_remembers_its_own_refusal_only() {
        let (one, two) = (certificate(&["till-1"]), certificate(&["till-2"]));
        let refuse = async |der: &CertificateDer<'_>| {
            tokio::task::yield_now().await;
            let _ = remember(der, Err::<(), _>(Error::DecryptError));
            tokio::task::yield_now().await;
        };
        let ((_, one), (_, two), (_, none)) = tokio::join!(
            remembering(refuse(&one)),
            remembering(refuse(&two)),
            remembering(tokio::task::yield_now()),
        );
        assert!(one.expect("refused").contains("till-1"));
        assert!(two.expect("refused").contains("till-2"));
        assert_eq!(none, None);
        remember(&certificate(&["x"]), Ok(())).expect("as it was");
    }
}
