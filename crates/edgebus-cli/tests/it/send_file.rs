//! Files of requests: all of them once, in order, however often they are sent.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::Stdio;

use rustix::process::Signal;

use crate::background::Background;
use crate::support::{
    Place, Run, Running, Server, cut_after_first_send, json_lines, orders, receipts, run,
    run_with_input, send_signal,
};

fn send_orders() -> [&'static str; 6] {
    [
        "send",
        "orders.created",
        "--file",
        orders(),
        "--id-field",
        "order",
    ]
}

#[test]
fn a_file_sent_twice_is_stored_once_under_the_same_numbers() {
    let place = Place::new();
    let server = Server::start(&place);
    let args = [&send_orders()[..], &["--json"]].concat();
    let first = server.run(&args).expect(0);
    let second = server.run(&args).expect(0);
    let (first_lines, second_lines) = (first.json(), second.json());
    assert_eq!(first_lines.len(), 2000);
    for (number, (first, second)) in first_lines.iter().zip(&second_lines).enumerate() {
        assert_eq!(first["seq"], number + 1);
        assert_eq!(first["duplicate"], false);
        assert_eq!(second["duplicate"], true);
        assert_eq!(first["seq"], second["seq"]);
        assert_eq!(first["request_id"], second["request_id"]);
    }
    let (first, second) = (first.last_error(), second.last_error());
    for (name, counts) in [
        ("sent", (2000, 2000)),
        ("stored", (2000, 0)),
        ("duplicates", (0, 2000)),
    ] {
        assert_eq!(
            (&first[name], &second[name]),
            (&counts.0.into(), &counts.1.into()),
            "{name}"
        );
    }
    assert_eq!(server.rows().len(), 2000);
}

#[test]
fn the_log_gives_back_every_payload_byte_for_byte_in_the_order_of_the_file() {
    let place = Place::new();
    let server = Server::start(&place);
    let sent = server.run(&send_orders()).expect(0);
    assert_eq!(sent.stdout, "");
    let summary = sent.stderr.lines().last().expect("a summary");
    assert!(
        summary.starts_with("2,000 sent, 2,000 stored, 0 duplicates"),
        "{sent:?}"
    );
    let listed = server
        .run(&["log", "ls", "--limit", "100000", "--json"])
        .expect(0);
    let mut payloads = String::new();
    for row in listed.json() {
        payloads.push_str(row["payload"].as_str().expect("text"));
        payloads.push('\n');
    }
    let file = std::fs::read_to_string(orders()).expect("the file is there");
    assert!(
        payloads == file,
        "the payloads differ from the lines of the file"
    );
}

#[test]
fn bad_lines_are_named_by_number_and_the_others_go_through() {
    let place = Place::new();
    let server = Server::start(&place);
    let long = "x".repeat(1024 * 1024);
    let text = format!(
        "{{\"n\":1}}\r\n\n{{\"n\":\n[2]\n{{\"n\":\"a\",\"text\":\"{long}\"}}\n   \n{{\"m\":3}}\n{{\"n\":\"b\"}}\n\
         {{\"n\":1,\"changed\":true}}\n {{\"n\":4}}"
    );
    let file = place.file("bad.ndjson", text);
    let args = ["send", "t", "--file", &file, "--id-field", "n"];
    let sent = server.run(&[&args[..], &["--json"]].concat()).expect(1);
    let lines = sent.json();
    let outcome = |at: usize| match lines[at].get("seq") {
        Some(seq) => format!("seq {seq}"),
        None => {
            let message = lines[at]["error"]["message"].as_str().expect("a message");
            assert!(
                message.contains(&format!("bad.ndjson:{}:", lines[at]["line"])),
                "{message}"
            );
            format!(
                "{} {}",
                lines[at]["line"],
                lines[at]["error"]["code"].as_str().expect("a code")
            )
        }
    };
    let outcomes: Vec<String> = (0..lines.len()).map(outcome).collect();
    let expected = [
        "seq 1",
        "3 bad_line",
        "4 bad_line",
        "5 payload_too_large",
        "7 bad_line",
        "seq 2",
        "9 id_conflict",
        "seq 3",
    ];
    assert_eq!(outcomes, expected);
    assert!(lines[1]["request_id"].is_null() && lines[6]["request_id"].is_string());
    let payloads: Vec<_> = server
        .rows()
        .iter()
        .map(|row| row["payload"].clone())
        .collect();
    assert_eq!(payloads, ["{\"n\":1}", "{\"n\":\"b\"}", " {\"n\":4}"]);
    let plain = server.run(&args).expect(1);
    for line in [3, 4, 5, 7, 9] {
        assert!(
            plain.stderr.contains(&format!("bad.ndjson:{line}: ")),
            "{}",
            plain.stderr
        );
    }
    assert!(
        plain
            .stderr
            .contains("0 stored, 3 duplicates, 5 refused, 0 unknown"),
        "{}",
        plain.stderr
    );
}

#[test]
fn ids_come_from_the_field_as_documented() {
    let place = Place::new();
    let server = Server::start(&place);
    let id = "01890000-0000-7000-8000-000000000001";
    let lines = format!("{{\"n\":\"{id}\"}}\n{{\"n\":1}}\n{{\"n\":\"1 \"}}\n{{\"n\":1.0}}\n");
    let args = ["send", "a.b", "--file", "-", "--id-field", "n", "--json"];
    let v5 =
        |name: &str| uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, name.as_bytes()).to_string();
    for (namespace, options) in [
        ("default", &[][..]),
        ("shop-7", &["--id-namespace", "shop-7"]),
    ] {
        let sent = server
            .run_with_input(&[&args[..], options].concat(), lines.as_bytes())
            .expect(0);
        let ids: Vec<_> = sent
            .json()
            .iter()
            .map(|line| line["request_id"].clone())
            .collect();
        let of = |value: &str| v5(&format!("edgebus:{namespace}:a.b:{value}"));
        assert_eq!(ids, [id.to_owned(), of("1"), of("1 "), of("1.0")]);
    }
}

#[test]
fn two_clients_that_send_the_same_ids_at_once_get_the_same_numbers() {
    let place = Place::new();
    let server = Server::start(&place);
    let args = [&send_orders()[..], &["--json", "--window", "64"]].concat();
    let start = || {
        let mut command = server.command(&args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the binary runs")
    };
    let clients = [start(), start()];
    let receipts = clients.map(|client| {
        let ran = Run::of(client.wait_with_output().expect("it ends")).expect(0);
        receipts(&ran.json())
    });
    assert_eq!(receipts[0].len(), 2000);
    for (id, (seq, duplicate)) in &receipts[0] {
        let other = receipts[1][id];
        assert_eq!(other.0, *seq, "{id}");
        assert!(
            other.1 != *duplicate,
            "{id} was stored by exactly one of them"
        );
    }
    assert_eq!(server.rows().len(), 2000);
}

#[test]
fn a_slow_pipe_gets_each_receipt_before_the_next_line_comes() {
    let place = Place::new();
    let server = Server::start(&place);
    let mut command = server.command(&["send", "t", "--file", "-", "--json"]);
    let mut client = Running::start(command.stdin(Stdio::piped()).stderr(Stdio::null()));
    let mut stdin = client.child.stdin.take().expect("is piped");
    for number in 1..=20 {
        stdin
            .write_all(format!("{{\"n\":{number}}}\n").as_bytes())
            .expect("is written");
        let receipt = &json_lines(&client.line())[0];
        assert_eq!(receipt["seq"], number);
    }
    drop(stdin);
    assert_eq!(client.finish(), (String::new(), 0));
}

#[test]
fn an_interrupt_ends_it_with_a_summary() {
    let place = Place::new();
    let server = Server::start(&place);
    let mut command = server.command(&["send", "t", "--file", "-", "--json"]);
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut client = Running::start(&mut command);
    let mut stdin = client.child.stdin.take().expect("is piped");
    stdin.write_all(b"1\n").expect("is written");
    client.line();
    send_signal(&client.child, Signal::INT);
    let mut said = String::new();
    let mut stderr = client.child.stderr.take().expect("is piped");
    stderr.read_to_string(&mut said).expect("text");
    assert_eq!(client.finish(), (String::new(), 130));
    assert_eq!(json_lines(&said)[0]["stored"], 1);
}

#[test]
fn a_reader_that_leaves_does_not_stop_the_sending() {
    let place = Place::new();
    let server = Server::start(&place);
    let mut command = server.command(&[&send_orders()[..], &["--json", "--window", "8"]].concat());
    command.stderr(Stdio::null());
    let mut client = Running::start(&mut command);
    client.line();
    let Running { mut child, stdout } = client;
    drop(stdout);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert_eq!(server.rows().len(), 2000);
}

/// A server that goes away for good.
#[test]
fn a_connection_lost_on_the_way_is_exit_4_and_sending_again_mends_it() {
    std::thread::scope(|scope| {
        for deliver in [true, false] {
            scope.spawn(move || lose_connection(deliver));
        }
        scope.spawn(lose_connection_before_anything_is_sent);
    });
}

fn lose_connection(deliver: bool) {
    let place = Place::new();
    let server = Server::start(&place);
    let url = cut_after_first_send(&server, deliver);
    let args = [&send_orders()[..], &["--json", "--server", &url]].concat();
    let lost = run(&args).expect(4);
    let error = lost.last_error();
    assert_eq!(error["error"]["code"], "unknown");
    let message = error["error"]["message"].as_str().expect("a message");
    assert!(message.contains("send the file again"), "{message}");
    let lines = lost.json();
    assert!(!lines.is_empty());
    for (number, line) in lines.iter().enumerate() {
        assert_eq!(line["error"]["code"], "unknown");
        assert_eq!(line["line"], number + 1);
    }
    let again = server
        .run(&[&send_orders()[..], &["--json"]].concat())
        .expect(0);
    let seqs: Vec<_> = again
        .json()
        .iter()
        .map(|line| line["seq"].clone())
        .collect();
    assert!(seqs.iter().enumerate().all(|(at, seq)| *seq == at + 1));
}

/// Nothing is unknown then, and nothing is said about single lines.
fn lose_connection_before_anything_is_sent() {
    let place = Place::new();
    let server = Server::start(&place);
    let mut command = server.command(&["send", "t", "--file", "-", "--json"]);
    let mut send = Background::start(command.stdin(Stdio::piped()));
    let mut stdin = send.child.stdin.take().expect("is piped");
    // It is connected: its name is known, and what it is told then is on its way before a later
    // client is told anything.
    let clients = || server.run(&["client", "ls", "--json"]).expect(0).json();
    let known = |client: &serde_json::Value| client["name"] != "";
    while clients().iter().filter(|client| known(client)).count() < 2 {}
    clients();
    server.kill();
    send.hear("the server went away");
    stdin.write_all(b"1\n2\n").expect("it reads");
    drop(stdin);
    let ended = send.finish();
    assert_eq!(
        (ended.status, ended.stdout.len()),
        (3, 0),
        "{:?}",
        ended.stderr
    );
    let error = ended.stderr.last().expect("an error");
    assert!(error.contains("not everything was sent"), "{error}");
}

#[test]
fn no_server_is_exit_3_for_a_file_too() {
    let failed = run_with_input(
        &["send", "t", "--file", "-", "--server", "tcp://127.0.0.1:1"],
        b"1\n",
    );
    failed.expect(3);
}

#[test]
fn lines_without_ids_of_their_own_are_new_requests_each_time() {
    let place = Place::new();
    let server = Server::start(&place);
    let args = ["send", "t", "--file", "-", "--json"];
    let mut ids = BTreeMap::new();
    for _ in 0..2 {
        let sent = server.run_with_input(&args, b"1\n1\n").expect(0);
        ids.extend(receipts(&sent.json()));
    }
    assert_eq!(ids.len(), 4);
}
