//! Order: of the log as time went, of each client's calls, of each worker's first deliveries.

use std::collections::{BTreeMap, HashMap};

use edgebus_core::consumer::LeaseToken;
use edgebus_core::{ConsumerName, Seq};

use super::facts::{Facts, What};
use super::report::Report;
use crate::history::{Client, Kind, Operation, Outcome, Place};

const TIME: &str = "log against time";
const CLIENT: &str = "client's calls out of order";
const FIRST: &str = "first deliveries out of order";

pub(super) fn check(facts: &Facts<'_>, report: &mut Report) {
    log_follows_time(facts, report);
    clients(facts, report);
    first_deliveries(facts, report);
}

/// What somebody had a sign of before another message was first asked for lies before it.
fn log_follows_time(facts: &Facts<'_>, report: &mut Report) {
    let mut known: Vec<_> = facts
        .messages
        .iter()
        .filter_map(|message| {
            let (evidence, seq) = match (message.evidence, message.row) {
                (Some((place, seq)), _) => (Some(place), seq),
                (None, Some(row)) => (None, row.seq),
                (None, None) => return None,
            };
            Some((seq, message.first_asked, evidence))
        })
        .collect();
    known.sort_unstable_by(|one, other| other.cmp(one));
    // Of those above, the one with the earliest sign.
    let mut earliest: Option<(Place, Seq)> = None;
    for (seq, asked, evidence) in known {
        if let Some((sign, above)) = earliest
            && sign < asked
            && above > seq
        {
            report.add(TIME, [sign, asked], || {
                format!("{seq} was asked for when {above} was there already")
            });
        }
        if let Some(place) = evidence
            && earliest.is_none_or(|(sign, _)| place < sign)
        {
            earliest = Some((place, seq));
        }
    }
}

/// What one client alone asked for, and had accepted the first time, is in the order of its calls.
fn clients(facts: &Facts<'_>, report: &mut Report) {
    let mut last: HashMap<(Client, bool), (Place, Seq)> = HashMap::new();
    for (call, facts_of) in facts.calls() {
        let What::Store(asked) = facts_of.what else {
            continue;
        };
        let Some(message) = facts.message_of(asked) else {
            continue;
        };
        let first = message.calls.first() == Some(&call);
        let mut others = facts.asked(message);
        if !first || others.any(|(_, other)| other.client != asked.client) {
            continue;
        }
        // A duplicate, at the first time of asking, was said again over another connection: what
        // was asked before it may have been refused over the first, and that answer lost with it.
        let stored = facts_of.told.iter().find_map(|(_, outcome)| match outcome {
            Outcome::Stored {
                seq,
                duplicate: false,
            } => Some(*seq),
            _ => None,
        });
        // What a spool refuses later, or asks for later, has a story of its own.
        let Some(seq) = stored.filter(|_| facts_of.told.len() == 1 || asked.kind == Kind::Request)
        else {
            continue;
        };
        let place = facts_of.asked;
        let key = (asked.client, asked.kind == Kind::Spool);
        if let Some((before, above)) = last.insert(key, (place, seq))
            && above > seq
        {
            report.add(CLIENT, [before, place], || {
                format!("{seq} was asked for after {above}, by the same client")
            });
        }
    }
}

/// On one stream, messages that are given out for the first time since the last reset come in the
/// order of the log.
fn first_deliveries(facts: &Facts<'_>, report: &mut Report) {
    for stream in facts.streams.values() {
        let mut last: BTreeMap<(&ConsumerName, u32), (Place, Seq)> = BTreeMap::new();
        for given in &stream.given {
            let (token, place) = (given.token, given.place);
            if token.delivery != 1 || was_letter(facts, given.consumer, token) {
                continue;
            }
            let before = last.insert((given.consumer, token.epoch), (place, token.seq));
            if let Some((before, above)) = before
                && above > token.seq
            {
                report.add(FIRST, [before, place], || {
                    let (consumer, seq) = (given.consumer, token.seq);
                    format!("{consumer} was given {seq} for the first time after {above}")
                });
            }
        }
    }
}

/// A message that became a dead letter before it was ever given out has its first delivery when it
/// is requeued; so has, after a reset or a removal, one that was a dead letter before that.
fn was_letter(facts: &Facts<'_>, consumer: &ConsumerName, token: LeaseToken) -> bool {
    let expires = facts.message_at(token.seq).is_none_or(|message| {
        let mut asked = facts.asked(message);
        asked.any(|(_, asked)| asked.expires.is_some())
    });
    let operations = facts.consumers.get(consumer).map(|known| &known.operations);
    let mut operations = operations.into_iter().flatten();
    expires
        || operations.any(|(_, what)| match what {
            Operation::Bury(_, buried) => *buried == token.seq,
            Operation::Requeue(_) => token.epoch > 1,
            _ => false,
        })
}
