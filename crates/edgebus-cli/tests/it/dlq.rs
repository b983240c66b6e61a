//! Dead letters: listed, shown, tried again, removed, and never by mistake.

use serde_json::Value;

use crate::support::{Place, Run, Server, run, text};

fn row(run: Run) -> Value {
    run.expect(0).json().remove(0)
}

fn ids(run: &Run) -> Vec<u64> {
    let rows = run.json();
    rows.iter().filter_map(|row| row["id"].as_u64()).collect()
}

/// A server with dead letters 1 and 2 of topic `a.x` for consumer `one`, and 3 of `b.y` for `two`.
fn three(place: &Place) -> Server {
    let server = Server::start(place);
    for (name, pattern, payloads) in [("one", "a.*", &["p1", "p2"][..]), ("two", "b.*", &["p3"])] {
        let add = ["consumer", "add", name, "--pattern", pattern];
        server.run(&add).expect(0);
        for payload in payloads {
            let topic = pattern.replace('*', if name == "one" { "x" } else { "y" });
            server
                .run(&["send", &topic, payload, "--header", "h=1"])
                .expect(0);
            let next = row(server.run(&["consumer", "next", name, "--json"]));
            let token = next["token"].as_str().expect("a token");
            let reason = format!("no {payload}");
            server
                .run(&["consumer", "term", name, token, "--reason", &reason])
                .expect(0);
        }
    }
    server
}

#[test]
fn they_are_listed_counted_and_shown_whole() {
    let place = Place::new();
    let server = three(&place);
    let listed = server.run(&["dlq", "ls", "--json"]).expect(0);
    assert_eq!(ids(&listed), [1, 2, 3]);
    let first = listed.json().remove(0);
    for (name, value) in [
        ("seq", Value::from(1)),
        ("topic", "a.x".into()),
        ("consumer", "one".into()),
        ("code", "rejected".into()),
        ("reason", "no p1".into()),
        ("attempts", 1.into()),
        ("state", "dead".into()),
    ] {
        assert_eq!(first[name], value, "{name}");
    }
    assert!(first["request_id"].is_string() && first["time"].is_string());
    let listed = |args: &[&str]| {
        ids(&server
            .run(&[&["dlq", "ls", "--json"], args].concat())
            .expect(0))
    };
    assert_eq!(listed(&["--topic", "b.>"]), [3]);
    assert_eq!(listed(&["--consumer", "one"]), [1, 2]);
    assert_eq!(listed(&["2", "3"]), [2, 3]);
    assert_eq!(listed(&["--limit", "2"]), [1, 2]);
    assert!(listed(&["--consumer", "three"]).is_empty());
    let count = |args: &[&str]| {
        server
            .run(&[&["dlq", "count"], args].concat())
            .expect(0)
            .stdout
    };
    assert_eq!(count(&[]), "3\n");
    assert_eq!(count(&["--topic", "a.*", "--json"]), "{\"count\":2}\n");
    let shown = row(server.run(&["dlq", "show", "2", "--json"]));
    assert_eq!(
        (&shown["payload"], &shown["headers"]["h"]),
        (&"p2".into(), &"1".into())
    );
    assert_eq!(shown["errors"][0]["error"], "no p2");
    assert!(shown["errors"][0]["time"].is_string());
    let plain = server.run(&["dlq", "show", "2"]).expect(0).stdout;
    assert!(plain.contains("reason      rejected: no p2\n"), "{plain}");
    let plain = server.run(&["dlq", "ls"]).expect(0).stdout;
    assert_eq!(plain.lines().count(), 4, "{plain}");
}

#[test]
fn what_is_requeued_goes_to_its_consumer_and_is_gone_when_done() {
    let place = Place::new();
    let server = three(&place);
    let requeue = |args: &[&str]| server.run(&[&["dlq", "requeue", "--json"], args].concat());
    let dry = requeue(&["--consumer", "one", "--dry-run"]).expect(0);
    assert_eq!(
        dry.json()[0],
        serde_json::json!({ "requeued": 2, "dry_run": true })
    );
    assert_eq!(requeue(&["2"]).expect(0).stdout, "{\"requeued\":1}\n");
    let state = |id| row(server.run(&["dlq", "show", id, "--json"]))["state"].clone();
    assert_eq!((state("1"), state("2")), ("dead".into(), "requeued".into()));
    let next = row(server.run(&["consumer", "next", "one", "--json"]));
    assert_eq!(
        (&next["payload"], &next["attempt"]),
        (&"p2".into(), &1.into())
    );
    let token = next["token"].as_str().expect("a token");
    server.run(&["consumer", "ack", "one", token]).expect(0);
    assert_eq!(ids(&server.run(&["dlq", "ls", "--json"]).expect(0)), [1, 3]);
    assert_eq!(requeue(&["--all"]).expect(0).stdout, "{\"requeued\":2}\n");
}

#[test]
fn what_is_removed_is_gone() {
    let place = Place::new();
    let server = three(&place);
    let remove = |args: &[&str]| server.run(&[&["dlq", "rm"], args].concat());
    let dry = remove(&["--all", "--dry-run", "--json"]).expect(0);
    assert_eq!(
        dry.json()[0],
        serde_json::json!({ "removed": 3, "dry_run": true })
    );
    assert_eq!(remove(&["1"]).expect(0).stdout, "removed 1 dead letter\n");
    assert_eq!(
        remove(&["--topic", "b.*", "--json"]).expect(0).stdout,
        "{\"removed\":1}\n"
    );
    assert_eq!(ids(&server.run(&["dlq", "ls", "--json"]).expect(0)), [2]);
    let none = remove(&["--topic", "b.*"]).expect(0);
    assert_eq!(none.stdout, "removed 0 dead letters\n");
}

#[test]
fn nothing_is_touched_that_was_not_named() {
    let place = Place::new();
    let server = three(&place);
    for verb in ["requeue", "rm", "show"] {
        let refused = server.run(&["dlq", verb, "--json"]).expect(2);
        assert_eq!(refused.last_error()["error"]["code"], "usage", "{verb}");
        let missing = server.run(&["dlq", verb, "77", "--json"]).expect(1);
        assert_eq!(
            missing.last_error()["error"]["code"],
            "no_such_dead_letter",
            "{verb}"
        );
    }
    server.run(&["dlq", "rm", "1", "--all"]).expect(2);
    assert_eq!(server.run(&["dlq", "count"]).expect(0).stdout, "3\n");
}

#[test]
fn a_folder_without_a_server_can_be_looked_at_and_put_right() {
    let place = Place::new();
    let server = three(&place);
    let with_server = server.run(&["dlq", "ls", "--json"]).expect(0).stdout;
    let shown = server.run(&["dlq", "show", "2", "--json"]).expect(0).stdout;
    let stored = server.run(&["log", "get", "1", "--json"]).expect(0).stdout;
    server.kill();
    let data = place.data();
    let offline = |args: &[&str]| run(&[args, &["--json", "--data", text(&data)]].concat());
    assert_eq!(offline(&["dlq", "ls"]).expect(0).stdout, with_server);
    assert_eq!(offline(&["dlq", "show", "2"]).expect(0).stdout, shown);
    assert_eq!(offline(&["log", "get", "1"]).expect(0).stdout, stored);
    assert_eq!(ids(&offline(&["dlq", "ls", "--limit", "1"])), [1]);
    let count = |args: &[&str]| row(offline(&[&["dlq", "count"], args].concat()))["count"].clone();
    assert_eq!(
        (count(&[]), count(&["--topic", "b.*"])),
        (3.into(), 1.into())
    );
    let names: Vec<Value> = offline(&["consumer", "ls"])
        .expect(0)
        .json()
        .iter()
        .map(|row| row["name"].clone())
        .collect();
    assert_eq!(names, ["one", "two"]);
    let info = row(offline(&["consumer", "info", "one"]));
    assert_eq!(
        (&info["dead_letters"], &info["offset"], &info["state"]),
        (&2.into(), &2.into(), &"idle".into())
    );
    let missing = offline(&["consumer", "info", "three"]).expect(1);
    assert_eq!(missing.last_error()["error"]["code"], "no_such_consumer");
    assert_eq!(row(offline(&["stats"]))["consumers"], 2);
    // Changes are made as a server makes them, and are found by the next.
    assert_eq!(
        offline(&["dlq", "requeue", "1", "2"]).expect(0).stdout,
        "{\"requeued\":2}\n"
    );
    assert_eq!(
        offline(&["dlq", "rm", "2", "3", "--dry-run"])
            .expect(0)
            .json()[0]["removed"],
        2
    );
    assert_eq!(
        offline(&["dlq", "rm", "2", "3"]).expect(0).stdout,
        "{\"removed\":2}\n"
    );
    let server = Server::start(&place);
    assert_eq!(ids(&server.run(&["dlq", "ls", "--json"]).expect(0)), [1]);
    let next = row(server.run(&["consumer", "next", "one", "--json"]));
    assert_eq!(
        (&next["payload"], &next["attempt"]),
        (&"p1".into(), &1.into())
    );
    let token = next["token"].as_str().expect("a token");
    server.run(&["consumer", "ack", "one", token]).expect(0);
    let none = server.run(&["consumer", "next", "one", "--json", "--wait", "0"]);
    assert_eq!(none.expect(0).stdout, "");
    assert_eq!(server.run(&["dlq", "count"]).expect(0).stdout, "0\n");
}
