//! `edgebus consumer`: makes consumers, shows them, and takes their messages by hand.
//!
//! In reading order: this module: what can be typed, and what changes a consumer; [`settings`]
//! how one is set up; [`show`] how one is printed; [`lease`] its messages by hand.

mod lease;
mod settings;
mod show;

use clap::ValueEnum;
use edgebus::consumer::ConsumerConfig;
use edgebus::{Client, ClientConfig, ConsumerName, Kind, Refusal, TopicPattern};
use serde_json::json;

use crate::args::{FolderOptions, Global};
use crate::error::CliError;
use crate::time::Position;
use crate::{confirm, output, remote};
pub(crate) use settings::{Mode, Settings};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make a consumer; if there is one like it, set it up anew
    #[command(after_help = "\
Example:
  edgebus consumer add billing --pattern 'orders.*' --mode listener --start new")]
    Add(AddOptions),
    /// List consumers
    #[command(after_help = "Example:\n  edgebus consumer ls --json")]
    Ls(FolderOptions),
    /// Show one consumer and how it is doing
    #[command(after_help = "Example:\n  edgebus consumer info billing")]
    Info(InfoOptions),
    /// Give out no more messages; what workers hold they may finish
    #[command(after_help = "Example:\n  edgebus consumer pause billing")]
    Pause(NameOption),
    /// Give out messages again
    #[command(after_help = "Example:\n  edgebus consumer resume billing")]
    Resume(NameOption),
    /// Remove a consumer with all it knew
    #[command(after_help = "Example:\n  edgebus consumer rm billing")]
    Rm(RemoveOptions),
    /// Set a consumer to a place in the log: what comes from there on is done, once more if it was
    #[command(after_help = "Example:\n  edgebus consumer reset billing --to -1h")]
    Reset(ResetOptions),
    /// Take messages by hand; each is yours until it is settled or the consumer's ack wait is over
    #[command(after_help = "\
Example:
  edgebus consumer next billing --json      # a token comes with each message
  edgebus consumer ack billing 1.7.1")]
    Next(lease::NextOptions),
    /// Say that a message is done
    #[command(
        after_help = "Example:\n  edgebus consumer ack billing 1.7.1 --reply '{\"paid\":true}'"
    )]
    Ack(lease::AckOptions),
    /// Say that a message failed; it is tried again
    #[command(
        after_help = "Example:\n  edgebus consumer nak billing 1.7.1 --delay 5s --reason 'no paper'"
    )]
    Nak(lease::NakOptions),
    /// Say that a message failed for good: it is a dead letter
    #[command(
        after_help = "Example:\n  edgebus consumer term billing 1.7.1 --reason 'no such item'"
    )]
    Term(lease::TermOptions),
    /// Ask for as much time again as the consumer gives
    #[command(after_help = "Example:\n  edgebus consumer extend billing 1.7.1")]
    Extend(lease::LeaseOptions),
}

#[derive(Debug, clap::Args)]
pub(crate) struct NameOption {
    /// The consumer
    name: ConsumerName,
}

#[derive(Debug, clap::Args)]
pub(crate) struct InfoOptions {
    /// The consumer
    name: ConsumerName,
    #[command(flatten)]
    folder: FolderOptions,
}

/// What a consumer selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KindOption {
    /// What is sent
    Requests,
    /// What is published with --persist
    Notifications,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AddOptions {
    /// Its name: 1 to 64 characters out of A-Z a-z 0-9 . _ -
    name: ConsumerName,
    /// Topics it takes, for example orders.* or sensors.>. Can be given more than once
    #[arg(long = "pattern", value_name = "PATTERN", required = true, num_args = 1..)]
    patterns: Vec<TopicPattern>,
    /// Whether what it completes is a reply [default: responder; listener for notifications]
    #[arg(long)]
    mode: Option<Mode>,
    /// What it takes
    #[arg(long, default_value = "requests")]
    kind: KindOption,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RemoveOptions {
    /// The consumer
    name: ConsumerName,
    /// Do not ask
    #[arg(long)]
    force: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ResetOptions {
    /// The consumer
    name: ConsumerName,
    /// The first that is to be done: a sequence number, a time (RFC 3339), or how long ago (-1h)
    #[arg(long, value_name = "SEQ|TIME", allow_hyphen_values = true)]
    to: Position,
    /// Do not ask
    #[arg(long)]
    force: bool,
}

impl AddOptions {
    fn config(&self) -> Result<ConsumerConfig, CliError> {
        let mut patterns = self.patterns.iter().cloned();
        let Some(first) = patterns.next() else {
            return Err(CliError::usage(
                "no pattern is given: give one with --pattern",
            ));
        };
        let kind = match self.kind {
            KindOption::Requests => Kind::Request,
            KindOption::Notifications => Kind::Notification,
        };
        let mode = self.mode.unwrap_or(match kind {
            Kind::Notification => Mode::Listener,
            _ => Mode::Responder,
        });
        let config = match mode {
            Mode::Responder => ConsumerConfig::responder(first),
            Mode::Listener => ConsumerConfig::listener(first),
        };
        let config = patterns.fold(config.kind(kind), ConsumerConfig::pattern);
        Ok(self.settings.apply(config))
    }
}

/// `edgebus consumer …`.
pub(crate) fn run(command: Command, global: &Global) -> Result<(), CliError> {
    match command {
        Command::Add(options) => add(options, global),
        Command::Ls(folder) => show::list(&folder, global),
        Command::Info(options) => show::info(options, global),
        Command::Pause(NameOption { name }) => {
            change(name, "paused", global, async |client, name| {
                client.consumer_pause(name).await
            })
        }
        Command::Resume(NameOption { name }) => {
            change(name, "resumed", global, async |client, name| {
                client.consumer_resume(name).await
            })
        }
        Command::Rm(options) => remove(options, global),
        Command::Reset(options) => reset(options, global),
        Command::Next(options) => lease::next(&options, global),
        Command::Ack(options) => lease::ack(options, global),
        Command::Nak(options) => lease::nak(options, global),
        Command::Term(options) => lease::term(options, global),
        Command::Extend(options) => lease::extend(options, global),
    }
}

fn add(options: AddOptions, global: &Global) -> Result<(), CliError> {
    let config = options.config()?;
    change(options.name, "set up", global, async |client, name| {
        client.consumer_add(name, config).await
    })
}

fn remove(options: RemoveOptions, global: &Global) -> Result<(), CliError> {
    let name = options.name;
    if confirm::asks(options.force) {
        confirm::ask(&format!("remove consumer {name} with all it knows?"))?;
    }
    change(name, "removed", global, async |client, name| {
        client.consumer_remove(name).await
    })
}

fn reset(options: ResetOptions, global: &Global) -> Result<(), CliError> {
    let ResetOptions { name, to, force } = options;
    if confirm::asks(force) {
        confirm::ask(&format!(
            "reset consumer {name}? What it did from there on is done once more"
        ))?;
    }
    change(name, "reset", global, async |client, name| {
        client.consumer_reset(name, to.into()).await
    })
}

/// Changes a consumer, and says so.
fn change(
    name: ConsumerName,
    done: &str,
    global: &Global,
    act: impl AsyncFnOnce(&Client, ConsumerName) -> Result<(), Refusal>,
) -> Result<(), CliError> {
    remote::runtime()?.block_on(async {
        let client = remote::connect(global, ClientConfig::default()).await?;
        act(&client, name.clone()).await.map_err(CliError::from)
    })?;
    let printed = match global.json {
        true => output::line(&json!({ "consumer": name.as_str(), "done": done })),
        false => output::text(&format!("consumer {name} is {done}")),
    };
    printed.or_else(CliError::unless_unread)
}
