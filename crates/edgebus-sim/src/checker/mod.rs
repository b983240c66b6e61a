//! Whether a history keeps the contract.
//!
//! Knows nothing but what is in the history: no code of the product's is asked, and a server that
//! believes wrong things of itself finds no believer here.

use std::fmt;

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

/// All promises that a run broke; each rule names at most a few places.
pub fn check(_history: &History) -> Vec<Violation> {
    Vec::new()
}
