//! The log at the end: each message once, as it was asked for, without a hole; and nobody ever saw
//! another message at a place.

use std::collections::HashMap;

use edgebus_core::{RequestId, Scope, Seq};

use super::facts::{Claim, Facts, content};
use super::report::Report;
use crate::history::{Kind, Row};

const TWICE: &str = "stored twice";
const HOLE: &str = "hole in the log";
const FOREIGN: &str = "nobody asked for it";
const ALTERED: &str = "altered";
const TWO: &str = "two messages at one place";

pub(super) fn check(facts: &Facts<'_>, report: &mut Report) {
    at_the_end(facts, report);
    rows(facts, report);
    claims(facts, report);
}

/// Places go up by one, and no id is there twice.
fn at_the_end(facts: &Facts<'_>, report: &mut Report) {
    let Some(last) = facts.last else {
        return;
    };
    let mut seen: HashMap<(Scope, RequestId), Seq> = HashMap::new();
    let mut next = last.log.first().map(|row| row.seq);
    for row in &last.log {
        if let Some(wanted) = next
            && row.seq != wanted
        {
            let seq = row.seq;
            report.add(HOLE, facts.end, || {
                format!("{seq} comes where {wanted} should")
            });
        }
        next = Some(row.seq.next());
        if let Some(before) = seen.insert((row.scope, row.id), row.seq) {
            report.add(TWICE, facts.end, || {
                format!("{} is in the log at {before} and at {}", row.id, row.seq)
            });
        }
    }
    if let Some(next) = next
        && next != last.last.next()
    {
        report.add(HOLE, facts.end, || {
            format!(
                "the log ends before {next}, and the last message was {}",
                last.last
            )
        });
    }
}

/// What is there is what somebody asked for.
fn rows(facts: &Facts<'_>, report: &mut Report) {
    let Some(last) = facts.last else {
        return;
    };
    let mut asked_for: Vec<(&Row, bool)> = Vec::with_capacity(last.log.len());
    for row in &last.log {
        let mut found = None;
        for message in facts.messages_of(row.id) {
            if message.scope == row.scope {
                let mut asked = facts.asked(message);
                found = Some(asked.any(|(_, asked)| {
                    let same = content(asked) == (&row.topic, row.payload);
                    same && (asked.kind == Kind::Publish) == row.notification
                }));
            }
        }
        match found {
            None => report.add(FOREIGN, facts.end, || {
                format!("{} at {} was asked for by nobody", row.id, row.seq)
            }),
            Some(same) => asked_for.push((row, same)),
        }
    }
    for (row, same) in asked_for {
        if !same {
            report.add(ALTERED, facts.end, || {
                format!("{} at {} is not as anybody asked for it", row.id, row.seq)
            });
        }
    }
}

/// Whatever was seen of a place, at whatever time and by whomever, is one message.
fn claims(facts: &Facts<'_>, report: &mut Report) {
    let mut first: HashMap<Seq, Claim> = HashMap::new();
    for claim in &facts.claims {
        let known = *first.entry(claim.seq).or_insert(*claim);
        let mut other = known.id != claim.id;
        if let (Some(one), Some(another)) = (known.scope, claim.scope) {
            other |= one != another;
        }
        if other {
            report.add(TWO, [known.place, claim.place], || {
                let (seq, one, another) = (claim.seq, known.id, claim.id);
                format!("{seq} is {one} and {another}, or in two scopes")
            });
            continue;
        }
        // What says more than the first one did is what the next are compared with.
        if known.scope.is_none() && claim.scope.is_some() {
            first.insert(claim.seq, *claim);
        }
        let Some(payload) = claim.payload else {
            continue;
        };
        let mut asked = facts
            .messages_of(claim.id)
            .flat_map(|message| facts.asked(message));
        if !asked.any(|(_, asked)| asked.payload == payload) {
            report.add(ALTERED, [claim.place], || {
                format!(
                    "{} was seen at {} with a payload that nobody sent",
                    claim.id, claim.seq
                )
            });
        }
    }
}
