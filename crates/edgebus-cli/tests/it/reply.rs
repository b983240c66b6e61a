//! A command as a worker: what it is given, and what its exit status does.

use rustix::process::Signal;
use serde_json::Value;

use crate::background::{Background, Gate, lines_of};
use crate::support::{Place, Server, text};

fn info(server: &Server, name: &str) -> Value {
    let info = server.run(&["consumer", "info", name, "--json"]).expect(0);
    info.json().remove(0)
}

#[test]
fn the_command_gets_the_payload_and_an_environment() {
    let place = Place::new();
    let server = Server::start(&place);
    let script = "cat; echo \" $EDGEBUS_TOPIC $EDGEBUS_REQUEST_ID $EDGEBUS_ATTEMPT $EDGEBUS_SEQ $EDGEBUS_CONSUMER\"";
    let _reply = Background::reply(&server, &["orders.*", "--exec", script]);
    let id = "01890000-0000-7000-8000-000000000001";
    let asked = server
        .run(&["request", "orders.new", "p", "--id", id])
        .expect(0);
    assert_eq!(
        asked.stdout,
        format!("p orders.new {id} 1 1 reply-orders.any\n")
    );
}

#[test]
fn a_failure_is_tried_again_with_backoff_until_it_works() {
    let place = Place::new();
    let server = Server::start(&place);
    let script = "echo try $EDGEBUS_ATTEMPT >&2; [ $EDGEBUS_ATTEMPT = 3 ] || exit 1";
    let args = ["t", "--exec", script, "--backoff", "10ms", "--json"];
    let mut reply = Background::reply(&server, &args);
    server.run(&["request", "t", "p"]).expect(0);
    for (attempt, outcome, reason) in [
        (1, "retry", Some("try 1")),
        (2, "retry", Some("try 2")),
        (3, "done", None),
    ] {
        let told = reply.json();
        assert_eq!(
            (&told["attempt"], &told["outcome"]),
            (&attempt.into(), &outcome.into())
        );
        assert_eq!(told.get("reason").and_then(Value::as_str), reason);
    }
    let info = info(&server, "reply-t");
    assert_eq!(
        (&info["completed"], &info["failed"]),
        (&1.into(), &2.into())
    );
}

#[test]
fn one_that_always_fails_is_a_dead_letter_with_each_reason() {
    let place = Place::new();
    let server = Server::start(&place);
    let args = [
        "t",
        "--exec",
        "exit $((4 + EDGEBUS_ATTEMPT))",
        "--backoff",
        "10ms",
        "--max-attempts",
        "2",
    ];
    let _reply = Background::reply(&server, &args);
    server.run(&["request", "t", "p"]).expect(1);
    let letter = server
        .run(&["dlq", "show", "1", "--json"])
        .expect(0)
        .json()
        .remove(0);
    assert_eq!(letter["code"], "attempts");
    let errors: Vec<&str> = letter["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .filter_map(|error| error["error"].as_str())
        .collect();
    assert_eq!(errors, ["exit status 5", "exit status 6"]);
}

#[test]
fn a_command_whose_time_is_over_is_tried_again() {
    let place = Place::new();
    let server = Server::start(&place);
    let script = "[ $EDGEBUS_ATTEMPT = 2 ] || sleep 1000; echo ok";
    let args = [
        "t",
        "--exec",
        script,
        "--timeout",
        "200ms",
        "--backoff",
        "10ms",
        "--json",
    ];
    let mut reply = Background::reply(&server, &args);
    assert_eq!(server.run(&["request", "t", "p"]).expect(0).stdout, "ok\n");
    let told = reply.json();
    assert_eq!(told["reason"], "the command did not end within 200ms");
}

#[test]
fn a_command_that_takes_longer_than_the_ack_wait_keeps_its_message() {
    let place = Place::new();
    let server = Server::start(&place);
    let count = place.path("count");
    // Three times as long as the lease would last, which is long enough for a busy machine.
    let script = format!("echo x >> {}; sleep 3; echo ok", text(&count));
    let args = [
        "t",
        "--exec",
        &script,
        "--ack-wait",
        "1s",
        "--backoff",
        "10ms",
    ];
    let _reply = Background::reply(&server, &args);
    assert_eq!(server.run(&["request", "t", "p"]).expect(0).stdout, "ok\n");
    assert_eq!(lines_of(&place, "count"), 1);
    assert_eq!(info(&server, "reply-t")["failed"], 0);
}

#[test]
fn workers_run_so_many_commands_at_a_time() {
    let place = Place::new();
    let server = Server::start(&place);
    // Each ends only when the other runs as well.
    let (one, two) = (Gate::new(&place, "one"), Gate::new(&place, "two"));
    let (one, two) = (one.wait(), two.wait());
    let pipe = |wait: &str| wait.split(' ').nth(1).expect("a pipe").to_owned();
    let script = format!(
        "if [ $EDGEBUS_TOPIC = t.1 ]; then echo > {}; {two}; else {one}; echo > {}; fi; echo met",
        pipe(&one),
        pipe(&two),
    );
    let _reply = Background::reply(&server, &["t.*", "--exec", &script, "--workers", "2"]);
    server.run(&["send", "t.1", "p"]).expect(0);
    assert_eq!(
        server.run(&["request", "t.2", "p"]).expect(0).stdout,
        "met\n"
    );
}

#[test]
fn a_listener_replies_nothing_and_has_a_name_of_its_own() {
    let place = Place::new();
    let server = Server::start(&place);
    let _reply = Background::reply(&server, &["t", "--exec", "echo reply"]);
    let args = ["t", "--exec", "echo heard", "--mode", "listener", "--json"];
    let mut listener = Background::reply(&server, &args);
    assert_eq!(
        server.run(&["request", "t", "p"]).expect(0).stdout,
        "reply\n"
    );
    assert_eq!(listener.json()["outcome"], "done");
    assert_eq!(info(&server, "listen-t")["mode"], "listener");
}

#[test]
fn output_that_is_too_large_for_a_reply_is_a_dead_letter_that_says_so() {
    let place = Place::new();
    let server = Server::start(&place);
    let _reply = Background::reply(&server, &["t", "--exec", "head -c 2000000 /dev/zero"]);
    let failed = server.run(&["request", "t", "p", "--json"]).expect(1);
    let message = failed.last_error()["error"]["message"].to_string();
    assert!(message.contains("bytes, which is no reply"), "{message}");
}

#[test]
fn a_large_payload_is_fine_for_a_command_that_does_not_read_it() {
    let place = Place::new();
    let server = Server::start(&place);
    let _reply = Background::reply(&server, &["t", "--exec", "echo ok"]);
    let large = vec![b'x'; 900 * 1024];
    let asked = server.run_with_input(&["request", "t"], &large).expect(0);
    assert_eq!(asked.stdout, "ok\n");
}

#[test]
fn what_is_not_typed_stays_as_the_consumer_is() {
    let place = Place::new();
    let server = Server::start(&place);
    let add = [
        "consumer",
        "add",
        "c",
        "--pattern",
        "t",
        "--max-attempts",
        "9",
        "--ack-wait",
        "7s",
    ];
    server.run(&add).expect(0);
    let args = ["t", "--exec", "cat", "--consumer", "c", "--ack-wait", "8s"];
    let _reply = Background::reply(&server, &args);
    let info = info(&server, "c");
    assert_eq!(
        (&info["max_attempts"], &info["ack_wait_ms"]),
        (&9.into(), &8000.into())
    );
    // Another pattern is another consumer.
    let refused = server
        .run(&["reply", "u", "--exec", "cat", "--consumer", "c", "--json"])
        .expect(1);
    assert_eq!(refused.last_error()["error"]["code"], "consumer_exists");
    let refused = server
        .run(&["reply", "*", "--exec", "cat", "--json"])
        .expect(1);
    assert_eq!(refused.last_error()["error"]["code"], "responder_overlap");
}

#[test]
fn an_interrupt_lets_commands_end_and_takes_nothing_new() {
    for signal in [Signal::INT, Signal::TERM] {
        let place = Place::new();
        let server = Server::start(&place);
        let gate = Gate::new(&place, "gate");
        let script = format!("echo started >&2; {}; echo ok", gate.wait());
        let mut reply = Background::reply(&server, &["t", "--exec", &script]);
        let request = Background::start(&mut server.command(&["request", "t", "first"]));
        reply.hear("started");
        server.run(&["send", "t", "second"]).expect(0);
        reply.signal(signal);
        reply.hear("stopping when 1 running");
        gate.open();
        let ended = reply.finish();
        assert_eq!(ended.status, 0, "{:?}", ended.stderr);
        assert!(!ended.stderr.contains(&"started".to_owned()));
        assert_eq!(request.finish().stdout, ["ok"]);
        // Uncharged, and at once there for the next.
        let next = server
            .run(&["consumer", "next", "reply-t", "--json"])
            .expect(0)
            .json()
            .remove(0);
        assert_eq!(
            (&next["payload"], &next["attempt"]),
            (&"second".into(), &1.into())
        );
    }
}

#[test]
fn a_second_interrupt_kills_commands_and_gives_their_messages_back_uncharged() {
    let place = Place::new();
    let server = Server::start(&place);
    let mut reply = Background::reply(&server, &["t", "--exec", "echo started >&2; sleep 1000"]);
    server.run(&["send", "t", "p"]).expect(0);
    reply.hear("started");
    reply.signal(Signal::TERM);
    reply.hear("stopping when");
    reply.signal(Signal::TERM);
    assert_eq!(reply.finish().status, 130);
    let next = server
        .run(&["consumer", "next", "reply-t", "--json"])
        .expect(0)
        .json()
        .remove(0);
    assert_eq!(next["attempt"], 1);
    assert_eq!(info(&server, "reply-t")["failed"], 0);
}

#[test]
fn a_worker_ends_when_its_consumer_is_removed() {
    let place = Place::new();
    let server = Server::start(&place);
    let reply = Background::reply(&server, &["t", "--exec", "cat", "--json"]);
    server.run(&["consumer", "rm", "reply-t"]).expect(0);
    let ended = reply.finish();
    assert_eq!(ended.status, 1);
    assert!(
        ended.stderr.concat().contains("no_such_consumer"),
        "{:?}",
        ended.stderr
    );
}
