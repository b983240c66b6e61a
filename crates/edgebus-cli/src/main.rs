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

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};

use args::{Args, Command};
use error::CliError;

fn main() -> ExitCode {
    let parsed = Args::command()
        .try_get_matches()
        .and_then(|matches| Ok((Args::from_arg_matches(&matches)?, is_server_typed(&matches))));
    let (mut args, server_typed) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return error::usage(&error),
    };
    if matches!(args.command, Command::Bench(_)) && !server_typed {
        // What it stores cannot be taken back, so a server is measured only when it is named.
        args.global.server = None;
    }
    let json = args.global.json;
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(json),
    }
}

/// Whether the server was named on the command line, not by the environment.
fn is_server_typed(matches: &ArgMatches) -> bool {
    let typed =
        |matches: &ArgMatches| matches.value_source("server") == Some(ValueSource::CommandLine);
    typed(matches)
        || matches
            .subcommand()
            .is_some_and(|(_, matches)| typed(matches))
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
