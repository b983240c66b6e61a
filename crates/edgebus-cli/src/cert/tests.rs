//! What a CA signs, read back; other tools are asked in the tests of the binary.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use edgebus::Code;
use edgebus::files::Privacy;

use super::DAYS;
use super::authority::{
    Authority, CA_CERTIFICATE, CA_CRL, CA_KEY, Pair, Subject, Validity, seconds,
};
use super::dev::pair;
use super::files::{NewFile, write_new};
use super::names::Name;
use super::read::{self, Certificate, Item, Revoked};
use crate::error::CliError;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn name(text: &str) -> Name {
    text.parse().expect(text)
}

/// A CA in a folder.
fn authority(dir: &Path) -> Authority {
    let (authority, own) = Authority::create(now()).expect("made");
    let crl = authority.revocation_list(&[1], &[], now()).expect("signed");
    let files = [
        NewFile::new(CA_CERTIFICATE, own.certificate, Privacy::Public),
        NewFile::new(CA_KEY, own.key, Privacy::Secret),
        NewFile::new(CA_CRL, crl, Privacy::Public),
    ];
    write_new(dir, &files).expect("written");
    authority
}

fn read_back(dir: &Path, signed: Pair) -> Certificate {
    write_new(dir, &pair("read-back", signed)).expect("written");
    let certificate = read::certificate(&dir.join("read-back.pem")).expect("read");
    fs::remove_file(dir.join("read-back.pem")).expect("removed");
    fs::remove_file(dir.join("read-back.key")).expect("removed");
    certificate
}

fn client(authority: &Authority, called: &str) -> Result<Pair, CliError> {
    authority.issue(Subject::Client(&name(called)), Validity::days(DAYS, now()))
}

#[test]
fn a_client_is_named_by_its_only_alternative_name() {
    let folder = tempfile::tempdir().expect("folder");
    let authority = authority(folder.path());
    for (called, uris, dns) in [("till-7", 0, 1), ("spiffe://shop.example/till-7", 1, 0)] {
        let signed = client(&authority, called).expect("signed");
        let certificate = read_back(folder.path(), signed);
        assert_eq!(certificate.identity().as_deref(), Some(called));
        assert_eq!((certificate.uris.len(), certificate.dns.len()), (uris, dns));
        assert!(certificate.is_client && !certificate.is_server && !certificate.is_ca);
        assert!(authority.has_signed(&certificate.der));
        assert_eq!(certificate.not_before, seconds(now()) - 3600);
        assert_eq!(certificate.not_after, seconds(now()) + 397 * 86_400);
    }
}

#[test]
fn a_name_too_long_for_the_subject_is_whole_where_it_counts() {
    let folder = tempfile::tempdir().expect("folder");
    let authority = authority(folder.path());
    let long = format!("spiffe://shop.example/{}", "t".repeat(200));
    let certificate = read_back(folder.path(), client(&authority, &long).expect("signed"));
    assert_eq!(certificate.identity(), Some(long));
    assert_eq!(certificate.subject.len(), "CN=".len() + 64);
}

#[test]
fn a_server_is_for_its_hosts_alone_and_is_no_client() {
    let folder = tempfile::tempdir().expect("folder");
    let authority = authority(folder.path());
    let hosts = ["bus.shop.lan", "10.0.0.7", "::1"].map(|host| host.parse().expect(host));
    let subject = Subject::Server("server-2", &hosts);
    let signed = authority.issue(subject, Validity::days(1, now()));
    let certificate = read_back(folder.path(), signed.expect("signed"));
    assert!(certificate.is_server && !certificate.is_client);
    assert_eq!(certificate.dns, ["bus.shop.lan"]);
    assert_eq!(certificate.addresses.len(), 2);
}

#[test]
fn two_authorities_share_neither_name_nor_what_they_have_signed() {
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("folder"));
    let [one, other] = [&folders[0], &folders[1]].map(|folder| authority(folder.path()));
    let [ours, theirs] = [&one, &other].map(|authority| {
        read_back(
            folders[0].path(),
            client(authority, "till-7").expect("signed"),
        )
    });
    assert_ne!(ours.issuer, theirs.issuer);
    assert_ne!(ours.serial, theirs.serial);
    assert!(one.has_signed(&ours.der) && !one.has_signed(&theirs.der));
    let mut forged = ours.der.clone();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert!(!one.has_signed(&forged));
    assert!(!one.has_signed(b"nonsense"));
}

#[test]
fn nothing_is_signed_for_longer_than_the_ca_or_for_no_time() {
    let folder = tempfile::tempdir().expect("folder");
    let authority = authority(folder.path());
    let subject = || name("till-7");
    for (validity, code) in [
        (Validity::days(3653, now()), Some(Code::BadConfig)),
        (
            Validity {
                not_before: now(),
                not_after: now(),
            },
            None,
        ),
    ] {
        let refused = authority.issue(Subject::Client(&subject()), validity);
        let error = refused.err().expect("refused");
        assert!(code.is_none_or(|code| error.is(code)), "{error:?}");
    }
}

#[test]
fn an_authority_is_read_as_it_was_made() {
    let folder = tempfile::tempdir().expect("folder");
    let made = authority(folder.path());
    let read = Authority::open(folder.path()).expect("read");
    let certificate = read_back(folder.path(), client(&read, "till-7").expect("signed"));
    assert!(made.has_signed(&certificate.der));
    let own = read::certificate(&folder.path().join(CA_CERTIFICATE)).expect("read");
    assert!(own.is_ca && read.is_own(&own.der));
}

#[test]
fn an_authority_whose_files_cannot_be_trusted_signs_nothing() {
    let refused = |change: &dyn Fn(&Path), says: &str| {
        let folder = tempfile::tempdir().expect("folder");
        authority(folder.path());
        change(folder.path());
        let error = Authority::open(folder.path()).err().expect(says);
        let text = format!("{error:?}");
        assert!(text.contains(says), "{says}: {text}");
    };
    let other = tempfile::tempdir().expect("folder");
    authority(other.path());
    refused(
        &|dir| fs::remove_file(dir.join(CA_CERTIFICATE)).expect("removed"),
        "there is no CA",
    );
    refused(
        &|dir| fs::remove_file(dir.join(CA_KEY)).expect("removed"),
        "ca.key",
    );
    refused(
        &|dir| {
            let mode = fs::Permissions::from_mode(0o640);
            fs::set_permissions(dir.join(CA_KEY), mode).expect("set");
        },
        "chmod 600",
    );
    refused(
        &|dir| fs::write(dir.join(CA_KEY), "nonsense").expect("written"),
        "no private key",
    );
    refused(
        &|dir| fs::write(dir.join(CA_CERTIFICATE), "nonsense").expect("written"),
        "no certificate",
    );
    refused(
        &|dir| {
            fs::copy(other.path().join(CA_KEY), dir.join(CA_KEY)).expect("copied");
        },
        "not the key of",
    );
    refused(
        &|dir| {
            let authority = Authority::open(dir).expect("good");
            let signed = client(&authority, "till-7").expect("signed");
            fs::write(dir.join(CA_CERTIFICATE), signed.certificate).expect("written");
        },
        "no CA's certificate",
    );
}

#[test]
fn a_revocation_list_says_what_it_was_told_and_for_as_long_as_the_ca() {
    let folder = tempfile::tempdir().expect("folder");
    let authority = authority(folder.path());
    let revoked = [[0x80, 1], [0x7f, 2]].map(|serial: [u8; 2]| Revoked {
        serial: serial.to_vec(),
        since: seconds(now()),
    });
    let text = authority.revocation_list(&[1, 0], &revoked, now());
    let path = folder.path().join("other.pem");
    fs::write(&path, text.expect("signed")).expect("written");
    let items = read::items(&path).expect("read");
    let [Item::RevocationList(list)] = items.as_slice() else {
        panic!("{items:?}");
    };
    assert!(authority.has_signed_list(&list.der));
    assert_eq!(list.number, [1, 0]);
    assert_eq!(list.this_update, seconds(now()));
    let own = read::certificate(&folder.path().join(CA_CERTIFICATE)).expect("read");
    assert_eq!(list.next_update, Some(own.not_after));
    let serials: Vec<&[u8]> = list.revoked.iter().map(|r| r.serial.as_slice()).collect();
    // The first would be negative without a zero in front.
    assert_eq!(serials, [&[0, 0x80, 1][..], &[0x7f, 2]]);
}

#[test]
fn no_file_makes_reading_fail_otherwise_than_by_a_refusal() {
    let folder = tempfile::tempdir().expect("folder");
    let authority = authority(folder.path());
    let good = client(&authority, "till-7").expect("signed").certificate;
    let path = folder.path().join("any.pem");
    for end in 0..good.len() {
        fs::write(&path, &good.as_bytes()[..end]).expect("written");
        // Cut short it is nothing, or refused; its last line end may be missing.
        if let Ok(items) = read::items(&path) {
            assert!(
                items.is_empty() || end >= good.trim_end().len() - 30,
                "{end}"
            );
        }
    }
    for (from, to) in [
        ("MII", "MIJ"),
        ("A", "B"),
        ("-----END", "----END"),
        ("=", ""),
    ] {
        fs::write(&path, good.replace(from, to)).expect("written");
        let _ = read::items(&path);
    }
}
