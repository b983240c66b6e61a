//! Faults on order: power at the nth change, errors, a full disk; and that a seed repeats.

use super::*;

/// One change of each kind, in this order.
fn each_kind(disk: &SimDisk) -> Vec<io::Result<()>> {
    let files = |path: &str, mode| disk.open(Path::new(path), mode);
    let file = files("/d/f", OpenMode::Existing);
    let on_file = |run: &dyn Fn(&dyn File) -> io::Result<()>| match &file {
        Ok(file) => run(&**file),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    };
    vec![
        on_file(&|file| file.write_at(b"new", 0)),
        on_file(&|file| file.allocate(5)),
        on_file(&|file| file.set_len(4)),
        on_file(&|file| file.sync()),
        files("/d/g", OpenMode::Create).map(drop),
        files("/d/g", OpenMode::Truncate).map(drop),
        disk.create_dir(Path::new("/d/e")),
        disk.rename(Path::new("/d/f"), Path::new("/d/h")),
        disk.sync_dir(Path::new("/d")),
        disk.remove(Path::new("/d/h")),
    ]
}

#[test]
fn every_kind_of_change_is_counted() {
    let (disk, _file) = disk_with(b"old");
    let before = disk.counts();
    assert!(each_kind(&disk).iter().all(Result::is_ok));
    let counts = disk.counts();
    assert_eq!(counts.ops() - before.ops(), 10);
    assert_eq!(counts.creates - before.creates, 3);
    let ones = [
        counts.syncs,
        counts.dir_syncs,
        counts.renames,
        counts.removes,
    ];
    assert_eq!(ones, [1; 4]);
    assert_eq!([counts.allocates, counts.set_lens], [1; 2]);
}

#[test]
fn power_goes_at_the_nth_change_and_stays_off() {
    for nth in 1..=10 {
        let (disk, file) = disk_with(b"old");
        disk.cut_after_ops(nth as u64);
        let results = each_kind(&disk);
        for (index, result) in results.into_iter().enumerate() {
            if index + 1 < nth {
                result.expect("before the cut");
            } else {
                assert_no_power(result);
            }
        }
        assert!(disk.power_is_off());
        assert_no_power(file.len());
        assert_no_power(disk.list(Path::new("/d")));
        assert_no_power(disk.free_bytes(Path::new("/d")));
        disk.power_cut(&mut SimRng::seeded(nth as u64));
        assert!(!disk.power_is_off());
        disk.list(Path::new("/d"))
            .expect("the power is back, and no cut is planned");
        each_kind(&disk);
        assert!(!disk.power_is_off());
    }
}

#[test]
fn power_goes_at_once() {
    let disk = disk();
    disk.cut_after_ops(0);
    assert_no_power(disk.list(Path::new("/d")));
}

#[test]
fn change_the_power_goes_in_may_survive_whole_torn_or_not() {
    let cut_in = |ops: fn(&dyn File) -> io::Result<()>| {
        let run = move |disk: &SimDisk, file: &dyn File| {
            disk.cut_after_ops(1);
            assert_no_power(ops(file));
        };
        let seen = outcomes(&[0; 1024], run, |disk| {
            (content(disk).len(), content(disk)[0], content(disk)[512])
        });
        seen.into_keys().collect::<Vec<_>>()
    };
    let write = cut_in(|file| file.write_at(&[1; 1024], 0));
    assert_eq!(
        write,
        [(1024, 0, 0), (1024, 0, 1), (1024, 1, 0), (1024, 1, 1)]
    );
    assert_eq!(
        cut_in(|file| file.set_len(600)),
        [(600, 0, 0), (1024, 0, 0)]
    );
}

#[test]
fn sync_the_power_goes_in_promises_nothing() {
    let run = |disk: &SimDisk, file: &dyn File| {
        file.write_at(b"new", 0).expect("room");
        disk.cut_after_ops(1);
        assert_no_power(file.sync());
    };
    assert_eq!(outcomes(b"old", run, content).len(), 2);
}

#[test]
fn nth_change_fails_once() {
    for nth in 1..=10 {
        let (disk, _file) = disk_with(b"old");
        let fault = Fault::Error(io::ErrorKind::StorageFull);
        disk.fail_after_ops(nth as u64, fault, Times::Once);
        let results = each_kind(&disk);
        let error = results[nth - 1].as_ref().expect_err("on order");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(results[..nth - 1].iter().all(Result::is_ok));
        assert_eq!(disk.counts().faults, 1);
        assert!(!disk.power_is_off());
    }
}

#[test]
fn sticky_fault_stays_until_cleared() {
    let (disk, file) = disk_with(b"old");
    disk.fail_after_ops(2, Fault::Error(io::ErrorKind::Other), Times::Sticky);
    file.write_at(b"n", 0).expect("the first");
    for _ in 0..3 {
        file.write_at(b"x", 1).expect_err("on order");
    }
    assert_eq!(
        read(&*file),
        b"nld",
        "reads go on, and failed writes did nothing"
    );
    disk.clear_faults();
    file.write_at(b"x", 1).expect("repaired");
}

#[test]
fn power_cut_clears_what_was_ordered() {
    let (disk, _file) = disk_with(b"old");
    let fault = Fault::Error(io::ErrorKind::Other);
    disk.fail_after_ops(1, fault, Times::Sticky);
    disk.cut_after_ops(2);
    disk.power_cut(&mut SimRng::seeded(0));
    assert!(each_kind(&disk).iter().all(Result::is_ok));
}

#[test]
fn short_write_leaves_a_part() {
    let mut lens = BTreeSet::new();
    for seed in 0..SEEDS {
        let disk = SimDisk::new(seed);
        let file = disk.open(Path::new("f"), OpenMode::Create).expect("new");
        disk.fail_after_ops(
            1,
            Fault::ShortWrite(io::ErrorKind::StorageFull),
            Times::Once,
        );
        file.write_at(b"abc", 0).expect_err("on order");
        let left = read(&*file);
        assert!(b"abc".starts_with(&left));
        lens.insert(left.len());
    }
    assert_eq!(lens.into_iter().collect::<Vec<_>>(), [0, 1, 2]);
}

/// The story of PostgreSQL's fsync trouble: the second sync says yes, memory shows the bytes, and
/// they are on no disk.
#[test]
fn sync_after_a_failed_one_lies() {
    let mut seen = BTreeSet::new();
    for seed in 0..SEEDS {
        let disk = SimDisk::new(seed);
        let file = disk.open(Path::new("f"), OpenMode::Create).expect("new");
        file.write_at(b"old", 0).expect("room");
        disk.sync_all();
        file.write_at(b"longer", 0).expect("room");
        disk.fail_after_ops(1, Fault::Error(io::ErrorKind::Other), Times::Once);
        file.sync().expect_err("on order");
        assert_eq!(read(&*file), b"longer", "memory still shows it");
        file.sync().expect("it lies");
        file.drop_cache().expect("power");
        let on_disk = read(&*file);
        disk.power_cut(&mut SimRng::seeded(seed));
        let file = disk
            .open(Path::new("f"), OpenMode::Existing)
            .expect("durable");
        assert_eq!(
            read(&*file),
            on_disk,
            "what is read without cache is what survives"
        );
        seen.insert(on_disk);
    }
    let wanted: [&[u8]; 2] = [b"longer", b"old\0\0\0"];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), wanted);
}

#[test]
fn full_disk_refuses_growth_and_nothing_else() {
    let (disk, file) = disk_with(&[1; 100]);
    disk.set_capacity(150);
    let free = || disk.free_bytes(Path::new("/d")).expect("there");
    let full = |result: io::Result<()>| {
        assert_eq!(result.expect_err("full").kind(), io::ErrorKind::StorageFull);
    };
    assert_eq!(free(), 50);
    full(file.allocate(151));
    full(file.set_len(151));
    assert_eq!(file.len().expect("power"), 100);
    file.allocate(150).expect("it fits");
    assert_eq!(free(), 0);
    file.write_at(&[2; 150], 0).expect("no growth");
    file.set_len(100).expect("shorter");
    full(file.write_at(&[3; 100], 90));
    assert_eq!(
        read(&*file)[89..],
        [[2; 1].as_slice(), &[3; 60]].concat(),
        "what fitted"
    );
    full(file.write_at(&[4; 1], 1_000));
    disk.set_capacity(10);
    assert_eq!(free(), 0);
    file.write_at(&[5; 150], 0).expect("no growth");
}

#[test]
fn removed_file_takes_room_until_it_is_closed() {
    let (disk, file) = disk_with(&[1; 100]);
    disk.set_capacity(100);
    let free = || disk.free_bytes(Path::new("/d")).expect("there");
    disk.remove(Path::new("/d/f")).expect("there");
    assert_eq!(free(), 0);
    file.write_at(&[2; 100], 0).expect("still open");
    drop(file);
    assert_eq!(free(), 100);
}

#[test]
fn capacity_and_what_takes_room_outlive_a_power_cut() {
    let (disk, _file) = disk_with(&[1; 100]);
    disk.set_capacity(150);
    disk.power_cut(&mut SimRng::seeded(0));
    assert_eq!(disk.free_bytes(Path::new("/d")).expect("there"), 50);
}

const RUNS: u64 = 100;

/// Several lives of random changes, as text.
fn history(seed: u64) -> String {
    let mut rng = SimRng::seeded(seed);
    let disk = SimDisk::new(rng.bits());
    let mut history = String::new();
    for _ in 0..4 {
        disk.cut_after_ops(rng.below(60));
        while !disk.power_is_off() {
            let done = real::change(&disk, Path::new("/"), &mut rng);
            history += &format!("{done:?}\n");
        }
        disk.power_cut(&mut rng);
        history += &format!(
            "{:?} {:?}\n",
            real::look(&disk, Path::new("/")),
            disk.counts()
        );
    }
    history
}

#[test]
fn same_seed_same_run() {
    let mut runs = BTreeSet::new();
    for seed in 0..RUNS {
        let run = history(seed);
        assert_eq!(run, history(seed), "seed {seed}");
        runs.insert(run);
    }
    assert_eq!(runs.len() as u64, RUNS, "seeds differ");
}
