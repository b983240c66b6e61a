//! `edgebus spool`: listed while a client has it, removed only by whom it belongs to.

use std::path::Path;

use edgebus::spool::{Settled, Spool, SpoolConfig};
use edgebus::{Code, Message, Record, RecordLimits, RequestId};
use serde_json::Value;

use crate::support::{Place, Run, run, text};

/// A spool with requests 1 to 5; 2 and 4 will never be taken, 1 is forwarded.
fn spool(dir: &Path) -> Spool {
    let mut spool = Spool::open(dir, SpoolConfig::default()).expect("opens");
    let records = (1..=5u8).map(|number| {
        let id = RequestId::from_bytes([number; 16]);
        let payload = match number {
            5 => vec![0xff, 0xfe],
            _ => format!("p{number}").into_bytes(),
        };
        let topic = "orders.created".parse().expect("topic");
        let message = Message::new(id, topic, payload)
            .header("h", "1")
            .source("till-7");
        Record::encode(&message, &RecordLimits::default()).expect("fits")
    });
    let outcomes = spool.commit(&[], records.collect()).expect("durable");
    assert!(outcomes.iter().all(Result::is_ok));
    let dead = |number, reason: &str| {
        let settled = Settled::Dead {
            code: Code::IdConflict,
            reason: reason.to_owned(),
        };
        (number, settled)
    };
    let settled = [
        dead(2, "used before"),
        dead(4, "too"),
        (1, Settled::Forwarded),
    ];
    spool.commit(&settled, Vec::new()).expect("durable");
    spool
}

fn numbers(listed: &Run) -> Vec<u64> {
    let rows = listed.json();
    let numbers = rows.iter().map(|row| row["number"].as_u64());
    numbers.map(|number| number.expect("a number")).collect()
}

fn spool_command(dir: &Path, args: &[&str]) -> Run {
    run(&[&["spool"], args, &["--spool", text(dir)]].concat())
}

#[test]
fn requests_are_listed_while_a_client_has_the_spool() {
    let place = Place::new();
    let dir = place.path("spool");
    let spool = spool(&dir);
    let listed = spool_command(&dir, &["ls", "--json"]).expect(0);
    assert_eq!(numbers(&listed), [2, 3, 4, 5]);
    let rows = listed.json();
    for (name, value) in [
        (
            "request_id",
            Value::from("02020202-0202-0202-0202-020202020202"),
        ),
        ("topic", "orders.created".into()),
        ("source", "till-7".into()),
        ("state", "dead".into()),
        ("payload", "p2".into()),
        ("code", "id_conflict".into()),
        ("reason", "used before".into()),
    ] {
        assert_eq!(rows[0][name], value, "{name}");
    }
    assert_eq!(rows[0]["headers"]["h"], "1");
    assert!(rows[0]["time"].is_string() && rows[0]["dead_since"].is_string());
    assert!(rows[0]["bytes"].as_u64() > Some(40));
    assert_eq!(
        (&rows[1]["state"], &rows[1]["payload"]),
        (&"waiting".into(), &"p3".into())
    );
    assert!(rows[1].get("code").is_none() && rows[1].get("reason").is_none());
    assert_eq!(rows[3]["payload_base64"], "//4=");

    let dead = spool_command(&dir, &["ls", "--dead", "--json"]).expect(0);
    assert_eq!(numbers(&dead), [2, 4]);
    let plain = spool_command(&dir, &["ls"]).expect(0);
    assert_eq!(plain.stdout.lines().count(), 5, "{plain:?}");
    assert!(
        plain.stdout.contains("id_conflict: used before"),
        "{plain:?}"
    );
    for (args, more) in [(["--limit", "3"], true), (["--limit", "4"], false)] {
        let some = spool_command(&dir, &[&["ls"], &args[..]].concat()).expect(0);
        assert_eq!(some.stderr.contains("there is more"), more, "{some:?}");
    }
    drop(spool);
    let listed = spool_command(&dir, &["ls", "--json"]).expect(0);
    assert_eq!(numbers(&listed), [2, 3, 4, 5]);
}

#[test]
fn what_is_removed_is_gone_and_no_server_gets_it() {
    let place = Place::new();
    let dir = place.path("spool");
    drop(spool(&dir));
    let removed = spool_command(&dir, &["rm", "3", "99", "--json"]).expect(0);
    assert_eq!(removed.stdout, "{\"removed\":1}\n");
    assert!(removed.stderr.contains("only 1 of the 2"), "{removed:?}");
    let listed = || numbers(&spool_command(&dir, &["ls", "--json"]).expect(0));
    assert_eq!(listed(), [2, 4, 5]);
    let removed = spool_command(&dir, &["rm", "3", "--json"]).expect(1);
    assert_eq!(removed.last_error()["error"]["code"], "not_found");
    let removed = spool_command(&dir, &["rm", "--dead"]).expect(0);
    assert_eq!(removed.stdout, "removed 2 requests\n");
    assert_eq!(listed(), [5]);
    let removed = spool_command(&dir, &["rm", "--all"]).expect(0);
    assert_eq!(removed.stdout, "removed 1 request\n");
    assert_eq!(listed(), [0; 0]);
    spool_command(&dir, &["rm", "--all"]).expect(0);
    // Nothing is removed that was not named.
    spool_command(&dir, &["rm"]).expect(2);
    spool_command(&dir, &["rm", "1", "--all"]).expect(2);
    let mut spool = Spool::open(&dir, SpoolConfig::default()).expect("opens");
    assert!(spool.next(9, usize::MAX).expect("readable").is_empty());
}

#[test]
fn spool_of_a_client_is_not_touched() {
    let place = Place::new();
    let dir = place.path("spool");
    let spool = spool(&dir);
    let refused = spool_command(&dir, &["rm", "--all", "--json"]).expect(1);
    assert_eq!(refused.last_error()["error"]["code"], "data_in_use");
    assert_eq!((spool.waiting(), spool.dead()), (2, 2));
    drop(spool);
    let listed = spool_command(&dir, &["ls", "--json"]).expect(0);
    assert_eq!(numbers(&listed), [2, 3, 4, 5]);
}

#[test]
fn folder_that_holds_no_spool_is_refused_and_left_as_it_is() {
    let place = Place::new();
    let missing = place.path("missing");
    for args in [&["ls", "--json"][..], &["rm", "--all", "--json"]] {
        let refused = spool_command(&missing, args).expect(1);
        assert_eq!(refused.last_error()["error"]["code"], "not_found");
        assert!(!missing.exists());
    }
    let data = place.data();
    drop(edgebus::RequestStore::open(&data).expect("opens"));
    for args in [&["ls", "--json"][..], &["rm", "--all", "--json"]] {
        let refused = spool_command(&data, args).expect(1);
        assert_eq!(refused.last_error()["error"]["code"], "bad_config");
    }
    let refused = run(&["log", "ls", "--json", "--data", text(&data)]).expect(0);
    assert_eq!(refused.stdout, "");
    let dir = place.path("spool");
    drop(spool(&dir));
    let refused = run(&["log", "ls", "--json", "--data", text(&dir)]).expect(1);
    assert_eq!(refused.last_error()["error"]["code"], "bad_config");
    run(&["spool", "ls"]).expect(2);
}
