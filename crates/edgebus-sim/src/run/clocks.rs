//! `clocks`: worlds in which nothing goes wrong but the server's wall clock.

use std::process::ExitCode;

use super::{RunArgs, run_and_print};
use crate::world::Weather;

/// Runs the worlds and prints what they came to: 1 if any promise was broken.
pub fn run(args: &RunArgs) -> ExitCode {
    run_and_print(args, Weather::Clocks)
}
