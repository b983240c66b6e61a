//! What is done is done: the first completion wins, and the message never runs again for that
//! consumer unless an operator has it run again.
//!
//! A delivery that was on its way when the message was done may arrive at any time. It certainly left
//! later when its stream was opened later, or when something came before it on the same stream that
//! nobody had asked for at that time.

use edgebus_core::{ConsumerName, Seq};

use super::facts::{CallFacts, ConsumerFacts, Facts, StreamFacts, What};
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
    for stream in facts.streams.values() {
        given_again(facts, stream, report);
    }
}

fn how(call: &CallFacts<'_>) -> Option<How> {
    match call.what {
        What::Settle(settling) => Some(settling.how),
        _ => None,
    }
}

/// Where a call was told that the message is done with, and who says so.
fn ended(call: &CallFacts<'_>) -> Option<(Place, By)> {
    let how = how(call)?;
    call.told.iter().find_map(|(place, outcome)| match outcome {
        Outcome::Done => (how.completes() || how == How::Term).then_some((*place, By::This)),
        Outcome::AlreadyCompleted => Some((*place, By::Another)),
        _ => None,
    })
}

/// Whose completion it is that was told.
#[derive(Clone, Copy, Debug)]
enum By {
    This,
    /// One that was asked for at some time before.
    Another,
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

fn given_again(facts: &Facts<'_>, stream: &StreamFacts<'_>, report: &mut Report) {
    // The latest message, by when it was first asked for, that came on this stream so far.
    let mut latest = stream.opened;
    for given in &stream.given {
        let seq = given.token.seq;
        let consumer = facts.consumers.get(given.consumer);
        let calls = consumer.and_then(|consumer| consumer.settled.get(&seq));
        let calls = || calls.into_iter().flatten();
        let calls = || calls().filter_map(|call| facts.call(*call));
        for call in calls() {
            let Some((told, by)) = ended(call).filter(|(told, _)| *told < latest) else {
                continue;
            };
            let settled = match by {
                By::This => call.asked,
                By::Another => calls().map(|call| call.asked).min().unwrap_or(call.asked),
            };
            if consumer.is_some_and(|consumer| consumer.may_run_again(facts, seq, settled)) {
                continue;
            }
            report.add(AGAIN, [told, latest, given.place], || {
                format!("{} was given {seq} again after it was done", given.consumer)
            });
            break;
        }
        if let Some(message) = facts.message_at(seq) {
            latest = latest.max(message.first_asked);
        }
    }
}
