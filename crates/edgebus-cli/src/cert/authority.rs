//! The CA in a folder: what it is made of, and what it signs.
//!
//! Invariants: it signs only while its key belongs to its certificate. What it signs ends no later
//! than itself. The key is read only from a file that nobody else may read, and never printed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edgebus::files::{Privacy, read_small};
use edgebus::{Code, Refusal};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PublicKeyData, RevokedCertParams, SanType, SerialNumber,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::names::{Host, Name};
use super::read::{self, Certificate, Revoked, time_text};
use crate::error::CliError;

/// The CA's certificate, which everybody trusts.
pub(super) const CA_CERTIFICATE: &str = "ca.pem";
/// The CA's key, which nobody else may have.
pub(super) const CA_KEY: &str = "ca.key";
/// What the CA has taken back.
pub(super) const CA_CRL: &str = "crl.pem";

/// How long a CA is good for: 10 years.
const CA_DAYS: u32 = 3652;
/// Clocks differ: what is signed is good from this much earlier.
const BACKDATED: Duration = Duration::from_secs(3600);

/// From when until when a certificate is good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Validity {
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
}

impl Validity {
    /// So many days from now.
    pub(super) fn days(days: u32, now: SystemTime) -> Self {
        Self {
            not_before: now - BACKDATED,
            not_after: now + Duration::from_secs(u64::from(days) * 86_400),
        }
    }
}

/// Whose certificate it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject<'a> {
    Client(&'a Name),
    /// What it is called, and what it is reached by.
    Server(&'a str, &'a [Host]),
}

/// A certificate and its key, in PEM.
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// A certificate, its key, and who signs with it.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
    not_after: SystemTime,
}

impl Authority {
    /// Makes a new one, which is nowhere on the disk yet.
    pub(super) fn create(now: SystemTime) -> Result<(Self, Pair), CliError> {
        let key = KeyPair::generate().map_err(failed)?;
        let validity = Validity::days(CA_DAYS, now);
        // Two CAs must not have one name: who looks for the issuer of a certificate or of a
        // revocation list would find the wrong one.
        let serial = serial();
        let number: String = serial.iter().take(6).map(|b| format!("{b:02x}")).collect();
        let mut params = params(&format!("edgebus CA {number}"), validity, serial);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = false;
        let certificate = params.self_signed(&key).map_err(failed)?;
        let pair = Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        };
        let authority = Self {
            der: certificate.der().to_vec(),
            issuer: Issuer::new(params, key),
            not_after: validity.not_after,
        };
        Ok((authority, pair))
    }

    /// Reads the one in a folder.
    ///
    /// # Errors
    /// A file is missing or is not what it should be, or others may read the key.
    pub(super) fn open(dir: &Path) -> Result<Self, CliError> {
        let (path, key_path) = (dir.join(CA_CERTIFICATE), dir.join(CA_KEY));
        let bad = |path: &Path, what: &str| {
            let message = format!("{}: {what}", path.display());
            CliError::from(Refusal::new(Code::BadConfig, message))
        };
        if !path.exists() {
            let what = "there is no CA: name the folder that edgebus cert dev has made";
            return Err(bad(&path, what));
        }
        let Certificate {
            der,
            is_ca,
            not_after,
            ..
        } = read::certificate(&path)?;
        if !is_ca {
            return Err(bad(&path, "it is no CA's certificate"));
        }
        let key = read_small(&key_path, Privacy::Secret)
            .map_err(|e| CliError::io("read", &key_path, e))?;
        let key = String::from_utf8(key).ok();
        let key = key.and_then(|pem| KeyPair::from_pem(&pem).ok());
        let key = key.ok_or_else(|| bad(&key_path, "it is no private key in PEM (PKCS #8)"))?;
        let fits = X509Certificate::from_der(&der)
            .is_ok_and(|(_, x509)| x509.public_key().subject_public_key.data == key.der_bytes());
        if !fits {
            let what = format!("it is not the key of {}", path.display());
            return Err(bad(&key_path, &what));
        }
        let issuer = Issuer::from_ca_cert_der(&der.as_slice().into(), key);
        Ok(Self {
            issuer: issuer.map_err(|e| bad(&path, &e.to_string()))?,
            not_after: UNIX_EPOCH + Duration::from_secs(u64::try_from(not_after).unwrap_or(0)),
            der,
        })
    }

    /// Signs a certificate for a new key.
    ///
    /// # Errors
    /// It would be good for no time, or longer than the CA.
    pub(super) fn issue(&self, subject: Subject<'_>, validity: Validity) -> Result<Pair, CliError> {
        self.expect_within(validity)?;
        let (called, names, usage) = match subject {
            Subject::Client(name) => (
                name.as_str(),
                vec![client_name(name)?],
                ExtendedKeyUsagePurpose::ClientAuth,
            ),
            Subject::Server(called, hosts) => (
                called,
                hosts.iter().map(host_name).collect::<Result<_, _>>()?,
                ExtendedKeyUsagePurpose::ServerAuth,
            ),
        };
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = params(called, validity, serial());
        params.subject_alt_names = names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }

    fn expect_within(&self, validity: Validity) -> Result<(), CliError> {
        let Validity {
            not_before,
            not_after,
        } = validity;
        if not_before >= not_after {
            return Err(CliError::usage("it would end before it begins"));
        }
        if not_after > self.not_after {
            let message = format!(
                "it would be good until {}, and the CA only until {}: choose an earlier end, or \
                 make another CA",
                time_text(seconds(not_after)),
                time_text(seconds(self.not_after)),
            );
            return Err(Refusal::new(Code::BadConfig, message).into());
        }
        Ok(())
    }

    /// Signs a revocation list. It is good for as long as the CA: servers read it from a file, and
    /// nobody has to make a new one while nothing is revoked.
    pub(super) fn revocation_list(
        &self,
        number: &[u8],
        revoked: &[Revoked],
        now: SystemTime,
    ) -> Result<String, CliError> {
        let revoked = revoked.iter().map(|revoked| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&revoked.serial),
            revocation_time: from_seconds(revoked.since).into(),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: now.into(),
            next_update: self.not_after.into(),
            crl_number: SerialNumber::from_slice(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: self.key_identifier()?,
        };
        let list = params.signed_by(&self.issuer).map_err(failed)?;
        list.pem().map_err(failed)
    }

    /// The identifier in the CA's certificate, which others may have chosen.
    fn key_identifier(&self) -> Result<KeyIdMethod, CliError> {
        let (_, x509) = X509Certificate::from_der(&self.der).map_err(failed)?;
        let own = x509
            .iter_extensions()
            .find_map(|e| match e.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
                _ => None,
            });
        Ok(own.map_or(KeyIdMethod::Sha256, KeyIdMethod::PreSpecified))
    }

    /// Whether it has signed this certificate.
    pub(super) fn has_signed(&self, der: &[u8]) -> bool {
        let Ok((_, own)) = X509Certificate::from_der(&self.der) else {
            return false;
        };
        X509Certificate::from_der(der).is_ok_and(|(_, x509)| {
            x509.issuer().as_raw() == own.subject().as_raw()
                && x509.verify_signature(Some(own.public_key())).is_ok()
        })
    }

    /// Whether it has signed this revocation list.
    pub(super) fn has_signed_list(&self, der: &[u8]) -> bool {
        let Ok((_, own)) = X509Certificate::from_der(&self.der) else {
            return false;
        };
        CertificateRevocationList::from_der(der).is_ok_and(|(_, list)| {
            list.issuer().as_raw() == own.subject().as_raw()
                && list.verify_signature(own.public_key()).is_ok()
        })
    }

    /// Whether this is its own certificate.
    pub(super) fn is_own(&self, der: &[u8]) -> bool {
        self.der == der
    }
}

/// Waits until nobody else changes what the CA has taken back; given back when dropped.
pub(super) fn lock(dir: &Path) -> Result<File, CliError> {
    let path: PathBuf = dir.join(CA_KEY);
    let file = File::open(&path).map_err(|e| CliError::io("read", &path, e))?;
    file.lock().map_err(|e| CliError::io("lock", &path, e))?;
    Ok(file)
}

fn params(called: &str, validity: Validity, serial: [u8; 16]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // Nobody decides by it, and it has room for 64 letters.
    let end = called.len().min(64);
    params
        .distinguished_name
        .push(DnType::CommonName, called.get(..end).unwrap_or(called));
    params.not_before = validity.not_before.into();
    params.not_after = validity.not_after.into();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.use_authority_key_identifier_extension = true;
    params
}

/// A number that nobody can foresee, positive and of full length.
fn serial() -> [u8; 16] {
    let mut serial = uuid::Uuid::new_v4().into_bytes();
    serial[0] = (serial[0] & 0x3f) | 0x40;
    serial
}

fn client_name(name: &Name) -> Result<SanType, CliError> {
    match name {
        Name::Dns(name) => name.as_str().try_into().map(SanType::DnsName),
        Name::Uri(uri) => uri.as_str().try_into().map(SanType::URI),
    }
    .map_err(failed)
}

fn host_name(host: &Host) -> Result<SanType, CliError> {
    match host {
        Host::Dns(name) => Ok(SanType::DnsName(name.as_str().try_into().map_err(failed)?)),
        Host::Address(address) => Ok(SanType::IpAddress(*address)),
    }
}

fn failed(error: impl std::fmt::Display) -> CliError {
    let message = format!("the certificate or key cannot be made: {error}");
    Refusal::new(Code::BadConfig, message).into()
}

/// Since 1970; what was before counts as that.
pub(super) fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn from_seconds(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
