//! Files that cannot be used: each is refused by name, before anything listens or connects.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use edgebus::{ClientConfig, Code, ServeError, Server, ServerConfig, ServerTls, TlsServerConfig};

use super::authority::{Wanted, write};
use super::fixture::{Shop, refusal};
use crate::bus::fixture::{TestBus, within};

fn refused(config: &TlsServerConfig) -> String {
    let refusal = ServerTls::load(config).expect_err("cannot be used");
    assert_eq!(refusal.code, Code::BadConfig);
    refusal.message
}

#[test]
fn server_refuses_files_by_name() {
    let mut shop = Shop::new();
    let mut other = shop.other_ca();
    let till = shop.ca.issue("till", Wanted::client(&["till"]));
    let good = shop.mutual();
    ServerTls::load(&good).expect("good");
    let junk = shop.folder.path().join("junk.pem");
    write(&junk, "-----BEGIN CERTIFICATE-----\n%%%\n", 0o600);
    let gone = shop.folder.path().join("gone.pem");
    // The CA's key is nowhere; it does not come to that.
    let ca = shop.ca.ca();
    type Spoil<'a> = (&'a str, &'a dyn Fn(&mut TlsServerConfig), String);
    let name = |path: &PathBuf| path.display().to_string();
    let spoils: [Spoil<'_>; 10] = [
        ("", &|c| c.certificate.clone_from(&gone), name(&gone)),
        ("PEM", &|c| c.certificate.clone_from(&junk), name(&junk)),
        (
            "no certificate",
            &|c| c.certificate.clone_from(&c.key),
            name(&good.key),
        ),
        (
            "no private key",
            &|c| c.key.clone_from(&till.certificate),
            "chmod 600".into(),
        ),
        (
            "does not belong",
            &|c| c.key.clone_from(&till.key),
            name(&till.key),
        ),
        (
            "for clients only: take one whose extended key usage has serverAuth",
            &|c| (c.certificate, c.key) = (till.certificate.clone(), till.key.clone()),
            name(&till.certificate),
        ),
        (
            "is that of a CA",
            &|c| c.certificate.clone_from(&ca),
            name(&ca),
        ),
        (
            "not that of a CA",
            &|c| c.client_ca = Some(till.certificate.clone()),
            name(&till.certificate),
        ),
        (
            "no revocation list in it",
            &|c| c.client_crl = vec![till.certificate.clone()],
            name(&till.certificate),
        ),
        ("set client_ca", &|c| c.client_ca = None, String::new()),
    ];
    for (what, spoil, file) in spoils {
        let mut config = good.clone();
        spoil(&mut config);
        let message = refused(&config);
        assert!(
            message.contains(what) || what == "no private key",
            "{message}"
        );
        assert!(message.contains(&file), "{message}");
    }
    // A list of another CA alone leaves clients of this one without.
    other.write_crl();
    let mut config = good.clone();
    config.client_crl = vec![other.crl()];
    assert!(refused(&config).contains("has no revocation list"));
    config.client_crl = vec![good.client_crl[0].clone(), other.crl()];
    ServerTls::load(&config).expect("one too many does no harm");
}

/// Its clock may be wrong, or those of the clients: the operator hears of it, and the server starts.
#[test]
fn server_certificate_out_of_its_time_is_warned_of_loudly() {
    let mut shop = Shop::new();
    let config = shop.mutual();
    assert!(warnings(&config).is_empty());
    for (years, what) in [
        ((2020, 2021), "ended on 2021-01-01T00:00:00Z"),
        ((3000, 3001), "is not valid before 3000-01-01T00:00:00Z"),
    ] {
        let names = ["127.0.0.1"];
        let wanted = Wanted {
            years,
            ..Wanted::server(&names)
        };
        shop.ca.issue("server", wanted);
        let warnings = warnings(&config);
        let [warning] = &warnings[..] else {
            panic!("{warnings:?}");
        };
        assert!(warning.contains("server.pem"), "{warning}");
        assert!(warning.contains(what), "{warning}");
        assert!(warning.contains("EVERY CLIENT REFUSES IT"), "{warning}");
    }
}

fn warnings(config: &TlsServerConfig) -> Vec<String> {
    let tls = ServerTls::load(config).expect("good");
    tls.warnings(std::time::SystemTime::now())
}

/// A CA that was made anew under its old name signs with another key.
#[test]
fn revocation_list_that_is_not_signed_by_its_ca_is_refused() {
    let shop = Shop::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let mut again = super::authority::Authority::new(elsewhere.path(), "shop");
    again.write_crl();
    let mut config = shop.mutual();
    config.client_crl = vec![again.crl()];
    let message = refused(&config);
    assert!(message.contains("not signed by that CA"), "{message}");
}

#[test]
fn key_that_others_may_read_is_refused_and_never_shown() {
    let shop = Shop::new();
    let config = shop.mutual();
    let tls = ServerTls::load(&config).expect("good");
    let key = fs::read_to_string(&config.key).unwrap();
    let secret = key.lines().nth(1).unwrap();
    assert!(!format!("{tls:?} {config:?}").contains(secret));
    fs::set_permissions(&config.key, fs::Permissions::from_mode(0o640)).unwrap();
    let message = refused(&config);
    assert!(message.contains("chmod 600"), "{message}");
    assert!(!message.contains(secret));
    // Nor is a key of which half is missing.
    write(&config.key, &key[..key.len() / 2], 0o600);
    let message = refused(&config);
    assert!(!message.contains(secret), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_without_usable_certificate_does_not_start() {
    let shop = Shop::new();
    let on = TestBus::start();
    let mut config = ServerConfig::default();
    config.listen = vec!["tls://127.0.0.1:0".parse().unwrap()];
    let bound = within(Server::bind(on.bus.clone(), config.clone())).await;
    let error = bound.expect_err("no certificate");
    assert!(matches!(error, ServeError::NoCertificate(_)), "{error}");
    fs::write(&shop.server.certificate, "").unwrap();
    config.tls = Some(shop.mutual());
    let bound = within(Server::bind(on.bus.clone(), config)).await;
    let error = bound.expect_err("an empty one");
    assert!(matches!(error, ServeError::Files(_)), "{error}");
    assert!(error.to_string().contains("server.pem"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_says_which_of_its_files_cannot_be_used() {
    let mut shop = Shop::new();
    let server = shop.start().await;
    let till = shop.ca.issue("till", Wanted::client(&["till"]));
    let other = shop.ca.issue("other", Wanted::client(&["other"]));
    let cases = [
        (ClientConfig::default(), "--ca"),
        (
            ClientConfig::default().ca("/nowhere/ca.pem"),
            "/nowhere/ca.pem",
        ),
        (
            shop.nobody().certificate(&till.certificate, &other.key),
            "does not belong",
        ),
        (shop.nobody().server_name("not a name"), "not a name"),
    ];
    for (config, what) in cases {
        let refused = refusal(&server.url, config).await;
        assert_eq!(refused.code, Code::BadConfig);
        assert!(refused.message.contains(what), "{refused}");
    }
    assert_eq!(server.handle.stats().connections_accepted, 0);
}
