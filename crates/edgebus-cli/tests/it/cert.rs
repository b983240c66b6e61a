//! `edgebus cert`: what it makes is what other tools take it for, and nothing is lost by it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::openssl::openssl;
use crate::support::{Place, Run, edgebus, run, text};

fn dev(place: &Place, more: &[&str]) -> Run {
    let dir = place.path("certs");
    run(&[&["cert", "dev", text(&dir)], more].concat())
}

fn file(place: &Place, name: &str) -> String {
    text(&place.path("certs").join(name)).to_owned()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a folder");
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("entry")
                .file_name()
                .into_string()
                .expect("text")
        })
        .collect();
    names.sort();
    names
}

/// Whether `openssl verify` takes a certificate for a purpose, asking the revocation list too.
fn verifies(place: &Place, name: &str, purpose: &str) -> Run {
    let (ca, crl, name) = (
        file(place, "ca.pem"),
        file(place, "crl.pem"),
        file(place, name),
    );
    openssl(&[
        "verify",
        "-x509_strict",
        "-purpose",
        purpose,
        "-crl_check",
        "-CAfile",
        &ca,
        "-CRLfile",
        &crl,
        &name,
    ])
}

#[test]
fn openssl_takes_what_was_made_for_what_it_is() {
    let place = Place::new();
    let more = [
        "--client",
        "till-1",
        "--client",
        "spiffe://shop.example/till-2",
        "--host",
        "bus.shop.lan",
        "--host",
        "192.168.1.20",
    ];
    dev(&place, &more).expect(0);
    for (name, purpose, other) in [
        ("server.pem", "sslserver", "sslclient"),
        ("client.pem", "sslclient", "sslserver"),
        ("till-1.pem", "sslclient", "sslserver"),
        ("spiffe_shop.example_till-2.pem", "sslclient", "sslserver"),
    ] {
        verifies(&place, name, purpose).expect(0);
        assert_ne!(verifies(&place, name, other).status, 0, "{name} as {other}");
    }
    let ca = openssl(&["x509", "-in", &file(&place, "ca.pem"), "-noout", "-text"]).expect(0);
    for part in [
        "CA:TRUE, pathlen:0",
        "Certificate Sign, CRL Sign",
        "prime256v1",
    ] {
        assert!(ca.stdout.contains(part), "{part}: {}", ca.stdout);
    }
    let server = openssl(&[
        "x509",
        "-in",
        &file(&place, "server.pem"),
        "-noout",
        "-text",
    ]);
    for part in [
        "DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1",
        "DNS:bus.shop.lan, IP Address:192.168.1.20",
        "CA:FALSE",
    ] {
        assert!(server.stdout.contains(part), "{part}: {}", server.stdout);
    }
    let till = file(&place, "spiffe_shop.example_till-2.pem");
    let till = openssl(&["x509", "-in", &till, "-noout", "-ext", "subjectAltName"]).expect(0);
    assert!(
        till.stdout
            .contains("    URI:spiffe://shop.example/till-2\n"),
        "{till:?}"
    );
    for key in ["ca.key", "server.key", "till-1.key"] {
        openssl(&["pkey", "-in", &file(&place, key), "-noout", "-check"]).expect(0);
        let mode = fs::metadata(file(&place, key)).expect(key).mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    for name in ["server", "till-1"] {
        let [own, of_key] = [
            openssl(&[
                "x509",
                "-in",
                &file(&place, &format!("{name}.pem")),
                "-noout",
                "-pubkey",
            ]),
            openssl(&[
                "pkey",
                "-in",
                &file(&place, &format!("{name}.key")),
                "-pubout",
            ]),
        ];
        assert_eq!(own.expect(0).stdout, of_key.expect(0).stdout);
    }
}

#[test]
fn what_to_configure_and_how_to_connect_is_printed_without_secrets() {
    let place = Place::new();
    let made = dev(&place, &["--client", "till-1"]).expect(0);
    for part in [
        "[tls]",
        "server.key\"",
        "client_crl",
        "tls://localhost:7412",
        "till-1",
    ] {
        assert!(made.stdout.contains(part), "{part}: {}", made.stdout);
    }
    assert!(!made.stdout.contains("PRIVATE KEY"));
    let issued = run(&[
        "cert",
        "issue",
        &file(&place, ""),
        "--name",
        "till-2",
        "--json",
    ])
    .expect(0);
    let object = &issued.json()[0];
    assert_eq!(object["name"], "till-2");
    assert!(Path::new(object["key"].as_str().expect("a path")).exists());
    let shown = run(&["cert", "show", &file(&place, "till-1.key"), "--json"]).expect(1);
    assert_eq!(shown.last_error()["error"]["code"], "bad_config");
}

#[test]
fn nothing_is_overwritten_and_a_refusal_leaves_nothing() {
    let place = Place::new();
    let dir = place.path("certs");
    fs::create_dir(&dir).expect("made");
    fs::write(dir.join("client.key"), "mine").expect("written");
    let refused = dev(&place, &["--json"]).expect(1);
    let error = refused.last_error();
    assert_eq!(error["error"]["code"], "bad_config");
    let message = error["error"]["message"].as_str().expect("text");
    assert!(message.contains("client.key"), "{message}");
    assert_eq!(names(&dir), ["client.key"]);
    fs::remove_file(dir.join("client.key")).expect("removed");
    let refused = dev(&place, &["--client", "server"]).expect(1);
    assert!(refused.stderr.contains("two of the files"), "{refused:?}");
    assert_eq!(names(&dir), [""; 0]);
    dev(&place, &[]).expect(0);
    let before = names(&dir);
    let contents = || {
        before
            .iter()
            .map(|name| fs::read(dir.join(name)).expect("read"))
    };
    let first: Vec<_> = contents().collect();
    dev(&place, &[]).expect(1);
    let dir_text = text(&dir);
    for args in [
        &["cert", "issue", dir_text, "--name", "client"][..],
        &["cert", "issue", dir_text, "--name", "ca"],
        &[
            "cert", "issue", dir_text, "--name", "till", "--file", "server",
        ],
        &[
            "cert", "issue", dir_text, "--name", "till", "--days", "3650", "--file", "crl",
        ],
        &[
            "cert",
            "issue",
            dir_text,
            "--name",
            "till",
            "--not-after",
            "2999-01-01T00:00:00Z",
        ],
        &["cert", "issue", &file(&place, "none"), "--name", "till"],
    ] {
        run(args).expect(1);
    }
    for args in [
        &["cert", "issue", dir_text][..],
        &["cert", "issue", dir_text, "--name", "Till"],
        &["cert", "issue", dir_text, "--name", "unix:0"],
        &["cert", "issue", dir_text, "--name", "a", "--days", "0"],
        &[
            "cert",
            "issue",
            dir_text,
            "--name",
            "a",
            "--days",
            "9",
            "--not-after",
            "-1h",
        ],
        &[
            "cert",
            "issue",
            dir_text,
            "--name",
            "a",
            "--not-after",
            "soon",
        ],
        &["cert", "issue", dir_text, "--name", "a", "--not-after", "7"],
        &["cert", "issue", dir_text, "--name", "a", "--file", "../a"],
        &[
            "cert", "issue", dir_text, "--name", "a", "--host", "tls://h",
        ],
        &[
            "cert",
            "issue",
            dir_text,
            "--name",
            "a",
            "--not-before",
            "-1h",
            "--not-after",
            "-2h",
        ],
        &["cert", "dev"],
        &["cert", "revoke"],
        &["cert", "show"],
    ] {
        run(args).expect(2);
    }
    assert_eq!(names(&dir), before);
    assert_eq!(contents().collect::<Vec<_>>(), first);
}

#[test]
fn a_folder_that_cannot_be_written_gets_none_of_the_files() {
    let place = Place::new();
    dev(&place, &[]).expect(0);
    let dir = place.path("certs");
    let before = names(&dir);
    // Whoever may do everything is stopped by a limit, and others by it too.
    let mut command = edgebus(&["cert", "issue", text(&dir), "--name", "till-1", "--json"]);
    let limited = Run::of(
        Command::new("sh")
            .arg("-c")
            .arg("trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"")
            .arg(command.get_program())
            .args(command.get_args())
            .output()
            .expect("sh runs"),
    )
    .expect(1);
    assert_eq!(limited.last_error()["error"]["code"], "io");
    assert_eq!(names(&dir), before);
    assert!(
        command
            .stdout(Stdio::null())
            .status()
            .expect("the binary runs")
            .success()
    );
    assert_eq!(names(&dir).len(), before.len() + 2);
}

#[test]
fn revoked_certificates_stay_revoked_and_others_good() {
    let place = Place::new();
    dev(&place, &["--client", "till-1", "--client", "till-2"]).expect(0);
    let dir = file(&place, "");
    run(&[
        "cert",
        "issue",
        &dir,
        "--name",
        "till-1",
        "--file",
        "till-1-new",
    ])
    .expect(0);
    let mode = fs::Permissions::from_mode(0o664);
    fs::set_permissions(file(&place, "crl.pem"), mode).expect("set");
    // By name: both, as a thief may have either.
    let revoked = run(&["cert", "revoke", &dir, "till-1", "--json"])
        .expect(0)
        .json();
    assert_eq!(revoked.len(), 2, "{revoked:?}");
    assert!(revoked.iter().all(|row| row["revoked"] == true));
    for name in ["till-1.pem", "till-1-new.pem"] {
        let verified = verifies(&place, name, "sslclient");
        assert!(
            verified.stderr.contains("certificate revoked"),
            "{verified:?}"
        );
    }
    verifies(&place, "till-2.pem", "sslclient").expect(0);
    // By file, with and without the folder; again changes nothing.
    let crl = || fs::read(file(&place, "crl.pem")).expect("read");
    run(&["cert", "revoke", &dir, "till-2.pem"]).expect(0);
    let after = crl();
    let again = run(&["cert", "revoke", &dir, &file(&place, "till-2.pem")]).expect(0);
    assert!(again.stdout.contains("already"), "{again:?}");
    assert_eq!(crl(), after);
    for name in ["till-1.pem", "till-1-new.pem", "till-2.pem"] {
        assert_ne!(verifies(&place, name, "sslclient").status, 0, "{name}");
    }
    verifies(&place, "client.pem", "sslclient").expect(0);
    let list = file(&place, "crl.pem");
    let list = openssl(&[
        "crl",
        "-in",
        &list,
        "-noout",
        "-text",
        "-CAfile",
        &file(&place, "ca.pem"),
    ]);
    let list = list.expect(0);
    assert!(list.stderr.contains("verify OK"), "{list:?}");
    assert_eq!(list.stdout.matches("Serial Number").count(), 3, "{list:?}");
    let number = list
        .stdout
        .split("X509v3 CRL Number: ")
        .nth(1)
        .expect("a number");
    assert_eq!(number.lines().nth(1).map(str::trim), Some("3"), "{list:?}");
    let mode = fs::metadata(file(&place, "crl.pem")).expect("there").mode();
    assert_eq!(mode & 0o777, 0o664);
}

#[test]
fn folder_may_be_left_out_when_it_is_the_current_one() {
    let place = Place::new();
    dev(&place, &["--client", "till-1"]).expect(0);
    let within = |args: &[&str]| {
        let output = edgebus(args).current_dir(place.path("certs")).output();
        Run::of(output.expect("the binary runs"))
    };
    within(&["cert", "issue", "--name", "till-2"]).expect(0);
    within(&["cert", "revoke", "till-1"]).expect(0);
    within(&["cert", "revoke", "till-2.pem"]).expect(0);
    for name in ["till-1.pem", "till-2.pem"] {
        assert_ne!(verifies(&place, name, "sslclient").status, 0, "{name}");
    }
}

#[test]
fn what_cannot_be_revoked_is_said_and_the_list_stays() {
    let place = Place::new();
    dev(&place, &["--client", "till-1"]).expect(0);
    let dir = file(&place, "");
    let other = place.path("other");
    run(&["cert", "dev", text(&other), "--client", "till-9"]).expect(0);
    let crl = fs::read(file(&place, "crl.pem")).expect("read");
    for (what, code, says) in [
        ("till-2", "not_found", "till-2"),
        ("server", "not_found", "server"),
        ("till-2.pem", "io", "till-2.pem"),
        ("ca.pem", "bad_config", "the CA itself"),
        (text(&other.join("till-9.pem")), "bad_config", "another CA"),
        (&file(&place, "till-1.key"), "bad_config", "no certificate"),
    ] {
        let refused = run(&["cert", "revoke", &dir, what, "--json"]).expect(1);
        let error = refused.last_error();
        assert_eq!(error["error"]["code"], code, "{what}");
        let message = error["error"]["message"].as_str().expect("text");
        assert!(message.contains(says), "{what}: {message}");
        assert_eq!(refused.stdout, "");
    }
    assert_eq!(fs::read(file(&place, "crl.pem")).expect("read"), crl);
    // A list that is gone, cut short or of another CA is not begun anew.
    for spoil in [
        &|path: &Path| fs::remove_file(path).expect("removed"),
        &|path: &Path| fs::write(path, &crl[..crl.len() / 2]).expect("written"),
        &|path: &Path| {
            fs::copy(other.join("crl.pem"), path).expect("copied");
        },
        &|path: &Path| fs::write(path, "").expect("written"),
    ] as [&dyn Fn(&Path); 4]
    {
        let path = place.path("certs").join("crl.pem");
        spoil(&path);
        let left = fs::read(&path).ok();
        let refused = run(&["cert", "revoke", &dir, "till-1"]).expect(1);
        assert!(refused.stderr.contains("crl.pem"), "{refused:?}");
        assert_eq!(fs::read(&path).ok(), left);
        fs::write(&path, &crl).expect("written");
    }
    run(&["cert", "revoke", &dir, "till-1"]).expect(0);
}

#[test]
fn revoking_many_at_a_time_forgets_none() {
    let place = Place::new();
    let tills: Vec<String> = (0..8).map(|i| format!("till-{i}")).collect();
    let more: Vec<&str> = tills.iter().flat_map(|till| ["--client", till]).collect();
    dev(&place, &more).expect(0);
    let dir = file(&place, "");
    let running: Vec<_> = tills
        .iter()
        .map(|till| {
            edgebus(&["cert", "revoke", &dir, till])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("the binary runs")
        })
        .collect();
    for mut child in running {
        assert!(child.wait().expect("it ends").success());
    }
    let shown = run(&["cert", "show", &file(&place, "crl.pem"), "--json"])
        .expect(0)
        .json();
    assert_eq!(shown[0]["revoked"].as_array().map(Vec::len), Some(8));
    assert_eq!(shown[0]["number"], "09");
}

#[test]
fn validity_is_as_long_as_asked_for() {
    let place = Place::new();
    dev(&place, &[]).expect(0);
    let dir = file(&place, "");
    run(&["cert", "issue", &dir, "--name", "short", "--days", "2"]).expect(0);
    for (seconds, status) in [("86400", 0), ("259200", 1)] {
        let ends = [
            "x509",
            "-in",
            &file(&place, "short.pem"),
            "-noout",
            "-checkend",
            seconds,
        ];
        openssl(&ends).expect(status);
    }
    let over = [
        "cert",
        "issue",
        &dir,
        "--name",
        "over",
        "--not-before",
        "2020-01-01T00:00:00Z",
        "--not-after",
        "2020-02-01T00:00:00+01:00",
    ];
    let over = run(&over).expect(0);
    assert!(over.stderr.contains("its time is over"), "{over:?}");
    let verified = verifies(&place, "over.pem", "sslclient");
    assert!(
        verified.stderr.contains("certificate has expired"),
        "{verified:?}"
    );
    let shown = run(&["cert", "show", &file(&place, "over.pem"), "--json"]).expect(0);
    assert_eq!(shown.json()[0]["not_before"], "2020-01-01T00:00:00Z");
    assert_eq!(shown.json()[0]["not_after"], "2020-01-31T23:00:00Z");
    let shown = run(&["cert", "show", &file(&place, "over.pem")]).expect(0);
    assert!(shown.stdout.contains("(it is over)"), "{shown:?}");
}

#[test]
fn everything_in_a_file_is_shown() {
    let place = Place::new();
    dev(&place, &["--client", "till-1"]).expect(0);
    let parts = ["till-1.pem", "ca.pem", "crl.pem"];
    let parts = parts.map(|name| fs::read(file(&place, name)).expect("read"));
    let all = place.file("all.pem", parts.concat());
    let shown = run(&["cert", "show", &all, "--json"]).expect(0).json();
    let kinds: Vec<_> = shown.iter().map(|row| row["kind"].clone()).collect();
    assert_eq!(kinds, ["certificate", "certificate", "revocation_list"]);
    assert_eq!(shown[0]["identity"], "till-1");
    assert_eq!(shown[0]["for"][0], "client");
    assert_eq!(shown[1]["for"][0], "ca");
    assert_eq!(shown[0]["issuer"], shown[1]["subject"]);
    assert_eq!(shown[1]["identity"], serde_json::Value::Null);
    let shown = run(&["cert", "show", &all]).expect(0);
    assert!(
        shown.stdout.contains("identity    till-1\n"),
        "{}",
        shown.stdout
    );
    let nothing = place.file("nothing.pem", "nothing");
    assert!(
        run(&["cert", "show", &nothing])
            .expect(1)
            .stderr
            .contains("nothing.pem")
    );
    let broken = place.file(
        "broken.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    assert!(
        run(&["cert", "show", &broken])
            .expect(1)
            .stderr
            .contains("part 1")
    );
}

#[test]
fn one_who_is_named_by_nothing_or_twice_is_shown_as_nobody() {
    let place = Place::new();
    for (san, identity) in [
        ("URI:a://b,URI:c://d", None),
        ("IP:10.0.0.7", None),
        ("URI:a://b,DNS:till-7", Some("a://b")),
        ("DNS:Till-7,DNS:till-8", Some("till-7")),
    ] {
        let (key, out) = (place.path("key"), place.path("cert.pem"));
        let san = format!("subjectAltName={san}");
        openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-keyout",
            text(&key),
            "-out",
            text(&out),
            "-subj",
            "/CN=till-0",
            "-addext",
            &san,
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .expect(0);
        let shown = run(&["cert", "show", text(&out), "--json"])
            .expect(0)
            .json();
        assert_eq!(shown[0]["identity"].as_str(), identity, "{san}");
    }
}
