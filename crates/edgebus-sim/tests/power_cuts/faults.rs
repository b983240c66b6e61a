//! A call that fails, at every place one can: with an I/O error, for want of room, or half done.
//!
//! After an I/O error nothing more is acknowledged, and a start on the same disk finds all that
//! was. A full disk may be refused by code or stop the store, but loses nothing either.

use std::io::ErrorKind;

use edgebus::{Code, RequestStore, StoreError};
use edgebus_sim::{Fault, SimRng, Times};

use crate::machine::{Life, Machine, Met, for_seeds};
use crate::model::Request;

const ACTIONS: usize = 40;
/// Scripts that are tried with a fault at each of their calls.
const SCRIPTS: u64 = 2;

/// What happens at one call.
#[derive(Clone, Copy, Debug)]
struct Strike {
    /// The call, counted from 1; `None` for a run without a fault.
    at: Option<u64>,
    fault: Fault,
    times: Times,
}

/// A run of some script up to the fault, and the start after it.
fn run(script: u64, strike: Strike) -> Machine {
    let mut rng = SimRng::seeded(script);
    // What a failed sync loses is drawn anew for each place.
    let mut machine = Machine::new(strike.at.unwrap_or(0));
    if let Some(at) = strike.at {
        machine.disk.fail_after_ops(at, strike.fault, strike.times);
    }
    live(&mut machine, &mut rng, strike);
    if strike.at.is_none() {
        return machine;
    }
    assert!(machine.disk.counts().faults > 0, "the fault struck");
    machine.disk.clear_faults();
    go_on(&mut machine, &mut rng);
    machine.next_life(&mut rng);
    machine.start().expect("a sound disk after a power cut");
    machine
}

/// What follows when the disk works again: nothing is lost, everything goes on.
fn go_on(machine: &mut Machine, rng: &mut SimRng) {
    let store = machine.start().expect("a sound disk");
    let mut life = Life::new(store, rng);
    for _ in 0..ACTIONS / 4 {
        machine.act(&mut life, rng).expect("a sound disk");
    }
}

/// Acts until the store stops or the script ends.
fn live(machine: &mut Machine, rng: &mut SimRng, strike: Strike) {
    let (Fault::Error(kind) | Fault::ShortWrite(kind)) = strike.fault else {
        unreachable!("no other faults are used here");
    };
    for _ in 0..2 {
        let store = match machine.start() {
            Ok(store) => store,
            Err(error) => {
                // A sync that failed is an I/O error whatever its reason.
                let full = kind == ErrorKind::StorageFull && error.code() == Code::StorageFull;
                assert!(full || error.code() == Code::Io, "{error}");
                return;
            }
        };
        let mut life = Life::new(store, rng);
        for _ in 0..ACTIONS {
            let faults = machine.disk.counts().faults;
            let acted = machine.act(&mut life, rng);
            let struck = machine.disk.counts().faults > faults;
            match acted {
                Ok(()) if struck && kind != ErrorKind::StorageFull => {
                    panic!("done in spite of an I/O error")
                }
                Ok(()) => {}
                // Refused by code: it did not happen, and the store goes on.
                Err(error) if error.code() == Code::StorageFull => machine.unsure.clear(),
                Err(error) => {
                    stays_stopped(machine, life, &error, rng);
                    return;
                }
            }
        }
    }
}

/// A store that stopped takes nothing more, and says why.
fn stays_stopped(machine: &Machine, mut life: Life, error: &StoreError, rng: &mut SimRng) {
    assert!(matches!(error.code(), Code::Io | Code::Poisoned), "{error}");
    let asked = life.store.append_request(&Request::random(rng).message());
    let refused = asked.expect_err("stopped").code();
    assert_eq!(refused, Code::Poisoned);
    assert!(life.store.reader().stats().poisoned);
    reads(machine, &life.store);
}

/// What was acknowledged is read on, from memory or from the tables, or refused; never wrong.
fn reads(machine: &Machine, store: &RequestStore) {
    for entry in store.replay_from(edgebus::Seq(1)) {
        let Ok(entry) = entry else { return };
        if let Some(request) = machine.acked.log.get(entry.seq().0 as usize - 1) {
            assert_eq!(entry.record().id(), request.id);
        }
    }
}

fn at_every_call(test: &str, fault: Fault, times: Times) {
    let strike = |at| Strike { at, fault, times };
    let calls: Vec<u64> = (0..SCRIPTS)
        .map(|script| run(script, strike(None)).disk.counts().ops())
        .collect();
    let all: u64 = calls.iter().sum();
    let met = for_seeds(test, all, |seed| {
        let mut at = seed + 1;
        for (script, calls) in (0..).zip(&calls) {
            if at <= *calls {
                return run(script, strike(Some(at))).met;
            }
            at -= calls;
        }
        Met::default()
    });
    eprintln!("{test}: {all} places, {met:?}");
}

#[test]
fn nothing_is_acked_after_an_io_error_and_nothing_acked_is_lost() {
    at_every_call(
        "nothing_is_acked",
        Fault::Error(ErrorKind::Other),
        Times::Once,
    );
}

#[test]
fn disk_that_fails_for_good_loses_nothing_that_was_acked() {
    at_every_call(
        "fails_for_good",
        Fault::ShortWrite(ErrorKind::Other),
        Times::Sticky,
    );
}

#[test]
fn call_that_finds_no_room_loses_nothing_that_was_acked() {
    at_every_call(
        "finds_no_room",
        Fault::ShortWrite(ErrorKind::StorageFull),
        Times::Once,
    );
}

#[test]
fn disk_without_room_from_some_call_on_loses_nothing_that_was_acked() {
    at_every_call(
        "without_room",
        Fault::Error(ErrorKind::StorageFull),
        Times::Sticky,
    );
}
