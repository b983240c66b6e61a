//! Power cuts at any call that changes the disk: while a store is made, opened, recovered, written,
//! sealed, closed. Several in a row on the same disk.

use edgebus_sim::SimRng;

use crate::machine::{Life, Machine, for_seeds};

const ACTIONS_PER_LIFE: usize = 120;

fn lives(seed: u64) {
    let mut rng = SimRng::seeded(seed);
    let mut machine = Machine::new(seed);
    let lives = 2 + rng.below(5);
    for life in 0..lives {
        let ops = *rng.pick(&[40, 150, 600]);
        machine.disk.cut_after_ops(1 + rng.below(ops));
        live(&mut machine, &mut rng, life);
        machine.disk.power_cut(&mut rng);
    }
    let mut store = machine.start().expect("the power stays on");
    for _ in 0..5 {
        machine.group(&mut store, &mut rng).expect("the power stays on");
    }
    store.close().expect("the power stays on");
    let store = machine.start().expect("the power stays on");
    assert!(store.torn_tail().is_none(), "it was closed");
}

/// From a start to the power cut, or to a stop that is none.
fn live(machine: &mut Machine, rng: &mut SimRng, number: u64) {
    let mut rng = rng.fork();
    while !machine.disk.power_is_off() {
        let store = match machine.start() {
            Ok(store) => store,
            Err(error) => {
                assert!(machine.disk.power_is_off(), "life {number}: {error}");
                return;
            }
        };
        let mut life = Life { store, sealer: None };
        if rng.chance(0.7) {
            life.sealer = life.store.take_sealer();
        }
        for _ in 0..ACTIONS_PER_LIFE {
            if let Err(error) = machine.act(&mut life, &mut rng) {
                assert!(machine.disk.power_is_off(), "life {number}: {error}");
                return;
            }
        }
        // A process that ends while the machine runs on, in order or not.
        let Life { store, sealer } = life;
        drop(sealer);
        if rng.chance(0.5) {
            let closed = store.close();
            assert!(closed.is_ok() || machine.disk.power_is_off(), "{closed:?}");
        }
    }
}

#[test]
fn acked_requests_survive_power_cuts_and_the_store_always_opens() {
    for_seeds("acked", 0..2000, lives);
}

#[test]
fn acked_requests_survive_power_cuts_and_the_store_always_opens_second_hundred() {
    for_seeds("second_hundred", 2000..4000, lives);
}
