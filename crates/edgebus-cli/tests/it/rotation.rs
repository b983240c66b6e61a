//! Files that change while the server runs: nobody who may come in notices, and a bad file changes
//! nothing.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::background::Background;
use crate::shop::{Guarded, Shop, with};
use crate::support::{Run, run, text};

const SEND: [&str; 3] = ["send", "orders.created", "x"];

/// Puts the certificate and the key of the CA's folder that are called `from` into one file, at once.
fn put(shop: &Shop, from: &str, to: &str) {
    let parts = ["pem", "key"].map(|end| fs::read(shop.cert(&format!("{from}.{end}"))));
    let parts = parts.map(|part| part.expect("read"));
    let aside = shop.path("aside");
    fs::write(&aside, parts.concat()).expect("written");
    fs::set_permissions(&aside, fs::Permissions::from_mode(0o600)).expect("set");
    fs::rename(aside, shop.path(to)).expect("renamed");
}

/// Puts a certificate and its key in the place of others, one after the other.
fn replace(shop: &Shop, from: &str, to: &str) {
    for end in ["key", "pem"] {
        let [from, to] = [from, to].map(|name| shop.cert(&format!("{name}.{end}")));
        fs::rename(from, to).expect("renamed");
    }
}

/// The serial number of the certificate that the server shows.
fn serial(shop: &Shop, server: &Guarded) -> String {
    let shown = shop.s_client(server, None).stdout;
    let from = shown.find("-----BEGIN").expect("a certificate");
    let file = shop.file("shown.pem", &shown[from..]);
    let shown = run(&["cert", "show", &file, "--json"]).expect(0).json();
    shown[0]["serial"].as_str().expect("text").to_owned()
}

#[test]
fn no_request_fails_while_certificates_of_server_and_clients_are_replaced() {
    const ROUNDS: usize = 5;
    let shop = Shop::new(&["till-1", "till-2"]);
    let certs = shop.path("certs");
    let server = shop.open();
    // One keeps its connection, the others come anew each time; the certificate of one changes.
    let mut stays = ["send", "orders.created", "--file", "-", "--json"].to_vec();
    stays.extend(["--window", "1"]);
    let mut stays = shop.client(&server, "till-1", &stays);
    let mut stays = Background::start(stays.stdin(Stdio::piped()));
    let mut lines = stays.child.stdin.take().expect("is piped");
    put(&shop, "till-2", "own.pem");
    let own = text(&shop.path("own.pem")).to_owned();
    let (over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for turning in [false, true] {
            let (shop, server, over, sent, own) = (&shop, &server, &over, &sent, &own);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let mut send = match turning {
                        false => shop.client(server, "till-1", &SEND),
                        true => shop.stranger(server, &SEND),
                    };
                    if turning {
                        send.args(["--cert", own, "--key", own]);
                    }
                    Run::of(send.output().expect("the binary runs")).expect(0);
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut before = serial(&shop, &server);
        for round in 0..ROUNDS {
            let file = format!("server-{round}");
            let hosts = ["--host", "127.0.0.1"];
            let args = ["cert", "issue", text(&certs), "--name", &file];
            run(&[&args[..], &hosts].concat()).expect(0);
            replace(&shop, &file, "server");
            server.reload();
            server.log.wait_for("reloaded the certificates", round + 1);
            let after = serial(&shop, &server);
            let in_use = format!("name 127.0.0.1, serial {after}, ends on 2");
            server.log.wait_for(&in_use, 1);
            assert_ne!(before, after);
            before = after;
            let file = format!("till-2-{round}");
            let args = [
                "cert",
                "issue",
                text(&certs),
                "--name",
                "till-2",
                "--file",
                &file,
            ];
            run(&args).expect(0);
            put(&shop, &file, "own.pem");
            writeln!(lines, "{{\"round\":{round}}}").expect("it reads");
            stays.line("request_id");
        }
        over.store(true, Ordering::Relaxed);
    });
    drop(lines);
    assert_eq!(stays.finish().status, 0);
    assert!(sent.into_inner() >= ROUNDS);
    let log = server.stop();
    assert_eq!(with(&log, "not reloaded"), [""; 0], "{log:?}");
}

#[test]
fn a_bad_file_is_named_and_the_old_one_stays() {
    let shop = Shop::new(&["till-1"]);
    shop.allow("[[allow]]\nidentity = \"till-1\"\nverbs = \"all\"\ntopics = \">\"\n");
    let server = shop.open();
    let files = [
        "certs/server.pem",
        "certs/server.key",
        "certs/ca.pem",
        "certs/crl.pem",
        "rights.toml",
    ];
    for name in files {
        let path = shop.path(name);
        let good = fs::read(&path).expect("read");
        fs::write(&path, "nonsense").expect("written");
        server.reload();
        // Changes may be noticed before that, too.
        let old_stays = format!("not reloaded, the old ones stay: {}", text(&path));
        server.log.wait_for(&old_stays, 1);
        shop.run(&server, "till-1", &SEND).expect(0);
        fs::write(&path, good).expect("written");
    }
    let reloaded = |lines: &[String]| with(lines, "reloaded the certificates").len();
    let before = reloaded(&server.log.lines());
    server.reload();
    server.log.wait_for("reloaded the certificates", before + 1);
    shop.run(&server, "till-1", &SEND).expect(0);
    server.stop();
}

#[test]
fn a_certificate_that_is_revoked_is_cut_and_others_are_not() {
    let shop = Shop::new(&["till-1", "till-2"]);
    let server = shop.open();
    let mut subscribers = ["till-1", "till-2"].map(|name| {
        let mut sub = Background::start(&mut shop.client(&server, name, &["sub", "notices.>"]));
        sub.hear("edgebus: listening to ");
        sub
    });
    run(&["cert", "revoke", text(&shop.path("certs")), "till-1"]).expect(0);
    server.reload();
    server.log.wait_for("revoked", 1);
    let [one, other] = &mut subscribers;
    one.hear("revoked");
    let publish = ["publish", "notices.open", "hello"];
    Run::of(
        shop.client(&server, "till-2", &publish)
            .output()
            .expect("the binary runs"),
    )
    .expect(0);
    other.line("hello");
    assert_eq!(shop.run(&server, "till-1", &SEND).status, 3);
    let claims = r#"was revoked; the certificate claims, unverified: name "till-1", serial "#;
    server.log.wait_for(claims, 1);
    server.stop();
}
