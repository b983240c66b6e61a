//! A repair that is cut off anywhere leaves the damaged store with its originals, or the repaired one;
//! done again, it is as if nothing had ever been.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use edgebus::files::{Files, OpenMode};
use edgebus::store::check::{Finding, Repair};
use edgebus::{Code, RequestStore, Seq};
use edgebus_sim::flips::{DIR, config, sample};
use edgebus_sim::{SimClock, SimDisk, SimRng};

type Image = BTreeMap<PathBuf, Vec<u8>>;

fn write(files: &dyn Files, image: &Image) {
    for (path, bytes) in image {
        let parent = path.parent().expect("a folder");
        files.create_dir(parent).expect("made");
        let file = files.open(path, OpenMode::Truncate).expect("created");
        file.write_at(bytes, 0).expect("written");
    }
}

fn read(files: &dyn Files, path: &Path) -> Vec<u8> {
    let file = files.open(path, OpenMode::Read).expect("there");
    let mut bytes = vec![0; file.len().expect("known") as usize];
    file.read_at(&mut bytes, 0).expect("readable");
    bytes
}

/// Turns a bit over in each of three files.
fn damage(disk: &SimDisk, image: &Image) -> Vec<(PathBuf, u64)> {
    let end = |name: &str| {
        let found = image
            .iter()
            .find(|(path, _)| path.to_string_lossy().ends_with(name));
        found.expect("such a file")
    };
    // The first group of the newest segment, the first slot of the tables' header, the store's id.
    let newest = image
        .keys()
        .filter(|path| path.extension().is_some_and(|e| e == "wal"))
        .max();
    let flips = vec![
        (newest.expect("a journal").clone(), (4096 + 70) * 8 + 3),
        (end("store.redb").0.clone(), 80 * 8),
        (end("VERSION").0.clone(), 30 * 8 + 1),
    ];
    for (path, bit) in &flips {
        disk.flip_bit(path, *bit).expect("flipped");
    }
    flips
}

fn repair(files: &Arc<dyn Files>) -> Option<PathBuf> {
    let mut left: Vec<Finding> = Vec::new();
    let plan = Repair::plan(Path::new(DIR), files, &mut left).ok()?;
    if plan.patches().is_empty() {
        assert!(left.is_empty(), "{left:?}");
        return None;
    }
    plan.apply().ok()
}

#[test]
fn repair_that_is_cut_off_anywhere_can_be_done_again_and_its_originals_are_there() {
    let image = sample(3, 60);
    let mut cuts = 0;
    loop {
        let mut rng = SimRng::seeded(cuts);
        let disk = SimDisk::new(cuts);
        let boot: Arc<dyn Files> = Arc::new(disk.this_boot());
        write(&*boot, &image);
        disk.sync_all();
        let flips = damage(&disk, &image);
        let damaged: Vec<Vec<u8>> = flips.iter().map(|(path, _)| read(&*boot, path)).collect();
        disk.cut_after_ops(1 + cuts);
        let whole = repair(&boot).is_some() && !disk.power_is_off();
        disk.power_cut(&mut rng);

        let boot: Arc<dyn Files> = Arc::new(disk.this_boot());
        for ((path, _), damaged) in flips.iter().zip(&damaged) {
            let now = read(&*boot, path);
            assert!(
                now == *damaged || now == image[path],
                "{} cut {cuts}",
                path.display()
            );
            if now != *damaged {
                let name = path.strip_prefix(DIR).expect("inside");
                let kept = Path::new(DIR).join("repair-1").join(name);
                assert!(
                    read(&*boot, &kept) == *damaged,
                    "original of {}",
                    path.display()
                );
            }
        }
        let again = repair(&boot);
        assert!(again.is_none() || !whole, "cut {cuts}");
        for (path, bytes) in &image {
            assert!(
                read(&*boot, path) == *bytes,
                "{} cut {cuts}",
                path.display()
            );
        }
        if whole {
            break;
        }
        cuts += 1;
    }
    assert!(cuts > 15, "a repair of {cuts} changes is none");
}

#[test]
fn repair_without_room_for_the_originals_changes_nothing() {
    let image = sample(3, 60);
    let disk = SimDisk::new(1);
    let boot: Arc<dyn Files> = Arc::new(disk.this_boot());
    write(&*boot, &image);
    disk.sync_all();
    let flips = damage(&disk, &image);
    let all: usize = image.values().map(Vec::len).sum();
    disk.set_capacity(all as u64 + 100_000);
    let before: Vec<Vec<u8>> = flips.iter().map(|(path, _)| read(&*boot, path)).collect();
    assert_eq!(repair(&boot), None);
    for ((path, _), before) in flips.iter().zip(&before) {
        assert!(read(&*boot, path) == *before);
    }
}

#[test]
fn damaged_segment_of_which_the_tables_have_everything_goes_and_nothing_is_lost() {
    let image = sample(3, 60);
    let mut disk_image = image.clone();
    let is_segment = |path: &&PathBuf| path.extension().is_some_and(|e| e == "wal");
    let oldest = image
        .keys()
        .filter(is_segment)
        .min()
        .expect("a journal")
        .clone();
    let bytes = disk_image.get_mut(&oldest).expect("there");
    bytes[4096 + 512..4096 + 1024].fill(0xee);
    let damaged = bytes.clone();
    let disk = SimDisk::new(1);
    let boot: Arc<dyn Files> = Arc::new(disk.this_boot());
    write(&*boot, &disk_image);
    disk.sync_all();
    let open = || {
        let clock = Arc::new(SimClock::new(1_800_000_000_000));
        RequestStore::open_with(Path::new(DIR), config(), boot.clone(), clock)
    };
    assert_eq!(open().expect_err("damaged").code(), Code::Corrupt);
    let plan = Repair::plan(Path::new(DIR), &boot, &mut Vec::new()).expect("planned");
    assert_eq!(
        (plan.patches(), plan.superseded()),
        (&[][..], &[oldest.clone()][..])
    );
    assert_eq!(plan.after().damages, 0);
    let kept = plan.apply().expect("repaired");
    let name = oldest.strip_prefix(DIR).expect("inside");
    assert!(read(&*boot, &kept.join(name)) == damaged);
    let store = open().expect("sound again");
    let entries: Result<Vec<_>, _> = store.replay_from(Seq(1)).collect();
    assert_eq!(entries.expect("readable").len(), 60);
}
