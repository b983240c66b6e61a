//! `edgebus-sim`: the command line of the proofs.
//!
//! Exit status: 0 nothing was violated, 1 something was, 2 it cannot run here or was called wrongly.

use std::process::ExitCode;

use clap::Parser;
use edgebus_sim::fuzz;
use edgebus_sim::processes::{crash, failure, ready};

/// Shows what edgebus promises, from seeds that anyone can run again.
#[derive(Debug, Parser)]
#[command(name = "edgebus-sim", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Kill the real server under load, again and again
    Crash(crash::Options),
    /// Measure how soon a server serves again that was killed, with a large store
    Ready(ready::Options),
    Fuzz(fuzz::command::Options),
}

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Crash(options) => failure::exit(crash::run(&options)),
        Command::Ready(options) => failure::exit(ready::run(&options)),
        Command::Fuzz(options) => fuzz::command::fuzz(&options),
    }
}
