//! A server that is run from a file and the environment, and what is said about both.

use serde_json::Value;

use crate::support::{Place, Run, Server, edgebus, json_lines, run, text};

/// A server with a file, variables and further options.
fn start(place: &Place, file: &str, variables: &[(&str, &str)], options: &[&str]) -> Server {
    let mut command = edgebus(&[&["serve", "--json", "--config", file], options].concat());
    command.envs(variables.iter().copied());
    Server::spawn(place, &mut command)
}

/// The messages of JSON errors, without the name of the folder.
fn messages(place: &Place, run: &Run) -> Vec<String> {
    let folder = format!("{}/", text(&place.path("")).trim_end_matches('/'));
    let message = |line: &Value| {
        assert_eq!(line["error"]["code"], "bad_config", "{line}");
        let message = line["error"]["message"].as_str().expect("a message");
        message.replace(&folder, "")
    };
    json_lines(&run.stderr).iter().map(message).collect()
}

#[test]
fn a_server_runs_with_what_its_file_says() {
    let place = Place::new();
    let file = place.file(
        "edgebus.toml",
        "data = \"data\"\nlisten = [\"tcp://127.0.0.1:0\", \"tcp://[::1]:0\"]\nhttp = \"127.0.0.1:0\"\n\
         [limits]\nframe_bytes = \"64KiB\"\n",
    );
    let server = start(&place, &file, &[], &[]);
    assert!(place.data().join("store.redb").exists());
    assert!(server.url.starts_with("tcp://127.0.0.1:") && server.http.starts_with("http://"));
    server.run(&["send", "t", &"x".repeat(30_000)]).expect(0);
    let refused = server
        .run(&["send", "t", &"x".repeat(60_000), "--json"])
        .expect(1);
    assert_eq!(refused.last_error()["error"]["code"], "payload_too_large");
    server.stop();
}

#[test]
fn an_option_wins_over_a_variable_and_that_over_the_file() {
    let place = Place::new();
    let file = place.file(
        "e.toml",
        "data = \"of-the-file\"\nlisten = \"tcp://127.0.0.1:1\"\nlog = \"off\"\n",
    );
    let (variable, option) = (place.path("of-a-variable"), place.path("of-an-option"));
    let variables = [
        ("EDGEBUS_DATA", text(&variable)),
        ("EDGEBUS_LISTEN", "tcp://127.0.0.1:0"),
        ("EDGEBUS_LOG", "info"),
    ];
    let server = start(&place, &file, &variables, &["--data", text(&option)]);
    assert!(option.exists() && !variable.exists() && !place.path("of-the-file").exists());
    server.stop();
    assert!(place.server_log().contains("running"));
    // Without the variable the file's word holds.
    let quiet = Place::new();
    let server = start(&quiet, &file, &variables[..2], &[]);
    server.stop();
    assert_eq!(quiet.server_log(), "");
}

#[test]
fn a_unix_socket_is_made_with_the_mode_of_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let socket = place.path("bus.sock");
    let content = format!(
        "data = \"data\"\nlisten = \"unix://{}\"\n[unix]\nmode = \"0600\"\n",
        text(&socket)
    );
    let server = start(&place, &place.file("e.toml", content), &[], &[]);
    let mode = std::fs::metadata(&socket)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    server.run(&["send", "t", "p"]).expect(0);
}

#[test]
fn everything_that_is_wrong_is_told_at_once_and_nothing_is_touched() {
    let place = Place::new();
    let file = place.file(
        "e.toml",
        "data = \"data\"\nlistne = \"x\"\n[limits]\nconnections = 0\n",
    );
    for check in [&[][..], &["--check-config"]] {
        let mut command = edgebus(&[&["serve", "--json", "--config", &file], check].concat());
        command.env("EDGEBUS_HTTP", "7480");
        let run = Run::of(command.output().expect("the binary runs")).expect(2);
        assert_eq!(run.stdout, "");
        assert_eq!(
            messages(&place, &run),
            [
                "e.toml:2: no key is called listne: did you mean listen?",
                "e.toml:4: limits.connections cannot be 0; write a whole number from 1 to 1000000, such as \
                 connections = 1000",
                "EDGEBUS_HTTP in the environment: \"7480\" is no address: write 127.0.0.1:7480, or [::1]:7480",
            ]
        );
    }
    let said = run(&["serve", "--config", &file]).expect(2).stderr;
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(
        said.lines().all(|line| line.ends_with("(bad_config)")),
        "{said}"
    );
    assert!(!place.data().exists());
}

#[test]
fn words_that_mean_nothing_are_refused_and_not_taken_for_another() {
    let place = Place::new();
    let file = place.file("e.toml", "data = \"data\"\nlog = \"warning\"\n");
    let mut command = edgebus(&["serve", "--json", "--check-config", "--config", &file]);
    command.envs([("EDGEBUS_INSECURE", "maybe"), ("EDGEBUS_LISTNE", "x")]);
    let run = Run::of(command.output().expect("the binary runs")).expect(2);
    let (warnings, errors): (Vec<&str>, Vec<&str>) =
        run.stderr.lines().partition(|line| !line.starts_with('{'));
    assert_eq!(warnings.len(), 1, "{run:?}");
    assert!(
        warnings[0].contains("did you mean EDGEBUS_LISTEN?"),
        "{run:?}"
    );
    assert_eq!(errors.len(), 2, "{run:?}");
    assert!(
        errors[0].contains("is no level (did you mean warn?)"),
        "{run:?}"
    );
    assert!(errors[1].contains("EDGEBUS_INSECURE"), "{run:?}");
    assert!(errors[1].contains("write true or false"), "{run:?}");
}

#[test]
fn what_is_wrong_with_a_file_is_told_with_the_key_that_names_it() {
    let place = Place::new();
    let certs = place.path("certs");
    run(&["cert", "dev", text(&certs)]).expect(0);
    let file = place.file(
        "e.toml",
        "listen = \"tls://127.0.0.1:0\"\n[tls]\ncertificate = \"certs/server.pem\"\nkey = \"certs/server.key\"\n\
         client_ca = \"certs/ca.pem\"\nclient_crl = \"certs/crl.pem\"\n",
    );
    for (name, key, line) in [
        ("crl.pem", "client_crl", 6),
        ("ca.pem", "client_ca", 5),
        ("server.key", "key", 4),
        ("server.pem", "certificate", 3),
    ] {
        std::fs::write(certs.join(name), "nothing").expect("written");
        let run = run(&["serve", "--json", "--check-config", "--config", &file]).expect(2);
        let said = messages(&place, &run);
        let begin = format!("e.toml:{line}: tls.{key}: certs/{name}: ");
        assert!(said[0].starts_with(&begin), "{said:?}");
    }
}

#[test]
fn a_check_of_a_good_file_says_so_and_starts_nothing() {
    let place = Place::new();
    let running = Server::start(&place);
    // Neither the address nor the folder is free.
    let content = format!("data = \"data\"\nlisten = \"{}\"\n", running.url);
    let file = place.file("e.toml", content);
    let check = ["serve", "--check-config", "--config", &file];
    assert_eq!(run(&check).expect(0).stdout, format!("{file}: ok\n"));
    let json = &run(&[&check[..], &["--json"]].concat()).expect(0).json()[0];
    assert_eq!(
        (&json["config"], &json["ok"]),
        (&Value::from(file.as_str()), &Value::from(true))
    );
    assert_eq!(
        run(&["serve", "--check-config"]).expect(0).stdout,
        "configuration: ok\n"
    );
}

#[test]
fn a_check_finds_what_only_options_and_several_keys_together_make_wrong() {
    let place = Place::new();
    let file = place.file(
        "e.toml",
        "listen = \"tls://0.0.0.0:1\"\nhttp = \"0.0.0.0:1\"\n",
    );
    let check = ["serve", "--check-config", "--json", "--config", &file];
    let run = run(&[&check[..], &["--retention-bytes", "1KiB"]].concat()).expect(2);
    let found = messages(&place, &run);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(
        found[2].starts_with("--retention-bytes: it cannot be that; write a size of 64KiB or more")
    );
    assert!(found[0].starts_with("e.toml:1: tls://0.0.0.0:1 needs tls.certificate and tls.key"));
    assert!(found[1].starts_with("e.toml:2: http://0.0.0.0:1 can be reached from other machines"));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let place = Place::new();
    let none = place.path("none.toml");
    for args in [
        &["serve"][..],
        &["serve", "--check-config"],
        &["config", "show"],
    ] {
        let run = run(&[args, &["--json", "--config", text(&none)]].concat()).expect(2);
        let found = messages(&place, &run);
        assert!(
            found[0].starts_with("none.toml: it cannot be read"),
            "{found:?}"
        );
    }
}

#[test]
fn a_variable_names_the_file_and_unknown_ones_are_warned_about() {
    let place = Place::new();
    let file = place.file(
        "e.toml",
        "data = \"data\"\nlisten = \"tcp://127.0.0.1:0\"\n",
    );
    let mut command = edgebus(&["serve", "--json"]);
    command.env("EDGEBUS_CONFIG", &file);
    command.env("EDGEBUS_LIMIT_CONNECTIONS", "5");
    let server = Server::spawn(&place, &mut command);
    assert!(place.data().exists());
    server.stop();
    let log = place.server_log();
    let warning = log
        .lines()
        .find(|line| line.contains("WARN"))
        .expect("a warning");
    assert!(warning.contains("EDGEBUS_LIMIT_CONNECTIONS"), "{warning}");
    assert!(
        warning.contains("did you mean EDGEBUS_LIMITS_CONNECTIONS?"),
        "{warning}"
    );
}

#[test]
fn what_is_shown_says_where_it_comes_from_and_is_a_good_file() {
    let place = Place::new();
    let file = place.file("e.toml", "[limits]\nconnections = 7\n");
    let mut command = edgebus(&["config", "show", "--config", &file]);
    command.env("EDGEBUS_STORE_RETENTION_AGE", "14d");
    let shown = Run::of(command.output().expect("the binary runs"))
        .expect(0)
        .stdout;
    assert!(
        shown.contains(&format!("\nconnections = 7  # {file}:2\n")),
        "{shown}"
    );
    assert!(
        shown.contains(
            "\nretention_age = \"14d\"  # EDGEBUS_STORE_RETENTION_AGE in the environment\n"
        ),
        "{shown}"
    );
    let copy = place.file("copy.toml", &shown);
    run(&["serve", "--check-config", "--config", &copy]).expect(0);
    let again = run(&["config", "show", "--config", &copy, "--json"])
        .expect(0)
        .json();
    let of = |key: &str| again.iter().find(|row| row["key"] == key).expect("a row");
    assert_eq!(of("limits.connections")["value"], 7);
    assert_eq!(of("store.retention_age")["value"], "14d");
    assert_eq!(of("limits.connections")["from"], "file");
    assert_eq!(of("http")["from"], "default");
}

#[test]
fn the_reference_that_is_printed_is_the_page_of_the_project() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let page = std::fs::read_to_string(page).expect("the page");
    assert!(run(&["config", "reference"]).expect(0).stdout == page);
}
