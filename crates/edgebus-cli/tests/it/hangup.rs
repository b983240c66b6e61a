//! SIGHUP to a server, and the options with which commands prove who they are.

use rustix::process::Signal;

use crate::background::Background;
use crate::support::{Place, Run, Server, edgebus, run, text};

#[test]
fn a_hangup_says_what_a_restart_would_change_and_stops_nothing() {
    let place = Place::new();
    let good = "data = \"data\"\nlisten = \"tcp://127.0.0.1:0\"\n";
    let file = place.file("e.toml", good);
    let mut server = Background::start(&mut edgebus(&["serve", "--json", "--config", &file]));
    let ready = server.json();
    place.file("e.toml", format!("{good}[limits]\nconnections = 9\n"));
    server.signal(Signal::HUP);
    let said = server.hear("restart");
    assert!(
        said.contains("e.toml:4: limits.connections is now 9; that takes a restart"),
        "{said}"
    );
    place.file("e.toml", "listne = 1\n");
    server.signal(Signal::HUP);
    let said = server.hear("restart");
    assert!(
        said.contains("a restart would fail: ") && said.contains("did you mean listen?"),
        "{said}"
    );
    let url = ready["listening"][0].as_str().expect("a URL");
    run(&["send", "t", "p", "--server", url]).expect(0);
    assert_eq!(server.stop().status, 0);
}

#[test]
fn half_of_a_certificate_is_a_usage_error() {
    for (option, other) in [("--cert", "--key"), ("--key", "--cert")] {
        let refused = run(&["stats", option, "f", "--json"])
            .expect(2)
            .last_error();
        let message = refused["error"]["message"].as_str().expect("a message");
        assert!(
            message.starts_with(&format!("{option} needs {other}")),
            "{message}"
        );
    }
}

#[test]
fn what_protects_no_server_is_not_taken_by_one() {
    let place = Place::new();
    let data = place.data();
    let serve = [
        "serve",
        "--listen",
        "tcp://127.0.0.1:0",
        "--data",
        text(&data),
    ];
    for option in ["--ca", "--cert", "--key", "--token-file", "--server-name"] {
        let refused = run(&[&serve[..], &[option, "x"]].concat()).expect(2).stderr;
        assert!(
            refused.contains(option) && refused.contains("[tls] and [access]"),
            "{refused}"
        );
        run(&["config", "show", option, "x"]).expect(2);
    }
    assert!(!data.exists());
}

#[test]
fn empty_variables_count_as_not_set() {
    let place = Place::new();
    let server = Server::start(&place);
    let mut command = server.command(&["stats"]);
    for name in ["CA", "CERT", "KEY", "TOKEN_FILE", "SERVER_NAME", "CONFIG"] {
        command.env(format!("EDGEBUS_{name}"), "");
    }
    Run::of(command.output().expect("the binary runs")).expect(0);
}
