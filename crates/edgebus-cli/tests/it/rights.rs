//! Commands of those who may do some things and not others.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::{Place, Run, Running, Server, edgebus, text};

const RIGHTS: &str = r#"
[[allow]]
identity = "root"
verbs = "all"
topics = ">"
[[allow]]
identity = "till-*"
verbs = ["send", "request", "subscribe"]
topics = ["orders.>", "doors"]
[[allow]]
identity = "press"
verbs = "consume"
topics = "orders.>"
[[scope]]
name = "shop-7"
identity = "till-7"
"#;

const ID: &str = "01890000-0000-7000-8000-000000000001";

fn secret(place: &Place, name: &str, content: &str) {
    let path = place.file(name, content);
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, mode).expect("the mode is set");
}

fn start(place: &Place) -> Server {
    let mut tokens = String::new();
    for name in ["root", "till-7", "till-8", "press"] {
        tokens += &format!("{name} the-secret-of-{name}\n");
        secret(place, name, &format!("the-secret-of-{name}\n"));
    }
    secret(place, "tokens", &tokens);
    place.file("rights.toml", RIGHTS);
    let config = "data = \"data\"\nlisten = \"tcp://127.0.0.1:0\"\n[access]\ntokens = \"tokens\"\nrights = \
                  \"rights.toml\"\n";
    let file = place.file("e.toml", config);
    Server::spawn(place, &mut edgebus(&["serve", "--json", "--config", &file]))
}

fn command(place: &Place, server: &Server, who: &str, args: &[&str]) -> Command {
    let mut command = server.command(args);
    command.args(["--token-file", text(&place.path(who))]);
    command
}

fn run(place: &Place, server: &Server, who: &str, args: &[&str]) -> Run {
    let output = command(place, server, who, args).output();
    Run::of(output.expect("the binary runs"))
}

#[test]
fn refusal_is_told_to_who_asked_and_to_the_log() {
    let place = Place::new();
    let server = start(&place);
    let sent = run(&place, &server, "till-7", &["send", "prices.eu", "x"]).expect(1);
    let words = "till-7 may not send on prices.eu";
    assert!(sent.stderr.contains(words), "{sent:?}");
    let json = run(&place, &server, "till-7", &["stats", "--json"]).expect(1);
    assert_eq!(json.last_error()["error"]["code"], "forbidden");
    let stats = run(&place, &server, "root", &["stats", "--json"]).expect(0);
    // Whoever asks how the server is counts for nothing.
    assert_eq!(stats.json()[0]["forbidden"], 1);
    server.stop();
    assert_eq!(place.server_log().matches(words).count(), 1);
}

/// What a command asks beside what it was told to do is no reason to fail, or to say anything.
#[test]
fn command_that_has_the_right_to_its_work_is_not_disturbed() {
    let place = Place::new();
    let server = start(&place);
    for who in ["till-7", "till-8"] {
        let sent = run(
            &place,
            &server,
            who,
            &["send", "orders.new", who, "--id", ID],
        )
        .expect(0);
        assert_eq!(sent.stderr, "", "{sent:?}");
        let got = run(&place, &server, who, &["log", "get", ID, "--json"]).expect(0);
        assert_eq!(got.json()[0]["payload"], who, "its own, in its own scope");
        assert_eq!(got.json()[0]["identity"], who);
    }
    run(&place, &server, "press", &["log", "get", ID]).expect(1);
    let health = run(&place, &server, "till-7", &["health"]).expect(0);
    assert_eq!(health.stdout, "answers\n");
    assert!(
        health.stderr.contains("only an admin may know"),
        "{health:?}"
    );
    let clients = run(&place, &server, "root", &["client", "ls", "--json"]).expect(0);
    assert_eq!(clients.json()[0]["identity"], "root");
    server.stop();
    let log = place.server_log();
    assert_eq!(log.matches("may not").count(), 0, "{log}");
}

/// Making a consumer needs no right to know whether it was there.
#[test]
fn worker_needs_no_other_right_than_to_consume() {
    let place = Place::new();
    let server = start(&place);
    let work = [
        "reply",
        "orders.>",
        "--exec",
        "echo done",
        "--consumer",
        "press",
    ];
    for _ in 0..2 {
        let worker = command(&place, &server, "press", &work).spawn();
        let mut worker = worker.expect("the binary runs");
        let asked = run(&place, &server, "till-7", &["request", "orders.new", "x"]);
        worker.kill().expect("it runs");
        worker.wait().expect("it ends");
        assert_eq!(asked.expect(0).stdout, "done\n");
    }
    let work = ["reply", "doors", "--exec", "true", "--consumer", "press"];
    let refused = run(&place, &server, "press", &work).expect(1);
    assert!(
        refused.stderr.contains("press may not consume on doors"),
        "{refused:?}"
    );
    server.stop();
}

#[test]
fn subscriber_needs_no_other_right_than_to_subscribe() {
    let place = Place::new();
    let server = start(&place);
    let sub = ["sub", "doors", "--name", "seven", "--count", "1", "--json"];
    let mut command = command(&place, &server, "till-7", &sub);
    let running = Running::start(&mut command);
    loop {
        let told = run(
            &place,
            &server,
            "root",
            &["publish", "doors", "open", "--persist"],
        );
        told.expect(0);
        let consumers = run(&place, &server, "root", &["consumer", "ls", "--json"]).expect(0);
        if !consumers.json().is_empty() {
            break;
        }
    }
    let told = run(
        &place,
        &server,
        "root",
        &["publish", "doors", "open", "--persist"],
    );
    told.expect(0);
    let (printed, status) = running.finish();
    assert!(status == 0 && printed.contains("open"), "{printed}");
    server.stop();
}
