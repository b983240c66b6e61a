//! `clocks`: worlds in which of the server's machine nothing goes wrong but the wall clock, and no connection does.
//!
//! Clients fare as in any world: killed, hung, and without power where they have a spool.

use super::{RunArgs, run_and_print};
use crate::processes::Failure;
use crate::world::Weather;

/// Runs the worlds and prints what they came to.
///
/// # Errors
/// [`Failure::Violated`] if any promise was broken.
pub fn run(args: &RunArgs) -> Result<(), Failure> {
    run_and_print(args, Weather::Clocks)
}
