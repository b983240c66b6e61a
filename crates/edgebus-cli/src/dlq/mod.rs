//! `edgebus dlq`: dead letters, the messages that failed for good.
//!
//! In reading order: this module: what can be typed, and what changes dead letters; [`show`] how
//! they are printed.
//!
//! Invariant: nothing is requeued or removed that was not chosen by number, topic or consumer, or
//! by asking for all.

mod show;

use edgebus::admin::{DeadLetterFilter, DeadLetterRow};
use edgebus::{Code, ConsumerName, Refusal, TopicPattern};
use serde_json::json;

use crate::args::{FolderOptions, Global};
use crate::confirm;
use crate::error::CliError;
use crate::output::{self, Output, say};
use crate::source::Source;
use crate::{remote, table};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List dead letters
    #[command(after_help = "Example:\n  edgebus dlq ls --topic 'orders.>'")]
    Ls(ListOptions),
    /// Show dead letters whole: each attempt's error, and the message
    #[command(after_help = "Example:\n  edgebus dlq show 3")]
    Show(Choice),
    /// Give dead letters to their consumers once more; attempts begin anew
    #[command(after_help = "Example:\n  edgebus dlq requeue --consumer billing")]
    Requeue(RequeueOptions),
    /// Remove dead letters for good
    #[command(after_help = "Example:\n  edgebus dlq rm 3 4 5")]
    Rm(RemoveOptions),
    /// Print how many there are
    #[command(after_help = "Example:\n  edgebus dlq count --topic 'orders.>'")]
    Count(Choice),
}

/// Which dead letters.
#[derive(Debug, clap::Args)]
pub(crate) struct Choice {
    /// Only these, by number
    #[arg(value_name = "ID")]
    ids: Vec<u64>,
    /// Only messages with topics that match, for example orders.* or sensors.>
    #[arg(long, value_name = "PATTERN")]
    topic: Option<TopicPattern>,
    /// Only what failed for this consumer
    #[arg(long, value_name = "NAME")]
    consumer: Option<ConsumerName>,
    /// Every one
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    #[command(flatten)]
    folder: FolderOptions,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListOptions {
    #[command(flatten)]
    choice: Choice,
    /// Most dead letters to list
    #[arg(long, value_name = "LETTERS", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RequeueOptions {
    #[command(flatten)]
    choice: Choice,
    /// Only tell how many
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RemoveOptions {
    #[command(flatten)]
    choice: Choice,
    /// Only tell how many
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    force: bool,
}

impl Choice {
    fn filter(&self) -> DeadLetterFilter {
        DeadLetterFilter {
            numbers: self.ids.clone(),
            topic: self.topic.clone(),
            consumer: self.consumer.clone(),
            all: self.all,
        }
    }

    /// The filter, for what should not happen to all by mistake.
    fn chosen(&self) -> Result<DeadLetterFilter, CliError> {
        let filter = self.filter();
        if filter.check_chosen().is_err() && filter.numbers.is_empty() {
            return Err(CliError::usage(
                "no dead letter is named: give numbers, --topic or --consumer, or --all",
            ));
        }
        Ok(filter)
    }
}

/// `edgebus dlq …`.
pub(crate) fn run(command: Command, global: &Global) -> Result<(), CliError> {
    match command {
        Command::Ls(options) => list(&options, global),
        Command::Show(choice) => show_all(&choice, global),
        Command::Requeue(options) => requeue(&options, global),
        Command::Rm(options) => remove(&options, global),
        Command::Count(choice) => count(&choice, global),
    }
}

fn list(options: &ListOptions, global: &Global) -> Result<(), CliError> {
    let mut output = Output::new();
    let mut header = true;
    let mut left = options.limit.unwrap_or(u64::MAX);
    let mut cut = false;
    let more = pages(&options.choice, global, |letters| {
        let shown = &letters[..letters
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX))];
        left -= shown.len() as u64;
        cut = shown.len() < letters.len();
        if global.json {
            shown
                .iter()
                .try_for_each(|letter| output.json(&show::Row::new(letter)))?;
        } else if !shown.is_empty() {
            let columns = header.then_some(show::COLUMNS);
            header = false;
            output.line(table::text(columns, shown.iter().map(show::cells)))?;
        }
        Ok(left > 0)
    })?;
    output.flush()?;
    if (more || cut) && !global.json {
        say!("edgebus: there is more: a higher --limit shows it");
    }
    Ok(())
}

fn show_all(choice: &Choice, global: &Global) -> Result<(), CliError> {
    choice.chosen()?;
    let mut output = Output::new();
    let mut shown = Vec::new();
    pages(choice, global, |letters| {
        for letter in letters {
            if global.json {
                output.json(&show::Whole::new(letter)?)?;
            } else {
                if !shown.is_empty() {
                    output.line("")?;
                }
                show::print(&mut output, letter)?;
            }
            shown.push(letter.number);
        }
        Ok(true)
    })?;
    output.flush()?;
    match choice.ids.iter().find(|id| !shown.contains(id)) {
        Some(missing) => Err(no_such(&format!("there is no dead letter {missing}"))),
        None => Ok(()),
    }
}

fn no_such(message: &str) -> CliError {
    Refusal::new(Code::NoSuchDeadLetter, message).into()
}

/// Hands over the dead letters page by page, until there are no more or no more are wanted. Gives
/// whether there are more.
fn pages(
    choice: &Choice,
    global: &Global,
    mut take: impl FnMut(&[DeadLetterRow]) -> Result<bool, CliError>,
) -> Result<bool, CliError> {
    remote::runtime()?.block_on(async {
        let source = Source::open(&choice.folder, global).await?;
        let filter = choice.filter();
        let mut after = 0;
        loop {
            let (letters, next) = source.dead_letters(&filter, after).await?;
            let wanted = take(&letters)?;
            match next {
                Some(next) if wanted => after = next,
                next => return Ok(next.is_some()),
            }
        }
    })
}

fn count(choice: &Choice, global: &Global) -> Result<(), CliError> {
    let count = remote::runtime()?.block_on(async {
        let source = Source::open(&choice.folder, global).await?;
        source.dead_letter_count(&choice.filter()).await
    })?;
    match global.json {
        true => output::line(&json!({ "count": count })),
        false => output::text(&count.to_string()),
    }
}

fn requeue(options: &RequeueOptions, global: &Global) -> Result<(), CliError> {
    let filter = options.choice.chosen()?;
    let count = remote::runtime()?.block_on(async {
        let mut source = Source::open(&options.choice.folder, global).await?;
        source.requeue(&filter, options.dry_run).await
    })?;
    tell("requeued", count, options.dry_run, global)?;
    none_is_failure(count, &options.choice, "waits to be requeued")
}

fn remove(options: &RemoveOptions, global: &Global) -> Result<(), CliError> {
    let filter = options.choice.chosen()?;
    let runtime = remote::runtime()?;
    let mut source = runtime.block_on(Source::open(&options.choice.folder, global))?;
    if confirm::asks(options.force || options.dry_run) {
        let count = runtime.block_on(source.dead_letter_count(&filter))?;
        confirm::ask(&format!("remove {} for good?", letters(count)))?;
    }
    let count = runtime.block_on(source.remove_dead_letters(&filter, options.dry_run))?;
    tell("removed", count, options.dry_run, global)?;
    if !options.dry_run && filter.numbers.is_empty() {
        let left = runtime.block_on(source.dead_letter_count(&filter))?;
        if left > 0 {
            let left = letters(left);
            say!(
                "edgebus: left {left} that are to be tried again: name one by its number to remove it"
            );
        }
    }
    none_is_failure(count, &options.choice, "is there")
}

fn tell(done: &str, count: u64, dry_run: bool, global: &Global) -> Result<(), CliError> {
    let printed = match (global.json, dry_run) {
        (true, false) => output::line(&json!({ done: count })),
        (true, true) => output::line(&json!({ done: count, "dry_run": true })),
        (false, false) => output::text(&format!("{done} {}", letters(count))),
        (false, true) => output::text(&format!("would have {done} {}", letters(count))),
    };
    printed.or_else(CliError::unless_unread)
}

/// Naming a dead letter that is not there is a mistake; a choice that selects none is not.
fn none_is_failure(count: u64, choice: &Choice, what: &str) -> Result<(), CliError> {
    let asked = choice.ids.len() as u64;
    let selected = choice.topic.is_some() || choice.consumer.is_some();
    if asked == 0 || selected || count >= asked {
        return Ok(());
    }
    match count {
        0 => Err(no_such(&format!("none of the dead letters named {what}"))),
        _ => {
            say!("edgebus: only {count} of the {asked} dead letters named {what}");
            Ok(())
        }
    }
}

fn letters(count: u64) -> String {
    match count {
        1 => "1 dead letter".to_owned(),
        _ => format!("{count} dead letters"),
    }
}
