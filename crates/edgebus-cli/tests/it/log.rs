//! Looking at what is stored: ranges, keys, shapes, with a server and without.

use std::process::Stdio;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::support::{Place, Run, Running, Server, orders, run, text};

fn seqs(run: &Run) -> Vec<u64> {
    run.json()
        .iter()
        .filter_map(|row| row["seq"].as_u64())
        .collect()
}

/// A server with five requests of two topics.
fn five(place: &Place) -> Server {
    let server = Server::start(place);
    for (topic, payload) in [
        ("a.x", "1"),
        ("b.y", "2"),
        ("a.z", "3"),
        ("b.y", "4"),
        ("a.x.y", "5"),
    ] {
        server.run(&["send", topic, payload]).expect(0);
    }
    server
}

#[test]
fn a_row_has_the_documented_shape() {
    let place = Place::new();
    let server = Server::start(&place);
    let id = "01890000-0000-7000-8000-000000000001";
    let before = SystemTime::now();
    server
        .run(&["send", "t", "p\u{e9}", "--id", id, "--header", "a=b"])
        .expect(0);
    let row = server
        .run(&["log", "ls", "--json"])
        .expect(0)
        .json()
        .remove(0);
    let time = row["time"].as_str().expect("a time");
    let stored = humantime::parse_rfc3339(time).expect("RFC 3339");
    assert_eq!(time.len(), "2026-01-31T12:00:00.000Z".len());
    assert!(stored + Duration::from_secs(1) > before && stored <= SystemTime::now());
    let expected = format!(
        "{{\"seq\":1,\"request_id\":\"{id}\",\"topic\":\"t\",\"source\":\"edgebus-cli\",\"time\":\"{time}\",\
         \"headers\":{{\"a\":\"b\"}},\"payload\":\"p\u{e9}\"}}\n"
    );
    assert_eq!(server.run(&["log", "ls", "--json"]).stdout, expected);
    assert_eq!(
        server.run(&["log", "get", "1", "--json"]).expect(0).stdout,
        expected
    );
    assert_eq!(
        server.run(&["log", "get", id, "--json"]).expect(0).stdout,
        expected
    );
    let plain = server.run(&["log", "get", id]).expect(0).stdout;
    assert!(
        plain.contains("payload     p\u{e9}\n") && plain.contains("header      a=b\n"),
        "{plain}"
    );
}

#[test]
fn ranges_select_by_number_topic_and_time() {
    let place = Place::new();
    let server = five(&place);
    let listed = |args: &[&str]| {
        seqs(
            &server
                .run(&[&["log", "ls", "--json"], args].concat())
                .expect(0),
        )
    };
    assert_eq!(listed(&[]), [1, 2, 3, 4, 5]);
    assert_eq!(listed(&["--from", "2", "--to", "4"]), [2, 3, 4]);
    assert_eq!(listed(&["--topic", "a.*"]), [1, 3]);
    assert_eq!(listed(&["--topic", "a.>", "--from", "2"]), [3, 5]);
    assert_eq!(listed(&["--limit", "2"]), [1, 2]);
    assert_eq!(listed(&["--limit", "2", "--topic", "b.y"]), [2, 4]);
    assert!(listed(&["--from", "6"]).is_empty());
    assert_eq!(listed(&["--from", "-1h"]), [1, 2, 3, 4, 5]);
    assert!(listed(&["--to", "-1h"]).is_empty());
    assert!(listed(&["--from", "2100-01-01T00:00:00Z"]).is_empty());
    assert_eq!(
        listed(&["--to", "2100-01-01T00:00:00+02:00"]),
        [1, 2, 3, 4, 5]
    );
    let third = server.run(&["log", "get", "3", "--json"]).json().remove(0);
    let time = third["time"].as_str().expect("a time");
    assert!(listed(&["--from", time]).contains(&3) && listed(&["--to", time]).contains(&3));
}

#[test]
fn a_listing_is_limited_unless_told_otherwise_and_a_replay_is_not() {
    let place = Place::new();
    let server = Server::start(&place);
    server.run(&["send", "t", "--file", orders()]).expect(0);
    assert_eq!(seqs(&server.run(&["log", "ls", "--json"])).len(), 100);
    assert_eq!(
        seqs(&server.run(&["log", "ls", "--json", "--limit", "1500"])).len(),
        1500
    );
    let replayed = server.run(&["replay", "--from", "11", "--json"]).expect(0);
    assert!(seqs(&replayed).into_iter().eq(11..=2000));
}

#[test]
fn people_get_columns_and_no_control_characters() {
    let place = Place::new();
    let server = Server::start(&place);
    server.run(&["send", "t.u", "a\tb\x1b[2J"]).expect(0);
    let replayed = server.run(&["replay", "--from", "1"]).expect(0);
    assert_eq!(replayed.stdout, "1\tt.u\ta\\tb\\u{1b}[2J\n");
    let listed = server.run(&["log", "ls"]).expect(0).stdout;
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        ["SEQ", "TIME", "TOPIC", "PAYLOAD"]
    );
    assert!(
        lines[1].trim().starts_with('1') && lines[1].ends_with("a\\tb\\u{1b}[2J"),
        "{listed}"
    );
}

#[test]
fn what_is_not_stored_is_not_found() {
    let place = Place::new();
    let server = five(&place);
    for key in ["0", "6", "01890000-0000-7000-8000-000000000009"] {
        let missing = server.run(&["log", "get", key, "--json"]).expect(1);
        assert_eq!(missing.last_error()["error"]["code"], "not_found", "{key}");
    }
}

#[test]
fn a_reader_that_has_enough_ends_it_quietly() {
    let place = Place::new();
    let server = Server::start(&place);
    server.run(&["send", "t", "--file", orders()]).expect(0);
    let mut command = server.command(&["replay", "--from", "1", "--json"]);
    let mut replay = Running::start(command.stderr(Stdio::piped()));
    assert!(replay.line().starts_with("{\"seq\":1,"));
    let Running { child, stdout } = replay;
    drop(stdout);
    let ended = Run::of(child.wait_with_output().expect("it ends")).expect(0);
    assert_eq!(ended.stderr, "");
}

#[test]
fn a_folder_is_read_without_a_server_and_not_beside_one() {
    let place = Place::new();
    let server = five(&place);
    let data = place.data();
    let offline = ["--json", "--data", text(&data)];
    let of_folder = |args: &[&str]| run(&[args, &offline].concat());
    let with_server = server.run(&["log", "ls", "--json"]).expect(0).stdout;
    let refused = of_folder(&["log", "ls"]).expect(1);
    let error = refused.last_error();
    assert_eq!(error["error"]["code"], "data_in_use");
    assert!(
        error["error"]["message"]
            .as_str()
            .expect("text")
            .contains("--server")
    );
    server.kill();
    assert_eq!(of_folder(&["log", "ls"]).expect(0).stdout, with_server);
    assert_eq!(
        of_folder(&["replay", "--from", "1"]).expect(0).stdout,
        with_server
    );
    assert_eq!(
        of_folder(&["log", "get", "2"]).expect(0).json()[0]["payload"],
        "2"
    );
    assert_eq!(of_folder(&["stats"]).expect(0).json()[0]["last_seq"], 5);
    // What only looks does not seal or lose anything for the next server.
    assert_eq!(
        Server::start(&place).run(&["log", "ls", "--json"]).stdout,
        with_server
    );
}

#[test]
fn a_trim_works_on_a_folder_without_a_server() {
    let place = Place::new();
    five(&place).stop();
    let data = place.data();
    let args = [
        "log",
        "trim",
        "--before",
        "3",
        "--json",
        "--data",
        text(&data),
    ];
    assert_eq!(
        run(&args).expect(0).stdout,
        "{\"first_seq\":3,\"trimmed\":2}\n"
    );
    let server = Server::start(&place);
    assert_eq!(seqs(&server.run(&["log", "ls", "--json"])), [3, 4, 5]);
}

#[test]
fn what_was_to_be_kept_is_said_when_the_server_starts() {
    let place = Place::new();
    let data = place.data();
    let serve = |option: &str, value: &str| {
        let args = ["serve", "--json", "--listen", "tcp://127.0.0.1:0"];
        let mut command = crate::support::edgebus(&args);
        command.args(["--data", text(&data), option, value]);
        command
    };
    for (option, value, status) in [
        ("--retention-age", "0s", 2),
        ("--retention-bytes", "much", 2),
        ("--retention-count", "0", 2),
        ("--dedupe-horizon", "x", 2),
        ("--retention-bytes", "1KiB", 1),
    ] {
        let refused = serve(option, value).output().expect("it runs");
        assert_eq!(Run::of(refused).expect(status).stdout, "", "{option}");
    }
    for (option, value) in [
        ("--retention-age", "1d"),
        ("--retention-bytes", "64MiB"),
        ("--retention-count", "1000000"),
        ("--dedupe-horizon", "2d"),
    ] {
        Server::spawn(&place, &mut serve(option, value)).stop();
    }
}

#[test]
fn looking_at_a_folder_without_a_store_makes_none() {
    let place = Place::new();
    let data = place.data();
    let missing = run(&["log", "ls", "--json", "--data", text(&data)]).expect(1);
    assert_eq!(missing.last_error()["error"]["code"], "not_found");
    assert!(!data.exists());
}

#[test]
fn the_old_end_of_the_log_can_be_removed() {
    let place = Place::new();
    let server = five(&place);
    let first = server.run(&["log", "get", "1", "--json"]).json().remove(0);
    let trimmed = server
        .run(&["log", "trim", "--before", "4", "--json"])
        .expect(0);
    assert_eq!(trimmed.stdout, "{\"first_seq\":4,\"trimmed\":3}\n");
    assert_eq!(seqs(&server.run(&["log", "ls", "--json"])), [4, 5]);
    let id = first["request_id"].as_str().expect("an id");
    // Its id is known longer than it is kept: it is not stored again.
    let gone = server.run(&["log", "get", id, "--json"]).expect(1);
    assert_eq!(gone.last_error()["error"]["code"], "reply_expired");
    let again = server
        .run(&["send", "a.x", "1", "--id", id, "--json"])
        .expect(0);
    assert_eq!(
        (&again.json()[0]["seq"], &again.json()[0]["duplicate"]),
        (&1.into(), &true.into())
    );
    let asked = server
        .run(&["request", "a.x", "1", "--id", id, "--json"])
        .expect(1);
    assert_eq!(asked.last_error()["error"]["code"], "reply_expired");
    let plain = server.run(&["log", "trim", "--before", "5"]).expect(0);
    assert_eq!(
        plain.stdout,
        "removed 1 message; the log begins with seq 5\n"
    );
}

#[test]
fn stats_and_health_tell_how_it_is() {
    let place = Place::new();
    let server = five(&place);
    let stats: Value = server.run(&["stats", "--json"]).expect(0).json().remove(0);
    for (name, value) in [
        ("last_seq", 5),
        ("stored", 5),
        ("appended", 5),
        ("duplicates", 0),
    ] {
        assert_eq!(stats[name], value, "{name}");
    }
    assert_eq!(stats["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        (&stats["poisoned"], &stats["storage_full"]),
        (&false.into(), &false.into())
    );
    let plain = server.run(&["stats"]).expect(0).stdout;
    assert!(
        plain
            .lines()
            .any(|line| line.starts_with("last seq ") && line.ends_with(" 5")),
        "{plain}"
    );
    assert_eq!(server.run(&["health"]).expect(0).stdout, "ok\n");
    assert_eq!(
        server.run(&["health", "--json"]).expect(0).stdout,
        "{\"status\":\"ok\"}\n"
    );
    let url = server.url.clone();
    server.stop();
    run(&["health", "--server", &url]).expect(3);
}

#[test]
fn a_watch_goes_on_until_it_is_interrupted() {
    let place = Place::new();
    let server = Server::start(&place);
    let mut watch = Running::start(&mut server.command(&["stats", "--watch", "--json"]));
    let first: Value = serde_json::from_str(&watch.line()).expect("JSON");
    assert_eq!(first["last_seq"], 0);
    crate::support::send_signal(&watch.child, rustix::process::Signal::INT);
    assert_eq!(watch.finish().1, 0);
}

#[test]
fn completions_are_printed_for_each_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(
            run(&["completions", shell])
                .expect(0)
                .stdout
                .contains("edgebus"),
            "{shell}"
        );
    }
}
