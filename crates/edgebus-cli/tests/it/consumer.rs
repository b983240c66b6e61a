//! Consumers by hand: making, looking, changing, and settling by token.

use serde_json::Value;

use crate::support::{Place, Run, Server};

fn row(run: Run) -> Value {
    run.expect(0).json().remove(0)
}

fn code(run: Run) -> Value {
    run.expect(1).last_error()["error"]["code"].clone()
}

/// A server with a consumer `c` of topics `t.*`, and some requests for it.
fn with_consumer(place: &Place, args: &[&str], payloads: &[&str]) -> Server {
    let server = Server::start(place);
    let add = [
        "consumer",
        "add",
        "c",
        "--pattern",
        "t.*",
        "--backoff",
        "10ms",
    ];
    server.run(&[&add, args].concat()).expect(0);
    for payload in payloads {
        server.run(&["send", "t.x", payload]).expect(0);
    }
    server
}

fn next(server: &Server) -> Value {
    row(server.run(&["consumer", "next", "c", "--json"]))
}

fn token(row: &Value) -> String {
    row["token"].as_str().expect("a token").to_owned()
}

#[test]
fn a_consumer_is_shown_as_it_was_set_up() {
    let place = Place::new();
    let server = Server::start(&place);
    let args = [
        "consumer",
        "add",
        "billing",
        "--pattern",
        "orders.*",
        "--pattern",
        "refunds.>",
        "--mode",
        "listener",
        "--start",
        "7",
        "--ack-wait",
        "1m",
        "--max-attempts",
        "3",
        "--backoff",
        "1s,2s",
        "--max-in-flight",
        "10",
        "--hold",
        "forever",
    ];
    assert_eq!(
        server.run(&args).expect(0).stdout,
        "consumer billing is set up\n"
    );
    let info = row(server.run(&["consumer", "info", "billing", "--json"]));
    for (name, value) in [
        ("name", Value::from("billing")),
        ("mode", "listener".into()),
        ("kind", "requests".into()),
        ("patterns", vec!["orders.*", "refunds.>"].into()),
        ("start", "7".into()),
        ("ack_wait_ms", 60_000.into()),
        ("max_attempts", 3.into()),
        ("backoff_ms", vec![1000, 2000].into()),
        ("max_in_flight", 10.into()),
        ("hold_ms", Value::Null),
        ("state", "idle".into()),
        ("workers", 0.into()),
        ("epoch", 1.into()),
    ] {
        assert_eq!(info[name], value, "{name}");
    }
    assert_eq!(row(server.run(&["consumer", "ls", "--json"])), info);
    let plain = server
        .run(&["consumer", "info", "billing"])
        .expect(0)
        .stdout;
    assert!(
        plain.contains("patterns        orders.* refunds.>\n"),
        "{plain}"
    );
    let plain = server.run(&["consumer", "ls"]).expect(0).stdout;
    assert!(
        plain.lines().any(|line| line.trim().starts_with("billing")),
        "{plain}"
    );
    // Set up anew, what may change; as another one it is refused.
    server
        .run(&[&args[..], &["--max-attempts", "4"]].concat())
        .expect(2);
    server.run(&args[..9]).expect(0);
    let again = [&args[..7], &["--mode", "responder", "--json"]].concat();
    assert_eq!(code(server.run(&again)), "consumer_exists");
}

#[test]
fn messages_are_taken_by_hand_and_settled_by_token() {
    let place = Place::new();
    let server = with_consumer(&place, &["--max-attempts", "2"], &["a", "b"]);
    let first = next(&server);
    assert_eq!(
        (&first["payload"], &first["attempt"]),
        (&"a".into(), &1.into())
    );
    let lease = token(&first);
    let settle = |verb: &str, args: &[&str]| {
        server.run(&[&["consumer", verb, "c", &lease, "--json"], args].concat())
    };
    assert_eq!(row(settle("extend", &[]))["settled"], "extend");
    let settled = row(settle("ack", &["--reply", "paid"]));
    assert_eq!(settled["settled"], "ack");
    let shown = row(server.run(&["log", "get", "1", "--json"]));
    assert_eq!(
        (&shown["state"], &shown["reply"]),
        (&"done".into(), &"paid".into())
    );
    assert_eq!(code(settle("ack", &[])), "already_completed");
    assert_eq!(code(settle("extend", &[])), "already_completed");
    let second = next(&server);
    let lease = token(&second);
    let args = [
        "consumer", "nak", "c", &lease, "--delay", "1ms", "--reason", "no paper",
    ];
    assert_eq!(
        server.run(&args).expect(0).stdout,
        "seq 2 is to be tried again\n"
    );
    assert_eq!(
        code(server.run(&[&args[..], &["--json"]].concat())),
        "stale_lease"
    );
    let second = next(&server);
    assert_eq!(
        (&second["payload"], &second["attempt"]),
        (&"b".into(), &2.into())
    );
    let lease = token(&second);
    server
        .run(&["consumer", "term", "c", &lease, "--reason", "no such item"])
        .expect(0);
    let letter = row(server.run(&["dlq", "show", "1", "--json"]));
    assert_eq!(
        (&letter["code"], &letter["reason"]),
        (&"rejected".into(), &"no such item".into())
    );
    let reasons: Vec<&Value> = letter["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|error| &error["error"])
        .collect();
    assert_eq!(reasons, ["no paper", "no such item"]);
    assert_eq!(
        row(server.run(&["consumer", "info", "c", "--json"]))["offset"],
        2
    );
}

#[test]
fn nothing_there_is_no_row_and_no_failure() {
    let place = Place::new();
    let server = with_consumer(&place, &[], &[]);
    for wait in ["0", "50ms"] {
        let none = server
            .run(&["consumer", "next", "c", "--json", "--wait", wait])
            .expect(0);
        assert_eq!((none.stdout.as_str(), none.stderr.as_str()), ("", ""));
    }
}

#[test]
fn a_message_that_is_sent_while_next_waits_is_taken() {
    let place = Place::new();
    let server = with_consumer(&place, &[], &[]);
    let mut command = server.command(&["consumer", "next", "c", "--json", "--wait", "1m"]);
    let waiting = crate::background::Background::start(&mut command);
    server.run(&["send", "t.x", "late"]).expect(0);
    let taken = waiting.finish();
    assert_eq!(taken.status, 0);
    assert!(
        taken.stdout.concat().contains("\"payload\":\"late\""),
        "{:?}",
        taken.stdout
    );
}

#[test]
fn many_are_taken_at_once_and_with_ack_they_are_done() {
    let place = Place::new();
    let server = with_consumer(&place, &[], &["a", "b", "c"]);
    let args = ["consumer", "next", "c", "--count", "2", "--ack", "--json"];
    let taken = server.run(&args).expect(0).json();
    let payloads: Vec<&Value> = taken.iter().map(|row| &row["payload"]).collect();
    assert_eq!(payloads, ["a", "b"]);
    let info = row(server.run(&["consumer", "info", "c", "--json"]));
    assert_eq!(
        (&info["offset"], &info["in_flight"]),
        (&2.into(), &0.into())
    );
    let plain = server.run(&["consumer", "next", "c"]).expect(0).stdout;
    assert!(plain.contains("TOKEN") && plain.contains("t.x"), "{plain}");
}

#[test]
fn a_paused_consumer_gives_out_nothing_until_it_is_resumed() {
    let place = Place::new();
    let server = with_consumer(&place, &[], &["a"]);
    let paused = server.run(&["consumer", "pause", "c"]).expect(0);
    assert_eq!(paused.stdout, "consumer c is paused\n");
    let args = ["consumer", "next", "c", "--json", "--wait", "50ms"];
    assert_eq!(server.run(&args).expect(0).stdout, "");
    assert_eq!(
        row(server.run(&["consumer", "info", "c", "--json"]))["state"],
        "paused"
    );
    server.run(&["consumer", "resume", "c", "--json"]).expect(0);
    assert_eq!(next(&server)["payload"], "a");
}

#[test]
fn a_reset_gives_out_again_what_was_done_and_ends_leases() {
    let place = Place::new();
    let server = with_consumer(&place, &[], &["a", "b"]);
    server
        .run(&["consumer", "next", "c", "--count", "2", "--ack"])
        .expect(0);
    server
        .run(&["consumer", "reset", "c", "--to", "2"])
        .expect(0);
    let again = next(&server);
    assert_eq!(
        (&again["payload"], &again["attempt"]),
        (&"b".into(), &1.into())
    );
    server
        .run(&["consumer", "reset", "c", "--to", "-1h", "--force"])
        .expect(0);
    let stale = server.run(&["consumer", "ack", "c", &token(&again), "--json"]);
    assert_eq!(code(stale), "stale_lease");
    assert_eq!(next(&server)["payload"], "a");
    assert_eq!(
        row(server.run(&["consumer", "info", "c", "--json"]))["epoch"],
        3
    );
}

#[test]
fn a_removed_consumer_is_gone() {
    let place = Place::new();
    let server = with_consumer(&place, &[], &["a"]);
    let removed = server.run(&["consumer", "rm", "c", "--json"]).expect(0);
    assert_eq!(
        removed.stdout,
        "{\"consumer\":\"c\",\"done\":\"removed\"}\n"
    );
    assert_eq!(
        server.run(&["consumer", "ls", "--json"]).expect(0).stdout,
        ""
    );
    for args in [
        &["info", "c"][..],
        &["pause", "c"],
        &["resume", "c"],
        &["rm", "c"],
        &["reset", "c", "--to", "1"],
        &["next", "c"],
        &["ack", "c", "1.1.1"],
    ] {
        let run = server.run(&[&["consumer"], args, &["--json"]].concat());
        assert_eq!(code(run), "no_such_consumer", "{args:?}");
    }
}

#[test]
fn a_consumer_gets_stored_messages_once_more() {
    let place = Place::new();
    let server = with_consumer(&place, &[], &["a", "b", "c"]);
    let take = ["consumer", "next", "c", "--count", "9", "--ack", "--json"];
    assert_eq!(server.run(&take).expect(0).json().len(), 3);
    server.run(&["send", "u", "not for it"]).expect(0);
    let args = ["replay", "--from", "2", "--into", "c", "--json"];
    assert_eq!(server.run(&args).expect(0).stdout, "{\"replayed\":2}\n");
    let again = server.run(&take).expect(0).json();
    let payloads: Vec<&Value> = again.iter().map(|row| &row["payload"]).collect();
    assert_eq!(payloads, ["b", "c"]);
    assert_eq!(
        code(server.run(&["replay", "--from", "1", "--into", "d", "--json"])),
        "no_such_consumer"
    );
}
