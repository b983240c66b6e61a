//! The power goes, or a call fails, while a backup is restored: what is left is no store, or the whole
//! one. The backup was taken while the store was written, on the same disk.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use edgebus::files::{Files, OpenMode};
use edgebus::store::backup::{BackupFile, Identity, restore};
use edgebus::{Code, RequestStore, StoreError};
use edgebus_sim::{Fault, SimClock, SimDisk, SimRng, Times};

use crate::machine::{Life, Machine, Met, for_seeds, small_config};
use crate::model::Model;
use crate::process::Process;

const FILE: &str = "/backup/file";
const RESTORED: &str = "/srv/new/data";
/// By how much a restore raises epochs.
const EPOCHS: u32 = 64 * 1024;

/// A backup of a store that is written meanwhile, and what it should hold.
fn taken(seed: u64, rng: &mut SimRng) -> (Vec<u8>, Model) {
    let mut machine = Machine::new(seed);
    let store = machine.start().expect("a new store");
    let mut life = Life::new(store, rng);
    for _ in 0..rng.below(80) {
        machine.act(&mut life, rng).expect("a sound disk");
    }
    let mut backup = life.store.reader().backup(0).expect("the only one");
    let page_bytes = 100 + rng.below(4_000) as usize;
    let mut file = Vec::new();
    let mut held = Vec::new();
    loop {
        held.push((life.store.reader().synced_lsn(), machine.acked.clone()));
        let page = backup.next_page(page_bytes).expect("a sound disk");
        file.extend(page.bytes);
        if page.done {
            break;
        }
        // Not for ever: what is written faster than it is taken is never taken whole.
        if held.len() < 60 && rng.chance(0.5) {
            machine.act(&mut life, rng).expect("a sound disk");
        }
    }
    let disk = SimDisk::new(seed);
    let backup = put(&disk, &file);
    let lsn = backup.contents().lsn;
    let kept = held.into_iter().find(|(at, _)| *at == lsn);
    let (_, mut model) = kept.expect("the state at one of the pages");
    for ledger in model.ledgers.values_mut() {
        *ledger = ledger.clone().restored(EPOCHS);
    }
    (file, model)
}

/// Puts the backup on a disk, for good.
fn put(disk: &SimDisk, bytes: &[u8]) -> BackupFile {
    let process = Process::new(disk);
    process.create_dir(Path::new("/backup")).expect("made");
    let file = process.open(Path::new(FILE), OpenMode::Truncate);
    file.expect("made").write_at(bytes, 0).expect("written");
    disk.sync_all();
    BackupFile::open(&process, Path::new(FILE), |_, _| {}).expect("whole")
}

fn try_restore(disk: &SimDisk, dir: &str) -> Result<(), StoreError> {
    let files: Arc<dyn Files> = Arc::new(Process::new(disk));
    let backup = BackupFile::open(&*files, Path::new(FILE), |_, _| {})?;
    restore(&files, &backup, Path::new(dir), Identity::New, |_, _| {})?;
    Ok(())
}

fn open(disk: &SimDisk, dir: &str) -> Result<RequestStore, StoreError> {
    RequestStore::open_with(
        Path::new(dir),
        small_config(),
        Arc::new(Process::new(disk)),
        Arc::new(SimClock::new(1_800_000_000_000)),
    )
}

fn names(disk: &SimDisk, dir: &str) -> Vec<String> {
    // A folder whose name was lost is as good as an empty one.
    Process::new(disk).list(Path::new(dir)).unwrap_or_default()
}

/// What is in the folder is the whole store, or nothing that opens; whether it is the store.
fn whole_or_nothing(disk: &SimDisk, model: &Model) -> bool {
    let found = names(disk, RESTORED);
    if !found.iter().any(|name| name == "VERSION") {
        let left: Vec<_> = found
            .iter()
            .filter(|n| *n != "LOCK" && *n != "VERSION.new")
            .collect();
        assert!(
            left.is_empty(),
            "{left:?} in a folder that would be taken for a new store"
        );
        return false;
    }
    match open(disk, RESTORED) {
        Ok(mut store) => {
            model.compare(&store).expect("all of it");
            model.check_look_ups(&mut store);
            true
        }
        Err(error) => {
            assert_eq!(error.code(), Code::BadConfig, "{error}");
            assert!(error.to_string().contains("not finished"), "{error}");
            assert_eq!(
                names(disk, RESTORED).len(),
                found.len(),
                "nothing was touched"
            );
            false
        }
    }
}

/// Restores elsewhere on the same disk: what was cut off is in nobody's way.
fn again(disk: &SimDisk, model: &Model) {
    try_restore(disk, "/srv/other/data").expect("a sound disk");
    let mut store = open(disk, "/srv/other/data").expect("opens");
    model.compare(&store).expect("all of it");
    model.check_look_ups(&mut store);
}

#[test]
fn power_cut_at_any_call_of_a_restore_leaves_the_whole_store_or_none() {
    let met = for_seeds("power_cut_at_any_call_of_a_restore", 12, |seed| {
        let mut rng = SimRng::seeded(seed);
        let (file, model) = taken(seed, &mut rng);
        let mut met = Met::default();
        for at in 1.. {
            let disk = SimDisk::new(seed ^ (at << 32));
            put(&disk, &file);
            disk.cut_after_ops(at);
            let done = try_restore(&disk, RESTORED);
            let went_off = disk.power_is_off();
            assert!(done.is_ok() || went_off, "{done:?}");
            disk.power_cut(&mut rng);
            let is_whole = whole_or_nothing(&disk, &model);
            assert!(
                is_whole || done.is_err(),
                "what was told to be done is there"
            );
            met.unsure_kept += u64::from(is_whole);
            met.unsure_lost += u64::from(!is_whole);
            if at % 16 == 1 {
                again(&disk, &model);
            }
            if !went_off {
                break;
            }
        }
        met
    });
    eprintln!("{met:?}");
    let one_alone = met.unsure_lost + met.unsure_kept < 200;
    assert!(
        one_alone || met.unsure_lost > 100 && met.unsure_kept > 10,
        "{met:?}"
    );
}

#[test]
fn call_that_fails_in_a_restore_leaves_the_whole_store_or_none() {
    for_seeds("call_that_fails_in_a_restore", 6, |seed| {
        let mut rng = SimRng::seeded(seed);
        let (file, model) = taken(seed, &mut rng);
        let mut met = Met::default();
        for at in 1.. {
            let disk = SimDisk::new(seed ^ (at << 32));
            put(&disk, &file);
            let kind = *rng.pick(&[ErrorKind::StorageFull, ErrorKind::Other]);
            disk.fail_after_ops(at, Fault::Error(kind), Times::Once);
            let done = try_restore(&disk, RESTORED);
            let struck = disk.counts().faults > 0;
            assert!(done.is_ok() || struck, "{done:?}");
            disk.clear_faults();
            let is_whole = whole_or_nothing(&disk, &model);
            assert!(
                is_whole || done.is_err(),
                "what was told to be done is there"
            );
            met.failed_starts += u64::from(done.is_err());
            if !struck {
                break;
            }
        }
        assert!(met.failed_starts > 10, "{met:?}");
        met
    });
}
