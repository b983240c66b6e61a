//! What is printed of worlds.

use std::collections::BTreeMap;
use std::time::Duration;

use super::RunArgs;
use crate::disk::Counts as DiskCounts;
use crate::history::{Counts, Death, Place};
use crate::say::out;
use crate::world::{FaultKind, Outcome, Weather};

/// How many violations of one world are printed.
const VIOLATIONS_SHOWN: usize = 5;

/// What many worlds came to. It does not depend on the order in which they are added.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// How many worlds there were.
    pub seeds: u64,
    /// What was done, told, and made to go wrong.
    pub counts: Counts,
    /// What the disks met.
    pub disks: DiskCounts,
    /// Virtual time, all worlds together.
    pub lasted: Duration,
    /// Stands for all that happened.
    pub trace: u64,
    /// Seeds that broke a promise.
    pub violating: Vec<u64>,
    /// Promises that were broken, all worlds together.
    pub violations: usize,
}

impl Totals {
    pub(super) fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.counts.add(&outcome.history.counts());
        self.disks.add_all(&outcome.disks);
        self.lasted += outcome.lasted;
        self.violations += outcome.violations.len();
        // Of each seed its own, so that two that change places are noticed.
        let own = (outcome.trace ^ outcome.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.trace = self.trace.wrapping_add(own ^ (own >> 32));
        if !outcome.violations.is_empty() {
            self.violating.push(outcome.seed);
            self.violating.sort_unstable();
        }
    }

    /// How often each kind of fault happened, all kinds named.
    pub fn faults(&self) -> BTreeMap<&'static str, u64> {
        let mut faults: BTreeMap<_, _> =
            FaultKind::ALL.iter().map(|kind| (kind.name(), 0)).collect();
        for (kind, count) in &self.counts.faults {
            *faults.entry(*kind).or_default() += count;
        }
        for (kind, count) in [
            (FaultKind::Torn, self.disks.torn),
            (FaultKind::Dropped, self.disks.dropped),
            (FaultKind::NameDropped, self.disks.names_dropped),
        ] {
            *faults.entry(kind.name()).or_default() += count;
        }
        faults
    }

    /// How often power went, servers' and clients' machines.
    pub fn power_cuts(&self) -> u64 {
        self.disks.power_cuts
    }

    /// Requests that somebody was told to be stored, each receipt counted.
    pub fn acked(&self) -> u64 {
        let of = |kind| self.counts.outcomes.get(kind).copied().unwrap_or_default();
        of("stored") + of("duplicate") + of("spooled")
    }

    pub(super) fn print(&self, args: &RunArgs, weather: Weather, took: Duration) {
        let command = match weather {
            Weather::Clocks => "clocks",
            _ => "run",
        };
        let deaths = &self.counts.deaths;
        let died = |how| deaths.get(&how).copied().unwrap_or_default();
        out!("seeds            {}", self.seeds);
        out!("violating seeds  {}", self.violating.len());
        out!("power cuts       {}", self.power_cuts());
        out!(
            "server's ends    {} power cuts, {} kills, {} fail stops, {} shutdowns",
            died(Death::PowerCut),
            died(Death::Kill),
            died(Death::FailStop),
            died(Death::Shutdown)
        );
        out!("operations       {}", self.counts.operations_total());
        out!("acked requests   {}", self.acked());
        print_all("operation", &self.counts.operations);
        print_all("outcome", &self.counts.outcomes);
        print_all("fault", &self.faults());
        out!("disk calls       {}", self.disks.ops());
        out!("virtual time     {} s", self.lasted.as_secs());
        out!("trace            {:016x}", self.trace);
        out!("took             {:.1} s", took.as_secs_f64());
        out!(
            "again            edgebus-sim {command} --seeds {} --from {}{}",
            args.seeds,
            args.from,
            args.planted()
        );
        for seed in &self.violating {
            out!("violated         {}", args.replay(*seed, weather));
        }
    }
}

fn print_all(what: &str, counts: &BTreeMap<&'static str, u64>) {
    for (kind, count) in counts {
        out!("  {what:<10} {kind:<32} {count:>10}");
    }
}

/// Lines about a world that broke a promise, and how to see it `again`.
pub(super) fn violating(outcome: &Outcome, again: &str) -> Vec<String> {
    let (seed, broken) = (outcome.seed, outcome.violations.len());
    let mut lines = vec![format!("seed {seed} broke {broken} promises: {again}")];
    let shown = outcome.violations.iter().take(VIOLATIONS_SHOWN);
    lines.extend(shown.map(|violation| format!("  {violation}")));
    lines
}

/// Prints what happened in a world, and why it broke a promise.
pub(super) fn tell(outcome: &Outcome) {
    for (place, noted) in outcome.history.noted.iter().enumerate() {
        out!("{:<6} {noted}", Place(place as u32).to_string());
    }
    out!("trace {:016x}", outcome.trace);
    for violation in &outcome.violations {
        out!("VIOLATED {violation}");
    }
    if outcome.violations.is_empty() {
        out!("no promise was broken");
    }
}
