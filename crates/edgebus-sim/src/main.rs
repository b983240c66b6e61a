//! `edgebus-sim`: the command line of the proofs.
//!
//! Exit status: 0 nothing was violated, 1 something was, 2 it cannot run here or was called wrongly.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use edgebus_sim::flips;
use edgebus_sim::fuzz;
use edgebus_sim::network::{certificates, flood};
use edgebus_sim::processes::{crash, failure, full_disk, inject, ready, snapshots, soak};
use edgebus_sim::run::{self, clocks, strikes};

/// Shows what edgebus promises, from seeds that anyone can run again.
#[derive(Debug, Parser)]
#[command(name = "edgebus-sim", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Run simulated worlds, each from a seed
    Run(run::RunArgs),
    /// Run simulated worlds in which only the server's wall clock goes wrong
    Clocks(run::RunArgs),
    /// Have each call of the server's to a simulated disk fail in turn
    Faults(strikes::FaultsArgs),
    /// Tell the story of one simulated world
    Replay(run::ReplayArgs),
    /// Kill the real server under load, again and again
    Crash(crash::Options),
    /// Measure how soon a server serves again that was killed, with a large store
    Ready(ready::Options),
    /// Turn single bits of a store over, and see that nothing wrong is ever delivered
    Flips(flips::Options),
    /// Look at what a power cut would leave on a real file system, at random moments of load
    Snapshots(snapshots::Options),
    /// Have a system call of the real server fail, at any place
    Inject(inject::Options),
    /// Fill the real server's disk under load, and free it again
    FullDisk(full_disk::Options),
    /// Load the real server for long, with readers that are too slow
    Soak(soak::Options),
    /// Count and sync, beside a server: what `snapshots` compares with
    #[command(hide = true)]
    Control {
        /// Where its files are
        dir: PathBuf,
    },
    /// Flood the real server with connections, and measure what honest clients notice
    Flood(flood::Options),
    /// Refuse strangers and replace every certificate while tills go on sending
    Certificates(certificates::Options),
    /// Give decoders bytes that nobody meant
    Fuzz(fuzz::command::Options),
}

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Clocks(args) => clocks::run(&args),
        Command::Faults(args) => strikes::run(&args),
        Command::Replay(args) => run::replay(&args),
        Command::Crash(options) => failure::exit(crash::run(&options)),
        Command::Ready(options) => failure::exit(ready::run(&options)),
        Command::Flips(options) => failure::exit(flips::run(&options)),
        Command::Snapshots(options) => failure::exit(snapshots::run(&options)),
        Command::Inject(options) => failure::exit(inject::run(&options)),
        Command::FullDisk(options) => failure::exit(full_disk::run(&options)),
        Command::Soak(options) => failure::exit(soak::run(&options)),
        Command::Control { dir } => failure::exit(snapshots::control::run(&dir)),
        Command::Flood(options) => failure::exit(flood::run(&options)),
        Command::Certificates(options) => failure::exit(certificates::run(&options)),
        Command::Fuzz(options) => fuzz::command::fuzz(&options),
    }
}
