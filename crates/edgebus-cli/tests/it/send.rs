//! One request: its receipt, its id, and what is said when there is no receipt.

use crate::background::Background;
use crate::support::{Place, Server, cut_after_first_send, edgebus, json_lines, run};

const ID: &str = "01890000-0000-7000-8000-000000000001";

#[test]
fn a_receipt_is_printed_for_people_and_for_programs() {
    let place = Place::new();
    let server = Server::start(&place);
    let first = server.run(&["send", "t", "a", "--id", ID]).expect(0);
    assert_eq!(first.stdout, format!("stored {ID} as seq 1\n"));
    let again = server.run(&["send", "t", "a", "--id", ID]).expect(0);
    assert_eq!(again.stdout, format!("already stored {ID} as seq 1\n"));
    let json = server
        .run(&["send", "t", "a", "--id", ID, "--json"])
        .expect(0);
    let object = format!("{{\"request_id\":\"{ID}\",\"seq\":1,\"duplicate\":true}}\n");
    assert_eq!(json.stdout, object);
    assert_eq!((again.stderr + &json.stderr).as_str(), "");
}

#[test]
fn a_request_that_no_consumer_takes_is_said_to_be_stored_for_nobody() {
    let place = Place::new();
    let server = Server::start(&place);
    let hint = "edgebus: stored, no consumer takes orders.new\n";
    let args = ["send", "orders.new", "p", "--id", ID];
    assert_eq!(server.run(&args).expect(0).stderr, hint);
    let json = server.run(&["send", "orders.new", "p", "--json"]).expect(0);
    assert_eq!(json.stderr, hint);
    assert_eq!(json.json().len(), 1);
    // Nothing is new about a duplicate.
    assert_eq!(server.run(&args).expect(0).stderr, "");
    for (name, pattern, kind) in [("a", "prices.*", "requests"), ("b", ">", "notifications")] {
        let args = [
            "consumer",
            "add",
            name,
            "--pattern",
            pattern,
            "--kind",
            kind,
        ];
        server.run(&args).expect(0);
    }
    assert_eq!(
        server.run(&["send", "orders.new", "p"]).expect(0).stderr,
        hint
    );
    server
        .run(&["consumer", "add", "c", "--pattern", "orders.*"])
        .expect(0);
    assert_eq!(
        server.run(&["send", "orders.new", "p"]).expect(0).stderr,
        ""
    );
}

#[test]
fn the_payload_comes_from_the_command_line_or_from_stdin_byte_for_byte() {
    let place = Place::new();
    let server = Server::start(&place);
    server.run(&["send", "t", "-1"]).expect(0);
    server
        .run_with_input(&["send", "t", "-"], b"a\nb\r\n")
        .expect(0);
    server.run_with_input(&["send", "t"], b"\x00\xff").expect(0);
    // Nothing at all is more likely a mistake than a message.
    server.run(&["send", "t"]).expect(2);
    server.run_with_input(&["send", "t", "-"], b"").expect(0);
    let rows = server.rows();
    assert_eq!(rows[0]["payload"], "-1");
    assert_eq!(rows[1]["payload"], "a\nb\r\n");
    assert_eq!(rows[2]["payload_base64"], "AP8=");
    assert_eq!(rows[2].get("payload"), None);
    assert_eq!(rows[3]["payload"], "");
}

#[test]
fn headers_travel_along() {
    let place = Place::new();
    let server = Server::start(&place);
    let headers = ["--header", "a=1", "--header", "b=x=y", "--header", "a=2"];
    let args = [&["send", "t", "p", "--expires", "30s"], &headers[..]].concat();
    server.run(&args).expect(0);
    let expected = serde_json::json!({ "a": ["1", "2"], "b": "x=y" });
    assert_eq!(server.rows()[0]["headers"], expected);
}

#[test]
fn a_server_that_is_not_there_is_exit_3() {
    // Port 1 is reserved, and nothing listens there.
    let args = ["send", "t", "p", "--server", "tcp://127.0.0.1:1"];
    let failed = run(&args).expect(3);
    assert!(failed.stderr.contains("(disconnected)"), "{failed:?}");
    let failed = run(&[&args[..], &["--json"]].concat()).expect(3);
    assert_eq!(failed.last_error()["error"]["code"], "disconnected");
    assert_eq!(failed.stdout, "");
}

/// A server that goes away for good after it was sent to: whether it got that or not, the command
/// gives up in the end.
#[test]
fn a_lost_answer_is_exit_4_and_asking_again_with_the_printed_id_tells() {
    std::thread::scope(|scope| {
        for deliver in [true, false] {
            scope.spawn(move || {
                let place = Place::new();
                let server = Server::start(&place);
                let url = cut_after_first_send(&server, deliver);
                let lost = run(&["send", "t", "p", "--json", "--server", &url]).expect(4);
                let error = lost.last_error();
                assert_eq!(error["error"]["code"], "unknown");
                let id = error["request_id"].as_str().expect("an id");
                let again = server
                    .run(&["send", "t", "p", "--json", "--id", id])
                    .expect(0);
                assert_eq!(again.json()[0]["duplicate"], deliver);
                assert_eq!(server.rows().len(), 1);
            });
        }
        scope.spawn(|| {
            let place = Place::new();
            let server = Server::start(&place);
            let url = cut_after_first_send(&server, false);
            let lost = run(&["send", "t", "p", "--id", ID, "--server", &url]).expect(4);
            assert!(lost.stderr.contains("the server went away"), "{lost:?}");
            assert!(lost.stderr.contains(ID), "{lost:?}");
            assert!(lost.stderr.contains("same id"), "{lost:?}");
        });
    });
}

#[test]
fn a_server_that_comes_back_gets_the_request_and_gives_the_receipt() {
    for deliver in [true, false] {
        let place = Place::new();
        let server = Server::start(&place);
        let url = cut_after_first_send(&server, deliver);
        let args = ["send", "t", "p", "--id", ID, "--json", "--server", &url];
        let mut send = Background::start(&mut edgebus(&args));
        send.hear("the server went away");
        server.kill();
        let server = Server::start_at(&place, &url);
        send.hear("connected again");
        let sent = send.finish();
        assert_eq!(sent.status, 0, "{:?}", sent.stderr);
        let receipt = &json_lines(&sent.stdout.concat())[0];
        assert_eq!(
            (&receipt["request_id"], &receipt["seq"]),
            (&ID.into(), &1.into())
        );
        assert_eq!(receipt["duplicate"], deliver);
        assert_eq!(server.rows().len(), 1);
    }
}
