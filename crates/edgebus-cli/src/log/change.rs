//! What is done to the log: its old end is removed, or part of it is given out once more.

use edgebus::query::LogQuery;
use edgebus::{ClientConfig, ConsumerName};
use serde_json::json;

use crate::args::{Global, TrimOptions};
use crate::error::CliError;
use crate::source::Source;
use crate::{confirm, output, remote};

/// `edgebus log trim`.
pub(super) fn trim(options: &TrimOptions, global: &Global) -> Result<(), CliError> {
    if confirm::asks(options.force) {
        confirm::ask("remove the old end of the log for good?")?;
    }
    let (first, count) = remote::runtime()?.block_on(async {
        let mut source = Source::open(&options.folder, global).await?;
        source.trim(options.before.into()).await
    })?;
    let printed = match global.json {
        true => output::line(&json!({ "first_seq": first.0, "trimmed": count })),
        false => output::text(&format!(
            "removed {}; the log begins with seq {first}",
            messages(count)
        )),
    };
    printed.or_else(CliError::unless_unread)
}

/// `edgebus replay --into`.
pub(super) fn replay_into(
    name: ConsumerName,
    query: LogQuery,
    global: &Global,
) -> Result<(), CliError> {
    super::check(&query)?;
    let count = remote::runtime()?.block_on(async {
        let client = remote::connect(global, ClientConfig::default()).await?;
        Ok::<_, CliError>(client.replay_into(name.clone(), query).await?)
    })?;
    let printed = match global.json {
        true => output::line(&json!({ "replayed": count })),
        false => output::text(&format!("{name} gets {} once more", messages(count))),
    };
    printed.or_else(CliError::unless_unread)
}

fn messages(count: u64) -> String {
    match count {
        1 => "1 message".to_owned(),
        _ => format!("{count} messages"),
    }
}
