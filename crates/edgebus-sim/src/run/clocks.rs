//! `clocks`: worlds in which nothing goes wrong but the server's wall clock.

use std::process::ExitCode;
use std::time::Instant;

use super::{RunArgs, run_in};
use crate::world::Weather;

/// Runs the worlds and prints what they came to: 1 if any promise was broken.
pub fn run(args: &RunArgs) -> ExitCode {
    let started = Instant::now();
    let totals = run_in(args, Weather::Clocks, |violations| {
        for violation in violations {
            println!("{violation}");
        }
    });
    totals.print("clocks", args, started.elapsed());
    match totals.violating.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
