//! What certificates and revocation lists say, read from PEM files.
//!
//! They may come from anywhere, so nothing in them is taken for true but their form: whoever needs
//! to know who signed one asks [`super::authority`].

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use edgebus::files::{Privacy, read_small};
use edgebus::{Code, Refusal};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use crate::error::CliError;

/// The label of a certificate in PEM.
const CERTIFICATE: &str = "CERTIFICATE";
/// The label of a revocation list in PEM.
const CRL: &str = "X509 CRL";

/// A certificate's content.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    pub(super) der: Vec<u8>,
    pub(super) subject: String,
    pub(super) issuer: String,
    /// As it is encoded.
    pub(super) serial: Vec<u8>,
    pub(super) uris: Vec<String>,
    pub(super) dns: Vec<String>,
    pub(super) addresses: Vec<IpAddr>,
    /// In seconds since 1970.
    pub(super) not_before: i64,
    /// In seconds since 1970.
    pub(super) not_after: i64,
    pub(super) is_ca: bool,
    pub(super) is_client: bool,
    pub(super) is_server: bool,
}

impl Certificate {
    fn read(der: Vec<u8>) -> Result<Self, String> {
        let (rest, x509) = X509Certificate::from_der(&der).map_err(|e| e.to_string())?;
        if !rest.is_empty() {
            return Err("something follows it".to_owned());
        }
        let (mut uris, mut dns, mut addresses) = (Vec::new(), Vec::new(), Vec::new());
        let alternative = x509.subject_alternative_name().map_err(|e| e.to_string())?;
        for name in alternative.iter().flat_map(|e| &e.value.general_names) {
            match name {
                GeneralName::URI(uri) => uris.push((*uri).to_owned()),
                GeneralName::DNSName(name) => dns.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
                _ => {}
            }
        }
        let usage = x509.extended_key_usage().map_err(|e| e.to_string())?;
        // Without the extension it is for everything.
        let any = usage.as_ref().is_none_or(|usage| usage.value.any);
        let is_ca = x509.is_ca();
        Ok(Self {
            subject: x509.subject().to_string(),
            issuer: x509.issuer().to_string(),
            serial: x509.raw_serial().to_vec(),
            uris,
            dns,
            addresses,
            not_before: x509.validity().not_before.timestamp(),
            not_after: x509.validity().not_after.timestamp(),
            is_ca,
            is_client: !is_ca && (any || usage.as_ref().is_some_and(|u| u.value.client_auth)),
            is_server: !is_ca && (any || usage.as_ref().is_some_and(|u| u.value.server_auth)),
            der,
        })
    }

    /// Who a client with it is to a server: the only URI, or the first DNS name.
    pub(super) fn identity(&self) -> Option<String> {
        match self.uris.as_slice() {
            [uri] => Some(uri.clone()),
            [] => self.dns.first().map(|name| name.to_ascii_lowercase()),
            _ => None,
        }
    }

    /// The serial number for people.
    pub(super) fn serial_text(&self) -> String {
        hex(&self.serial)
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// A revocation list's content.
#[derive(Clone, Debug)]
pub(super) struct RevocationList {
    pub(super) der: Vec<u8>,
    pub(super) issuer: String,
    /// As it is encoded; empty when it has none.
    pub(super) number: Vec<u8>,
    /// In seconds since 1970.
    pub(super) this_update: i64,
    /// In seconds since 1970.
    pub(super) next_update: Option<i64>,
    pub(super) revoked: Vec<Revoked>,
}

/// A certificate that is not to be taken any more.
#[derive(Clone, Debug)]
pub(super) struct Revoked {
    /// As it is encoded.
    pub(super) serial: Vec<u8>,
    /// In seconds since 1970.
    pub(super) since: i64,
}

impl RevocationList {
    fn read(der: Vec<u8>) -> Result<Self, String> {
        let (rest, crl) = CertificateRevocationList::from_der(&der).map_err(|e| e.to_string())?;
        if !rest.is_empty() {
            return Err("something follows it".to_owned());
        }
        let revoked = crl.iter_revoked_certificates().map(|revoked| Revoked {
            serial: revoked.raw_serial().to_vec(),
            since: revoked.revocation_date.timestamp(),
        });
        let number = crl.crl_number().map(|number| number.to_bytes_be());
        Ok(Self {
            issuer: crl.issuer().to_string(),
            number: number.unwrap_or_default(),
            this_update: crl.last_update().timestamp(),
            next_update: crl.next_update().map(|time| time.timestamp()),
            revoked: revoked.collect(),
            der,
        })
    }
}

/// Something in a PEM file.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Certificate(Certificate),
    RevocationList(RevocationList),
}

/// Certificates and revocation lists of a PEM file, in their order; keys are passed over.
///
/// # Errors
/// It cannot be read, or something in it is not what it says it is.
pub(super) fn items(path: &Path) -> Result<Vec<Item>, CliError> {
    let bytes = read_small(path, Privacy::Public).map_err(|e| CliError::io("read", path, e))?;
    let bad = |what: String| {
        let message = format!("{}: {what}", path.display());
        CliError::from(Refusal::new(Code::BadConfig, message))
    };
    let mut items = Vec::new();
    for pem in Pem::iter_from_buffer(&bytes) {
        let pem = pem.map_err(|e| bad(format!("it is no PEM file: {e}")))?;
        let item = match pem.label.as_str() {
            CERTIFICATE => Certificate::read(pem.contents).map(Item::Certificate),
            CRL => RevocationList::read(pem.contents).map(Item::RevocationList),
            _ => continue,
        };
        let number = items.len() + 1;
        items.push(item.map_err(|e| bad(format!("part {number} cannot be read: {e}")))?);
    }
    Ok(items)
}

/// The first certificate of a PEM file.
///
/// # Errors
/// As [`items`], and when there is none.
pub(super) fn certificate(path: &Path) -> Result<Certificate, CliError> {
    let first = items(path)?.into_iter().find_map(|item| match item {
        Item::Certificate(certificate) => Some(certificate),
        Item::RevocationList(_) => None,
    });
    first.ok_or_else(|| {
        let message = format!("{} holds no certificate in PEM", path.display());
        Refusal::new(Code::BadConfig, message).into()
    })
}

/// Bytes as `3f:a0:09`.
pub(super) fn hex(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(":")
}

/// A time in seconds since 1970 for people and as JSON. Times before that are not of interest.
pub(super) fn time_text(seconds: i64) -> String {
    // The last second of the year 9999, after which there is no RFC 3339.
    const LAST: u64 = 253_402_300_799;
    let seconds = u64::try_from(seconds).unwrap_or(0).min(LAST);
    let time = UNIX_EPOCH + Duration::from_secs(seconds);
    humantime::format_rfc3339_seconds(time).to_string()
}
