//! `faults`: the server's disk fails at each call in turn: an I/O error or no room, once or from then
//! on, at all or in the middle of a write.

use std::io::ErrorKind;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use super::report::{Totals, violating};
use super::verdict;
use crate::disk::{Fault, Times};
use crate::processes::Failure;
use crate::say::out;
use crate::sizes;
use crate::world::{FaultKind, Outcome, Weather, simulate_in};

/// How many calls there may be at most in one life, so that it ends whatever happens.
const CALLS_MAX: u64 = 20_000;

/// `faults`: every call of the server's that changes something fails once.
#[derive(Clone, Debug, clap::Args)]
pub struct FaultsArgs {
    /// How many worlds are gone through.
    #[arg(long, default_value_t = 1, value_parser = sizes::count::<u64>)]
    pub seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 0)]
    pub from: u64,
    /// Only at each so many calls.
    #[arg(long, default_value_t = 1, value_parser = |text: &str| sizes::between(text, 1, CALLS_MAX))]
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

/// Goes through all calls and prints what came of it.
///
/// # Errors
/// [`Failure::Violated`] if any promise was broken, and [`Failure::CannotRun`] if so few calls failed that nothing was
/// shown.
pub fn run(args: &FaultsArgs) -> Result<(), Failure> {
    let started = Instant::now();
    let mut violations = 0;
    let mut too_few = None;
    for place in 0..args.seeds {
        // As for `run`, behind the last seed comes the first.
        let seed = args.from.wrapping_add(place);
        for (name, fault, times) in KINDS {
            let (struck, totals) = through(seed, args.every, |call| Weather::Strike {
                call,
                fault,
                times,
            });
            out!(
                "seed {seed}, {name:<24} at {struck:>5} calls: {} operations, {} acked, {} violations",
                totals.counts.operations_total(),
                totals.acked(),
                totals.violating.len()
            );
            violations += totals.violations;
            too_few = too_few.or_else(|| are_too_few(struck, args.every));
        }
    }
    out!("took             {:.1} s", started.elapsed().as_secs_f64());
    out!(
        "again            edgebus-sim faults --seeds {} --from {} --every {}",
        args.seeds,
        args.from,
        args.every
    );
    verdict(violations)?;
    too_few.map_or(Ok(()), |why| Err(Failure::CannotRun(why)))
}

/// Why so many calls that failed show nothing, if they do not.
fn are_too_few(struck: u64, every: u64) -> Option<String> {
    match struck {
        0 => Some("no call failed, so nothing was shown".to_owned()),
        1 if every > 1 => Some(format!(
            "only the first call failed: the server made no more than {every}, so --every {every} is too large"
        )),
        _ => None,
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
                    out!("{line}");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_did_not_fail_show_nothing() {
        assert!(are_too_few(0, 1).is_some());
        assert!(are_too_few(1, 20_000).is_some_and(|why| why.contains("--every 20000")));
        assert_eq!(are_too_few(1, 1), None, "a server that makes one call");
        assert_eq!(are_too_few(187, 20), None);
    }
}
