//! Folders of a later version, as commands meet them: each says so, and leaves every byte and every
//! name in the folder as it is. A later version may lock in another way, so nothing is locked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::support::{Place, edgebus, run, text};

/// Everything below a folder.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(contents(&path));
            found.insert(path, None);
        } else {
            let bytes = std::fs::read(&path).expect("a file");
            found.insert(path, Some(bytes));
        }
    }
    found
}

/// A copy of what this version keeps in its tree, named as the next version's, without its lock.
fn later(fixture: &str, place: &Place) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../edgebus/tests/fixtures");
    let (from, to) = (from.join(fixture), place.path(fixture));
    std::fs::create_dir_all(to.join("journal")).expect("a folder");
    for (path, bytes) in contents(&from) {
        let name = path.strip_prefix(&from).expect("below it");
        match bytes {
            Some(bytes) if name == Path::new("VERSION") => {
                let bytes = String::from_utf8(bytes).expect("text");
                let (_, id) = bytes.split_once('\n').expect("two lines");
                let word = bytes.split(' ').next().expect("a word");
                std::fs::write(to.join(name), format!("{word} 77\n{id}")).expect("written");
            }
            Some(bytes) if name != Path::new("LOCK") => {
                std::fs::write(to.join(name), bytes).expect("written");
            }
            _ => {}
        }
    }
    to
}

#[track_caller]
fn refused_untouched(dir: &Path, args: &[&str]) {
    let before = contents(dir);
    let refused = run(args).expect(1);
    let error = refused.last_error();
    assert_eq!(
        error["error"]["code"], "newer_format",
        "{args:?}: {refused:?}"
    );
    let message = error["error"]["message"].as_str().expect("text");
    let told = message.contains("format 77") && message.contains("update edgebus");
    assert!(told, "{args:?}: {message}");
    assert_eq!(refused.stdout, "", "{args:?}");
    assert!(contents(dir) == before, "{args:?} changed something");
    assert!(!dir.join("LOCK").exists(), "{args:?} locked it");
}

#[test]
fn store_of_a_later_version_is_left_as_it_is_by_every_command_that_opens_one() {
    let place = Place::new();
    let dir = later("format-2", &place);
    let data = ["--json", "--data", text(&dir)];
    for command in [
        &["log", "ls"][..],
        &["log", "get", "1"],
        &["consumer", "ls"],
        &["dlq", "ls"],
        &["dlq", "requeue", "--all"],
        &["stats"],
        &["serve", "--listen", "tcp://127.0.0.1:0"],
    ] {
        refused_untouched(&dir, &[command, &data].concat());
    }
}

#[test]
fn spool_of_a_later_version_is_left_as_it_is_by_every_command_that_opens_one() {
    let place = Place::new();
    let dir = later("spool-1", &place);
    let spool = ["--json", "--spool", text(&dir)];
    let nobody = ["--server", "tcp://127.0.0.1:9"];
    for command in [
        &["spool", "ls"][..],
        &["spool", "rm", "1"],
        &[&["spool", "flush"], &nobody[..]].concat(),
        &[&["send", "orders.created", "x"], &nobody[..]].concat(),
    ] {
        refused_untouched(&dir, &[command, &spool].concat());
    }
}

/// The folder is a store's of this version otherwise, so that nothing else is in the way.
#[test]
fn the_same_store_is_read_when_it_says_to_be_of_this_version() {
    let place = Place::new();
    let dir = later("format-2", &place);
    let version = std::fs::read_to_string(dir.join("VERSION")).expect("text");
    std::fs::write(dir.join("VERSION"), version.replace(" 77\n", " 2\n")).expect("written");
    let listed = edgebus(&["log", "ls", "--json", "--data", text(&dir)]);
    let listed = crate::support::Run::of({ listed }.output().expect("the binary runs")).expect(0);
    assert_eq!(listed.json().len(), 38);
}
