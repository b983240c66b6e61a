//! `edgebus config` and `edgebus serve --check-config`: looks at a configuration, starts nothing.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Config, Problems, reference};
use crate::error::CliError;
use crate::output::{self, Output, say};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print what is in effect, and where each value comes from; starts nothing
    #[command(after_help = "Example:\n  edgebus config show --config /etc/edgebus.toml")]
    Show {
        /// The configuration file [env: EDGEBUS_CONFIG]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Print the description of every key, as Markdown
    Reference,
}

/// `edgebus config …`.
pub(crate) fn run(options: &Options, json: bool) -> Result<(), CliError> {
    match &options.command {
        Command::Show { config } => show(super::file_named(config.as_deref()).as_deref(), json),
        Command::Reference => output::print_bytes(reference::page().as_bytes()),
    }
}

fn show(file: Option<&Path>, json: bool) -> Result<(), CliError> {
    let config = Config::load(file, super::sources(Vec::new())).map_err(CliError::config)?;
    for warning in &config.warnings {
        say!("edgebus: {warning}");
    }
    if !json {
        return output::print_bytes(config.to_toml().as_bytes());
    }
    let mut output = Output::new();
    for key in config.to_json() {
        output.json(&key)?;
    }
    output.flush()
}

/// `edgebus serve --check-config`: says everything that is wrong, or that nothing is. Reads the
/// files that are named, touches no data and listens nowhere.
pub(crate) fn check(config: &Config, json: bool) -> Result<(), CliError> {
    let (unusable, odd) = config.files();
    let without_effect = config.without_effect();
    for warning in config.warnings.iter().chain(&without_effect).chain(&odd) {
        say!("edgebus: {warning}");
    }
    let mut problems = Problems::default();
    problems.extend(config.out_of_bounds());
    problems.extend(config.contradictions());
    problems.extend(config.open_to_others());
    problems.extend(unusable);
    if !problems.is_empty() {
        return Err(CliError::config(problems));
    }
    let file = config.file.as_ref().map(|file| file.display().to_string());
    match json {
        true => output::line(&json!({ "config": file, "ok": true })),
        false => {
            let what = file.unwrap_or_else(|| "configuration".to_owned());
            output::text(&format!("{what}: ok"))
        }
    }
}
