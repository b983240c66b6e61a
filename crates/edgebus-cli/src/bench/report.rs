//! Medians of several measurements, as a table or as JSON.

use super::measurement::Measurement;
use super::subject::Subject;
use super::{Ids, Options};
use crate::error::CliError;

/// Prints the medians.
pub(super) fn print(
    options: &Options,
    subjects: &[Subject],
    results: Vec<Vec<Measurement>>,
    json: bool,
) -> Result<(), CliError> {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header([
        "system",
        "acked/s",
        "min..max",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "syncs/s",
        "msgs/group",
        "device B/msg",
        "of raw",
    ]);
    let rate = |runs: &[Measurement]| median(runs, |m| m.acked_per_s);
    let raw = subjects
        .iter()
        .position(|s| *s == Subject::Raw)
        .map(|at| rate(&results[at]));
    for (subject, runs) in subjects.iter().zip(&results) {
        let device = runs
            .iter()
            .map(|m| m.device_bytes)
            .collect::<Option<Vec<f64>>>()
            .map(middle);
        let rates = || runs.iter().map(|m| m.acked_per_s);
        let (least, most) = (
            rates().fold(f64::MAX, f64::min),
            rates().fold(0.0, f64::max),
        );
        if json {
            let row = serde_json::json!({
                "system": subject.name(),
                "window": options.window,
                "batch": options.batch,
                "size": options.size,
                "ids": if options.ids == Ids::V4 { "v4" } else { "v7" },
                "rounds": runs.len(),
                "acked_per_s": rate(runs).round(),
                "acked_per_s_min": least.round(),
                "acked_per_s_max": most.round(),
                "p50_ms": median(runs, |m| m.p50_ms),
                "p99_ms": median(runs, |m| m.p99_ms),
                "p999_ms": median(runs, |m| m.p999_ms),
                "syncs_per_s": median(runs, |m| m.syncs_per_s).round(),
                "messages_per_group": median(runs, |m| m.per_group),
                "device_bytes_per_message": device,
                "durable": true,
            });
            crate::output::line(&row)?;
            continue;
        }
        table.add_row([
            subject.name().to_owned(),
            format!("{:.0}", rate(runs)),
            format!("{least:.0}..{most:.0}"),
            format!("{:.3}", median(runs, |m| m.p50_ms)),
            format!("{:.3}", median(runs, |m| m.p99_ms)),
            format!("{:.3}", median(runs, |m| m.p999_ms)),
            format!("{:.0}", median(runs, |m| m.syncs_per_s)),
            format!("{:.1}", median(runs, |m| m.per_group)),
            device.map_or_else(|| "?".to_owned(), |bytes| format!("{bytes:.0}")),
            raw.map_or_else(String::new, |raw| format!("{:.2}", rate(runs) / raw)),
        ]);
    }
    if !json {
        crate::output::text(&table.to_string())?;
    }
    Ok(())
}

fn median(runs: &[Measurement], figure: impl Fn(&Measurement) -> f64) -> f64 {
    middle(runs.iter().map(figure).collect())
}

fn middle(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}
