//! The `edgebus` binary: the server and the command line.
//!
//! In reading order: [`args`] what can be typed; [`error`] how a command fails, and with which
//! exit status; [`output`] what is printed; [`serve`] and [`http`] the server; [`remote`] the way
//! to a server or to a folder without one; [`send`], [`log`], [`stats`] the commands; [`bench`]
//! measuring.
//!
//! Invariants: stdout carries results only (receipts, rows, figures); everything said about them
//! goes to stderr. What is printed about a request is true: a receipt is printed only after the
//! server gave it.

mod args;
mod error;
mod output;
mod time;

mod http;
mod serve;

mod log;
mod remote;
mod runtime;
mod send;
mod stats;

mod bench;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Args, Command};
use error::CliError;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return error::usage(&error),
    };
    let json = args.global.json;
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(json),
    }
}

fn run(args: Args) -> Result<(), CliError> {
    let Args { command, global } = args;
    match command {
        Command::Serve(options) => serve::run(options, global.json),
        Command::Send(options) => send::run(options, &global),
        Command::Log(options) => log::run(options.command, &global),
        Command::Replay(options) => log::replay(options, &global),
        Command::Stats(options) => stats::run(options, &global),
        Command::Health => stats::health(&global),
        Command::Bench(options) => bench::run(options, global.server, global.json),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "edgebus", &mut script);
            output::print_bytes(&script)
        }
    }
}
