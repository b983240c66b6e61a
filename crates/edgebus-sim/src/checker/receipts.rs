//! Acked means on disk; the same request gets the same receipt.

use edgebus_core::Seq;

use super::facts::{Facts, MessageFacts};
use super::report::Report;
use crate::history::{Outcome, Place, Row};

const LOST: &str = "acked and lost";
const CHANGED: &str = "receipt that changed";
const NEW_TWICE: &str = "stored twice";

pub(super) fn check(facts: &Facts<'_>, report: &mut Report) {
    for message in &facts.messages {
        one_receipt(facts, message, report);
    }
    if facts.last.is_some() {
        for message in &facts.messages {
            is_there(facts, message, report);
        }
    }
}

/// Receipts of a message: where each was told, what it says.
fn receipts<'a>(
    facts: &'a Facts<'_>,
    message: &'a MessageFacts<'_>,
) -> impl Iterator<Item = (Place, Place, Seq, bool)> + 'a {
    let asked = facts.asked(message);
    asked.flat_map(|(call, _)| {
        call.told
            .iter()
            .filter_map(|(place, outcome)| match outcome {
                Outcome::Stored { seq, duplicate } => Some((call.asked, *place, *seq, *duplicate)),
                _ => None,
            })
    })
}

/// All receipts name one place, and only the first call can have been the one that stored it.
fn one_receipt(facts: &Facts<'_>, message: &MessageFacts<'_>, report: &mut Report) {
    let mut told: Vec<_> = receipts(facts, message).collect();
    told.sort_unstable_by_key(|(_, told, _, _)| *told);
    let Some((_, first_told, first_seq, _)) = told.first().copied() else {
        return;
    };
    let mut new: Option<Place> = None;
    for (asked, place, seq, duplicate) in told {
        if seq != first_seq {
            report.add(CHANGED, [first_told, place], || {
                format!("{} has receipts for {first_seq} and for {seq}", message.id)
            });
        }
        if duplicate {
            continue;
        }
        if let Some(before) = new {
            report.add(NEW_TWICE, [before, place], || {
                format!("{} was new twice, the second time at {seq}", message.id)
            });
        } else if asked > first_told {
            report.add(NEW_TWICE, [first_told, asked, place], || {
                format!("{} was new after it had a receipt", message.id)
            });
        }
        new = Some(place);
    }
}

/// What has a receipt is in the log at the end, where the receipt says, unless it was trimmed.
fn is_there(facts: &Facts<'_>, message: &MessageFacts<'_>, report: &mut Report) {
    for (_, place, seq, _) in receipts(facts, message) {
        let same = |row: &Row| row.id == message.id && row.scope == message.scope;
        if seq < facts.floor || facts.row(seq).is_some_and(same) {
            continue;
        }
        let places = [Some(place), facts.end].into_iter().flatten();
        report.add(LOST, places, || match facts.row(seq) {
            Some(row) => format!(
                "{} has a receipt for {seq}, where {} is",
                message.id, row.id
            ),
            None => format!("{} has a receipt for {seq}, where nothing is", message.id),
        });
        return;
    }
}
