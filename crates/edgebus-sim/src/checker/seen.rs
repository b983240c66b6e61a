//! Nothing that is not synced is visible to anyone: what was seen once is there to stay.

use super::facts::{By, Facts};
use super::report::Report;
use crate::history::Event;

const SEEN: &str = "seen before it was safe";

pub(super) fn check(facts: &Facts<'_>, report: &mut Report) {
    let Some(last) = facts.last else {
        return;
    };
    let end = facts.end;
    for claim in &facts.claims {
        // A receipt has a rule of its own.
        let here = claim.by != By::Receipt;
        if !here || claim.seq < facts.floor {
            continue;
        }
        let there = facts.row(claim.seq);
        let places = || [Some(claim.place), end].into_iter().flatten();
        match there {
            Some(row) if row.id != claim.id => report.add(SEEN, places(), || {
                format!(
                    "{} was seen at {}, where {} is",
                    claim.id, claim.seq, row.id
                )
            }),
            Some(row) if claim.payload.is_some_and(|payload| payload != row.payload) => {
                report.add(SEEN, places(), || {
                    format!(
                        "{} was seen at {} with another payload",
                        claim.id, claim.seq
                    )
                });
            }
            Some(_) => {}
            None => report.add(SEEN, places(), || {
                format!("{} was seen at {}, where nothing is", claim.id, claim.seq)
            }),
        }
    }
    let first = last.log.first().map_or(last.last.next(), |row| row.seq);
    for (place, event) in facts.history.events() {
        let places = || [Some(place), end].into_iter().flatten();
        match event {
            Event::SeenLast { seq } if *seq > last.last => report.add(SEEN, places(), || {
                format!("{seq} was seen as the last message, which is {}", last.last)
            }),
            Event::Trimmed { before } if *before > first => report.add(SEEN, places(), || {
                format!("the log was seen to begin at {before}, and begins at {first}")
            }),
            _ => {}
        }
    }
}
