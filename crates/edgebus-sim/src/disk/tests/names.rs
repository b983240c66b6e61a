//! Names, handles and locks over a power cut.

use super::*;

fn names(disk: &SimDisk) -> Vec<String> {
    disk.list(Path::new("/d")).expect("durable folder")
}

fn create(disk: &SimDisk, path: &str, content: &[u8]) -> Arc<dyn File> {
    let file = disk.open(Path::new(path), OpenMode::Create).expect("new");
    file.write_at(content, 0).expect("room");
    file.sync().expect("sync");
    file
}

fn rename(disk: &SimDisk, from: &str, to: &str) {
    disk.rename(Path::new(from), Path::new(to)).expect("there");
}

fn sync_dir(disk: &SimDisk) {
    disk.sync_dir(Path::new("/d")).expect("there");
}

/// How often a cut leaves one thing of several, all of which must happen.
fn assert_seen<T: Ord + std::fmt::Debug>(
    outcomes: &BTreeMap<T, Vec<u64>>,
    wanted: impl IntoIterator<Item = T>,
) {
    let wanted: Vec<T> = wanted.into_iter().collect();
    assert_eq!(
        outcomes.keys().collect::<Vec<_>>(),
        wanted.iter().collect::<Vec<_>>()
    );
}

#[test]
fn synced_file_without_a_synced_name_may_vanish() {
    let outcomes = outcomes(b"", |disk, _| drop(create(disk, "/d/g", b"x")), names);
    assert_seen(
        &outcomes,
        [vec!["f".to_owned()], vec!["f".to_owned(), "g".to_owned()]],
    );
}

#[test]
fn synced_names_survive_and_do_not_make_content_durable() {
    let run = |disk: &SimDisk, _: &dyn File| {
        let file = disk.open(Path::new("/d/g"), OpenMode::Create).expect("new");
        file.write_at(b"x", 0).expect("room");
        sync_dir(disk);
    };
    let look = |disk: &SimDisk| {
        let file = disk
            .open(Path::new("/d/g"), OpenMode::Existing)
            .expect("a durable name");
        read(&*file)
    };
    assert_seen(
        &outcomes(b"", run, look),
        [b"".to_vec(), b"\0".to_vec(), b"x".to_vec()],
    );
}

#[test]
fn removed_file_may_come_back_with_its_content() {
    let run = |disk: &SimDisk, _: &dyn File| {
        disk.remove(Path::new("/d/f")).expect("there");
        assert_eq!(
            disk.remove(Path::new("/d/f")).expect_err("gone").kind(),
            io::ErrorKind::NotFound
        );
    };
    let look = |disk: &SimDisk| match names(disk).len() {
        0 => None,
        _ => Some(content(disk)),
    };
    assert_seen(&outcomes(b"old", run, look), [None, Some(b"old".to_vec())]);
    let synced = |disk: &SimDisk, file: &dyn File| {
        run(disk, file);
        sync_dir(disk);
    };
    assert_seen(&outcomes(b"old", synced, names), [vec![]]);
}

#[test]
fn replacing_rename_leaves_the_old_file_or_the_new_one() {
    let run = |disk: &SimDisk, _: &dyn File| {
        create(disk, "/d/tmp", b"new");
        rename(disk, "/d/tmp", "/d/f");
        assert_eq!(
            (names(disk), content(disk)),
            (vec!["f".to_owned()], b"new".to_vec())
        );
    };
    assert_seen(
        &outcomes(b"old", run, content),
        [b"new".to_vec(), b"old".to_vec()],
    );
    let synced = |disk: &SimDisk, file: &dyn File| {
        run(disk, file);
        sync_dir(disk);
    };
    assert_seen(&outcomes(b"old", synced, content), [b"new".to_vec()]);
}

/// An order that only some file systems keep: both the prefixes and the other choices come up.
#[test]
fn names_survive_in_order_or_in_any_that_makes_sense() {
    let run = |disk: &SimDisk, _: &dyn File| {
        create(disk, "/d/a", b"");
        rename(disk, "/d/a", "/d/b");
        create(disk, "/d/c", b"");
    };
    let look = |disk: &SimDisk| names(disk).concat();
    let outcomes = outcomes(b"", run, look);
    assert_seen(
        &outcomes,
        ["acf", "af", "bcf", "bf", "cf", "f"].map(str::to_owned),
    );
    let out_of_order = outcomes["acf"].len() + outcomes["cf"].len();
    assert!(out_of_order < SEEDS as usize / 5, "{out_of_order}");
}

#[test]
fn file_never_has_two_names() {
    let run = |disk: &SimDisk, _: &dyn File| {
        rename(disk, "/d/f", "/d/g");
        rename(disk, "/d/g", "/d/h");
    };
    let outcomes = outcomes(b"", run, names);
    assert_seen(&outcomes, ["f", "g", "h"].map(|name| vec![name.to_owned()]));
}

#[test]
fn renamed_file_stays_open_and_keeps_its_unsynced_content() {
    let (disk, file) = disk_with(b"old");
    rename(&disk, "/d/f", "/d/g");
    file.write_at(b"new", 0).expect("the same file");
    let again = disk
        .open(Path::new("/d/g"), OpenMode::Existing)
        .expect("new name");
    assert_eq!(read(&*again), b"new");
    again.sync().expect("sync");
    sync_dir(&disk);
    disk.power_cut(&mut SimRng::seeded(0));
    let again = disk
        .open(Path::new("/d/g"), OpenMode::Existing)
        .expect("new name");
    assert_eq!(read(&*again), b"new");
}

#[test]
fn new_folder_needs_its_parent_synced() {
    let run = |disk: &SimDisk, _: &dyn File| {
        disk.create_dir(Path::new("/d/e/g")).expect("new");
        create(disk, "/d/e/g/h", b"x");
        disk.sync_dir(Path::new("/d/e/g")).expect("there");
        disk.sync_dir(Path::new("/d/e")).expect("there");
    };
    let look = |disk: &SimDisk| disk.list(Path::new("/d/e/g")).ok();
    let there = Some(vec!["h".to_owned()]);
    assert_seen(&outcomes(b"", run, look), [None, there.clone()]);
    let synced = |disk: &SimDisk, file: &dyn File| {
        run(disk, file);
        sync_dir(disk);
    };
    assert_seen(&outcomes(b"", synced, look), [there]);
}

#[test]
fn old_handles_are_dead_for_good() {
    let (disk, file) = disk_with(b"abc");
    let boot = disk.this_boot();
    boot.list(Path::new("/d")).expect("power");
    disk.power_cut(&mut SimRng::seeded(0));
    assert_no_power(file.read_at(&mut [0; 1], 0));
    assert_no_power(file.write_at(b"x", 0));
    assert_no_power(file.sync());
    assert_no_power(file.allocate(9));
    assert_no_power(file.set_len(9));
    assert_no_power(file.len());
    assert_no_power(file.drop_cache());
    assert_no_power(file.try_lock());
    assert_no_power(file.unlock());
    assert_no_power(boot.open(Path::new("/d/f"), OpenMode::Existing));
    assert_no_power(boot.clone().this_boot().list(Path::new("/d")));
    assert_eq!(content(&disk), b"abc");
    assert_eq!(content(&disk.this_boot()), b"abc");
}

#[test]
fn lock_is_of_one_handle_until_it_is_closed() {
    let (disk, first) = disk_with(b"");
    let open = || {
        disk.open(Path::new("/d/f"), OpenMode::Existing)
            .expect("there")
    };
    let second = open();
    assert!(first.try_lock().expect("power"));
    assert!(first.try_lock().expect("power"), "it has it already");
    assert!(!second.try_lock().expect("power"));
    second.unlock().expect("not its own, so nothing happens");
    assert!(!second.try_lock().expect("power"));
    first.unlock().expect("power");
    assert!(second.try_lock().expect("power"));
    drop(second);
    assert!(first.try_lock().expect("power"));
    disk.power_cut(&mut SimRng::seeded(0));
    let third = open();
    assert!(third.try_lock().expect("the power cut took the lock"));
    drop(first);
    assert!(!open().try_lock().expect("a dead handle gives nothing back"));
}

#[test]
fn paths_that_lead_nowhere_are_refused() {
    let (disk, _file) = disk_with(b"");
    let open = |path: &str, mode| disk.open(Path::new(path), mode).expect_err(path).kind();
    assert_eq!(open("/d/x", OpenMode::Existing), io::ErrorKind::NotFound);
    assert_eq!(open("/x/f", OpenMode::Create), io::ErrorKind::NotFound);
    assert_eq!(
        open("/d/f/x", OpenMode::Create),
        io::ErrorKind::NotADirectory
    );
    assert_eq!(open("/d", OpenMode::Truncate), io::ErrorKind::IsADirectory);
    assert_eq!(
        open("/d/../d/f", OpenMode::Existing),
        io::ErrorKind::InvalidInput
    );
    let rename = |from: &str, to: &str| disk.rename(Path::new(from), Path::new(to));
    assert_eq!(
        rename("/d/x", "/d/y").expect_err("missing").kind(),
        io::ErrorKind::NotFound
    );
    assert_eq!(
        rename("/d/f", "/f").expect_err("folder").kind(),
        io::ErrorKind::CrossesDevices
    );
    rename("/d/f", "/d/f").expect("onto itself");
    assert!(disk.sync_dir(Path::new("/x")).is_err());
    assert!(disk.free_bytes(Path::new("/x")).is_err());
    disk.create_dir(Path::new("/d")).expect("it may exist");
    assert!(disk.create_dir(Path::new("/d/f/g")).is_err());
}
