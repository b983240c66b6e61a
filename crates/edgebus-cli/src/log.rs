//! `edgebus log` and `edgebus replay`: prints what is stored, page by page.
//!
//! A page is printed before the next is asked for, so memory is bounded however long the log is,
//! and a slow reader holds nothing at the server.

use comfy_table::{ColumnConstraint, ContentArrangement, Row as TableRow, Table};
use edgebus::query::LogQuery;
use edgebus::{Code, Entry, Refusal, Seq};

use crate::args::{GetOptions, Global, Key, ListOptions, LogCommand, RangeOptions, ReplayOptions};
use crate::error::CliError;
use crate::output::{self, Output, Row, payload_text};
use crate::remote::{self, Source};
use crate::time::{Position, rfc3339};

/// `edgebus log …`.
pub(crate) fn run(command: LogCommand, global: &Global) -> Result<(), CliError> {
    match command {
        LogCommand::Ls(options) => list(&options, global),
        LogCommand::Get(options) => get(&options, global),
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

fn print_all(
    mut query: LogQuery,
    limit: u64,
    style: Style,
    range: &RangeOptions,
    global: &Global,
) -> Result<(), CliError> {
    let backwards = |to: &Seq| *to < query.from;
    if query.to.as_ref().is_some_and(backwards) {
        return Err(CliError::usage("--to is before --from"));
    }
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
                        eprintln!("edgebus: there is more: --from {next}, or a higher --limit");
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
        Style::Table => output.line(table(entries, first, output::terminal_width())),
    }
}

/// Aligned columns. On a terminal a row takes one line: its payload is cut.
fn table(entries: &[Entry], header: bool, width: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    if header {
        table.set_header(["SEQ", "TIME", "TOPIC", "PAYLOAD"]);
    }
    // What cannot be seen need not be laid out.
    let payload_chars = width.map_or(usize::MAX, usize::from);
    for entry in entries {
        let record = entry.record();
        let mut payload = payload_text(record.payload_bytes());
        if let Some((cut, _)) = payload.char_indices().nth(payload_chars) {
            payload.truncate(cut);
        }
        let mut row = TableRow::from([
            entry.seq().to_string(),
            rfc3339(entry.received_ms()),
            record.topic_str().to_owned(),
            payload,
        ]);
        row.max_height(1);
        table.add_row(row);
    }
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(width);
        // The payload takes what the others leave.
        for column in table.column_iter_mut().take(3) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table.trim_fmt()
}

fn get(options: &GetOptions, global: &Global) -> Result<(), CliError> {
    let entry = remote::runtime()?.block_on(async {
        let source = Source::open(&options.folder, global).await?;
        match options.key {
            Key::Seq(seq) => source.get(seq).await,
            Key::Id(id) => source.find(id).await,
        }
    })?;
    let entry = entry.ok_or_else(|| {
        let what = match options.key {
            Key::Seq(seq) => format!("seq {seq}"),
            Key::Id(id) => format!("id {id}"),
        };
        Refusal::new(Code::NotFound, format!("no request with {what} is stored"))
    })?;
    if global.json {
        return output::line(&Row::new(&entry)?);
    }
    let record = entry.record();
    let meta = record.meta()?;
    let mut output = Output::new();
    let mut fact = |name: &str, value: &str| output.line(format_args!("{name:<11} {value}"));
    fact("seq", &entry.seq().to_string())?;
    fact("request id", &record.id().to_string())?;
    fact("topic", record.topic_str())?;
    fact("source", &payload_text(meta.source.as_bytes()))?;
    fact("time", &rfc3339(entry.received_ms()))?;
    for header in &meta.headers {
        let value = payload_text(header.value.as_bytes());
        fact("header", &format!("{}={value}", header.name))?;
    }
    fact("payload", &payload_text(record.payload_bytes()))?;
    output.flush()
}
