//! Power cuts and kills at any call that changes the disk: while a store is made, opened,
//! recovered, written, sealed, closed. Several in a row on the same disk.

use edgebus_sim::SimRng;

use crate::machine::{Life, Machine, Met, for_seeds};

const ACTIONS_PER_LIFE: usize = 120;

fn lives(seed: u64) -> Met {
    let mut rng = SimRng::seeded(seed);
    let mut machine = Machine::new(seed);
    let lives = 2 + rng.below(5);
    for number in 0..lives {
        let ops = *rng.pick(&[40, 150, 600]);
        let ops = 1 + rng.below(ops);
        if rng.chance(0.3) {
            machine.process.kill_after(ops);
        } else {
            machine.disk.cut_after_ops(ops);
        }
        live(&mut machine, &mut rng.fork(), number);
        machine.next_life(&mut rng);
    }
    let mut store = machine.start().expect("the power stays on");
    for _ in 0..5 {
        let acted = machine.group(&mut store, &mut rng);
        acted.expect("the power stays on");
    }
    store.close().expect("the power stays on");
    let store = machine.start().expect("the power stays on");
    assert!(store.torn_tail().is_none(), "it was closed");
    machine.met
}

/// From a start to the power cut, with ends of the process between.
fn live(machine: &mut Machine, rng: &mut SimRng, number: u64) {
    while !machine.is_over() {
        let store = match machine.start() {
            Ok(store) => store,
            Err(error) => {
                assert!(machine.is_over(), "life {number}: {error}");
                return;
            }
        };
        let mut life = Life::new(store, rng);
        for _ in 0..ACTIONS_PER_LIFE {
            if let Err(error) = machine.act(&mut life, rng) {
                assert!(machine.is_over(), "life {number}: {error}");
                break;
            }
        }
        machine.met.seals += life.store.reader().stats().seals;
        let Life { store, sealer } = life;
        drop(sealer);
        if rng.chance(0.5) {
            let closed = store.close();
            assert!(closed.is_ok() || machine.is_over(), "{closed:?}");
        }
    }
}

#[test]
fn acked_requests_survive_power_cuts_and_kills_and_the_store_always_opens() {
    let met = for_seeds("acked_requests_survive", 600, lives);
    eprintln!("{met:?}");
    let one_alone = met.acked < 10_000;
    let all = [
        met.torn_tails,
        met.unsure_kept,
        met.unsure_lost,
        met.failed_starts,
        met.seals,
        met.replies,
        met.letters,
        met.trims,
    ];
    assert!(one_alone || all.iter().all(|met| *met > 5), "{met:?}");
}
