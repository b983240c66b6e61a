//! Telling and listening: live, to one client, stored, and under a name.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rustix::process::Signal;

use crate::background::Background;
use crate::support::{Place, Run, Server};

fn payload(line: &str) -> serde_json::Value {
    serde_json::from_str::<serde_json::Value>(line).expect("JSON")["payload"].clone()
}

fn payloads(lines: &[String]) -> Vec<serde_json::Value> {
    lines.iter().map(|line| payload(line)).collect()
}

#[test]
fn whoever_listens_is_told_and_nothing_is_stored() {
    let place = Place::new();
    let server = Server::start(&place);
    let publish = |args: &[&str]| server.run(&[&["publish"], args].concat()).expect(0);
    let nobody = publish(&["prices.a", "0"]);
    assert_eq!(
        (nobody.stdout.as_str(), nobody.stderr.as_str()),
        ("", "edgebus: nobody listens\n")
    );
    let plain = Background::sub(&server, &["prices.*", "--count", "2"]);
    let json = Background::sub(&server, &["stock", "prices.a", "--count", "2", "--json"]);
    let told = publish(&["prices.a", "1", "--header", "k=v"]);
    assert_eq!(told.stderr, "edgebus: handed to 2 subscribers\n");
    let told = publish(&["prices.b", "2", "--json"]);
    assert_eq!(
        (told.stdout.as_str(), told.stderr.as_str()),
        ("{\"subscribers\":1}\n", "")
    );
    publish(&["stock", "3"]);
    let plain = plain.finish();
    assert_eq!(
        (plain.status, plain.stdout),
        (0, vec!["prices.a\t1".to_owned(), "prices.b\t2".to_owned()])
    );
    let json = json.finish();
    assert_eq!(payloads(&json.stdout), ["1", "3"]);
    let row: serde_json::Value = serde_json::from_str(&json.stdout[0]).expect("JSON");
    assert_eq!(
        (&row["topic"], &row["headers"]["k"]),
        (&"prices.a".into(), &"v".into())
    );
    assert!(server.rows().is_empty());
}

#[test]
fn one_client_can_be_told_alone() {
    let place = Place::new();
    let server = Server::start(&place);
    let seven = Background::sub(
        &server,
        &["n", "--client", "till-7", "--count", "2", "--json"],
    );
    let eight = Background::sub(
        &server,
        &["n", "--client", "till-8", "--count", "1", "--json"],
    );
    let told = server
        .run(&["publish", "n", "for seven", "--to", "till-7", "--json"])
        .expect(0);
    assert_eq!(told.stdout, "{\"subscribers\":1}\n");
    server.run(&["publish", "n", "for all"]).expect(0);
    assert_eq!(payloads(&seven.finish().stdout), ["for seven", "for all"]);
    assert_eq!(payloads(&eight.finish().stdout), ["for all"]);
}

#[test]
fn a_stored_notification_has_a_receipt_and_is_told_live_too() {
    let place = Place::new();
    let server = Server::start(&place);
    let live = Background::sub(&server, &["n", "--count", "1", "--json"]);
    let id = "01890000-0000-7000-8000-000000000001";
    let args = ["publish", "n", "kept", "--persist", "--id", id];
    let stored = server.run(&args).expect(0);
    assert_eq!(stored.stdout, format!("stored {id} as seq 1\n"));
    let again = server.run(&[&args[..], &["--json"]].concat()).expect(0);
    assert_eq!(again.json()[0]["duplicate"], true);
    let told = live.finish();
    assert_eq!(payloads(&told.stdout), ["kept"]);
    assert_eq!(server.rows()[0]["payload"], "kept");
}

#[test]
fn a_name_gets_what_was_stored_while_nobody_listened_once() {
    let place = Place::new();
    let server = Server::start(&place);
    let publish = |payload: &str| {
        drop(
            server
                .run(&["publish", "n", payload, "--persist"])
                .expect(0),
        )
    };
    let named = |count: &str| {
        Background::sub(
            &server,
            &["n", "--name", "shelf", "--json", "--count", count],
        )
    };
    publish("before it is made");
    let first = named("1");
    publish("a");
    assert_eq!(payloads(&first.finish().stdout), ["a"]);
    for payload in ["b", "c", "d"] {
        publish(payload);
    }
    let second = named("2").finish();
    assert_eq!(
        (second.status, payloads(&second.stdout)),
        (0, vec!["b".into(), "c".into()])
    );
    let mut third = Background::sub(&server, &["n", "--name", "shelf", "--json"]);
    assert_eq!(third.json()["payload"], "d");
    publish("e");
    assert_eq!(third.json()["payload"], "e");
    third.signal(Signal::INT);
    assert_eq!(third.finish().status, 0);
    publish("f");
    assert_eq!(payloads(&named("1").finish().stdout), ["f"]);
}

#[test]
fn subscriptions_come_back_to_a_server_that_restarts_and_a_named_one_misses_nothing() {
    let place = Place::new();
    let server = Server::start(&place);
    let url = server.url.clone();
    let mut live = Background::sub(&server, &["n", "--json"]);
    let mut named = Background::sub(&server, &["n", "--name", "shelf", "--json"]);
    server.run(&["publish", "n", "1", "--persist"]).expect(0);
    assert_eq!(
        (
            live.json()["payload"].clone(),
            named.json()["payload"].clone()
        ),
        ("1".into(), "1".into())
    );
    server.kill();
    live.hear("the server went away");
    named.hear("the server went away");
    let server = Server::start_at(&place, &url);
    live.hear("what was published meanwhile was missed");
    named.hear("nothing that was stored is missed");
    server.run(&["publish", "n", "2", "--persist"]).expect(0);
    assert_eq!(live.json()["payload"], "2");
    assert_eq!(named.json()["payload"], "2");
    for sub in [live, named] {
        let ended = sub.stop();
        assert_eq!((ended.status, ended.stdout.len()), (0, 0));
    }
}

#[test]
fn connections_are_listed_with_their_names() {
    let place = Place::new();
    let server = Server::start(&place);
    let _sub = Background::sub(&server, &["n", "--client", "till-7"]);
    let listed: Run = server.run(&["client", "ls", "--json"]).expect(0);
    let rows = listed.json();
    let till = rows
        .iter()
        .find(|row| row["name"] == "till-7")
        .expect("it is connected");
    assert_eq!(till["streams"], 1);
    for name in ["id", "address", "connected", "in_flight", "sent"] {
        assert!(till.get(name).is_some(), "{name}");
    }
    let plain = server.run(&["client", "ls"]).expect(0).stdout;
    assert!(plain.contains("till-7"), "{plain}");
}

#[test]
fn a_listener_that_is_too_slow_is_told_how_many_it_missed() {
    const PUBLISHED: u64 = 3000;
    let place = Place::new();
    let server = Server::start(&place);
    let mut sub = server.command(&["sub", "n", "--json", "--buffer", "16"]);
    let mut sub = sub
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut ready = String::new();
    let stderr = sub.stderr.take().expect("is piped");
    let read = BufReader::new(stderr).read_line(&mut ready);
    assert!(read.is_ok() && ready.contains("listening"));
    // Much more than pipes and sockets hold, while nobody reads what is printed.
    let url = server.url.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let client = edgebus::Client::connect(&url).await.expect("connects");
        for _ in 0..PUBLISHED {
            let told = client.publish("n", vec![b'x'; 16 * 1024]).await;
            assert_eq!(told, Ok(1));
        }
    });
    let (mut printed, mut missed) = (0, 0);
    for line in BufReader::new(sub.stdout.take().expect("is piped")).lines() {
        let line = line.expect("text");
        let row: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        match row["lagged"].as_u64() {
            Some(lagged) => missed += lagged,
            None => printed += 1,
        }
        if printed + missed == PUBLISHED {
            break;
        }
    }
    assert!(
        missed > 0 && printed > 0,
        "{printed} printed, {missed} missed"
    );
    sub.kill().expect("it runs");
    sub.wait().expect("it ends");
}
