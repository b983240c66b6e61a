//! TLS by configuration: what `cert dev` prints is all it takes.

use std::process::Command;

use crate::support::{Place, Run, Server, edgebus, run, text};

/// What `cert dev` says is for the server's configuration.
fn printed_configuration(printed: &str) -> String {
    let mut lines = printed.lines();
    lines
        .find(|line| line.starts_with("for the server's configuration"))
        .expect("it is there");
    let lines = lines.take_while(|line| line.starts_with("  "));
    lines
        .map(|line| line.trim_start().to_owned() + "\n")
        .collect()
}

fn with_proof(command: &mut Command, place: &Place) -> Run {
    for (name, file) in [
        ("CA", "ca.pem"),
        ("CERT", "client.pem"),
        ("KEY", "client.key"),
    ] {
        command.env(format!("EDGEBUS_{name}"), place.path("certs").join(file));
    }
    Run::of(command.output().expect("the binary runs"))
}

#[test]
fn what_cert_dev_prints_is_a_good_configuration_and_lets_its_client_in() {
    let place = Place::new();
    let certs = place.path("certs");
    let printed = run(&["cert", "dev", text(&certs)]).expect(0).stdout;
    let config = printed_configuration(&printed).replace("0.0.0.0:7412", "127.0.0.1:0");
    let file = place.file("e.toml", format!("data = \"data\"\n{config}"));
    run(&["serve", "--check-config", "--config", &file]).expect(0);
    let server = Server::spawn(
        &place,
        &mut edgebus(&["serve", "--json", "--config", &file]),
    );
    assert!(server.url.starts_with("tls://"), "{}", server.url);
    let proof = |name: &str| text(&certs.join(name)).to_owned();
    let (ca, cert, key) = (proof("ca.pem"), proof("client.pem"), proof("client.key"));
    let options = ["--ca", &ca, "--cert", &cert, "--key", &key];
    server
        .run(&[&["send", "t", "p"][..], &options].concat())
        .expect(0);
    with_proof(&mut server.command(&["stats"]), &place).expect(0);
    // The spool's way to the server knows them too.
    let spool = place.path("spool");
    let sent = server.command(&["send", "t", "p", "--json", "--spool", text(&spool)]);
    let sent = with_proof(&mut { sent }, &place).expect(0);
    assert_eq!(sent.json()[0]["seq"], 2, "{sent:?}");
    server.run(&["stats", "--ca", &ca]).expect(3);
    let refused = server.run(&["stats", "--json"]);
    let error = refused.last_error();
    let message = error["error"]["message"].as_str().expect("a message");
    assert!(message.contains("--ca"), "{message}");
}

#[test]
fn files_of_tls_that_do_not_fit_are_told_before_anything_is_opened() {
    let place = Place::new();
    run(&["cert", "dev", text(&place.path("certs"))]).expect(0);
    run(&["cert", "dev", text(&place.path("others"))]).expect(0);
    let file = place.file(
        "e.toml",
        "data = \"data\"\nlisten = \"tls://127.0.0.1:0\"\n[tls]\ncertificate = \"certs/server.pem\"\n\
         key = \"others/server.key\"\n",
    );
    for check in [&[][..], &["--check-config"]] {
        let said = run(&[&["serve", "--config", &file], check].concat())
            .expect(2)
            .stderr;
        assert!(said.contains("e.toml:5: tls.key: "), "{said}");
        assert!(
            said.contains("others/server.key") && said.contains("does not belong"),
            "{said}"
        );
    }
    assert!(!place.data().exists());
}
