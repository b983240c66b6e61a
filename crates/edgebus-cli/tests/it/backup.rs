//! A store as a file, and back; and what the machine is good for.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::support::{Place, Server, run, text};

/// A server with requests, a consumer that has done one, and a dead letter.
fn shop(place: &Place) -> Server {
    let server = Server::start(place);
    let add = ["consumer", "add", "books", "--pattern", "orders.>"];
    server.run(&add).expect(0);
    for number in 1..=5 {
        let id = format!("01890000-0000-7000-8000-00000000000{number}");
        let payload = number.to_string();
        server
            .run(&["send", "orders.new", &payload, "--id", &id])
            .expect(0);
    }
    server
        .run(&["consumer", "next", "books", "--ack"])
        .expect(0);
    server
}

fn object(run: &crate::support::Run) -> Value {
    run.json().remove(0)
}

#[test]
fn backup_of_a_running_server_is_restored_with_all_it_knew() {
    let place = Place::new();
    let server = shop(&place);
    let file = place.path("shop.edgebus");
    let taken = server.run(&["backup", text(&file), "--json"]).expect(0);
    let taken = object(&taken);
    assert_eq!(
        (&taken["requests"], &taken["consumers"]),
        (&5.into(), &1.into())
    );
    let mode = fs::metadata(&file).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = server.run(&["backup", text(&file), "--json"]).expect(1);
    assert_eq!(again.last_error()["error"]["code"], "bad_config");
    // What comes later is not in it.
    server.run(&["send", "orders.new", "later"]).expect(0);
    server.stop();

    let dir = place.path("restored");
    let restored = run(&["restore", text(&file), text(&dir), "--json"]).expect(0);
    let restored = object(&restored);
    assert_eq!(restored["requests"], 5);
    assert_ne!(restored["store_id"], taken["store_id"]);
    let rows = run(&["log", "ls", "--data", text(&dir), "--json"]).expect(0);
    assert_eq!(rows.json().len(), 5);
    let info = run(&["consumer", "info", "books", "--data", text(&dir), "--json"]);
    assert_eq!(object(&info.expect(0))["offset"], 1);
    let refused = run(&["restore", text(&file), text(&dir), "--json"]).expect(1);
    assert_eq!(refused.last_error()["error"]["code"], "bad_config");

    let same = place.path("same");
    let arguments = [
        "restore",
        text(&file),
        text(&same),
        "--same-identity",
        "--json",
    ];
    assert_eq!(
        object(&run(&arguments).expect(0))["store_id"],
        taken["store_id"]
    );

    // A copy of the copy, from the folder, to standard output.
    let second = place.path("second.edgebus");
    run(&["backup", text(&second), "--data", text(&dir)]).expect(0);
    run(&["restore", text(&second), text(&place.path("third"))]).expect(0);
    let leftovers = fs::read_dir(second.parent().expect("a folder")).expect("readable");
    let partial = |name: &std::ffi::OsStr| name.to_string_lossy().ends_with(".partial");
    assert!(
        leftovers
            .flatten()
            .all(|entry| !partial(&entry.file_name()))
    );
}

#[test]
fn file_that_is_no_backup_or_was_cut_is_refused() {
    let place = Place::new();
    let server = shop(&place);
    let file = place.path("shop.edgebus");
    server.run(&["backup", text(&file)]).expect(0);
    let bytes = fs::read(&file).expect("there");
    let dir = place.path("restored");
    for bad in [
        &bytes[..bytes.len() - 1],
        &bytes[..100],
        b"hello".as_slice(),
    ] {
        let bad = place.file("bad", bad);
        let refused = run(&["restore", &bad, text(&dir), "--json"]).expect(1);
        assert_eq!(refused.last_error()["error"]["code"], "corrupt");
        assert!(!dir.exists(), "nothing was begun");
    }
    let missing = run(&[
        "backup",
        text(&place.path("x")),
        "--data",
        text(&dir),
        "--json",
    ]);
    assert_eq!(missing.expect(1).last_error()["error"]["code"], "not_found");
}

#[test]
fn doctor_says_what_it_found_and_leaves_nothing() {
    let place = Place::new();
    let dir = place.path("data");
    fs::create_dir_all(&dir).expect("made");
    let found = run(&["doctor", text(&dir), "--time", "100ms", "--json"]);
    let found = object(&found);
    assert!(found["fdatasync"]["count"].as_u64() >= Some(1), "{found}");
    let about: Vec<&str> = found["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .filter_map(|finding| finding["about"].as_str())
        .collect();
    for wanted in ["disk", "to expect", "power cut", "room", "descriptors"] {
        assert!(about.contains(&wanted), "{wanted} in {found}");
    }
    assert_eq!(fs::read_dir(&dir).expect("there").count(), 0);
    // One that is not there is looked at where it would be.
    let later = dir.join("not/yet");
    run(&["doctor", text(&later), "--time", "100ms", "--json"]);
    assert_eq!(fs::read_dir(&dir).expect("there").count(), 0);

    let memory = run(&["doctor", "/dev/shm", "--time", "100ms"]);
    let memory = memory.expect(1);
    assert!(memory.stdout.contains("is memory"), "{}", memory.stdout);
}
