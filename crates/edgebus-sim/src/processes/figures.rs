//! Figures of a run, and how they are printed.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use super::Failure;
use crate::checker::{Violation, check};
use crate::history::{Event, History, Outcome, Place};
use crate::say::{err, out};

/// Violations that are shown in full.
const SHOWN_MAX: usize = 20;

/// What came of a run's calls.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// Different ids that have a receipt.
    pub acked: u64,
    /// Receipts that said `duplicate`.
    pub duplicates: u64,
    /// Calls whose outcome was unknown to whoever asked.
    pub unknowns: u64,
    /// Calls that were refused, for whatever reason.
    pub refused: u64,
    /// Replies that came.
    pub replies: u64,
    /// Deliveries.
    pub given: u64,
    /// Messages in the log at the end.
    pub stored: u64,
    /// All that was noted.
    pub events: u64,
}

impl Figures {
    /// Of a run.
    pub fn of(history: &History) -> Self {
        let mut figures = Self {
            events: history.noted.len() as u64,
            stored: history.last().map_or(0, |last| last.log.len() as u64),
            ..Self::default()
        };
        let mut places = BTreeSet::new();
        let mut asked = BTreeSet::new();
        for (_, event) in history.events() {
            match event {
                Event::Asked(call) => drop(asked.insert(call.call)),
                Event::Given { .. } => figures.given += 1,
                Event::Told { call, outcome } if asked.contains(call) => match outcome {
                    Outcome::Stored { seq, duplicate } => {
                        places.insert(*seq);
                        figures.duplicates += u64::from(*duplicate);
                    }
                    Outcome::Unknown => figures.unknowns += 1,
                    Outcome::Refused(_) => figures.refused += 1,
                    Outcome::Reply(_) => figures.replies += 1,
                    _ => {}
                },
                _ => {}
            }
        }
        figures.acked = places.len() as u64;
        figures
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        self.acked += other.acked;
        self.duplicates += other.duplicates;
        self.unknowns += other.unknowns;
        self.refused += other.refused;
        self.replies += other.replies;
        self.given += other.given;
        self.stored += other.stored;
        self.events += other.events;
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            ("requests acked", self.acked),
            ("in the log at the end", self.stored),
            ("duplicates", self.duplicates),
            ("unknown outcomes", self.unknowns),
            ("refused", self.refused),
            ("replies", self.replies),
            ("deliveries", self.given),
            ("events checked", self.events),
        ];
        for (name, count) in rows {
            writeln!(f, "  {name:<24} {count}")?;
        }
        Ok(())
    }
}

/// Checks a run; what is wrong goes to standard error, with what was noted there. All that was
/// noted stays in a file then, which is named after the run.
pub fn judge(history: &History, run: &str) -> Vec<Violation> {
    let violations = check(history);
    if !violations.is_empty() {
        let file = std::env::temp_dir().join(format!("edgebus-sim-{run}.story"));
        match write_story(history, &file) {
            Ok(()) => err!("all that was noted is in {}", file.display()),
            Err(failure) => err!("{failure}"),
        }
    }
    for violation in violations.iter().take(SHOWN_MAX) {
        err!("VIOLATION {violation}");
        for place in &violation.places {
            if let Some(noted) = history.noted.get(place.0 as usize) {
                err!("    {place} {noted}");
            }
        }
    }
    if violations.len() > SHOWN_MAX {
        err!("and {} more", violations.len() - SHOWN_MAX);
    }
    violations
}

/// Writes all that was noted, line by line.
///
/// # Errors
/// [`Failure::Broken`] when it cannot be written.
fn write_story(history: &History, file: &Path) -> Result<(), Failure> {
    let write = || {
        let mut out = BufWriter::new(File::create(file)?);
        for (place, noted) in (0..).zip(&history.noted) {
            writeln!(out, "{} {noted}", Place(place))?;
        }
        out.flush()
    };
    write().map_err(|e| Failure::broken(file.display(), e))
}

/// The end of a command: good when there are no violations.
///
/// # Errors
/// [`Failure::Violated`].
pub fn verdict(violations: usize) -> Result<(), Failure> {
    out!("  {:<24} {violations}", "violations");
    match violations {
        0 => Ok(()),
        count => Err(Failure::Violated(count)),
    }
}

/// The middle one and the largest of some times, in words.
pub fn middle_and_most(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let (Some(most), Some(middle)) = (times.last(), times.get(times.len() / 2)) else {
        return "none".to_owned();
    };
    let ms = |time: &Duration| time.as_secs_f64() * 1000.0;
    format!("p50 {:.1} ms, max {:.1} ms", ms(middle), ms(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn middle_and_most_of_times_are_those_in_order() {
        let ms = Duration::from_millis;
        let mut times = [ms(9), ms(1), ms(4)];
        assert_eq!(middle_and_most(&mut times), "p50 4.0 ms, max 9.0 ms");
        assert_eq!(middle_and_most(&mut []), "none");
    }
}
