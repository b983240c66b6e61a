//! `edgebus-sim`: the command line of the proofs.
//!
//! Exit status: as [`STATUS`] has it, which every help shows.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};
use edgebus_sim::built;
use edgebus_sim::flips;
use edgebus_sim::fuzz;
use edgebus_sim::network::{certificates, flood};
use edgebus_sim::processes::{crash, failure, full_disk, inject, ready, snapshots, soak};
use edgebus_sim::run::{self, clocks, plants, strikes};

/// Shows what edgebus promises, from seeds that anyone can run again.
#[derive(Debug, Parser)]
#[command(name = "edgebus-sim", version = built::VERSION)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Run simulated worlds, each from a seed
    Run(run::RunArgs),
    /// Run simulated worlds in which the server's wall clock goes wrong, but not its disk, power and network
    ///
    /// The server is shut down or killed between, and clients fare as in `run`: they are killed, workers hang past
    /// their lease, and those who send by way of a spool lose their power and their disk fails.
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

/// What every help ends with.
const STATUS: &str = "Exit status:
  0    nothing that was promised was violated
  1    something was, or a server or a tool failed: it is told
  2    it cannot run here, was called wrongly, or had nothing to show
  130  a signal ended it";

impl Command {
    /// Whether people read what it prints; programs read the rest.
    fn has_figures(&self) -> bool {
        let plant = match self {
            Self::Control { .. } => return false,
            Self::Run(args) | Self::Clocks(args) => &args.plant,
            Self::Replay(args) => &args.plant,
            _ => &None,
        };
        plant.as_deref() != Some(plants::LIST)
    }
}

fn main() -> ExitCode {
    let command = parse().command;
    if command.has_figures() {
        built::tell();
    }
    failure::exit(match command {
        Command::Run(args) => run::run(&args),
        Command::Clocks(args) => clocks::run(&args),
        Command::Faults(args) => strikes::run(&args),
        Command::Replay(args) => run::replay(&args),
        Command::Crash(options) => crash::run(&options),
        Command::Ready(options) => ready::run(&options),
        Command::Flips(options) => flips::run(&options),
        Command::Snapshots(options) => snapshots::run(&options),
        Command::Inject(options) => inject::run(&options),
        Command::FullDisk(options) => full_disk::run(&options),
        Command::Soak(options) => soak::run(&options),
        Command::Control { dir } => snapshots::control::run(&dir),
        Command::Flood(options) => flood::run(&options),
        Command::Certificates(options) => certificates::run(&options),
        Command::Fuzz(options) => fuzz::command::run(&options),
    })
}

/// What was typed; ends the process when that was wrong, or only asked.
fn parse() -> Args {
    let command = Args::command().after_help(STATUS);
    let command = command.mut_subcommands(|command| command.after_help(STATUS));
    let parsed = Args::from_arg_matches(&command.get_matches());
    parsed.unwrap_or_else(|error| error.exit())
}
