//! What the disk promises and what it takes away. Chance is tried over many seeds: a promise must
//! hold for all of them, and each thing that may happen must happen for some.

mod content;

mod names;

mod faults;

mod real;

mod database;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use edgebus::files::{File, Files, OpenMode};

use super::{Fault, SimDisk, Times};
use crate::rng::SimRng;

const SEEDS: u64 = 1_000;

/// A disk with a durable folder `/d`.
fn disk() -> SimDisk {
    let disk = SimDisk::new(0);
    disk.create_dir(Path::new("/d")).expect("empty disk");
    disk.sync_all();
    disk
}

/// A disk with a durable file `/d/f` of this content, and the file.
fn disk_with(content: &[u8]) -> (SimDisk, Arc<dyn File>) {
    let disk = disk();
    let file = disk.open(Path::new("/d/f"), OpenMode::Create).expect("new");
    file.write_at(content, 0).expect("room");
    disk.sync_all();
    (disk, file)
}

/// What `/d/f` holds.
fn content(disk: &SimDisk) -> Vec<u8> {
    read(
        &*disk
            .open(Path::new("/d/f"), OpenMode::Existing)
            .expect("there"),
    )
}

fn read(file: &dyn File) -> Vec<u8> {
    let mut bytes = vec![0; file.len().expect("power") as usize];
    file.read_at(&mut bytes, 0).expect("inside");
    bytes
}

fn assert_no_power<T>(result: io::Result<T>) {
    let error = result.err().expect("no power");
    assert_eq!(error.kind(), io::ErrorKind::Other);
    assert_eq!(error.to_string(), "power is off");
}

/// What cuts of the power leave of what `run` did to a disk with `/d/f` of this content: each
/// outcome and the seeds that led to it.
fn outcomes<T: Ord>(
    before: &[u8],
    run: impl Fn(&SimDisk, &dyn File),
    look: impl Fn(&SimDisk) -> T,
) -> BTreeMap<T, Vec<u64>> {
    let mut outcomes = BTreeMap::<T, Vec<u64>>::new();
    for seed in 0..SEEDS {
        let (disk, file) = disk_with(before);
        run(&disk, &*file);
        disk.power_cut(&mut SimRng::seeded(seed));
        outcomes.entry(look(&disk)).or_default().push(seed);
    }
    outcomes
}
