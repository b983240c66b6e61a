//! Who may open a data folder, and what is said when it cannot be.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use edgebus::{Code, RequestStore, StoreError};

use super::wrapped_files::WrappedFiles;
use super::{append, assert_holds, contents, open_on, open_with, small_config};

fn store_of(last: u64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("folder");
    let mut store = open_with(folder.path(), small_config()).expect("opens");
    append(&mut store, 1..=last);
    folder
}

#[test]
fn folder_is_open_once_and_free_again_afterwards() {
    let folder = store_of(3);
    let store = open_with(folder.path(), small_config()).expect("opens");
    let error = open_with(folder.path(), small_config()).expect_err("in use");
    assert_eq!(error.code(), Code::DataInUse);
    assert!(error.is_retryable());
    let text = error.to_string();
    assert!(
        text.contains(&folder.path().display().to_string()),
        "{text}"
    );
    assert_holds(&store, 3);
    drop(store);
    assert_holds(&open_with(folder.path(), small_config()).expect("free"), 3);
}

#[test]
fn folder_is_free_at_once_although_a_child_process_that_is_being_started_has_its_files_open() {
    let folder = store_of(3);
    let files = WrappedFiles::inherited();
    let store = open_on(files.clone(), folder.path(), small_config()).expect("opens");
    drop(store);
    let again = open_with(folder.path(), small_config()).expect("free");
    assert_holds(&again, 3);
    drop((again, files));
}

#[test]
fn folder_locked_by_another_process_is_in_use_and_left_alone() {
    let folder = store_of(3);
    let lock = fs::File::open(folder.path().join("LOCK")).expect("LOCK");
    lock.lock().expect("lock");
    let before = contents(folder.path());
    let error = open_with(folder.path(), small_config()).expect_err("in use");
    assert!(matches!(error, StoreError::DataInUse { path } if path == folder.path()));
    assert!(contents(folder.path()) == before);
    drop(lock);
    open_with(folder.path(), small_config()).expect("free");
}

#[test]
fn readers_that_outlive_the_store_do_not_keep_the_folder() {
    let folder = store_of(3);
    let store = open_with(folder.path(), small_config()).expect("opens");
    let reader = store.reader();
    let replay = store.replay_from(edgebus::Seq(1));
    drop(store);
    let again = open_with(folder.path(), small_config()).expect("free");
    assert_holds(&again, 3);
    drop((reader, replay));
}

#[test]
fn reader_of_a_closed_store_says_so() {
    let folder = store_of(3);
    let store = open_with(folder.path(), small_config()).expect("opens");
    let reader = store.reader();
    store.close().expect("closes");
    let error = reader.get_by_seq(edgebus::Seq(1)).expect_err("closed");
    assert_eq!(error.code(), Code::ShuttingDown, "{error}");
}

#[test]
fn folder_of_a_newer_version_is_refused_and_untouched() {
    let folder = store_of(3);
    fs::write(folder.path().join("VERSION"), "edgebus-store 3\nmore\n").expect("write");
    let before = contents(folder.path());
    let error = open_with(folder.path(), small_config()).expect_err("newer");
    assert_eq!(error.code(), Code::NewerFormat);
    assert!(error.to_string().contains("format 3"), "{error}");
    assert!(error.to_string().contains("update edgebus"), "{error}");
    assert!(contents(folder.path()) == before);
}

#[test]
fn version_that_is_damaged_or_gone_is_corruption() {
    let folder = store_of(3);
    let version = folder.path().join("VERSION");
    let sound = fs::read(&version).expect("VERSION");
    for bad in [
        "",
        "edgebus-store",
        "edgebus-store x\n",
        "edgebus-store 0\n",
        "else 1\n",
        "edgebus-store 2\n",
        "edgebus-store 2\nid x\n",
        "edgebus-store 2\n7dc53df5-703e-49b3-8670-b1c468f47f1f\n",
    ] {
        fs::write(&version, bad).expect("write");
        let error = open_with(folder.path(), small_config()).expect_err("damaged");
        assert!(matches!(error, StoreError::Corrupt { path, .. } if path == version));
    }
    fs::remove_file(&version).expect("remove");
    let error = open_with(folder.path(), small_config()).expect_err("gone");
    assert!(matches!(error, StoreError::Corrupt { path, .. } if path == version));
    fs::write(&version, sound).expect("write");
    assert_holds(&open_with(folder.path(), small_config()).expect("sound"), 3);
}

#[test]
fn version_with_any_bit_flipped_is_refused() {
    let folder = store_of(3);
    let version = folder.path().join("VERSION");
    let sound = fs::read(&version).expect("VERSION");
    for bit in 0..sound.len() * 8 {
        let mut flipped = sound.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&version, flipped).expect("write");
        let error = open_with(folder.path(), small_config()).expect_err("damaged");
        let code = error.code();
        assert!(
            matches!(code, Code::Corrupt | Code::NewerFormat),
            "bit {bit}: {error}"
        );
    }
    fs::write(&version, &sound).expect("write");
    assert_holds(&open_with(folder.path(), small_config()).expect("sound"), 3);
    // Earlier versions wrote two lines.
    let text = String::from_utf8(sound).expect("text");
    let two = text.lines().take(2).map(|line| format!("{line}\n"));
    fs::write(&version, two.collect::<String>()).expect("write");
    assert_holds(&open_with(folder.path(), small_config()).expect("sound"), 3);
}

#[test]
fn store_keeps_the_id_it_was_made_with_and_another_has_another() {
    let folders = [tempfile::tempdir(), tempfile::tempdir()].map(|folder| folder.expect("folder"));
    let ids = folders.each_ref().map(|folder| {
        let store = || open_with(folder.path(), small_config()).expect("sound");
        let id = store().store_id();
        assert_eq!(store().store_id(), id, "opened again");
        let text = fs::read_to_string(folder.path().join("VERSION")).expect("VERSION");
        assert!(text.contains(&uuid::Uuid::from_bytes(id).to_string()));
        id
    });
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn start_that_was_interrupted_before_the_version_was_written_is_done_again() {
    let folder = tempfile::tempdir().expect("folder");
    fs::create_dir(folder.path().join("journal")).expect("folder");
    fs::write(folder.path().join("LOCK"), "").expect("write");
    fs::write(folder.path().join("store.redb"), "half of it").expect("write");
    fs::write(folder.path().join("store.redb.new"), "half of it").expect("write");
    fs::write(folder.path().join("VERSION.new"), "edge").expect("write");
    let mut store = open_with(folder.path(), small_config()).expect("opens");
    append(&mut store, 1..=3);
    drop(store);
    assert_holds(&open_with(folder.path(), small_config()).expect("opens"), 3);
    let names: Vec<_> = contents(folder.path()).into_keys().collect();
    assert!(
        names
            .iter()
            .all(|name| name.extension() != Some("new".as_ref())),
        "{names:?}"
    );
}

#[test]
fn folder_that_cannot_be_written_is_refused_by_name() {
    for kind in [
        io::ErrorKind::ReadOnlyFilesystem,
        io::ErrorKind::PermissionDenied,
    ] {
        let folder = store_of(3);
        let files = WrappedFiles::new(move |action, _| match action.changes_something() {
            true => Err(kind.into()),
            false => Ok(()),
        });
        let before = contents(folder.path());
        let error = open_on(files.clone(), folder.path(), small_config()).expect_err("read-only");
        assert_eq!(error.code(), Code::ReadOnly);
        let text = error.to_string();
        assert!(
            text.contains(&folder.path().display().to_string()),
            "{text}"
        );
        assert!(contents(folder.path()) == before);

        let missing = folder.path().join("new");
        let error = open_on(files, &missing, small_config()).expect_err("read-only");
        assert_eq!(error.code(), Code::ReadOnly);
    }
}

#[test]
fn place_that_is_no_folder_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("write");
    for place in [file.clone(), file.join("below")] {
        let error = RequestStore::open(&place).expect_err("not a folder");
        assert_eq!(error.code(), Code::Io, "{error}");
        assert!(
            error.to_string().contains(&place.display().to_string()),
            "{error}"
        );
    }
}

#[test]
fn full_disk_at_the_first_start_is_refused_by_code_and_the_next_start_works() {
    let full_for = ["LOCK", "store.redb.new", "VERSION.new", "journal"];
    for name in full_for {
        let folder = tempfile::tempdir().expect("folder");
        let is_full = Arc::new(AtomicBool::new(true));
        let full = is_full.clone();
        let files = WrappedFiles::new(move |action, path| {
            let here = action.changes_something() && path.ends_with(name);
            if here && full.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        });
        let error = open_on(files.clone(), folder.path(), small_config()).expect_err("full");
        assert_eq!(error.code(), Code::StorageFull, "{name}: {error}");
        is_full.store(false, Ordering::Relaxed);
        let mut store = open_on(files, folder.path(), small_config()).expect("room");
        append(&mut store, 1..=3);
        assert_holds(&store, 3);
    }
}

#[test]
fn sizes_that_do_not_fit_each_other_are_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().expect("folder");
    let dir = folder.path().join("data");
    let mut odd = small_config();
    odd.segment_bytes += 4096;
    let mut small = small_config();
    small.record.payload_bytes_max = 64 * 1024;
    let mut few = small_config();
    few.segments_max = 2;
    let mut no_ids = small_config();
    no_ids.ids_per_generation = 0;
    for config in [odd, small, few, no_ids] {
        let error = open_with(&dir, config).expect_err("does not fit");
        assert_eq!(error.code(), Code::BadConfig);
    }
    assert!(!dir.exists());
}

#[test]
fn folders_above_are_made_too() {
    let folder = tempfile::tempdir().expect("folder");
    let dir = folder.path().join("srv/edgebus/data");
    let mut store = open_with(&dir, small_config()).expect("made");
    append(&mut store, 1..=3);
    drop(store);
    assert_holds(&open_with(&dir, small_config()).expect("opens"), 3);
}
