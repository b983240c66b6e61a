//! `edgebus cert`: a private CA in a folder, and certificates of it, without other tools.
//!
//! In reading order: this module: what can be typed; [`dev`] a CA and first certificates, [`issue`]
//! further ones, [`revoke`] taking one back, [`show`] what a file says; [`names`] what certificates
//! are for, [`authority`] who signs, [`read`] what is in a file, [`files`] how files are written.
//!
//! Invariants: no file is overwritten but the revocation list, and that is replaced at once. A key
//! is never printed, and never in a file that others may read. Nobody is asked over a network.

mod authority;
mod dev;
mod files;
mod issue;
mod names;
mod read;
mod revoke;
mod show;
#[cfg(test)]
mod tests;

use std::time::SystemTime;

use crate::args::Global;
use crate::error::CliError;
use crate::time;

use authority::Validity;

/// How long certificates of clients and servers are good for, unless told otherwise.
const DAYS: u32 = 397;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a private CA, and certificates for a server and its clients
    #[command(after_help = "\
Nothing is overwritten. Keys are readable for their owner only. ca.key can make a certificate for any
name: keep it where no server or client runs, with a backup.

Example:
  edgebus cert dev ./certs --host bus.shop.lan --client till-1 --client till-2")]
    Dev(dev::Options),
    /// Make a certificate and its key, signed by the CA in a folder
    #[command(after_help = "\
Nothing is overwritten: a second certificate for a name takes --file.

Examples:
  edgebus cert issue ./certs --name till-11
  edgebus cert issue ./certs --name till-11 --file till-11-renewed
  edgebus cert issue ./certs --name spiffe://shop.example/till-11
  edgebus cert issue ./certs --name server-2 --host bus.shop.lan --host 192.168.1.20")]
    Issue(issue::Options),
    /// Take certificates back: servers that have the new crl.pem refuse them
    #[command(after_help = "\
A NAME takes back every certificate for it that is in the folder. A FILE, which ends with .pem or has
a / in it, takes back that one.

Examples:
  edgebus cert revoke ./certs till-11
  edgebus cert revoke ./certs ./certs/till-11-renewed.pem")]
    Revoke(revoke::Options),
    /// Show what certificates and revocation lists say
    #[command(after_help = "Example:\n  edgebus cert show ./certs/till-11.pem ./certs/crl.pem")]
    Show(show::Options),
}

/// From when until when.
#[derive(Debug, clap::Args)]
struct ValidityOptions {
    /// How many days from now it is good for [default: 397]
    #[arg(long, value_name = "DAYS", conflicts_with_all = ["not_before", "not_after"],
          value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: Option<u32>,
    /// From when it is good: a time (RFC 3339), or how long ago (-1h) [default: -1h]
    #[arg(long, value_name = "TIME", value_parser = time::wall_clock, allow_hyphen_values = true)]
    not_before: Option<SystemTime>,
    /// Until when it is good: a time (RFC 3339), or how long ago (-1h)
    #[arg(long, value_name = "TIME", value_parser = time::wall_clock, allow_hyphen_values = true)]
    not_after: Option<SystemTime>,
}

impl ValidityOptions {
    fn validity(&self, now: SystemTime) -> Validity {
        let usual = Validity::days(self.days.unwrap_or(DAYS), now);
        Validity {
            not_before: self.not_before.unwrap_or(usual.not_before),
            not_after: self.not_after.unwrap_or(usual.not_after),
        }
    }
}

/// `edgebus cert …`.
pub(crate) fn run(options: Options, global: &Global) -> Result<(), CliError> {
    let now = SystemTime::now();
    match options.command {
        Command::Dev(options) => dev::run(options, global, now),
        Command::Issue(options) => issue::run(&options, global, now),
        Command::Revoke(options) => revoke::run(&options, global, now),
        Command::Show(options) => show::run(&options, global, now),
    }
}
