//! The `edgebus` binary: the server and the command line.
//!
//! In reading order: [`args`] what can be typed; [`error`] how a command fails, and with which
//! exit status; [`output`] what is printed; [`config`], [`serve`], [`hangup`], [`service`], [`http`] and [`metrics`] the server; [`remote`] the way
//! to a server, [`reconnect`] the way back to it, [`spooling`] the way past a spool, and [`source`] also a folder without one; [`send`],
//! [`request`], [`publish`] what asks and tells; [`reply`], [`sub`] what answers and listens; [`spool`] what waits for a server;
//! [`log`], [`consumer`], [`dlq`], [`client`], [`stats`] what operators do; [`backup`] a store as a file; [`check`] looking at what is on disk;
//! [`doctor`] what the machine is good for; [`bench`] measuring; [`cert`] certificates.
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
mod unreachable;
mod values;

mod config;
mod hangup;
mod http;
mod metrics;
mod serve;
mod service;

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

mod backup;
mod check;

mod bench;

mod doctor;

mod cert;

use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};

use args::{Args, Command, Proof};
use error::CliError;

fn main() -> ExitCode {
    let parsed = Args::command()
        .try_get_matches()
        .and_then(|matches| Ok((Args::from_arg_matches(&matches)?, matches)));
    let (mut args, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return error::usage(&error),
    };
    if matches!(args.command, Command::Bench(_)) && !is_typed(&matches, "server") {
        // What it stores cannot be taken back, so a server is measured only when it is named.
        args.global.server = None;
    }
    let json = args.global.json;
    let typed = Proof::OPTIONS.map(|option| is_typed(&matches, option).then_some(option));
    let typed: Vec<&str> = typed.into_iter().flatten().collect();
    match refuse_proof(&args.command, &typed).and_then(|()| run(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(json),
    }
}

/// Whether an option that every command has was typed, and is not of the environment.
fn is_typed(matches: &ArgMatches, option: &str) -> bool {
    let typed =
        |matches: &ArgMatches| matches.value_source(option) == Some(ValueSource::CommandLine);
    typed(matches)
        || matches
            .subcommand()
            .is_some_and(|(_, matches)| is_typed(matches, option))
}

/// An option about the way to a server, for a command that goes to none, would do nothing; with
/// `serve` somebody may believe that it protects the server.
fn refuse_proof(command: &Command, typed: &[&str]) -> Result<(), CliError> {
    let Some(option) = typed
        .first()
        .map(|option| option.trim_start_matches("proof_").replace('_', "-"))
    else {
        return Ok(());
    };
    match command {
        Command::Serve(_) => Err(CliError::usage(format!(
            "--{option} is for commands that talk to a server; a server's own certificate and what it asks of clients \
             are in [tls] and [access] of its configuration (edgebus config reference)"
        ))),
        Command::Config(_)
        | Command::Cert(_)
        | Command::Check(_)
        | Command::Restore(_)
        | Command::Doctor(_)
        | Command::Completions { .. } => Err(CliError::usage(format!(
            "--{option} is for commands that talk to a server"
        ))),
        _ => Ok(()),
    }
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
        Command::Check(options) => check::run(options, &global),
        Command::Backup(options) => backup::run(&options, &global),
        Command::Restore(options) => backup::restore(&options, global.json),
        Command::Doctor(options) => doctor::run(&options, global.json),
        Command::Bench(options) => bench::run(options, &global),
        Command::Cert(options) => cert::run(options, &global),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "edgebus", &mut script);
            output::print_bytes(&script)
        }
    }
}
