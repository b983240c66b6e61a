//! Many worlds, one a seed: `run` and `replay`.
//!
//! Each seed is a world of its own, run by one thread from its beginning to its end, so that its
//! trace does not depend on how many threads there are.

pub mod clocks;
mod patience;
pub mod plants;
mod report;
pub mod strikes;

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::processes::Failure;
use crate::say::out;
use crate::sizes;
use crate::world::{Weather, simulate_in};
use patience::Patience;
use plants::plant;
use report::Totals;

/// Most worlds at a time.
const THREADS_MAX: usize = 1_024;

/// `run`: worlds of many seeds.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// How many seeds.
    #[arg(long, default_value_t = 100, value_parser = sizes::count::<u64>)]
    pub seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 0)]
    pub from: u64,
    /// How many at a time; as many as there are processors if not said.
    #[arg(long, value_parser = |text: &str| sizes::between(text, 1, THREADS_MAX))]
    pub threads: Option<usize>,
    /// A bug to be switched on, in a build made with `RUSTFLAGS="--cfg edgebus_plant"`; `list` names all.
    #[arg(long)]
    pub plant: Option<String>,
}

impl RunArgs {
    /// The bug on purpose, as said on the command line.
    fn planted(&self) -> String {
        let plant = self.plant.as_ref();
        plant.map_or_else(String::new, |name| format!(" --plant {name}"))
    }

    /// The command that tells the story of one of the worlds.
    fn replay(&self, seed: u64, weather: Weather) -> String {
        let clocks = match weather {
            Weather::Clocks => " --clocks",
            _ => "",
        };
        format!("edgebus-sim replay {seed}{clocks}{}", self.planted())
    }
}

/// `replay`: the story of one world.
#[derive(Clone, Debug, clap::Args)]
pub struct ReplayArgs {
    /// The seed.
    pub seed: u64,
    /// The world that `clocks` makes of it.
    #[arg(long)]
    pub clocks: bool,
    /// As for `run`.
    #[arg(long)]
    pub plant: Option<String>,
}

/// Runs the worlds and prints what they came to.
///
/// # Errors
/// [`Failure::Violated`] if any promise was broken.
pub fn run(args: &RunArgs) -> Result<(), Failure> {
    run_and_print(args, Weather::Storm)
}

fn run_and_print(args: &RunArgs, weather: Weather) -> Result<(), Failure> {
    if plants::listed(args.plant.as_deref()) {
        return Ok(());
    }
    plant(args.plant.as_deref())?;
    let started = Instant::now();
    let totals = run_in(args, weather, |violations| {
        for violation in violations {
            out!("{violation}");
        }
    });
    totals.print(args, weather, started.elapsed());
    verdict(totals.violations)
}

fn verdict(violations: usize) -> Result<(), Failure> {
    match violations {
        0 => Ok(()),
        count => Err(Failure::Violated(count)),
    }
}

/// Runs the worlds, each told about as soon as it broke a promise.
pub fn run_seeds(args: &RunArgs, tell: impl Fn(&[String]) + Sync) -> Totals {
    run_in(args, Weather::Storm, tell)
}

fn run_in(args: &RunArgs, weather: Weather, tell: impl Fn(&[String]) + Sync) -> Totals {
    let next = AtomicU64::new(0);
    let totals = Mutex::new(Totals::default());
    let patience = Patience::default();
    let threads = args
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let work = || {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            if place >= args.seeds {
                return;
            }
            let seed = args.from.wrapping_add(place);
            let outcome = patience.watch(seed, || simulate_in(seed, weather));
            if !outcome.violations.is_empty() {
                let again = args.replay(outcome.seed, weather);
                tell(&report::violating(&outcome, &again));
            }
            let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
            totals.add(&outcome);
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        scope.spawn(|| {
            if let Some(seed) = patience.wait() {
                out!("seed {seed} does not end: {}", args.replay(seed, weather));
                out!("  does not end: something spins, and no virtual time passes");
                std::process::exit(1);
            }
        });
        let ended: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        patience.is_over();
        if let Some(panic) = ended.into_iter().find_map(Result::err) {
            std::panic::resume_unwind(panic);
        }
    });
    totals.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Tells the story of one world.
///
/// # Errors
/// [`Failure::Violated`] if a promise was broken.
pub fn replay(args: &ReplayArgs) -> Result<(), Failure> {
    if plants::listed(args.plant.as_deref()) {
        return Ok(());
    }
    plant(args.plant.as_deref())?;
    let weather = match args.clocks {
        true => Weather::Clocks,
        false => Weather::Storm,
    };
    let outcome = simulate_in(args.seed, weather);
    report::tell(&outcome);
    verdict(outcome.violations.len())
}
