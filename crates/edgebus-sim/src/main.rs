//! `edgebus-sim`: the command line of the proofs.
//!
//! Exit status: 0 nothing was violated, 1 something was, 2 it cannot run here or was called wrongly.

use std::process::ExitCode;

use clap::Parser;

/// Shows what edgebus promises, from seeds that anyone can run again.
#[derive(Debug, Parser)]
#[command(name = "edgebus-sim", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {}

fn main() -> ExitCode {
    match Args::parse().command {}
}
