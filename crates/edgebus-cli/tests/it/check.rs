//! `edgebus check`: sound, damaged, repaired; and a folder that is in use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use edgebus::Code;

use crate::support::{Place, Server, orders, run, text};

/// A folder that a server left, with orders in journal and tables.
fn left_by_a_server(place: &Place) -> PathBuf {
    let server = Server::start(place);
    server
        .run(&[
            "send",
            "orders.created",
            "--file",
            orders(),
            "--id-field",
            "order",
        ])
        .expect(0);
    server.stop();
    place.data()
}

/// Turns over a bit in the first group of the oldest segment.
fn damage(data: &Path) {
    let journal = fs::read_dir(data.join("journal")).expect("a journal");
    let paths = journal.map(|entry| entry.expect("an entry").path());
    let oldest = paths
        .filter(|path| path.extension().is_some_and(|e| e == "wal"))
        .min();
    let oldest = oldest.expect("a segment");
    let mut bytes = fs::read(&oldest).expect("readable");
    bytes[4096 + 200] ^= 4;
    fs::write(&oldest, bytes).expect("written");
}

#[test]
fn a_sound_folder_is_called_so_and_a_damaged_one_named_and_repaired() {
    let place = Place::new();
    let data = left_by_a_server(&place);
    let data = text(&data);
    let sound = run(&["check", data]).expect(0);
    assert!(sound.stdout.starts_with("sound: "), "{sound:?}");
    let counts = run(&["check", data, "--json"]).expect(0).json();
    assert_eq!(counts.len(), 1);
    assert_eq!(
        (&counts[0]["sound"], &counts[0]["requests"]),
        (&true.into(), &2000.into())
    );

    damage(Path::new(data));
    let damaged = run(&["check", data]).expect(1);
    assert!(
        damaged
            .stdout
            .contains("byte 4096: a group that was synced"),
        "{damaged:?}"
    );
    let found = run(&["check", data, "--json"]).expect(1).json();
    assert_eq!(
        (&found[0]["kind"], &found[0]["byte"]),
        (&"group".into(), &4096.into())
    );
    assert_eq!(
        found.last().expect("a closing line")["damages"],
        found.len() - 1
    );

    let repaired = run(&["check", data, "--repair", "--json"]).expect(0).json();
    let closing = repaired.last().expect("a closing line");
    assert_eq!(
        (&closing["repaired"], &closing["remaining_damages"]),
        (&1.into(), &0.into())
    );
    let kept = closing["originals"].as_str().expect("a folder");
    assert!(Path::new(kept).join("changes.txt").exists());
    run(&["check", data]).expect(0);
    let listed = run(&["log", "ls", "--data", data, "--limit", "3000", "--json"]).expect(0);
    assert_eq!(listed.json().len(), 2000);
}

#[test]
fn what_cannot_be_put_right_is_left_as_it_is() {
    let place = Place::new();
    let data = left_by_a_server(&place);
    let tables = data.join("store.redb");
    let mut bytes = fs::read(&tables).expect("readable");
    bytes[64..320].fill(0xee);
    fs::write(&tables, &bytes).expect("written");
    let refused = run(&["check", text(&data), "--repair"]).expect(1);
    assert!(refused.stderr.contains("restore a backup"), "{refused:?}");
    assert!(fs::read(&tables).expect("readable") == bytes);
}

#[test]
fn a_folder_in_use_or_of_nothing_is_refused_and_a_spool_is_looked_at() {
    let place = Place::new();
    let server = Server::start(&place);
    let used = run(&["check", text(&place.data()), "--json"]).expect(1);
    assert_eq!(used.last_error()["error"]["code"], Code::DataInUse.as_str());
    server.stop();
    let nothing = run(&["check", text(&place.path("none")), "--json"]).expect(1);
    assert_eq!(
        nothing.last_error()["error"]["code"],
        Code::NotFound.as_str()
    );
    run(&["check"]).expect(2);
    run(&["check", text(&place.data()), "--force"]).expect(2);

    let dir = place.path("spool");
    drop(edgebus::spool::Spool::open(&dir, Default::default()).expect("opens"));
    run(&["check", text(&dir)]).expect(0);
}

#[test]
fn damage_is_told_by_the_status_to_whoever_reads_nothing() {
    let place = Place::new();
    let data = left_by_a_server(&place);
    damage(&data);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let check = Command::new(env!("CARGO_BIN_EXE_edgebus"))
        .args(["check", text(&data)])
        .stdout(writer)
        .status();
    assert_eq!(check.expect("it runs").code(), Some(1));
}
