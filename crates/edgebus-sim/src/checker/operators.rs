//! What operators were told is so: a consumer that was made is there, one that is paused gives out
//! nothing, one that was reset takes no lease from before.

use std::collections::HashMap;

use edgebus_core::ConsumerName;
use edgebus_core::consumer::LeaseToken;

use super::facts::{ConsumerFacts, Facts, What};
use super::report::Report;
use crate::history::{Operation, Place};

const LOST: &str = "consumer made and lost";
const PAUSED: &str = "given out while paused";
const STALE: &str = "stale lease taken";

pub(super) fn check(facts: &Facts<'_>, report: &mut Report) {
    for (name, consumer) in &facts.consumers {
        is_there(facts, name, consumer, report);
        paused(facts, name, consumer, report);
        reset(facts, name, consumer, report);
    }
}

fn is_there(
    facts: &Facts<'_>,
    name: &ConsumerName,
    consumer: &ConsumerFacts<'_>,
    report: &mut Report,
) {
    let Some(last) = facts.last.filter(|_| !consumer.is_removed(facts)) else {
        return;
    };
    let set_ups = consumer.set_ups.iter();
    let made = set_ups
        .filter_map(|(call, _)| facts.call(*call)?.done())
        .min();
    if let Some(made) = made
        && !last.consumers.iter().any(|state| state.name == *name)
    {
        report.add(LOST, [Some(made), facts.end].into_iter().flatten(), || {
            format!("{name} was made, and is not there")
        });
    }
}

/// A message that nobody had asked for when the pause was told is not given out before somebody asks
/// for it to go on.
fn paused(
    facts: &Facts<'_>,
    name: &ConsumerName,
    consumer: &ConsumerFacts<'_>,
    report: &mut Report,
) {
    let mut pauses: Vec<(Place, Option<Place>)> = Vec::new();
    let mut resumes: Vec<(Place, Option<Place>)> = Vec::new();
    for (call, what) in &consumer.operations {
        let Some(call) = facts.call(*call).filter(|call| !call.is_refused()) else {
            continue;
        };
        match what {
            Operation::Pause(_) => pauses.push((call.asked, call.done())),
            // Made anew it is not paused.
            Operation::Resume(_) | Operation::Delete(_) => resumes.push((call.asked, call.done())),
            _ => {}
        }
    }
    for (asked, told) in pauses {
        let Some(told) = told else {
            continue;
        };
        // One that was asked for earlier counts, too, unless it was over before the pause began.
        let until = resumes
            .iter()
            .filter(|(_, done)| done.is_none_or(|done| done > asked))
            .map(|(asked, _)| *asked)
            .min();
        for given in &consumer.given {
            let message = facts.message_at(given.token.seq);
            let new = message.is_some_and(|message| message.first_asked > told);
            if new && until.is_none_or(|until| given.place < until) {
                report.add(PAUSED, [told, given.place], || {
                    format!("{name} gave out {} while it was paused", given.token)
                });
            }
        }
    }
}

/// A lease that was held before a reset was asked for settles nothing after it was told.
fn reset(
    facts: &Facts<'_>,
    name: &ConsumerName,
    consumer: &ConsumerFacts<'_>,
    report: &mut Report,
) {
    let mut resets: Vec<(Place, Place)> = Vec::new();
    for (call, what) in &consumer.operations {
        if let (Operation::Reset(..), Some(call)) = (what, facts.call(*call))
            && let Some(done) = call.done()
        {
            resets.push((call.asked, done));
        }
    }
    if resets.is_empty() || consumer.is_removed(facts) {
        return;
    }
    let given = consumer
        .given
        .iter()
        .map(|given| (given.token, given.place));
    let given: HashMap<LeaseToken, Place> = given.collect();
    for calls in consumer.settled.values() {
        for call in calls.iter().filter_map(|call| facts.call(*call)) {
            let (What::Settle(said), Some(done)) = (call.what, call.done()) else {
                continue;
            };
            let Some(got) = given.get(&said.token) else {
                continue;
            };
            let between = |(asked, told): &(Place, Place)| got < asked && *told < call.asked;
            if let Some((_, told)) = resets.iter().find(|reset| between(reset)) {
                report.add(STALE, [*got, *told, done], || {
                    format!(
                        "{name} was reset, and {} with {} was done",
                        said.how, said.token
                    )
                });
            }
        }
    }
}
