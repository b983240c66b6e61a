//! A CA of a test, with everything it issued as files.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SanType, SerialNumber, date_time_ymd,
};

/// A CA.
pub(crate) struct Authority {
    folder: PathBuf,
    name: String,
    issuer: CertifiedIssuer<'static, KeyPair>,
    issued: u64,
    revoked: Vec<u64>,
    crls: u64,
}

/// What a certificate is to say.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) names: &'a [&'a str],
    pub(crate) usage: Usage,
    /// The years between which it is good.
    pub(crate) years: (i32, i32),
}

#[derive(Clone, Copy)]
pub(crate) enum Usage {
    Server,
    Client,
}

/// A certificate with its key.
#[derive(Clone)]
pub(crate) struct Issued {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) number: u64,
}

impl Wanted<'_> {
    pub(crate) fn client<'a>(names: &'a [&'a str]) -> Wanted<'a> {
        Wanted {
            names,
            usage: Usage::Client,
            years: (2020, 4000),
        }
    }

    pub(crate) fn server<'a>(names: &'a [&'a str]) -> Wanted<'a> {
        Wanted {
            usage: Usage::Server,
            ..Wanted::client(names)
        }
    }
}

impl Authority {
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self {
            folder: folder.to_owned(),
            name: name.to_owned(),
            issuer,
            issued: 0,
            revoked: Vec::new(),
            crls: 0,
        };
        write(&authority.ca(), &authority.issuer.pem(), 0o644);
        authority
    }

    /// The file of its own certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.join(format!("{}.ca.pem", self.name))
    }

    /// The file of its revocation list.
    pub(crate) fn crl(&self) -> PathBuf {
        self.folder.join(format!("{}.crl.pem", self.name))
    }

    /// Issues a certificate into files of that name, replacing what was in them.
    pub(crate) fn issue(&mut self, file: &str, wanted: Wanted<'_>) -> Issued {
        self.issued += 1;
        let mut params = CertificateParams::default();
        // Whoever looked at the subject would take everybody for the same.
        params.distinguished_name = rcgen::DistinguishedName::new();
        let subject = "somebody";
        params.distinguished_name.push(DnType::CommonName, subject);
        params.not_before = date_time_ymd(wanted.years.0, 1, 1);
        params.not_after = date_time_ymd(wanted.years.1, 1, 1);
        params.serial_number = Some(SerialNumber::from(self.issued));
        params.extended_key_usages = vec![match wanted.usage {
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        params.subject_alt_names = wanted.names.iter().map(|name| san(name)).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let issued = Issued {
            certificate: self.folder.join(format!("{file}.pem")),
            key: self.folder.join(format!("{file}.key")),
            number: self.issued,
        };
        write(&issued.certificate, &certificate.pem(), 0o644);
        write(&issued.key, &key.serialize_pem(), 0o600);
        issued
    }

    /// Puts a certificate into the revocation list, which is written anew.
    pub(crate) fn revoke(&mut self, issued: &Issued) {
        self.revoked.push(issued.number);
        self.write_crl();
    }

    pub(crate) fn write_crl(&mut self) {
        self.crls += 1;
        let revoked = self.revoked.iter().map(|number| RevokedCertParams {
            serial_number: SerialNumber::from(*number),
            revocation_time: date_time_ymd(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2021, 1, 1),
            next_update: date_time_ymd(4000, 1, 1),
            crl_number: SerialNumber::from(self.crls),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let crl = params.signed_by(&self.issuer).unwrap();
        write(&self.crl(), &crl.pem().unwrap(), 0o644);
    }
}

fn san(name: &str) -> SanType {
    if name.contains("://") {
        SanType::URI(name.try_into().unwrap())
    } else if let Ok(ip) = name.parse() {
        SanType::IpAddress(ip)
    } else {
        SanType::DnsName(name.try_into().unwrap())
    }
}

/// Puts a file in place as a whole, as those who rotate certificates do.
pub(crate) fn write(path: &Path, text: &str, mode: u32) {
    let aside = path.with_extension("aside");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    let mut file = options.open(&aside).unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    fs::rename(&aside, path).unwrap();
}
