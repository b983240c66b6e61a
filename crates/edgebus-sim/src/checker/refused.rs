//! Refused means not stored; an id stands for one topic and payload; who asks again is answered even
//! when the store is full.

use std::sync::Arc;

use edgebus_core::Code;

use super::facts::{CallFacts, Facts, MessageFacts, content};
use super::report::Report;
use crate::history::{Asked, Digest, Outcome, Place};

const STORED: &str = "refused and stored";
const CONFLICT: &str = "id conflict not refused";
const NEEDLESS: &str = "refused without a reason";

pub(super) fn check(facts: &Facts<'_>, report: &mut Report) {
    for message in &facts.messages {
        refused_is_not_stored(facts, message, report);
        one_content(facts, message, report);
        needless(facts, message, report);
    }
}

fn refusal(call: &CallFacts<'_>) -> Option<(Place, Code)> {
    call.told.iter().find_map(|(place, outcome)| match outcome {
        Outcome::Refused(code) if *code != Code::Unknown => Some((*place, *code)),
        _ => None,
    })
}

/// What was only ever refused is not there.
fn refused_is_not_stored(facts: &Facts<'_>, message: &MessageFacts<'_>, report: &mut Report) {
    let shown = message.evidence.map(|(place, seq)| (Some(place), seq));
    let Some((place, seq)) = message.row.map(|row| (facts.end, row.seq)).or(shown) else {
        return;
    };
    let mut refused = None;
    for (call, _) in facts.asked(message) {
        match refusal(call) {
            // Refused by the client's own disk's bounds later on, it may be on the server already.
            Some((told, code)) if call.told.len() == 1 => refused = Some((told, code)),
            _ => return,
        }
    }
    if let Some((told, code)) = refused {
        report.add(STORED, [Some(told), place].into_iter().flatten(), || {
            format!(
                "{} was refused ({code}) and is in the log at {seq}",
                message.id
            )
        });
    }
}

fn is_accepted(call: &CallFacts<'_>) -> Option<Place> {
    call.told.iter().find_map(|(place, outcome)| match outcome {
        Outcome::Stored { .. } | Outcome::Reply(_) | Outcome::DeadLettered => Some(*place),
        Outcome::TimedOut | Outcome::ReplyExpired => Some(*place),
        _ => None,
    })
}

/// All calls that were accepted asked for the same.
fn one_content(facts: &Facts<'_>, message: &MessageFacts<'_>, report: &mut Report) {
    type Known<'a> = (Option<Place>, (&'a Arc<str>, Digest));
    // A row that nobody asked for as it is was altered, which is another matter.
    let row = message.row.map(|row| (&row.topic, row.payload));
    let row = row.filter(|row| {
        facts
            .asked(message)
            .any(|(_, asked)| content(asked) == *row)
    });
    let mut known: Option<Known<'_>> = row.map(|row| (facts.end, row));
    for (call, asked) in facts.asked(message) {
        let Some(place) = is_accepted(call) else {
            continue;
        };
        match known {
            None => known = Some((Some(place), content(asked))),
            Some((_, same)) if same == content(asked) => {}
            Some((before, (topic, payload))) => {
                let places = [Some(call.asked), Some(place), before];
                report.add(CONFLICT, places.into_iter().flatten(), || {
                    let (id, other, digest) = (asked.id, &asked.topic, asked.payload);
                    format!("{id} stands for {topic} {payload} and for {other} {digest}")
                });
            }
        }
    }
}

/// A conflict needs somebody who asked for something else; a request that has a receipt is not
/// refused because the store is full.
fn needless(facts: &Facts<'_>, message: &MessageFacts<'_>, report: &mut Report) {
    for (call, asked) in facts.asked(message) {
        let Some((told, code)) = refusal(call) else {
            continue;
        };
        match code {
            Code::IdConflict => {
                let differs = |(other, content_of): (&CallFacts<'_>, &Asked)| {
                    other.asked < told && content(content_of) != content(asked)
                };
                if !facts.asked(message).any(differs) {
                    report.add(NEEDLESS, [call.asked, told], || {
                        format!("{} conflicts with nothing that anybody asked for", asked.id)
                    });
                }
            }
            Code::StorageFull => {
                let mut others = facts.asked(message);
                let stored = others.find_map(|(other, _)| {
                    is_accepted(other).filter(|accepted| *accepted < call.asked)
                });
                if let Some(stored) = stored {
                    report.add(NEEDLESS, [stored, call.asked, told], || {
                        format!(
                            "{} is stored, and was refused as the store is full",
                            asked.id
                        )
                    });
                }
            }
            _ => {}
        }
    }
}
