//! The power goes while a store of format 1 is made one of format 2: it opens again, whatever of it
//! was written, with all it held.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use edgebus::files::{Files, OpenMode};
use edgebus::store::DeadLetter;
use edgebus::{Entry, Message, RequestId, RequestStore, Seq, StoreConfig, StoreError};
use edgebus_sim::{SimClock, SimDisk, SimRng};

use crate::machine::{DIR, Met, for_seeds, small_config};
use crate::process::Process;

/// Files of the store that an earlier version wrote, by their place in its folder.
fn fixture() -> Vec<(PathBuf, Vec<u8>)> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../edgebus/tests/fixtures/format-1");
    let mut found = Vec::new();
    for folder in ["", "journal"] {
        for entry in fs::read_dir(base.join(folder)).expect("fixture") {
            let path = entry.expect("entry").path();
            if path.is_file() {
                let name = path.strip_prefix(&base).expect("below").to_owned();
                found.push((name, fs::read(&path).expect("file")));
            }
        }
    }
    found
}

fn disk_with(fixture: &[(PathBuf, Vec<u8>)], seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    let process = Process::new(&disk);
    let dir = Path::new(DIR);
    let journal = dir.join("journal");
    let mut folders: Vec<_> = journal.ancestors().collect();
    while let Some(folder) = folders.pop() {
        // The topmost one is there.
        let _ = process.create_dir(folder);
    }
    for (name, bytes) in fixture {
        let file = process.open(&dir.join(name), OpenMode::Truncate);
        file.expect("made").write_at(bytes, 0).expect("written");
    }
    disk.sync_all();
    disk
}

fn config() -> StoreConfig {
    let mut config = small_config();
    config.record.payload_bytes_max = 8 * 1024;
    config
}

fn open(disk: &SimDisk) -> Result<RequestStore, StoreError> {
    RequestStore::open_with(
        Path::new(DIR),
        config(),
        Arc::new(Process::new(disk)),
        Arc::new(SimClock::new(1_770_000_000_000)),
    )
}

type Held = (Vec<Entry>, Vec<(String, Seq)>, Vec<(u64, DeadLetter)>);

fn held(store: &RequestStore) -> Held {
    let consumers = store.ledgers().iter();
    let consumers = consumers.map(|(name, ledger)| (name.to_string(), ledger.offset()));
    let letters = store.reader().dead_letters(0, 100).expect("readable");
    (
        store
            .replay_from(Seq(1))
            .collect::<Result<_, _>>()
            .expect("readable"),
        consumers.collect(),
        letters,
    )
}

fn format_of(disk: &SimDisk) -> u8 {
    let version = Path::new(DIR).join("VERSION");
    let file = Process::new(disk).open(&version, OpenMode::Existing);
    let mut bytes = [0; 15];
    let read = file.expect("there").read_at(&mut bytes, 0);
    read.expect("readable");
    bytes[14]
}

fn upgrades(fixture: &[(PathBuf, Vec<u8>)], wanted: &Held, seed: u64) -> Met {
    let mut rng = SimRng::seeded(seed);
    let disk = disk_with(fixture, seed);
    let mut met = Met::default();
    let lives = 1 + rng.below(3);
    for _ in 0..lives {
        disk.cut_after_ops(1 + rng.below(40));
        match open(&disk) {
            Ok(mut store) => {
                assert_eq!(held(&store), *wanted);
                assert_eq!(
                    format_of(&disk),
                    b'2',
                    "nothing is written before it says so"
                );
                // What it seals next is of the new format.
                let now = store.clock().now();
                let _ = store.commit(now);
                met.unsure_kept += 1;
            }
            Err(error) => {
                assert!(disk.power_is_off(), "{error}");
                met.failed_starts += 1;
            }
        }
        disk.power_cut(&mut rng);
        met.unsure_lost += u64::from(format_of(&disk) == b'1');
    }
    let mut store = open(&disk).expect("the power stays on");
    assert_eq!(held(&store), *wanted);
    let topic = "orders.created".parse().expect("topic");
    let message = Message::new(RequestId::from_bytes([9; 16]), topic, "new");
    let receipt = store.append_request(&message).expect("stored");
    assert_eq!(receipt.seq, Seq(51));
    store.trim(Seq(20)).expect("durable");
    store.close().expect("closes");
    let store = open(&disk).expect("opens");
    assert_eq!(store.reader().first_seq(), Seq(20));
    met
}

#[test]
fn store_of_format_1_survives_power_cuts_while_it_becomes_format_2() {
    let fixture = fixture();
    let wanted = held(&open(&disk_with(&fixture, 0)).expect("opens"));
    assert_eq!(wanted.0.len(), 50);
    let met = for_seeds("store_of_format_1", 300, |seed| {
        upgrades(&fixture, &wanted, seed)
    });
    eprintln!("{met:?}");
    let all = [met.failed_starts, met.unsure_kept, met.unsure_lost];
    let one_alone = met.failed_starts + met.unsure_kept < 100;
    assert!(one_alone || all.iter().all(|met| *met > 5), "{met:?}");
}
