//! The real spool on a disk that loses power, fails, or is full: what was told to be spooled is there,
//! in its order, until it is settled; what was settled on disk does not come back.

mod machine;

mod model;

use std::io::ErrorKind;

use edgebus::Code;
use edgebus::files::Files as _;
use edgebus_sim::{Fault, SimRng, Times};

use crate::machine::{Met, for_seeds};
use machine::{DIR, SpoolMachine};

const ROOMY: u64 = 1 << 40;

/// Power cuts and kills, several in a row on the same disk.
fn lives(seed: u64) -> Met {
    let mut rng = SimRng::seeded(seed);
    let mut machine = SpoolMachine::new(seed, &mut rng);
    for _ in 0..2 + rng.below(5) {
        let ops = *rng.pick(&[30, 120, 500]);
        let ops = 1 + rng.below(ops);
        match rng.chance(0.3) {
            true => machine.process.kill_after(ops),
            false => machine.disk.cut_after_ops(ops),
        }
        let mut fork = rng.fork();
        while !machine.is_over() {
            match machine.live(&mut fork, 60) {
                Ok(()) => {}
                Err(error) => assert!(machine.is_over(), "{error}"),
            }
        }
        machine.next_life(&mut rng);
    }
    machine.live(&mut rng, 30).expect("the power stays on");
    let spool = machine.start().expect("the power stays on");
    assert!(spool.torn_tail().is_none(), "nothing was cut");
    machine.met
}

#[test]
fn spooled_requests_survive_power_cuts_and_kills_and_the_spool_always_opens() {
    let met = for_seeds("spooled_requests_survive", 400, lives);
    eprintln!("{met:?}");
    let one_alone = met.acked < 5_000;
    let all = [
        met.torn_tails,
        met.unsure_kept,
        met.unsure_lost,
        met.failed_starts,
        met.letters,
        met.trims,
    ];
    assert!(one_alone || all.iter().all(|met| *met > 5), "{met:?}");
}

/// One call fails, of any kind and at any place.
fn struck(seed: u64) -> Met {
    let mut rng = SimRng::seeded(seed);
    let mut machine = SpoolMachine::new(seed, &mut rng);
    machine.live(&mut rng, 20).expect("a sound disk");
    let kind = *rng.pick(&[ErrorKind::Other, ErrorKind::StorageFull]);
    let fault = match rng.chance(0.5) {
        true => Fault::Error(kind),
        false => Fault::ShortWrite(kind),
    };
    let times = match rng.chance(0.3) {
        true => Times::Sticky,
        false => Times::Once,
    };
    machine.is_full = kind == ErrorKind::StorageFull;
    machine
        .disk
        .fail_after_ops(1 + rng.below(150), fault, times);
    for _ in 0..3 {
        if let Err(error) = machine.live(&mut rng, 40) {
            let full = kind == ErrorKind::StorageFull && error.code() == Code::StorageFull;
            assert!(full || error.code() == Code::Io, "{error}");
            break;
        }
    }
    machine.disk.clear_faults();
    machine.is_full = false;
    machine.live(&mut rng, 20).expect("a sound disk");
    machine.next_life(&mut rng);
    machine
        .live(&mut rng, 20)
        .expect("a sound disk after a power cut");
    machine.met
}

#[test]
fn spool_acknowledges_nothing_after_an_io_error_and_loses_nothing() {
    let met = for_seeds("spool_acknowledges_nothing", 300, struck);
    eprintln!("{met:?}");
}

/// A disk that fills up and is emptied again.
fn fill_and_empty(seed: u64) -> Met {
    let mut rng = SimRng::seeded(seed);
    let mut machine = SpoolMachine::new(seed, &mut rng);
    machine.live(&mut rng, 20).expect("room");
    for _ in 0..2 {
        let room = *rng.pick(&[0, 70_000, 500_000]);
        machine.disk.set_capacity(ROOMY);
        let free = machine.disk.free_bytes(DIR.as_ref()).expect("power");
        let used = ROOMY - free;
        machine.disk.set_capacity(used + rng.below(room + 1));
        machine.is_full = true;
        for _ in 0..3 {
            let lived = machine.live(&mut rng, 80);
            lived.expect("a full disk is no reason to stop");
            if rng.chance(0.3) {
                machine.next_life(&mut rng);
            }
        }
        machine.disk.set_capacity(ROOMY);
        machine.is_full = false;
        machine.live(&mut rng, 40).expect("room again");
    }
    machine.drain(&mut rng);
    machine.met
}

#[test]
fn full_disk_stops_no_spool_for_good_and_loses_nothing() {
    let met = for_seeds("full_disk_stops_no_spool", 150, fill_and_empty);
    eprintln!("{met:?}");
    let one_alone = met.acked < 5_000;
    assert!(one_alone || met.refused_full > 500, "{met:?}");
}
