//! Bytes and lengths over a power cut.

use super::*;

#[test]
fn reads_see_writes_at_once() {
    let (disk, file) = disk_with(b"abc");
    file.write_at(b"XY", 2).expect("room");
    assert_eq!(content(&disk), b"abXY");
    file.set_len(1).expect("room");
    file.allocate(3).expect("room");
    file.allocate(2).expect("never shorter");
    assert_eq!(content(&disk), b"a\0\0");
    let error = file.read_at(&mut [0; 4], 0).expect_err("three bytes");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn synced_content_always_survives() {
    let run = |_: &SimDisk, file: &dyn File| {
        file.set_len(100).expect("room");
        file.write_at(&[2; 3000], 50).expect("room");
        file.write_at(&[3; 10], 0).expect("room");
        file.sync().expect("sync");
    };
    let mut wanted = vec![1; 50];
    wanted[..10].fill(3);
    wanted.extend([2; 3000]);
    let outcomes = outcomes(&[1; 200], run, content);
    assert_eq!(outcomes.into_keys().collect::<Vec<_>>(), [wanted]);
}

#[test]
fn unsynced_content_may_vanish_and_may_stay() {
    let run = |_: &SimDisk, file: &dyn File| file.write_at(b"new", 0).expect("room");
    let outcomes = outcomes(b"old", run, content);
    let seen: Vec<_> = outcomes.keys().map(Vec::as_slice).collect();
    assert_eq!(seen, [b"new", b"old"]);
    for (content, seeds) in &outcomes {
        assert!(
            seeds.len() > SEEDS as usize / 4,
            "{content:?} {} times",
            seeds.len()
        );
    }
}

#[test]
fn later_write_may_survive_an_earlier_one() {
    let run = |_: &SimDisk, file: &dyn File| {
        file.write_at(&[1; 512], 0).expect("room");
        file.write_at(&[1; 512], 512).expect("room");
    };
    let look = |disk: &SimDisk| (content(disk)[0], content(disk)[512]);
    let seen: Vec<_> = outcomes(&[0; 1024], run, look).into_keys().collect();
    assert_eq!(seen, [(0, 0), (0, 1), (1, 0), (1, 1)]);
}

#[test]
fn later_write_to_a_sector_carries_the_earlier_ones() {
    let run = |_: &SimDisk, file: &dyn File| {
        file.write_at(&[1; 100], 0).expect("room");
        file.write_at(&[2; 100], 100).expect("room");
        file.write_at(&[3; 100], 50).expect("room");
    };
    let look = |disk: &SimDisk| {
        let content = content(disk);
        [content[0], content[99], content[199]]
    };
    let seen: Vec<_> = outcomes(&[0; 512], run, look).into_keys().collect();
    assert_eq!(seen, [[0, 0, 0], [1, 1, 0], [1, 1, 2], [1, 3, 2]]);
}

/// What was synced beside it goes with it; blocks that nobody writes to, and the first one, stay.
#[test]
fn block_that_is_being_written_to_may_be_lost_whole() {
    let run = |_: &SimDisk, file: &dyn File| file.write_at(&[2; 100], 4200).expect("room");
    let look = |disk: &SimDisk| {
        let content = content(disk);
        let kept = |at: std::ops::Range<usize>| content[at].iter().all(|byte| *byte == 1);
        [kept(0..4096), kept(4096..4200), kept(8192..9000)]
    };
    let seen: Vec<_> = outcomes(&[1; 9000], run, look).into_keys().collect();
    assert_eq!(seen, [[true, false, true], [true, true, true]]);
}

/// The write begins and ends inside a sector; its pieces are 12, 512, 512 and 88 bytes.
#[test]
fn torn_write_keeps_or_loses_whole_sectors() {
    let run = |_: &SimDisk, file: &dyn File| file.write_at(&[1; 1124], 500).expect("room");
    let pieces = [
        0..500,
        500..512,
        512..1024,
        1024..1536,
        1536..1624,
        1624..2048,
    ];
    let look = |disk: &SimDisk| {
        let content = content(disk);
        let piece = |range: std::ops::Range<usize>| {
            assert!(
                content[range.clone()]
                    .iter()
                    .all(|byte| *byte == content[range.start])
            );
            content[range.start]
        };
        pieces.clone().map(piece)
    };
    let outcomes = outcomes(&[0; 2048], run, look);
    assert_eq!(
        outcomes.len(),
        16,
        "every choice of sectors: {:?}",
        outcomes.keys()
    );
    assert!(
        outcomes
            .keys()
            .all(|pieces| pieces[0] == 0 && pieces[5] == 0)
    );
    assert!(outcomes[&[0, 1, 1, 0, 0, 0]].len() > 1, "a prefix");
    assert!(
        outcomes[&[0, 0, 0, 0, 1, 0]].len() > 1,
        "the last sector alone"
    );
}

/// So many sectors that chance for each alone would hardly ever leave just the first ones.
#[test]
fn long_write_is_torn_at_one_place_or_at_many() {
    let run = |_: &SimDisk, file: &dyn File| file.write_at(&[1; 32_768], 0).expect("room");
    let look = |disk: &SimDisk| {
        let content = content(disk);
        let sectors: Vec<u8> = content.chunks(512).map(|sector| sector[0]).collect();
        sectors.windows(2).filter(|pair| pair[0] != pair[1]).count()
    };
    let outcomes = outcomes(&[0; 32_768], run, look);
    assert!(outcomes[&1].len() > SEEDS as usize / 50, "a prefix");
    let scattered = outcomes.range(10..).map(|(_, seeds)| seeds.len());
    assert!(
        scattered.sum::<usize>() > SEEDS as usize / 50,
        "here and there"
    );
}

#[test]
fn what_was_never_written_reads_as_zero() {
    let run = |_: &SimDisk, file: &dyn File| file.write_at(&[7; 1024], 1024).expect("room");
    let outcomes = outcomes(&[7; 512], run, content);
    let lens: BTreeSet<_> = outcomes.keys().map(Vec::len).collect();
    assert_eq!(lens.into_iter().collect::<Vec<_>>(), [512, 1536, 2048]);
    for content in outcomes.keys() {
        assert!(content[..512].iter().all(|byte| *byte == 7));
        assert!(
            content[512..].iter().take(512).all(|byte| *byte == 0),
            "the hole"
        );
    }
    let zeros_only = |content: &Vec<u8>| content.len() == 2048 && !content[512..].contains(&7);
    assert!(
        outcomes.keys().any(zeros_only),
        "the length came before the bytes"
    );
}

#[test]
fn length_changes_may_be_lost() {
    let run = |_: &SimDisk, file: &dyn File| {
        file.set_len(1).expect("room");
        file.allocate(9).expect("room");
    };
    let seen: Vec<_> = outcomes(b"abc", run, content).into_keys().collect();
    let wanted: [&[u8]; 4] = [b"a", b"a\0\0\0\0\0\0\0\0", b"abc", b"abc\0\0\0\0\0\0"];
    assert_eq!(seen, wanted);
}

#[test]
fn emptying_on_open_is_a_change_like_any_other() {
    let run = |disk: &SimDisk, _: &dyn File| {
        let file = disk
            .open(Path::new("/d/f"), OpenMode::Truncate)
            .expect("there");
        assert_eq!(file.len().expect("power"), 0);
    };
    let seen: Vec<_> = outcomes(b"abc", run, content).into_keys().collect();
    assert_eq!(seen, [&b""[..], b"abc"]);
}

#[test]
fn losses_are_counted() {
    let (disk, file) = disk_with(&[0; 4096]);
    for seed in 0..SEEDS {
        let file = disk
            .open(Path::new("/d/f"), OpenMode::Existing)
            .expect("there");
        file.write_at(&[1; 4096], 0).expect("room");
        disk.power_cut(&mut SimRng::seeded(seed));
    }
    drop(file);
    let counts = disk.counts();
    assert_eq!(
        (counts.power_cuts, counts.writes, counts.ops()),
        (SEEDS, SEEDS + 1, SEEDS + 3)
    );
    assert!(
        counts.dropped > SEEDS / 4 && counts.torn > SEEDS / 20,
        "{counts:?}"
    );
    assert!(counts.dropped + counts.torn < SEEDS * 9 / 10, "{counts:?}");
}

#[test]
fn bits_flip_where_told() {
    let (disk, file) = disk_with(&[0; 600]);
    disk.flip_bit(Path::new("/d/f"), 599 * 8 + 7)
        .expect("inside");
    assert_eq!(read(&*file)[599], 0x80);
    file.drop_cache().expect("power");
    disk.power_cut(&mut SimRng::seeded(1));
    assert_eq!(content(&disk)[599], 0x80);
    let flip = |path: &str, bit| {
        disk.flip_bit(Path::new(path), bit)
            .expect_err("not there")
            .kind()
    };
    assert_eq!(flip("/d/f", 600 * 8), io::ErrorKind::InvalidInput);
    assert_eq!(flip("/d/g", 0), io::ErrorKind::NotFound);
}
