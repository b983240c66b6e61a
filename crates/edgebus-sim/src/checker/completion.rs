//! What is done is done: the first completion wins, and the message never runs again for that
//! consumer unless an operator has it run again.
//!
//! A delivery that was on its way when the message was done may arrive at any time. It certainly left
//! later when its stream was opened later, or when something came before it on the same stream that
//! nobody had asked for at that time.

use std::collections::BTreeMap;

use edgebus_core::consumer::LeaseToken;
use edgebus_core::{ConsumerName, Seq};

use super::facts::{CallFacts, ConsumerFacts, Facts, GivenFacts, StreamFacts, What};
use super::report::Report;
use crate::history::{How, Outcome, Place};

const AGAIN: &str = "executed after completion";
const TWICE: &str = "completed twice";

pub(super) fn check(facts: &Facts<'_>, report: &mut Report) {
    for (name, consumer) in &facts.consumers {
        for (seq, calls) in &consumer.settled {
            let calls = calls.iter().filter_map(|call| facts.call(*call));
            completed_once(facts, (name, consumer), *seq, calls, report);
        }
    }
    let left = left(facts);
    for stream in facts.streams.values() {
        given_again(facts, &left, stream, report);
    }
}

/// After what each lease certainly left for its worker; the earliest, where one came several times.
type Left<'h> = BTreeMap<(&'h ConsumerName, LeaseToken), Place>;

fn left<'h>(facts: &Facts<'h>) -> Left<'h> {
    let mut left = Left::new();
    for stream in facts.streams.values() {
        for (given, after) in left_on(facts, stream) {
            let earliest = left.entry((given.consumer, given.token)).or_insert(after);
            *earliest = after.min(*earliest);
        }
    }
    left
}

/// What came on a stream, each with what it certainly left after.
fn left_on<'f, 'h>(
    facts: &'f Facts<'h>,
    stream: &'f StreamFacts<'h>,
) -> impl Iterator<Item = (&'f GivenFacts<'h>, Place)> {
    // The latest message, by when it was first asked for, that came on this stream so far.
    stream.given.iter().scan(stream.opened, |latest, given| {
        let after = *latest;
        if let Some(message) = facts.message_at(given.token.seq) {
            *latest = after.max(message.first_asked);
        }
        Some((given, after))
    })
}

fn how(call: &CallFacts<'_>) -> Option<How> {
    match call.what {
        What::Settle(settling) => Some(settling.how),
        _ => None,
    }
}

/// A word that a message is done with.
struct Ended {
    told: Place,
    /// It was done after here.
    after: Place,
}

fn ended(left: &Left<'_>, call: &CallFacts<'_>) -> Option<Ended> {
    let What::Settle(said) = call.what else {
        return None;
    };
    call.told.iter().find_map(|(told, outcome)| {
        let after = match outcome {
            Outcome::Done if said.how.completes() || said.how == How::Term => call.asked,
            // By whom, and perhaps before it was asked again to be done; but it was not done yet when
            // the lease left.
            Outcome::AlreadyCompleted => {
                let left = left.get(&(&said.consumer, said.token));
                left.copied().unwrap_or(Place(0))
            }
            _ => return None,
        };
        Some(Ended { told: *told, after })
    })
}

/// Only one of those who completed it is told that it did.
fn completed_once<'f, 'h: 'f>(
    facts: &Facts<'h>,
    (name, consumer): (&ConsumerName, &ConsumerFacts<'h>),
    seq: Seq,
    calls: impl Iterator<Item = &'f CallFacts<'h>>,
    report: &mut Report,
) {
    let mut first: Option<(Place, Place)> = None;
    for call in calls {
        let (Some(how), Some(done)) = (how(call), call.done()) else {
            continue;
        };
        // An ack that was said again over another connection is told that it is done, whoever did
        // it: that is all that it wanted.
        if !matches!(how, How::Complete(_)) {
            continue;
        }
        let Some((asked, told)) = first else {
            first = Some((call.asked, done));
            continue;
        };
        if !consumer.may_run_again(facts, seq, asked) {
            report.add(TWICE, [told, done], || {
                format!("{name} was told twice that it completed {seq}")
            });
        }
    }
}

fn given_again(facts: &Facts<'_>, left: &Left<'_>, stream: &StreamFacts<'_>, report: &mut Report) {
    for (given, latest) in left_on(facts, stream) {
        let seq = given.token.seq;
        let Some(consumer) = facts.consumers.get(given.consumer) else {
            continue;
        };
        let calls = consumer.settled.get(&seq).into_iter().flatten();
        let mut ends = calls.filter_map(|call| ended(left, facts.call(*call)?));
        let again =
            ends.find(|end| end.told < latest && !consumer.may_run_again(facts, seq, end.after));
        if let Some(end) = again {
            report.add(AGAIN, [end.told, latest, given.place], || {
                format!("{} was given {seq} again after it was done", given.consumer)
            });
        }
    }
}
