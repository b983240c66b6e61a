//! `edgebus log` and `edgebus replay`: prints what is stored, page by page.
//!
//! In reading order: this module lists; [`get`] one request whole; [`change`] what is done to the
//! log.
//!
//! A page is printed before the next is asked for, so memory is bounded however long the log is,
//! and a slow reader holds nothing at the server.

mod change;
mod get;

use edgebus::query::LogQuery;
use edgebus::{Entry, Seq};

use crate::args::{Global, ListOptions, LogCommand, RangeOptions, ReplayOptions};
use crate::error::CliError;
use crate::output::{Output, Row, payload_text, say};
use crate::remote;
use crate::source::Source;
use crate::table;
use crate::time::{Position, rfc3339};

/// `edgebus log …`.
pub(crate) fn run(command: LogCommand, global: &Global) -> Result<(), CliError> {
    match command {
        LogCommand::Ls(options) => list(&options, global),
        LogCommand::Get(options) => get::run(&options, global),
        LogCommand::Trim(options) => change::trim(&options, global),
    }
}

fn list(options: &ListOptions, global: &Global) -> Result<(), CliError> {
    let style = match global.json {
        true => Style::Json,
        false => Style::Table,
    };
    let query = query(options.from, &options.range);
    print_all(query, options.limit, style, &options.range, global)
}

/// `edgebus replay …`.
pub(crate) fn replay(options: ReplayOptions, global: &Global) -> Result<(), CliError> {
    let style = match global.json {
        true => Style::Json,
        false => Style::Tabs,
    };
    let query = query(Some(options.from), &options.range);
    if let Some(name) = options.into {
        return change::replay_into(name, query, global);
    }
    print_all(query, u64::MAX, style, &options.range, global)
}

/// How rows look.
#[derive(Clone, Copy)]
enum Style {
    Json,
    /// Aligned columns with a header.
    Table,
    /// Seq, topic and payload with tabs between them.
    Tabs,
}

fn query(from: Option<Position>, range: &RangeOptions) -> LogQuery {
    let mut query = LogQuery::from(Seq(1));
    match from {
        Some(Position::Seq(seq)) => query.from = seq,
        Some(Position::TimeMs(ms)) => query.from_time_ms = Some(ms),
        None => {}
    }
    match range.to {
        Some(Position::Seq(seq)) => query.to = Some(seq),
        Some(Position::TimeMs(ms)) => query.to_time_ms = Some(ms),
        None => {}
    }
    query.topics = range.topic.iter().cloned().collect();
    query
}

fn check(query: &LogQuery) -> Result<(), CliError> {
    match query.to {
        Some(to) if to < query.from => Err(CliError::usage("--to is before --from")),
        _ => Ok(()),
    }
}

fn print_all(
    mut query: LogQuery,
    limit: u64,
    style: Style,
    range: &RangeOptions,
    global: &Global,
) -> Result<(), CliError> {
    check(&query)?;
    remote::runtime()?.block_on(async {
        let source = Source::open(&range.folder, global).await?;
        let page_requests = query.limit;
        let mut output = Output::new();
        let mut left = limit;
        let mut first = true;
        loop {
            query.limit = page_requests.min(usize::try_from(left).unwrap_or(usize::MAX));
            let page = source.page(query.clone()).await?;
            print_page(&mut output, &page.entries, style, first)?;
            first &= page.entries.is_empty();
            left = left.saturating_sub(page.entries.len() as u64);
            match page.next {
                Some(next) if left > 0 => query.from = next,
                next => {
                    output.flush()?;
                    if let (Some(next), false) = (next, global.json) {
                        say!("edgebus: there is more: --from {next}, or a higher --limit");
                    }
                    return Ok(());
                }
            }
        }
    })
}

fn print_page(
    output: &mut Output,
    entries: &[Entry],
    style: Style,
    first: bool,
) -> Result<(), CliError> {
    match style {
        _ if entries.is_empty() => Ok(()),
        Style::Json => entries
            .iter()
            .try_for_each(|entry| output.json(&Row::new(entry)?)),
        Style::Tabs => entries.iter().try_for_each(|entry| {
            let record = entry.record();
            let payload = payload_text(record.payload_bytes());
            output.line(format_args!(
                "{}\t{}\t{payload}",
                entry.seq(),
                record.topic_str()
            ))
        }),
        Style::Table => output.line(columns(entries, first)),
    }
}

fn columns(entries: &[Entry], header: bool) -> String {
    let header = header.then_some(["SEQ", "TIME", "TOPIC", "PAYLOAD"]);
    let rows = entries.iter().map(|entry| {
        let record = entry.record();
        [
            entry.seq().to_string(),
            rfc3339(entry.received_ms()),
            record.topic_str().to_owned(),
            payload_text(record.payload_bytes()),
        ]
    });
    table::text(header, rows)
}
