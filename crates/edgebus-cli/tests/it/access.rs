//! Tokens and rights by configuration, and that no secret is ever said.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use crate::background::Background;
use crate::support::{Place, Run, Server, edgebus, run, text};

const TILL: &str = "6b1f0c5a9d3e7f42-till-7";
const OFFICE: &str = "c07e55d18a2b4f93-office";
const RIGHTS: &str = "[[allow]]\nidentity = \"till-*\"\nverbs = [\"send\"]\ntopics = \"orders.>\"\n\
                      [[allow]]\nidentity = \"office\"\nverbs = \"all\"\ntopics = \">\"\n";

/// A file that nobody else may read.
fn secret(place: &Place, name: &str, content: &str) -> String {
    let path = place.file(name, content);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("set");
    path
}

/// A folder with a configuration, tokens and rights; gives the configuration.
fn set_up(place: &Place) -> String {
    secret(
        place,
        "tokens",
        &format!("till-7 {TILL}\noffice {OFFICE}\n"),
    );
    secret(place, "till", TILL);
    secret(place, "office", OFFICE);
    place.file("rights.toml", RIGHTS);
    place.file(
        "e.toml",
        "data = \"data\"\nlisten = \"tcp://127.0.0.1:0\"\nlog = \"trace\"\n\
         [access]\ntokens = \"tokens\"\nrights = \"rights.toml\"\nreload_every = \"1h\"\n",
    )
}

/// Runs a command with the token in a file of the folder.
fn as_(place: &Place, server: &Server, file: &str, args: &[&str]) -> Run {
    let file = place.path(file);
    server.run(&[args, &["--token-file", text(&file)]].concat())
}

#[test]
fn who_has_a_token_may_what_the_rights_say_and_nobody_else_anything() {
    let place = Place::new();
    let config = set_up(&place);
    let server = Server::spawn(
        &place,
        &mut edgebus(&["serve", "--json", "--config", &config]),
    );
    as_(&place, &server, "till", &["send", "orders.created", "p"]).expect(0);
    as_(&place, &server, "office", &["log", "ls"]).expect(0);
    for (file, args) in [
        (Some("till"), &["send", "prices", "p", "--json"][..]),
        (Some("till"), &["log", "ls", "--json"]),
        (None, &["send", "orders.created", "p", "--json"]),
    ] {
        let refused = match file {
            Some(file) => as_(&place, &server, file, args),
            None => server.run(args),
        };
        assert_eq!(
            refused.expect(1).last_error()["error"]["code"],
            "forbidden",
            "{args:?}"
        );
    }
    secret(&place, "wrong", "0000000000000000-wrong");
    let refused = as_(&place, &server, "wrong", &["stats", "--json"]).expect(3);
    assert_eq!(refused.last_error()["error"]["code"], "unauthenticated");
}

#[test]
fn no_secret_is_ever_said() {
    let place = Place::new();
    let config = set_up(&place);
    let server = Server::spawn(
        &place,
        &mut edgebus(&["serve", "--json", "--config", &config]),
    );
    let mut said = String::new();
    for file in ["till", "office"] {
        for args in [
            &["send", "orders.a", "p"][..],
            &["stats", "--json"],
            &["client", "ls", "--json"],
        ] {
            said += &format!("{:?}", as_(&place, &server, file, args));
        }
    }
    secret(&place, "wrong", &format!("{TILL}-and-more"));
    said += &format!("{:?}", as_(&place, &server, "wrong", &["stats"]).expect(3));
    // Tokens that cannot be used, when the server reads them again.
    secret(&place, "tokens", &format!("till-7 {TILL} more\n{OFFICE}\n"));
    server.signal(Signal::HUP);
    as_(&place, &server, "office", &["stats"]).expect(0);
    server.stop();
    let log = place.server_log();
    assert!(
        log.contains("running") && log.contains("not reloaded"),
        "{log}"
    );
    for args in [
        &["config", "show", "--config", &config][..],
        &["config", "show", "--json", "--config", &config],
        &["serve", "--check-config", "--config", &config],
        &["serve", "--config", &config],
    ] {
        said += &format!("{:?}", run(args));
    }
    for secret in [TILL, OFFICE] {
        assert!(!said.contains(secret) && !log.contains(secret));
    }
    assert!(
        said.contains("tokens:1: a line is a name, a space and a token"),
        "{said}"
    );
}

#[test]
fn files_that_cannot_be_used_are_told_together_and_nothing_is_opened() {
    let place = Place::new();
    let config = set_up(&place);
    place.file(
        "rights.toml",
        "[[allow]]\nidentity = \"a\"\nverbs = \"sned\"\ntopics = \">\"\n",
    );
    secret(&place, "tokens", "till-7 short\n");
    for args in [&["serve"][..], &["serve", "--check-config"]] {
        let said = run(&[args, &["--config", &config]].concat())
            .expect(2)
            .stderr;
        assert_eq!(said.lines().count(), 2, "{said}");
        assert!(
            said.contains("e.toml:5: access.tokens: ") && said.contains("tokens:1: "),
            "{said}"
        );
        assert!(
            said.contains("e.toml:6: access.rights: ") && said.contains("rights.toml:3: "),
            "{said}"
        );
    }
    assert!(!place.data().exists());
}

#[test]
fn a_hangup_brings_new_rights_and_bad_ones_change_nothing() {
    let place = Place::new();
    let config = set_up(&place);
    let mut server = Background::start(&mut edgebus(&["serve", "--json", "--config", &config]));
    let url = server.json()["listening"][0]
        .as_str()
        .expect("a URL")
        .to_owned();
    let file = place.path("till");
    let send = [
        "send",
        "prices",
        "p",
        "--server",
        &url,
        "--token-file",
        text(&file),
    ];
    run(&send).expect(1);
    place.file("rights.toml", RIGHTS.replace("orders.>", ">"));
    server.signal(Signal::HUP);
    server.hear("reloaded the rights");
    run(&send).expect(0);
    place.file("rights.toml", "[[allow]]\n");
    server.signal(Signal::HUP);
    let said = server.hear("not reloaded, the old ones stay");
    assert!(said.contains("rights.toml:1"), "{said}");
    run(&send).expect(0);
    assert_eq!(server.stop().status, 0);
}
