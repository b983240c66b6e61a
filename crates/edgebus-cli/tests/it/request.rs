//! Asking and answering from the command line: the reply, its shapes, and what stands for it.

use crate::background::{Background, Gate, lines_of};
use crate::support::{Place, Run, Server, run, text};

const ID: &str = "01890000-0000-7000-8000-000000000001";

#[test]
fn a_reply_is_printed_byte_for_byte_and_as_json() {
    let place = Place::new();
    let server = Server::start(&place);
    let _reply = Background::reply(&server, &["text.*", "--exec", "tr a-z A-Z"]);
    let asked = server
        .run_with_input(&["request", "text.upper"], b"a\nb")
        .expect(0);
    assert_eq!((asked.stdout.as_str(), asked.stderr.as_str()), ("A\nB", ""));
    let asked = server
        .run(&["request", "text.upper", "c", "--id", ID, "--json"])
        .expect(0);
    let object = format!(
        "{{\"request_id\":\"{ID}\",\"seq\":2,\"duplicate\":false,\"reply\":\"C\",\"headers\":{{}}}}\n"
    );
    assert_eq!(asked.stdout, object);
}

#[test]
fn a_reply_that_is_no_text_comes_in_base64() {
    let place = Place::new();
    let server = Server::start(&place);
    let _reply = Background::reply(&server, &["t", "--exec", "printf '\\000\\377'"]);
    let asked = server.run(&["request", "t", "p", "--json"]).expect(0);
    assert_eq!(asked.json()[0]["reply_base64"], "AP8=");
    assert_eq!(asked.json()[0].get("reply"), None);
    let mut command = server.command(&["request", "t", "p"]);
    assert_eq!(command.output().expect("it runs").stdout, b"\x00\xff");
}

#[test]
fn the_same_id_gets_the_same_reply_and_is_run_once_over_restarts_too() {
    let place = Place::new();
    let server = Server::start(&place);
    let count = place.path("count");
    let script = format!("echo x >> {}; wc -l < {0}", text(&count));
    let reply = Background::reply(&server, &["t", "--exec", &script]);
    let ask = ["request", "t", "p", "--id", ID, "--json"];
    let first = server.run(&ask).expect(0).json().remove(0);
    assert_eq!(
        (&first["reply"], &first["duplicate"]),
        (&"1\n".into(), &false.into())
    );
    let again = server.run(&ask).expect(0).json().remove(0);
    assert_eq!(
        (&again["reply"], &again["duplicate"]),
        (&"1\n".into(), &true.into())
    );
    assert_eq!(reply.stop().status, 0);
    server.kill();
    let server = Server::start(&place);
    let again = server.run(&ask).expect(0).json().remove(0);
    assert_eq!(
        (&again["reply"], &again["duplicate"]),
        (&"1\n".into(), &true.into())
    );
    assert_eq!(lines_of(&place, "count"), 1);
    let other = server
        .run(&["request", "t", "other", "--id", ID, "--json"])
        .expect(1);
    assert_eq!(other.last_error()["error"]["code"], "id_conflict");
}

#[test]
fn no_reply_in_time_is_exit_4_and_asking_again_with_the_printed_id_brings_it() {
    let place = Place::new();
    let server = Server::start(&place);
    let ask = ["request", "t", "p", "--timeout", "100ms", "--json"];
    let late = server.run(&ask).expect(4);
    let error = late.last_error();
    assert_eq!(
        (late.stdout.as_str(), &error["error"]["code"]),
        ("", &"reply_timeout".into())
    );
    let message = error["error"]["message"].as_str().expect("a message");
    assert!(message.contains("no consumer takes t"), "{message}");
    let id = error["request_id"].as_str().expect("an id").to_owned();
    let _reply = Background::reply(&server, &["t", "--exec", "cat"]);
    let asked = server.run(&["request", "t", "p", "--id", &id]).expect(0);
    assert_eq!(asked.stdout, "p");
    assert_eq!(server.rows().len(), 1);
}

#[test]
fn the_id_is_told_to_people_when_no_reply_comes() {
    let place = Place::new();
    let server = Server::start(&place);
    let gate = Gate::new(&place, "gate");
    let _reply = Background::reply(&server, &["t", "--exec", &gate.wait()]);
    let ask = ["request", "t", "p", "--timeout", "100ms", "--id", ID];
    let late = server.run(&ask).expect(4);
    assert!(late.stderr.contains(ID), "{late:?}");
    assert!(late.stderr.ends_with("(reply_timeout)\n"), "{late:?}");
    assert!(!late.stderr.contains("no consumer"), "{late:?}");
    gate.open();
    assert_eq!(
        server
            .run(&["request", "t", "p", "--id", ID])
            .expect(0)
            .stdout,
        ""
    );
}

#[test]
fn a_request_that_failed_for_good_is_exit_1_with_the_reason_until_it_is_done_after_all() {
    let place = Place::new();
    let server = Server::start(&place);
    let script = "[ -e \"$MENDED\" ] || { echo no paper >&2; exit 65; }; echo done";
    let mended = place.path("mended");
    let mut command = server.command(&["reply", "t", "--exec", script]);
    let mut reply = Background::start(command.env("MENDED", &mended));
    reply.hear("working on");
    let ask = ["request", "t", "p", "--id", ID, "--json"];
    let failed = server.run(&ask).expect(1);
    let error = failed.last_error();
    assert_eq!(error["error"]["code"], "dead_lettered");
    assert_eq!(error["request_id"], ID);
    let message = error["error"]["message"].as_str().expect("a message");
    assert!(message.contains("no paper"), "{message}");
    assert_eq!(
        server.run(&ask).expect(1).last_error()["error"]["code"],
        "dead_lettered"
    );
    place.file("mended", "");
    server.run(&["dlq", "requeue", "1"]).expect(0);
    reply.hear("no paper");
    // Done before it is asked for, or while it is: the reply is the same.
    let consumer = || {
        server
            .run(&["consumer", "info", "reply-t", "--json"])
            .expect(0)
    };
    while consumer().json()[0]["completed"] != 1 {}
    assert_eq!(server.run(&ask).expect(0).json()[0]["reply"], "done\n");
    let shown = server
        .run(&["log", "get", ID, "--json"])
        .expect(0)
        .json()
        .remove(0);
    assert_eq!(
        (&shown["state"], &shown["reply"]),
        (&"done".into(), &"done\n".into())
    );
}

#[test]
fn a_request_waits_for_a_server_that_restarts_and_names_its_id_when_that_stays_away() {
    let place = Place::new();
    let server = Server::start(&place);
    let url = server.url.clone();
    let gate = Gate::new(&place, "gate");
    let script = format!("echo started >&2; {}; echo here", gate.wait());
    let mut reply = Background::reply(&server, &["t", "--exec", &script]);
    let request = |timeout: &str| {
        let args = ["request", "t", "p", "--id", ID, "--timeout", timeout];
        Background::start(&mut server.command(&args))
    };
    let (patient, hasty) = (request("60s"), request("3s"));
    reply.hear("started");
    // Both have asked: who had not could not say more than that there is no server.
    let waiting = || server.run(&["stats", "--json"]).expect(0).json();
    while waiting()[0]["requests_waiting"] != 2 {}
    server.kill();
    let hasty = hasty.finish();
    assert_eq!(hasty.status, 4);
    assert!(hasty.stderr.concat().contains(ID), "{:?}", hasty.stderr);
    reply.hear("the server went away");
    let _server = Server::start_at(&place, &url);
    reply.hear("connected again");
    gate.open();
    let patient = patient.finish();
    assert_eq!(
        (patient.status, patient.stdout),
        (0, vec!["here".to_owned()])
    );
    let ended = reply.stop();
    assert_eq!(ended.status, 0);
    assert!(
        !ended.stderr.contains(&"started".to_owned()),
        "it was run twice"
    );
}

#[test]
fn a_server_that_was_never_there_is_exit_3_with_the_id() {
    let args = [
        "request",
        "t",
        "p",
        "--id",
        ID,
        "--server",
        "tcp://127.0.0.1:1",
    ];
    let failed = run(&args).expect(3);
    assert!(failed.stderr.contains(ID) && failed.stderr.ends_with("(disconnected)\n"));
}

#[test]
fn an_interrupted_request_is_exit_4_with_its_id() {
    let place = Place::new();
    let server = Server::start(&place);
    let request = Background::start(&mut server.command(&["request", "t", "p", "--id", ID]));
    while server.rows().is_empty() {}
    request.signal(rustix::process::Signal::INT);
    let ended = request.finish();
    assert_eq!(ended.status, 4);
    assert!(ended.stderr.concat().contains(ID));
    let _: Run = server.run(&["log", "get", ID]).expect(0);
}
