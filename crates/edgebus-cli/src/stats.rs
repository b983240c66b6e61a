//! `edgebus stats` and `edgebus health`: a server's figures, or those of a folder.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use edgebus::query::Stats;
use edgebus::{ClientConfig, Code};
use indicatif::{HumanBytes, HumanCount};
use serde_json::{Map, Value, json};

use crate::args::{Global, StatsOptions};
use crate::error::{CliError, REFUSED};
use crate::output::{self, Output, say};
use crate::remote::{self, interrupted};
use crate::source::Source;

/// How often the figures are shown again.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// `edgebus stats …`.
pub(crate) fn run(options: StatsOptions, global: &Global) -> Result<(), CliError> {
    remote::runtime()?.block_on(async {
        let source = Source::open(&options.folder, global).await?;
        if options.watch {
            return watch(&source, global.json).await;
        }
        let live = matches!(source, Source::Server(_));
        let figures = figures(&source.stats().await?, live);
        let mut output = Output::new();
        print(&mut output, &figures, global.json)?;
        output.flush()
    })
}

async fn watch(source: &Source, json: bool) -> Result<(), CliError> {
    let mut output = Output::new();
    let clear = !json && std::io::stdout().is_terminal();
    let mut before: Option<(Instant, Stats)> = None;
    let mut ticks = tokio::time::interval(WATCH_EVERY);
    let mut interrupted = std::pin::pin!(interrupted());
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = &mut interrupted => return Ok(()),
        }
        let stats = source.stats().await?;
        let mut shown = figures(&stats, true);
        if let Some((since, before)) = &before {
            shown.extend(rates(before, &stats, since.elapsed()));
        }
        before = Some((Instant::now(), stats));
        if clear {
            output.bytes(b"\x1b[H\x1b[2J")?;
        }
        print(&mut output, &shown, json)?;
        if !json && !clear {
            output.line("")?;
        }
        output.flush()?;
    }
}

/// A figure: its name in JSON, and its value.
type Figure = (&'static str, FigureValue);

enum FigureValue {
    Count(u64),
    Bytes(u64),
    Millis(u64),
    PerSecond(f64),
    Flag(bool),
    Text(String),
}

fn figures(stats: &Stats, live: bool) -> Vec<Figure> {
    use FigureValue::{Bytes, Count, Flag, Millis, Text};
    let mut figures = Vec::new();
    if live {
        figures.extend([
            ("version", Text(stats.version.clone())),
            ("uptime_ms", Millis(stats.uptime_ms)),
        ]);
    }
    figures.extend([
        ("first_seq", Count(stats.first_seq)),
        ("last_seq", Count(stats.last_seq)),
        ("stored", Count(stats.stored)),
        ("log_bytes", Bytes(stats.log_bytes)),
        ("consumers", Count(stats.consumers)),
        ("dead_letters", Count(stats.dead_letters)),
        ("dead_letters_alarm", Flag(stats.dead_letters_alarm)),
        ("synced_lsn", Count(stats.synced_lsn)),
        ("sealed_lsn", Count(stats.sealed_lsn)),
        ("tail_bytes", Bytes(stats.tail_bytes)),
        ("journal_segments", Count(stats.journal_segments)),
        ("store_file_bytes", Bytes(stats.store_file_bytes)),
        ("disk_free_bytes", Bytes(stats.disk_free_bytes)),
        ("storage_full", Flag(stats.storage_full)),
    ]);
    if live {
        figures.extend([
            ("poisoned", Flag(stats.poisoned)),
            ("appended", Count(stats.appended)),
            ("appended_bytes", Bytes(stats.appended_bytes)),
            ("duplicates", Count(stats.duplicates)),
            ("refused", Count(stats.refused)),
            ("queued", Count(stats.queued)),
            ("requests_waiting", Count(stats.requests_waiting)),
            ("in_flight", Count(stats.in_flight)),
            ("retrying", Count(stats.retrying)),
            ("completed", Count(stats.completed)),
            ("failed", Count(stats.failed)),
            ("replies", Count(stats.replies)),
            ("expired", Count(stats.expired)),
            ("trimmed", Count(stats.trimmed)),
            ("gaps", Count(stats.gaps)),
            ("notifications", Count(stats.notifications)),
            ("subscribers", Count(stats.subscribers)),
            ("lagged", Count(stats.lagged)),
            ("groups", Count(stats.groups)),
            ("journal_bytes", Bytes(stats.journal_bytes)),
            ("seals", Count(stats.seals)),
            ("connections", Count(stats.connections)),
            ("connections_accepted", Count(stats.connections_accepted)),
            ("connections_cut", Count(stats.connections_cut)),
            ("connections_new", Count(stats.connections_new)),
            (
                "connections_refused_total",
                Count(stats.connections_refused_total),
            ),
            (
                "connections_refused_address",
                Count(stats.connections_refused_address),
            ),
            (
                "connections_refused_identity",
                Count(stats.connections_refused_identity),
            ),
            ("handshakes_failed", Count(stats.handshakes_failed)),
            ("unauthenticated", Count(stats.unauthenticated)),
            ("forbidden", Count(stats.forbidden)),
            ("too_slow", Count(stats.too_slow)),
            ("busy", Count(stats.busy)),
            ("undecided_bytes", Bytes(stats.undecided_bytes)),
            ("outgoing_bytes", Bytes(stats.outgoing_bytes)),
            ("receiving_bytes", Bytes(stats.receiving_bytes)),
        ]);
    }
    figures
}

fn rates(before: &Stats, now: &Stats, time: Duration) -> Vec<Figure> {
    let rate = |before: u64, now: u64| {
        let per_second = now.saturating_sub(before) as f64 / time.as_secs_f64();
        FigureValue::PerSecond((per_second * 10.0).round() / 10.0)
    };
    vec![
        ("appended_per_s", rate(before.appended, now.appended)),
        (
            "appended_bytes_per_s",
            rate(before.appended_bytes, now.appended_bytes),
        ),
        ("duplicates_per_s", rate(before.duplicates, now.duplicates)),
        ("refused_per_s", rate(before.refused, now.refused)),
        ("completed_per_s", rate(before.completed, now.completed)),
        ("failed_per_s", rate(before.failed, now.failed)),
        (
            "notifications_per_s",
            rate(before.notifications, now.notifications),
        ),
        ("groups_per_s", rate(before.groups, now.groups)),
    ]
}

impl FigureValue {
    fn to_json(&self) -> Value {
        match self {
            Self::Count(number) | Self::Bytes(number) | Self::Millis(number) => json!(number),
            Self::PerSecond(rate) => json!(rate),
            Self::Flag(flag) => json!(flag),
            Self::Text(text) => json!(text),
        }
    }

    fn to_text(&self) -> String {
        match self {
            Self::Count(number) => HumanCount(*number).to_string(),
            Self::Bytes(bytes) => HumanBytes(*bytes).to_string(),
            Self::Millis(ms) => {
                humantime::format_duration(Duration::from_secs(ms / 1000)).to_string()
            }
            Self::PerSecond(rate) => rate.to_string(),
            Self::Flag(true) => "yes".to_owned(),
            Self::Flag(false) => "no".to_owned(),
            Self::Text(text) => text.clone(),
        }
    }
}

fn print(output: &mut Output, figures: &[Figure], json: bool) -> Result<(), CliError> {
    if json {
        let object: Map<String, Value> = figures
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.to_json()))
            .collect();
        return output.json(&object);
    }
    figures.iter().try_for_each(|(name, value)| {
        let name = name.trim_end_matches("_ms").replace('_', " ");
        output.line(format_args!("{name:<30}{}", value.to_text()))
    })
}

/// `edgebus health`: exit status 0 only if requests are taken, or if it is not told whether they are.
pub(crate) fn health(global: &Global) -> Result<(), CliError> {
    let stats = remote::runtime()?.block_on(async {
        let client = remote::connect(global, ClientConfig::default()).await?;
        Ok::<_, CliError>(client.stats().await)
    })?;
    let status = match stats {
        Ok(Stats { poisoned: true, .. }) => "poisoned",
        Ok(Stats {
            storage_full: true, ..
        }) => "storage_full",
        Ok(_) => "ok",
        Err(refusal) if refusal.code == Code::Forbidden => {
            say!("edgebus: it answers; whether the store is full only an admin may know");
            "answers"
        }
        Err(refusal) => return Err(refusal.into()),
    };
    match global.json {
        true => output::line(&json!({ "status": status }))?,
        false => output::text(status)?,
    }
    match status {
        "ok" | "answers" => Ok(()),
        _ => Err(CliError::silent(REFUSED)),
    }
}
