//! The `edgebus` binary: the server and the command line.
//!
//! In reading order: [`args`] what can be typed; [`error`] how a command fails, and with which
//! exit status; [`output`] what is printed; [`config`], [`serve`], [`http`] and [`metrics`] the server; [`remote`] the way
//! to a server, [`reconnect`] the way back to it, [`spooling`] the way past a spool, and [`source`] also a folder without one; [`send`],
//! [`request`], [`publish`] what asks and tells; [`reply`], [`sub`] what answers and listens; [`spool`] what waits for a server;
//! [`log`], [`consumer`], [`dlq`], [`client`], [`stats`] what operators do; [`bench`] measuring; [`cert`] certificates.
//!
//! Invariants: stdout carries results only (receipts, rows, figures); everything said about them
//! goes to stderr. What is printed about a request is true: a receipt is printed only after the
//! server gave it.

mod args;
mod confirm;
mod error;
mod output;
mod payload;
mod table;
mod time;
mod values;

mod config;
mod http;
mod metrics;
mod serve;

mod reconnect;
mod remote;
mod runtime;
mod source;
mod spooling;

mod publish;
mod request;
mod send;
mod takers;

mod reply;
mod sub;

mod spool;

mod client;
mod consumer;
mod dlq;
mod log;
mod stats;

mod bench;

mod cert;

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
        Command::Request(options) => request::run(options, &global),
        Command::Reply(options) => reply::run(options, &global),
        Command::Publish(options) => publish::run(options, &global),
        Command::Sub(options) => sub::run(options, &global),
        Command::Log(options) => log::run(options.command, &global),
        Command::Replay(options) => log::replay(options, &global),
        Command::Consumer(options) => consumer::run(options.command, &global),
        Command::Dlq(options) => dlq::run(options.command, &global),
        Command::Spool(options) => spool::run(options.command, &global),
        Command::Client(options) => client::run(&options.command, &global),
        Command::Stats(options) => stats::run(options, &global),
        Command::Health => stats::health(&global),
        Command::Config(options) => config::command::run(&options, global.json),
        Command::Bench(options) => bench::run(options, global.server, global.json),
        Command::Cert(options) => cert::run(options, &global),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "edgebus", &mut script);
            output::print_bytes(&script)
        }
    }
}
