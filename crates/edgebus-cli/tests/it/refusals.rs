//! Bad input: each case has its own code and exit status, and nothing of it is stored.

use crate::support::{Place, Server, run};

#[test]
fn values_that_cannot_be_are_usage_errors_with_their_code() {
    for (args, code) in [
        (&["send", "bad topic", "p"][..], "bad_topic"),
        (&["send", "a..b", "p"], "bad_topic"),
        (&["send", "t", "p", "--id", "12"], "bad_id"),
        (&["send", "t", "p", "--header", "x"], "bad_header"),
        (&["send", "t", "p", "--expires", "soon"], "usage"),
        (&["send", "t", "p", "--expires", "1us"], "usage"),
        (&["send", "t", "p", "--window", "0"], "usage"),
        (&["send", "t", "p", "--file", "f"], "usage"),
        (
            &[
                "send",
                "t",
                "--file",
                "f",
                "--id",
                "01890000-0000-7000-8000-000000000001",
            ],
            "usage",
        ),
        (&["send", "t", "p", "--id-field", "f"], "usage"),
        (&["send", "t", "p", "--server", "h:1"], "bad_config"),
        (&["log", "ls", "--topic", "a.>.b"], "bad_pattern"),
        (&["log", "ls", "--from", "yesterday"], "bad_query"),
        (&["log", "ls", "--limit", "0"], "usage"),
        (&["log", "get", "x"], "bad_id"),
        (&["log", "trim"], "usage"),
        (&["replay"], "usage"),
        (&["replay", "--from", "1", "--into", "a b"], "bad_consumer"),
        (&["request", "a..b", "p"], "bad_topic"),
        (&["request", "t", "p", "--timeout", "0s"], "usage"),
        (&["request", "t"], "usage"),
        (&["reply", "t"], "usage"),
        (&["reply", "a.>.b", "--exec", "cat"], "bad_pattern"),
        (&["reply", "t", "--exec", "cat", "--workers", "0"], "usage"),
        (
            &["reply", "t", "--exec", "cat", "--consumer", "a b"],
            "bad_consumer",
        ),
        (&["publish", "t", "p", "--to", ""], "usage"),
        (&["sub"], "usage"),
        (&["sub", "t", "--count", "0"], "usage"),
        (&["consumer"], "usage"),
        (&["consumer", "add", "c"], "usage"),
        (
            &["consumer", "add", "a b", "--pattern", "t"],
            "bad_consumer",
        ),
        (
            &["consumer", "add", "c", "--pattern", "a..b"],
            "bad_pattern",
        ),
        (
            &["consumer", "add", "c", "--pattern", "t", "--start", "soon"],
            "bad_query",
        ),
        (&["consumer", "ack", "c", "1.x"], "bad_token"),
        (&["consumer", "next", "c", "--count", "0"], "usage"),
        (&["dlq", "requeue"], "usage"),
        (&["dlq", "rm"], "usage"),
        (&["dlq", "rm", "x"], "usage"),
        (&["nonsense"], "usage"),
        (&[], "usage"),
    ] {
        let plain = run(args).expect(2);
        assert_eq!(plain.stdout, "", "{args:?}");
        assert_ne!(plain.stderr, "", "{args:?}");
        if code != "usage" {
            assert!(plain.stderr.contains(&format!("({code})")), "{plain:?}");
        }
        let json = run(&[args, &["--json"]].concat()).expect(2);
        assert_eq!(json.last_error()["error"]["code"], code, "{args:?}");
    }
}

#[test]
fn what_the_server_or_its_limits_refuse_is_exit_1_with_its_code() {
    const ID: &str = "01890000-0000-7000-8000-000000000001";
    let place = Place::new();
    let server = Server::start(&place);
    server.run(&["send", "t", "p", "--id", ID]).expect(0);
    for args in [
        ["send", "t", "other", "--id", ID],
        ["send", "u", "p", "--id", ID],
    ] {
        let refused = server.run(&[&args[..], &["--json"]].concat()).expect(1);
        let error = refused.last_error();
        assert_eq!(error["error"]["code"], "id_conflict");
        assert_eq!(error["request_id"], ID);
        assert_eq!(refused.stdout, "");
        let refused = server.run(&args).expect(1);
        assert!(refused.stderr.ends_with("(id_conflict)\n"), "{refused:?}");
    }
    let large = vec![b'x'; 1024 * 1024];
    let refused = server
        .run_with_input(&["send", "t", "--json"], &large)
        .expect(1);
    assert_eq!(refused.last_error()["error"]["code"], "payload_too_large");
    let headers: Vec<String> = (0..65).map(|i| format!("--header=h{i}=x")).collect();
    let mut args = vec!["send", "t", "p", "--json"];
    args.extend(headers.iter().map(String::as_str));
    let refused = server.run(&args).expect(1);
    assert_eq!(refused.last_error()["error"]["code"], "bad_header");
    assert_eq!(server.rows().len(), 1);
}

#[test]
fn a_file_that_cannot_be_read_is_said_before_anything_is_sent() {
    let place = Place::new();
    let missing = place.path("missing");
    for path in [missing.to_str().expect("text"), "/"] {
        let failed = run(&["send", "t", "--json", "--file", path]).expect(1);
        assert_eq!(failed.last_error()["error"]["code"], "io");
    }
}
