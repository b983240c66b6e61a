//! `faults`: the server's disk fails at each call in turn: an I/O error or no room, once or from then
//! on, at all or in the middle of a write.

use std::io::ErrorKind;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use super::report::{Totals, violating};
use crate::disk::{Fault, Times};
use crate::world::{FaultKind, Outcome, Weather, simulate_in};

/// How many calls there may be at most in one life, so that it ends whatever happens.
const CALLS_MAX: u64 = 20_000;

/// `faults`: every call of the server's that changes something fails once.
#[derive(Clone, Debug, clap::Args)]
pub struct FaultsArgs {
    /// How many worlds are gone through.
    #[arg(long, default_value_t = 1)]
    pub seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 0)]
    pub from: u64,
    /// Only at each so many calls.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub every: u64,
}

/// How calls fail.
const KINDS: [(&str, Fault, Times); 5] = [
    (
        "I/O error once",
        Fault::Error(ErrorKind::Other),
        Times::Once,
    ),
    (
        "I/O error from then on",
        Fault::Error(ErrorKind::Other),
        Times::Sticky,
    ),
    (
        "short write once",
        Fault::ShortWrite(ErrorKind::Other),
        Times::Once,
    ),
    (
        "no room once",
        Fault::ShortWrite(ErrorKind::StorageFull),
        Times::Once,
    ),
    (
        "no room from then on",
        Fault::Error(ErrorKind::StorageFull),
        Times::Sticky,
    ),
];

/// Goes through all calls and prints what came of it: 1 if any promise was broken.
pub fn run(args: &FaultsArgs) -> ExitCode {
    let started = Instant::now();
    let mut is_sound = true;
    for seed in args.from..args.from.saturating_add(args.seeds) {
        for (name, fault, times) in KINDS {
            let (struck, totals) = through(seed, args.every, |call| Weather::Strike {
                call,
                fault,
                times,
            });
            println!(
                "seed {seed}, {name:<24} at {struck:>5} calls: {} operations, {} acked, {} violations",
                totals.counts.operations_total(),
                totals.acked(),
                totals.violating.len()
            );
            is_sound &= totals.violating.is_empty();
        }
    }
    println!("took             {:.1} s", started.elapsed().as_secs_f64());
    println!(
        "again            edgebus-sim faults --seeds {} --from {} --every {}",
        args.seeds, args.from, args.every
    );
    match is_sound {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Whether a call failed that was told to.
fn has_struck(outcome: &Outcome) -> bool {
    let counts = outcome.history.counts();
    let kinds = [FaultKind::IoError, FaultKind::ShortWrite];
    kinds
        .iter()
        .any(|kind| counts.faults.contains_key(kind.name()))
}

/// The same world again and again, with another call that fails, until there are no more calls.
fn through(seed: u64, every: u64, weather: impl Fn(u64) -> Weather + Sync) -> (u64, Totals) {
    let next = AtomicU64::new(1);
    let ended = AtomicBool::new(false);
    let struck = AtomicU64::new(0);
    let totals = Mutex::new(Totals::default());
    let work = || {
        while !ended.load(Ordering::Relaxed) {
            let call = next.fetch_add(every, Ordering::Relaxed);
            if call > CALLS_MAX {
                return;
            }
            let outcome = simulate_in(seed, weather(call));
            if !outcome.violations.is_empty() {
                let again = format!("edgebus-sim faults --from {seed}, at call {call}");
                for line in violating(&outcome, &again) {
                    println!("{line}");
                }
            }
            // Until it strikes all is the same, so behind the last call it never does.
            if has_struck(&outcome) {
                struck.fetch_add(1, Ordering::Relaxed);
            } else {
                ended.store(true, Ordering::Relaxed);
            }
            let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
            totals.add(&outcome);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let totals = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
    (struck.into_inner(), totals)
}
