//! `edgebus-sim crash`: `kill -9` at any moment, again and again, under clients that send
//! everything twice.
//!
//! A killed process leaves the page cache, so this says nothing about syncs; it is about a journal
//! that ends anywhere, starts that are killed too, and what clients and workers do meanwhile.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::figures::{Figures, judge, middle_and_most, verdict};
use super::load::notes::Notes;
use super::load::{Load, Plan};
use super::server::Setup;
use super::{Failure, binary, ending, interrupt};
use crate::history::{Death, History, Terms};
use crate::rng::SimRng;
use crate::say::{self, err, out};
use crate::sizes;

/// How long a server lives under load, at most.
const LIFE_MAX: Duration = Duration::from_millis(500);
/// How long one may live that is killed while it starts, at most: until it is ready, and a bit.
const START_MAX: Duration = Duration::from_millis(60);
/// How many starts are killed.
const START_KILLED: f64 = 0.3;

/// `edgebus-sim crash …`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How often the server is killed under load
    #[arg(long, default_value_t = 100, value_parser = sizes::count::<u32>)]
    pub cycles: u32,
    /// What follows from it: requests, their fates, and when the server is killed [default: any]
    #[arg(long)]
    pub seed: Option<u64>,
    /// The edgebus to try [default: the one of this workspace, built if need be]
    #[arg(long, value_name = "PATH")]
    pub binary: Option<PathBuf>,
}

/// Kills, checks, and prints what it was.
///
/// # Errors
/// [`Failure`].
pub fn run(options: &Options) -> Result<(), Failure> {
    let binary = binary::find(options.binary.as_deref())?;
    let seed = options.seed.unwrap_or_else(any_seed);
    let again = binary::again(options.binary.as_deref());
    out!(
        "edgebus-sim crash --cycles {} --seed {seed}{again}",
        options.cycles
    );
    let begun = Instant::now();
    let folder = folder()?;
    let mut setup = Setup::new(&binary, folder.path());
    let Crashed {
        history,
        mut ready,
        starts_killed,
    } = interrupt::run(crash(&mut setup, options.cycles, seed))?;
    let violations = judge(&history, &format!("crash-{seed}"));
    out!("  {:<24} {}", "kills under load", options.cycles);
    out!("  {:<24} {starts_killed}", "kills while starting");
    say::all(&Figures::of(&history));
    out!("  {:<24} {}", "ready after", middle_and_most(&mut ready));
    out!("  {:<24} {:.1} s", "took", begun.elapsed().as_secs_f64());
    keep_if_wrong(folder, violations.len());
    verdict(violations.len())
}

/// A folder of its own, gone with what holds it.
pub(super) fn folder() -> Result<tempfile::TempDir, Failure> {
    tempfile::Builder::new()
        .prefix("edgebus-sim-")
        .tempdir()
        .map_err(|e| Failure::broken("a folder", e))
}

/// What went wrong can be looked at: the data and the log of the servers stay.
pub(super) fn keep_if_wrong(folder: tempfile::TempDir, violations: usize) {
    if violations > 0 {
        err!("data and logs are in {}", folder.keep().display());
    }
}

/// A seed that nobody chose.
pub(super) fn any_seed() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0 % 1_000_000_000
}

/// What came of it.
#[derive(Debug)]
pub struct Crashed {
    /// What happened.
    pub history: History,
    /// How long each start took until the server was ready.
    pub ready: Vec<Duration>,
    /// Starts that were killed before the server was ready.
    pub starts_killed: u32,
}

/// Kills so often, and ends the run.
///
/// # Errors
/// [`Failure::Broken`] when the server does not start, or anything does not end.
pub async fn crash(setup: &mut Setup, cycles: u32, seed: u64) -> Result<Crashed, Failure> {
    let mut rng = SimRng::seeded(seed);
    let notes = Notes::new(Terms::default());
    let mut crashed = Crashed {
        history: History::default(),
        ready: Vec::new(),
        starts_killed: 0,
    };
    notes.started();
    let mut server = setup.start().await?;
    let load = Load::start(&Plan::new(seed), server.url(), &notes);
    for _ in 0..cycles {
        tokio::time::sleep(LIFE_MAX.mul_f64(rng.fraction())).await;
        server.kill()?;
        notes.died(Death::Kill);
        setup.config = tuning(&mut rng);
        while rng.chance(START_KILLED) {
            notes.started();
            let starting = setup.spawn()?;
            tokio::time::sleep(START_MAX.mul_f64(rng.fraction())).await;
            let was_ready = starting.kill()?;
            notes.died(Death::Kill);
            crashed.starts_killed += u32::from(!was_ready);
        }
        notes.started();
        server = setup.start().await?;
        crashed.ready.push(server.ready_after());
    }
    crashed.history = ending::end(load, server, setup).await?;
    Ok(crashed)
}

/// Limits under which everything that happens rarely happens often: sealing, new segments, new
/// tables of ids. At times those of everybody.
pub(super) fn tuning(rng: &mut SimRng) -> String {
    if rng.chance(0.3) {
        return String::new();
    }
    let seal_kib = rng.pick(&[64, 256, 2048]);
    let after_ms = rng.pick(&[50, 300, 30_000]);
    let segment_kib = rng.pick(&[512, 1024, 4096]);
    let ids = rng.pick(&[500, 5_000, 131_072]);
    format!(
        "[store]\npayload_bytes = \"64KiB\"\nseal_bytes = \"{seal_kib}KiB\"\nseal_after = \"{after_ms}ms\"\n\
         segment_bytes = \"{segment_kib}KiB\"\nids_per_generation = {ids}\n"
    )
}
