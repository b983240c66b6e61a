//! Every target of `edgebus-sim fuzz`, for a few seconds: the corpus, which holds what real encoders
//! write and whatever once broke something, and changes to it by a fixed seed.
//!
//! Memory is measured here and not in the command, where the count would slow what it counts.

use std::sync::{Mutex, PoisonError};

use edgebus_sim::SimRng;
use edgebus_sim::fuzz::run::{Until, run};
use edgebus_sim::fuzz::{TARGETS, Target, corpus, mutate};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Memory is counted for the whole process, so one test runs at a time.
static ALONE: Mutex<()> = Mutex::new(());

const SEED: u64 = 20_260;

fn inputs(target: &Target) -> Vec<Vec<u8>> {
    let inputs = corpus::read(&corpus::folder(), target).expect("the corpus can be read");
    assert!(!inputs.is_empty(), "{} has no corpus", target.name);
    inputs
}

#[test]
fn every_target_keeps_its_promises_on_the_corpus_and_changes_to_it() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for target in TARGETS {
        let executions = match target.name {
            "backups" => 100,
            "journal" | "config" => 1_500,
            _ => 8_000,
        };
        let outcome = run(target, &inputs(target), SEED, Until::Executions(executions));
        if let Some((input, what)) = outcome.broken {
            let folder = std::env::temp_dir().join("edgebus-fuzz-artifacts");
            let path = corpus::keep(&folder, target, &input).expect("it can be kept");
            panic!("{}, seed {SEED}: {what}: {}", target.name, path.display());
        }
    }
}

/// Whatever lengths an input names, a target holds a small multiple of the largest frame, which is
/// 64 KiB here, as each decodes several times over; only a block may stand for 255 times its bytes.
#[test]
fn no_input_makes_a_decoder_hold_more_than_its_limit() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for target in TARGETS {
        let inputs = inputs(target);
        let mut rng = SimRng::seeded(SEED + 1);
        let mut most = 0;
        let bytes_max = match target.name {
            "blocks" | "backups" => 24 << 20,
            _ => 4 << 20,
        };
        for _ in 0..300 {
            let input = mutate::mutate(&inputs, &mut rng);
            let before = MEMORY.current_usage();
            MEMORY.reset_peak_usage();
            (target.run)(&input);
            let held = MEMORY.peak_usage().saturating_sub(before);
            let name = target.name;
            assert!(
                held <= bytes_max,
                "{name}: {held} bytes for {}",
                input.len()
            );
            most = most.max(held);
        }
        println!("{:8} held at most {} KiB", target.name, most / 1024);
    }
}

#[test]
fn corpus_holds_what_real_encoders_write_and_each_target_takes_it() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for target in TARGETS {
        for (name, seed) in (target.seeds)() {
            let path = corpus::folder().join(target.name).join(name);
            assert!(
                path.is_file(),
                "{} is missing: run fuzz --write-corpus",
                path.display()
            );
            (target.run)(&seed);
        }
    }
}
