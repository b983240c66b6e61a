//! Who may come in, and what they may do there: with certificates over TLS, as an operator sets it
//! up and as `openssl` sees it.

use std::collections::BTreeSet;

use crate::shop::{Guarded, Shop, with};
use crate::support::{Run, receipts, run, text};

/// What a shop allows.
const RIGHTS: &str = r#"
[[allow]]
identity = "till-*"
verbs = ["send", "request"]
topics = ["orders.>", "prices.*"]

[[allow]]
identity = "books"
verbs = ["consume", "replay"]
topics = "orders.>"

[[allow]]
identity = "client"
verbs = "all"
topics = ">"
"#;

fn tills() -> Vec<String> {
    (1..=10).map(|number| format!("till-{number}")).collect()
}

/// What a client whom the server does not know says, and what the server says of it.
fn expect_unknown(refused: &Run, reason: &str) {
    assert_eq!(refused.status, 3, "{refused:?}");
    let error = refused.last_error();
    assert_eq!(error["error"]["code"], "unauthenticated", "{refused:?}");
    let message = error["error"]["message"].as_str().expect("text");
    assert!(message.contains(reason), "{reason}: {message}");
    assert_eq!(refused.stdout, "");
}

#[test]
fn ten_tills_send_at_once_and_each_is_known_by_its_certificate() {
    let tills = tills();
    let names: Vec<&str> = tills.iter().map(String::as_str).collect();
    let shop = Shop::new(&names);
    shop.allow(RIGHTS);
    let server = shop.open();
    let sending: Vec<_> = names
        .iter()
        .map(|till| {
            let payload = format!(r#"{{"from":"{till}"}}"#);
            let mut send = shop.client(
                &server,
                till,
                &["send", "orders.created", &payload, "--json"],
            );
            send.stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped())
                .spawn()
                .expect("the binary runs")
        })
        .collect();
    let mut seqs = BTreeSet::new();
    for child in sending {
        let sent = Run::of(child.wait_with_output().expect("it ends")).expect(0);
        seqs.extend(receipts(&sent.json()).into_values().map(|(seq, _)| seq));
    }
    assert_eq!(seqs, (1..=10).collect());
    let rows = shop.run(&server, "client", &["replay", "--from", "1", "--json"]);
    for row in rows.expect(0).json() {
        let payload = row["payload"].as_str().expect("text");
        assert!(payload.contains("till-"), "{row}");
    }
    {
        let seen = shop.s_client(&server, Some("till-10"));
        assert!(
            seen.stdout.contains("Verify return code: 0 (ok)"),
            "{seen:?}"
        );
        assert!(seen.stdout.contains("TLSv1.3"), "{seen:?}");
        assert!(!seen.stderr.contains("alert"), "{seen:?}");
    }
    let log = server.stop();
    assert_eq!(with(&log, "WARN"), [""; 0], "{log:?}");
}

/// A shop with a till, and everything that goes wrong with certificates.
fn shop_with_strangers() -> (Shop, Guarded) {
    let shop = Shop::new(&["till-1", "till-2"]);
    let certs = shop.path("certs");
    let over = [
        "cert",
        "issue",
        text(&certs),
        "--name",
        "till-3",
        "--not-before",
        "2020-01-01T00:00:00Z",
        "--not-after",
        "2020-02-01T00:00:00Z",
    ];
    run(&over).expect(0);
    run(&["cert", "revoke", text(&certs), "till-2"]).expect(0);
    let other = shop.path("other");
    run(&["cert", "dev", text(&other), "--client", "till-4"]).expect(0);
    for end in ["pem", "key"] {
        let name = format!("till-4.{end}");
        std::fs::copy(other.join(&name), certs.join(&name)).expect("copied");
    }
    shop.allow(RIGHTS);
    let server = shop.open();
    (shop, server)
}

#[test]
fn one_whose_certificate_is_not_taken_is_told_why_and_so_is_the_log() {
    const HELLO: [&str; 4] = ["send", "orders.created", "x", "--json"];
    let (shop, server) = shop_with_strangers();
    let without = shop
        .stranger(&server, &HELLO)
        .output()
        .expect("the binary runs");
    expect_unknown(&Run::of(without), "the server wants a certificate");
    for (name, reason, alert) in [
        ("till-3", "expired", "certificate expired"),
        ("till-4", "another CA", "unknown ca"),
        ("till-2", "revoked", "certificate revoked"),
    ] {
        expect_unknown(&shop.run(&server, name, &HELLO), reason);
        let seen = shop.s_client(&server, Some(name));
        assert!(seen.stderr.contains(alert), "{name}: {seen:?}");
    }
    let seen = shop.s_client(&server, None);
    assert!(seen.stderr.contains("certificate required"), "{seen:?}");
    let refused = shop.run(&server, "till-1", &["send", "stock.counted", "x", "--json"]);
    let error = refused.expect(1).last_error();
    assert_eq!(error["error"]["code"], "forbidden", "{error}");
    let message = error["error"]["message"].as_str().expect("text");
    assert!(
        message.contains("till-1 may not send on stock.counted"),
        "{message}"
    );
    // Nothing of it is stored, and who may come in does.
    let rows = shop.run(&server, "client", &["replay", "--from", "1", "--json"]);
    assert_eq!(rows.expect(0).stdout, "");
    shop.run(&server, "till-1", &HELLO).expect(0);
    let log = server.stop();
    for (reason, count) in [
        // Once for the client, and once for openssl.
        ("showed no certificate", 2),
        ("expired", 2),
        ("another CA", 2),
        ("revoked", 2),
        ("till-1 may not send on stock.counted", 1),
    ] {
        let lines = with(&log, reason);
        assert_eq!(lines.len(), count, "{reason}: {log:?}");
        let address = "127.0.0.1";
        assert!(lines.iter().all(|line| line.contains(address)), "{lines:?}");
    }
}

#[test]
fn who_is_refused_is_told_why_although_the_request_is_spooled() {
    let (shop, server) = shop_with_strangers();
    let spool = shop.path("spool");
    let args = ["send", "orders.created", "x", "--spool", text(&spool)];
    for (sent, reason) in [
        (shop.run(&server, "till-2", &args), "revoked"),
        (
            Run::of(shop.stranger(&server, &args).output().expect("it runs")),
            "wants a certificate",
        ),
    ] {
        let said = sent.expect(0).stderr;
        assert!(said.contains("does not let this client in"), "{said}");
        assert!(said.contains(reason), "{said}");
        assert!(!said.contains("there is no server"), "{said}");
    }
    server.stop();
}

#[test]
fn whether_the_server_answers_anybody_may_ask_and_nothing_is_counted() {
    let (shop, server) = shop_with_strangers();
    let health = shop.run(&server, "till-1", &["health"]).expect(0);
    assert_eq!(health.stdout, "answers\n");
    let typed = ["health", "--ca", &shop.cert("ca.pem")];
    let said = shop.local(&server, &typed).expect(0).stderr;
    assert!(said.contains("--ca does nothing at unix://"), "{said}");
    assert!(
        health
            .stderr
            .contains("whether the store is full only an admin may know"),
        "{health:?}"
    );
    let stats = shop.run(&server, "client", &["stats", "--json"]).expect(0);
    assert_eq!(stats.json()[0]["forbidden"], 0);
    let log = server.stop();
    assert_eq!(with(&log, "forbidden"), [""; 0], "{log:?}");
}

#[test]
fn a_client_takes_only_the_server_that_it_asked_for() {
    let (shop, server) = shop_with_strangers();
    let hello = ["health", "--json"];
    // Of another CA than the one it was given.
    let other = shop.path("other").join("ca.pem");
    let refused = crate::support::edgebus(&hello)
        .args(["--server", &server.url, "--ca", text(&other)])
        .args([
            "--cert",
            &shop.cert("till-1.pem"),
            "--key",
            &shop.cert("till-1.key"),
        ])
        .output();
    expect_unknown(&Run::of(refused.expect("the binary runs")), "another CA");
    // For another name than the one it asked for.
    let mut named = shop.client(&server, "till-1", &hello);
    named.args(["--server-name", "bus.other.lan"]);
    let refused = Run::of(named.output().expect("the binary runs"));
    expect_unknown(&refused, "bus.other.lan");
    // Without a CA there is nothing to trust.
    let refused = run(&["health", "--json", "--server", &server.url]);
    assert_ne!(refused.status, 0);
    assert!(refused.stderr.contains("--ca"), "{refused:?}");
}

#[test]
fn two_in_two_scopes_use_the_same_ids_and_neither_sees_nor_blocks_the_other() {
    const ID: &str = "01890000-0000-7000-8000-000000000001";
    let shop = Shop::new(&["north-1", "south-1", "worker"]);
    shop.allow(
        r#"
[[allow]]
identity = ["north-*", "south-*"]
verbs = ["send", "request"]
topics = ">"

[[allow]]
identity = ["worker", "client"]
verbs = "all"
topics = ">"

[[scope]]
name = "north"
identity = "north-*"

[[scope]]
name = "south"
identity = "south-*"
"#,
    );
    let server = shop.open();
    let args = ["reply", "work.*", "--exec", "cat"];
    let mut worker =
        crate::background::Background::start(&mut shop.client(&server, "worker", &args));
    worker.hear("edgebus: working on ");
    for (name, payload) in [("north-1", "from the north"), ("south-1", "from the south")] {
        for _ in 0..2 {
            let args = ["request", "work.done", payload, "--id", ID];
            assert_eq!(shop.run(&server, name, &args).expect(0).stdout, payload);
        }
        let again = shop.run(
            &server,
            name,
            &["send", "work.done", payload, "--id", ID, "--json"],
        );
        let receipt = &again.expect(0).json()[0];
        assert_eq!(receipt["duplicate"], true, "{receipt}");
        let conflict = shop.run(
            &server,
            name,
            &["send", "work.done", "other", "--id", ID, "--json"],
        );
        assert_eq!(
            conflict.expect(1).last_error()["error"]["code"],
            "id_conflict"
        );
    }
    // In one's own scope there is nothing of the others'.
    let own = shop.run(&server, "worker", &["log", "get", ID, "--json"]);
    assert_eq!(own.expect(1).last_error()["error"]["code"], "not_found");
    let rows = shop.run(&server, "client", &["replay", "--from", "1", "--json"]);
    assert_eq!(rows.expect(0).json().len(), 2);
    worker.stop();
}

#[test]
fn a_program_on_the_machine_of_the_server_is_known_by_its_user() {
    let shop = Shop::new(&[]);
    let uid = rustix::process::getuid().as_raw();
    for (user, status) in [(uid, 0), (uid + 1, 1)] {
        shop.allow(&format!(
            "[[allow]]\nidentity = \"unix:{user}\"\nverbs = \"send\"\ntopics = \"orders.>\"\n"
        ));
        let server = shop.open();
        let sent = shop.local(&server, &["send", "orders.created", "x"]);
        let sent = sent.expect(status);
        assert_eq!(
            status == 1,
            sent.stderr
                .contains(&format!("unix:{uid} may not send on orders.created")),
            "{sent:?}"
        );
        server.stop();
    }
}
