//! When the faults have stopped everything drains: every call ends, every message is done, what a
//! client put on its disk arrives.

use edgebus_core::Seq;

use super::facts::{CallFacts, Facts, What};
use super::gaps::Watch;
use super::report::Report;
use crate::history::{FinalConsumer, Outcome, Place};

const CALL: &str = "call that never ended";
const MESSAGE: &str = "message that nobody did";
const SPOOLED: &str = "spooled and lost";

pub(super) fn check(facts: &Facts<'_>, report: &mut Report) {
    let Some(last) = facts.last.filter(|_| facts.terms.drained) else {
        return;
    };
    for (_, call) in facts.calls() {
        if call.told.is_empty() && call.given_up.is_none() {
            report.add(CALL, [call.asked], || describe(call));
        }
    }
    for state in last.consumers.iter().filter(|state| !state.paused) {
        undone(facts, state, report);
    }
    spooled(facts, report);
}

fn describe(call: &CallFacts<'_>) -> String {
    match call.what {
        What::Store(asked) => format!("{asked}"),
        What::Operate(what) => format!("{what}"),
        What::Settle(said) => format!("{} {} {}", said.consumer, said.token, said.how),
    }
}

/// Every message above the offset that is for a consumer is settled.
fn undone(facts: &Facts<'_>, state: &FinalConsumer, report: &mut Report) {
    let Some(consumer) = facts.consumers.get(&state.name) else {
        return;
    };
    let Some((setup, made)) = consumer.one_setup(facts) else {
        return;
    };
    let watch = Watch {
        facts,
        consumer,
        setup,
        made,
    };
    for message in &facts.messages {
        let Some(seq) = message
            .row
            .map(|row| row.seq)
            .filter(|seq| *seq > state.offset)
        else {
            continue;
        };
        if watch.is_owed(message, seq) && !watch.is_settled(seq) && !watch.is_excused(state, seq) {
            report.add(MESSAGE, [message.first_asked], || {
                let (name, offset) = (&state.name, state.offset);
                format!("{name} did not do {seq}, and stands at {offset}")
            });
        }
    }
}

/// A request that a client took on its disk reaches the log, unless it was told otherwise later. What
/// may have been trimmed before anybody saw it is not looked for.
fn spooled(facts: &Facts<'_>, report: &mut Report) {
    let seen = facts.messages.iter().filter_map(|message| message.evidence);
    let behind = seen.filter(|(_, seq)| *seq >= facts.floor);
    let reached = match facts.floor {
        Seq(1) => Some(Place(0)),
        // From here on nothing gets a place that is trimmed at the end.
        _ => behind.map(|(place, _)| place).min(),
    };
    for message in &facts.messages {
        let stays = reached.is_some_and(|reached| reached <= message.first_asked);
        if message.row.is_some() || message.evidence.is_some() || !stays {
            continue;
        }
        let mut taken: Option<Place> = None;
        for (call, asked) in facts.asked(message) {
            let spooled = call
                .told
                .iter()
                .find(|(_, end)| matches!(end, Outcome::Spooled { .. }));
            let refused = call
                .told
                .iter()
                .any(|(_, end)| matches!(end, Outcome::Refused(_)));
            if let Some((place, _)) = spooled
                && !refused
                && asked.expires.is_none()
            {
                taken = taken.or(Some(*place));
            }
        }
        if let Some(place) = taken {
            report.add(
                SPOOLED,
                [Some(place), facts.end].into_iter().flatten(),
                || {
                    format!(
                        "{} was taken on a client's disk and never arrived",
                        message.id
                    )
                },
            );
        }
    }
}
