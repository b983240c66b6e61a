//! What the rules find.

use std::collections::BTreeMap;

use super::Violation;
use crate::history::Place;

/// Most violations of one rule that are told: one mistake may show a thousand times.
const TOLD_MAX: usize = 5;

/// What the rules found so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    found: Vec<Violation>,
    by_rule: BTreeMap<&'static str, usize>,
}

impl Report {
    /// Notes that a promise was broken.
    pub(super) fn add(
        &mut self,
        rule: &'static str,
        places: impl IntoIterator<Item = Place>,
        what: impl FnOnce() -> String,
    ) {
        let told = self.by_rule.entry(rule).or_default();
        *told += 1;
        if *told > TOLD_MAX {
            return;
        }
        let mut places: Vec<Place> = places.into_iter().collect();
        places.sort_unstable();
        self.found.push(Violation {
            rule,
            what: what(),
            places,
        });
    }

    /// All of it, in the order in which it shows: where the last place is that takes part.
    pub(super) fn finish(mut self) -> Vec<Violation> {
        self.found
            .sort_by_key(|found| (found.places.last().copied(), found.rule));
        self.found
    }
}
