//! What lies on a disk.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edgebus::files::{Files as _, OpenMode};
use edgebus::store::fuzzing;
use edgebus::{Message, RequestId, RequestStore, Spool, SpoolConfig, StoreConfig};
use edgebus_core::Seq;
use edgebus_core::consumer::{Attempt, ConsumerOp, Failure, Ledger, PlaceKind};

use super::{Seeds, made};
use crate::fuzz::{journal, mend};
use crate::{SimClock, SimDisk, SimRng};

/// Target `records`.
pub(in crate::fuzz) fn records() -> Seeds {
    let bytes = |numbers: std::ops::Range<u8>| {
        let records = numbers.map(|number| made::record(number).as_bytes().to_vec());
        records.collect::<Vec<_>>().concat()
    };
    vec![("request", bytes(1..2)), ("several", bytes(2..6))]
}

/// Target `entries`.
pub(in crate::fuzz) fn entries() -> Seeds {
    let several: Vec<u8> = (1..5)
        .flat_map(|seq| made::entry(seq).as_bytes().to_vec())
        .collect();
    vec![
        ("version-1", entry_of_version_1()),
        ("version-2", made::entry(3).as_bytes().to_vec()),
        ("several", several),
    ]
}

/// Nothing writes it any more.
fn entry_of_version_1() -> Vec<u8> {
    let entry = made::entry(3);
    let mut bytes = entry.as_bytes().to_vec();
    bytes.drain(32..40);
    bytes[5] = 1;
    let length = bytes.len() as u32;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes
}

/// Every change of a consumer's state.
fn consumer_ops() -> Vec<(&'static str, ConsumerOp)> {
    let attempt = |seq, delivery| Attempt {
        seq: Seq(seq),
        delivery,
        place: PlaceKind::Process,
        alone: seq == 4,
    };
    let failure = Failure {
        seq: Seq(4),
        charged: true,
        suspect: true,
        due_ms: 99,
        error: "no".into(),
        wall_ms: 100,
    };
    vec![
        (
            "put",
            ConsumerOp::Put {
                config: made::consumer_config(),
                offset: Seq(2),
            },
        ),
        (
            "attempts",
            ConsumerOp::Attempts(vec![attempt(3, 1), attempt(4, 1), attempt(9, 1)]),
        ),
        ("failed", ConsumerOp::Failed(vec![failure])),
        (
            "done",
            ConsumerOp::Done(vec![(Seq(3), Seq(3)), (Seq(6), Seq(8))]),
        ),
        (
            "completed",
            ConsumerOp::Completed {
                seq: Seq(9),
                reply: Bytes::from_static(b"yes"),
            },
        ),
        ("dead-lettered", ConsumerOp::DeadLettered { seq: Seq(4) }),
        (
            "requeued",
            ConsumerOp::Requeued {
                seq: Seq(4),
                number: 1,
            },
        ),
        ("again", ConsumerOp::Again(vec![(Seq(1), Seq(2))])),
        ("dropped", ConsumerOp::Dropped { seq: Seq(4) }),
        ("progress", ConsumerOp::Progress { offset: Seq(12) }),
        (
            "gap",
            ConsumerOp::Gap {
                from: Seq(13),
                to: Seq(20),
            },
        ),
        ("paused", ConsumerOp::Paused(true)),
        ("reset", ConsumerOp::Reset { offset: Seq(1) }),
        ("delete", ConsumerOp::Delete),
    ]
}

/// Target `ops`: the changes of consumers, and the groups of real journals.
pub(in crate::fuzz) fn ops() -> Seeds {
    let ops = consumer_ops().into_iter();
    let mut seeds: Seeds = ops.map(|(name, op)| (name, op.encode())).collect();
    for (name, disk, dir) in [
        ("group-of-a-store", store(), "/store/journal"),
        ("group-of-a-spool", spool(), "/spool/journal"),
    ] {
        let (groups, _) = fuzzing::groups(&disk, Path::new(dir), None).expect("it is whole");
        let ops = groups.into_iter().flat_map(|group| group.ops).collect();
        seeds.push((name, ops));
    }
    seeds
}

/// Target `ledgers`.
pub(in crate::fuzz) fn ledgers() -> Seeds {
    let with = |ledger: &Ledger, ops: &[(&str, ConsumerOp)]| {
        let body = ledger.encode();
        let mut bytes = (body.len() as u16).to_le_bytes().to_vec();
        bytes.extend(body);
        for (_, op) in ops {
            let op = op.encode();
            bytes.push(op.len() as u8);
            bytes.extend(op);
        }
        bytes
    };
    let new = Ledger::new(Some(made::consumer_config()), Seq(2));
    let mut busy = new.clone();
    let ops = consumer_ops();
    for (_, op) in &ops[1..9] {
        busy.apply(op);
    }
    vec![
        ("new", with(&new, &ops)),
        ("busy", with(&busy, &ops[9..])),
        ("no-config", with(&Ledger::new(None, Seq(7)), &ops[..6])),
    ]
}

/// Target `blocks`.
pub(in crate::fuzz) fn blocks() -> Seeds {
    let of = |seqs: std::ops::Range<u8>| {
        let entries: Vec<_> = seqs.map(made::entry).collect();
        fuzzing::write_block(&entries).1
    };
    let (one, many) = (of(1..2), of(1..30));
    let mut first = one.clone();
    // As version 1 wrote it: without the store time.
    first.drain(104..112);
    first[4] = 1;
    mend::row(&mut first);
    vec![("one", one), ("many", many), ("version-1", first)]
}

/// Target `journal`.
pub(in crate::fuzz) fn journal() -> Seeds {
    let whole = segments(&store(), "/store/journal");
    let mut torn = whole.clone();
    let last = torn.len() - 2000;
    torn[last..].fill(0);
    let spool = segments(&spool(), "/spool/journal");
    let with = |head: [u8; journal::HEADER_BYTES], body: &[u8]| [&head[..], body].concat();
    let mut following = whole.clone();
    following.truncate(2 * 4096);
    let two = [following.as_slice(), following.as_slice()].concat();
    vec![
        ("store", with([0, 1, 0, 0], &whole)),
        ("store-behind-tables", with([0, 5, 0, 0], &whole)),
        ("torn", with([0, 1, 0, 0], &torn)),
        ("spool", with([0, 0, 0, 0], &spool)),
        ("two-segments", with([1, 1, 0, 0], &two)),
    ]
}

/// Target `backups`.
pub(in crate::fuzz) fn backups() -> Seeds {
    let disk = store();
    // The store before is not to have the lock any more.
    disk.power_cut(&mut SimRng::seeded(1));
    let files = Arc::new(disk.this_boot());
    let clock = Arc::new(SimClock::new(1_760_000_000_000));
    let store = RequestStore::open_with(Path::new("/store"), StoreConfig::default(), files, clock);
    let store = store.expect("it is whole");
    let mut backup = store.reader().backup(7).expect("the only one");
    let mut bytes = Vec::new();
    loop {
        let page = backup.next_page(1 << 20).expect("it is whole");
        bytes.extend(page.bytes);
        if page.done {
            return vec![("store", bytes)];
        }
    }
}

fn files(seed: u64) -> (SimDisk, Arc<SimDisk>, Arc<SimClock>) {
    let disk = SimDisk::new(seed);
    let files = Arc::new(disk.this_boot());
    (disk, files, Arc::new(SimClock::new(1_760_000_000_000)))
}

/// A disk with a store on it, nothing of which is in the tables.
fn store() -> SimDisk {
    let (disk, files, clock) = files(1);
    let mut config = StoreConfig::default();
    config.segment_bytes = 256 * 1024;
    config.record.payload_bytes_max = 8 * 1024;
    config.seal_after = Duration::from_secs(3600);
    let mut store = RequestStore::open_with(Path::new("/store"), config, files, clock.clone())
        .expect("an empty disk");
    for number in 1..=4 {
        clock.advance(Duration::from_secs(1));
        let topic = "orders.created".parse().expect("a topic");
        let id = RequestId::from_bytes([number; 16]);
        let message = Message::new(id, topic, vec![number; 300 * usize::from(number)]);
        store.append_request(&message).expect("there is room");
    }
    store
        .set_consumer_offset(&made::consumer(), Seq(2))
        .expect("there is room");
    // What it does when it is dropped is not to be seen.
    std::mem::forget(store);
    disk
}

/// A disk with a spool on it.
fn spool() -> SimDisk {
    let (disk, files, clock) = files(2);
    let config = SpoolConfig::default().segment_bytes(64 * 1024);
    let mut spool =
        Spool::open_with(Path::new("/spool"), config, files, clock).expect("an empty disk");
    for number in 1..=3 {
        let record = made::record(number);
        spool.commit(&[], vec![record]).expect("there is room");
    }
    disk
}

/// The first segment, cut behind its last group.
fn segments(disk: &SimDisk, dir: &str) -> Vec<u8> {
    let path = Path::new(dir).join("0000000001.wal");
    let file = disk.open(&path, OpenMode::Read).expect("it is there");
    let mut bytes = vec![0; file.len().expect("it is there") as usize];
    file.read_at(&mut bytes, 0).expect("it is there");
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
    bytes.truncate(used.next_multiple_of(4096));
    let length = bytes.len() as u64;
    bytes[48..56].copy_from_slice(&length.to_le_bytes());
    mend::segment(&mut bytes, 1);
    bytes
}
