//! Dead letters: each has a cause, and whoever was told of one finds it until an operator takes it
//! away.

use std::collections::HashSet;

use edgebus_core::consumer::DeadLetterCode;
use edgebus_core::{ConsumerName, Seq};

use super::facts::{ConsumerFacts, Facts, What};
use super::report::Report;
use crate::history::{How, Operation, Outcome, Place};

const CAUSELESS: &str = "dead letter without a cause";
const LOST: &str = "dead letter told and lost";

pub(super) fn check(facts: &Facts<'_>, report: &mut Report) {
    for (name, consumer) in &facts.consumers {
        letters(facts, name, consumer, report);
        if facts.last.is_some() && !taken_away(facts, consumer) {
            kept(facts, name, consumer, report);
        }
    }
    let untouched =
        |consumer: &ConsumerFacts<'_>| !taken_away(facts, consumer) && !set_behind(facts, consumer);
    if facts.last.is_some() && facts.consumers.values().all(untouched) {
        told_to_requesters(facts, report);
    }
}

/// Whether an operator may have taken dead letters away, or had them tried again.
fn taken_away(facts: &Facts<'_>, consumer: &ConsumerFacts<'_>) -> bool {
    let mut operations = consumer.operations.iter();
    operations.any(|(call, what)| {
        let takes = matches!(
            what,
            Operation::Requeue(_) | Operation::RemoveLetters(_) | Operation::Delete(_)
        );
        takes && facts.call(*call).is_some_and(|call| !call.is_refused())
    })
}

/// Whether an operator may have set it behind messages that it had not answered: whoever asks for
/// them then is told what is told of dead letters.
fn set_behind(facts: &Facts<'_>, consumer: &ConsumerFacts<'_>) -> bool {
    let mut operations = consumer.operations.iter();
    operations.any(|(call, what)| {
        matches!(what, Operation::Reset(..))
            && facts.call(*call).is_some_and(|call| !call.is_refused())
    })
}

/// What a worker gave up for good, and dead letters that were seen, are there at the end.
fn kept(facts: &Facts<'_>, name: &ConsumerName, consumer: &ConsumerFacts<'_>, report: &mut Report) {
    let last = facts.last.into_iter().flat_map(|last| &last.letters);
    let there: HashSet<Seq> = last
        .filter(|letter| letter.consumer == *name)
        .map(|letter| letter.seq)
        .collect();
    let mut told: Vec<(Place, Seq)> = Vec::new();
    told.extend(
        consumer
            .letters
            .iter()
            .map(|(place, seq, _)| (*place, *seq)),
    );
    for (seq, calls) in &consumer.settled {
        for call in calls.iter().filter_map(|call| facts.call(*call)) {
            let gives_up = matches!(call.what, What::Settle(said) if said.how == How::Term);
            told.extend(call.done().filter(|_| gives_up).map(|done| (done, *seq)));
        }
    }
    for (place, seq) in told {
        // A message that is trimmed before its dead letter is written is told as a gap.
        if !there.contains(&seq) && seq >= facts.floor {
            report.add(LOST, [Some(place), facts.end].into_iter().flatten(), || {
                format!("{seq} was a dead letter of {name}, and is none")
            });
        }
    }
}

/// Requesters who were told so find a dead letter, or a reply that came after all.
fn told_to_requesters(facts: &Facts<'_>, report: &mut Report) {
    let Some(last) = facts.last else {
        return;
    };
    let there: HashSet<Seq> = last.letters.iter().map(|letter| letter.seq).collect();
    for message in &facts.messages {
        let Some(seq) = message.row.map(|row| row.seq) else {
            continue;
        };
        for (call, asked) in facts.asked(message) {
            for (place, outcome) in &call.told {
                if *outcome == Outcome::DeadLettered && !there.contains(&seq) {
                    report.add(
                        LOST,
                        [Some(*place), facts.end].into_iter().flatten(),
                        || format!("{} was told to be a dead letter, and is none", asked.id),
                    );
                }
            }
        }
    }
}

/// A dead letter has a cause that somebody asked for.
fn letters(
    facts: &Facts<'_>,
    name: &ConsumerName,
    consumer: &ConsumerFacts<'_>,
    report: &mut Report,
) {
    let last = facts.last.into_iter().flat_map(|last| &last.letters);
    let last = last.filter(|letter| letter.consumer == *name);
    let last = last.filter_map(|letter| Some((facts.end?, letter.seq, letter.reason)));
    for (place, seq, reason) in consumer.letters.iter().copied().chain(last) {
        let known = match reason {
            DeadLetterCode::Rejected => rejected(facts, consumer, seq),
            DeadLetterCode::Expired => expired(facts, seq, place),
            _ => true,
        };
        if !known {
            report.add(CAUSELESS, [place], || {
                format!("{seq} is a dead letter of {name}: {reason}, and was not")
            });
        }
    }
}

fn rejected(facts: &Facts<'_>, consumer: &ConsumerFacts<'_>, seq: Seq) -> bool {
    let calls = consumer.settled.get(&seq).into_iter().flatten();
    let mut calls = calls.filter_map(|call| facts.call(*call));
    calls.any(|call| matches!(call.what, What::Settle(said) if said.how == How::Term))
}

/// It had a time after which it may not be started, and, as far as no restart made the store's time
/// jump, that time had come.
fn expired(facts: &Facts<'_>, seq: Seq, place: Place) -> bool {
    let Some(message) = facts.message_at(seq) else {
        return true;
    };
    let noted = |place: Place| facts.history.noted.get(place.0 as usize);
    facts.asked(message).any(|(call, asked)| {
        let (Some(expires), Some(from), Some(to)) =
            (asked.expires, noted(call.asked), noted(place))
        else {
            return false;
        };
        let restarted = facts.restarted(call.asked, place);
        restarted || to.at.saturating_sub(from.at) >= expires
    })
}
