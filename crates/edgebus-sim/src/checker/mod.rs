//! Whether a history keeps the contract.
//!
//! In reading order:
//! - [`facts`]: the history in tables, made in one pass; [`report`]: what is found
//! - the rules, each in the words of the contract: `receipts`, `log`, `seen`, `refused`, `io`,
//!   `order`, `completion`, `attempts`, `letters`, `operators`, `reply`, `gaps`, `trimmed`, `liveness`
//!
//! Architecture invariant: knows nothing but what is in the history. No code of the product's is
//! asked, so that a server which believes wrong things of itself finds no believer here. Every rule
//! accuses only where no course of events that the contract allows explains what was noted: what
//! was told lies somewhere between asking and telling, a message may be on its way for any time.
//! Each rule takes time in proportion to the history, sorting aside.

mod attempts;
mod completion;
mod facts;
mod gaps;
mod io;
mod letters;
mod liveness;
mod log;
mod operators;
mod order;
mod patterns;
mod receipts;
mod refused;
mod reply;
mod report;
mod seen;
#[cfg(test)]
mod tests;
mod trimmed;

use std::fmt;

use facts::Facts;
use report::Report;

use crate::history::{History, Place};

/// A promise that was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which promise: a few words that stay the same.
    pub rule: &'static str,
    /// What exactly is wrong.
    pub what: String,
    /// Where in the history it shows, in order.
    pub places: Vec<Place>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)?;
        for place in &self.places {
            write!(f, " {place}")?;
        }
        Ok(())
    }
}

/// The promises that a run broke, in the order in which it shows; of each rule the first few.
pub fn check(history: &History) -> Vec<Violation> {
    let facts = Facts::of(history);
    let mut report = Report::default();
    for rule in [
        receipts::check,
        log::check,
        seen::check,
        refused::check,
        io::check,
        order::check,
        completion::check,
        attempts::check,
        letters::check,
        operators::check,
        reply::check,
        gaps::check,
        trimmed::check,
        liveness::check,
    ] {
        rule(&facts, &mut report);
    }
    report.finish()
}
