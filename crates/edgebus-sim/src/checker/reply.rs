//! The reply leaves the server only once it is stored, is what a worker said, and is never another.

use std::collections::HashMap;

use edgebus_core::Seq;

use super::facts::{CallFacts, Facts, MessageFacts, What};
use super::report::Report;
use super::trimmed::may_be_gone;
use crate::history::{Digest, FinalConsumer, How, Operation, Outcome, Place};

const OTHER: &str = "another reply";
const MADE_UP: &str = "reply that nobody gave";
const LOST: &str = "reply told and lost";
const UNANSWERED: &str = "reply forgotten";
const EXPIRED: &str = "reply expired and still there";

pub(super) fn check(facts: &Facts<'_>, report: &mut Report) {
    let stored = stored(facts);
    let given = given(facts);
    for message in &facts.messages {
        let told = told(facts, message);
        one_reply(facts, message, &told, report);
        let Some(seq) = message
            .row
            .map(|row| row.seq)
            .or(message.evidence.map(|(_, seq)| seq))
        else {
            continue;
        };
        let given = given.get(&seq).map_or(&[][..], Vec::as_slice);
        for (_, place, reply) in &told {
            if !given
                .iter()
                .any(|said| said.reply == *reply && said.asked < *place)
            {
                report.add(MADE_UP, [*place], || {
                    format!("{seq} was answered with {reply}, which no worker said before")
                });
            }
        }
        if let Some(stored) = &stored
            && seq >= facts.floor
        {
            let kept = stored.get(&seq).copied();
            at_the_end(facts, seq, kept, &told, given, report);
        }
        ended_otherwise(facts, message, &told, report);
    }
}

/// A completion by a responder.
#[derive(Clone, Copy, Debug)]
struct Said {
    asked: Place,
    /// Where it was told that this is the one that counts.
    done: Option<Place>,
    /// Where it was told that the request is done already.
    already: Option<Place>,
    reply: Digest,
    /// An operator may have had the message done again.
    again: bool,
}

fn stored(facts: &Facts<'_>) -> Option<HashMap<Seq, Digest>> {
    let replies = facts.last?.replies.as_ref()?;
    Some(
        replies
            .iter()
            .map(|reply| (reply.seq, reply.payload))
            .collect(),
    )
}

/// What responders said, by message.
fn given(facts: &Facts<'_>) -> HashMap<Seq, Vec<Said>> {
    let mut given: HashMap<Seq, Vec<Said>> = HashMap::new();
    for consumer in facts.consumers.values() {
        let mut set_ups = consumer.set_ups.iter();
        if !consumer.set_ups.is_empty() && !set_ups.any(|(_, setup)| setup.responder) {
            continue;
        }
        for (seq, calls) in &consumer.settled {
            for call in calls.iter().filter_map(|call| facts.call(*call)) {
                let What::Settle(settling) = call.what else {
                    continue;
                };
                let reply = match settling.how {
                    How::Complete(reply) => reply,
                    // Whoever asks is answered, if with nothing.
                    How::Ack => Digest::of(b""),
                    _ => continue,
                };
                given.entry(*seq).or_default().push(Said {
                    asked: call.asked,
                    done: call.done(),
                    already: already(call),
                    reply,
                    again: consumer.may_run_again(facts, *seq, call.asked),
                });
            }
        }
    }
    given
}

fn already(call: &CallFacts<'_>) -> Option<Place> {
    let mut told = call.told.iter();
    told.find_map(|(place, end)| matches!(end, Outcome::AlreadyCompleted).then_some(*place))
}

/// Replies that were told: when it was asked, when told, what.
fn told(facts: &Facts<'_>, message: &MessageFacts<'_>) -> Vec<(Place, Place, Digest)> {
    let mut told = Vec::new();
    for (call, _) in facts.asked(message) {
        for (place, outcome) in &call.told {
            if let Outcome::Reply(reply) = outcome {
                told.push((call.asked, *place, *reply));
            }
        }
    }
    told.sort_unstable_by_key(|(_, place, _)| *place);
    told
}

fn one_reply(
    facts: &Facts<'_>,
    message: &MessageFacts<'_>,
    told: &[(Place, Place, Digest)],
    report: &mut Report,
) {
    let Some((_, first, reply)) = told.first() else {
        return;
    };
    for (_, place, other) in &told[1..] {
        // A reply is kept beside its request: when that was trimmed, its dead letter may be done again.
        if other != reply && !may_be_gone(facts, message, *place) {
            report.add(OTHER, [*first, *place], || {
                format!("{} was answered with {reply} and with {other}", message.id)
            });
        }
    }
}

fn at_the_end(
    facts: &Facts<'_>,
    seq: Seq,
    kept: Option<Digest>,
    told: &[(Place, Place, Digest)],
    given: &[Said],
    report: &mut Report,
) {
    let places = |place| [Some(place), facts.end].into_iter().flatten();
    if let Some((_, place, reply)) = told.first()
        && kept != Some(*reply)
    {
        report.add(LOST, places(*place), || match kept {
            Some(kept) => format!("{seq} was answered with {reply}, and {kept} is stored"),
            None => format!("{seq} was answered with {reply}, and nothing is stored"),
        });
    }
    let done = given.iter().find_map(|said| Some((said.done?, said)));
    if let Some((place, said)) = done {
        match kept {
            None => report.add(LOST, places(place), || {
                format!(
                    "{seq} was completed with {}, and nothing is stored",
                    said.reply
                )
            }),
            Some(kept) if kept != said.reply && !given.iter().any(|said| said.again) => {
                report.add(OTHER, places(place), || {
                    format!(
                        "{seq} was completed with {}, and {kept} is stored",
                        said.reply
                    )
                });
            }
            Some(_) => {}
        }
    }
    let already = given.iter().find_map(|said| said.already);
    if let Some(place) = already
        && kept.is_none()
        && done.is_none()
        && !ended_without_reply(facts, seq)
    {
        report.add(LOST, places(place), || {
            format!("{seq} is told to be done already, and nothing is stored")
        });
    }
    if let Some(kept) = kept
        && !given.iter().any(|said| said.reply == kept)
    {
        report.add(MADE_UP, facts.end, || {
            format!("{seq} has the reply {kept}, which no worker said")
        });
    }
}

/// Whether a message may have come to an end in another way than by a completion.
fn ended_without_reply(facts: &Facts<'_>, seq: Seq) -> bool {
    let last = facts.last.into_iter().flat_map(|last| &last.letters);
    let missed = |state: &FinalConsumer| state.gap_messages > 0;
    let mut states = facts.last.into_iter().flat_map(|last| &last.consumers);
    let mut consumers = facts.consumers.values();
    states.any(missed)
        || last.into_iter().any(|letter| letter.seq == seq)
        || consumers.any(|consumer| {
            let skips =
                |what: &Operation| !matches!(what, Operation::Pause(_) | Operation::Resume(_));
            let mut operations = consumer.operations.iter();
            let mut letters = consumer.letters.iter();
            letters.any(|(_, letter, _)| *letter == seq) || operations.any(|(_, what)| skips(what))
        })
}

/// Once there is a reply, whoever asks gets it, until it is trimmed.
fn ended_otherwise(
    facts: &Facts<'_>,
    message: &MessageFacts<'_>,
    told: &[(Place, Place, Digest)],
    report: &mut Report,
) {
    let first = told.first().map(|(_, place, _)| *place);
    let expired = facts.asked(message).find_map(|(call, _)| {
        let mut told = call.told.iter();
        told.find_map(|(place, end)| matches!(end, Outcome::ReplyExpired).then_some(*place))
    });
    for (call, asked) in facts.asked(message) {
        for (place, outcome) in &call.told {
            match outcome {
                // One that was trimmed has no reply any more, and may have a dead letter.
                Outcome::DeadLettered
                    if first.is_some_and(|first| first < call.asked)
                        && !may_be_gone(facts, message, *place) =>
                {
                    report.add(UNANSWERED, first.into_iter().chain([*place]), || {
                        format!("{} has a reply, and is told to be a dead letter", asked.id)
                    });
                }
                Outcome::ReplyExpired if message.row.is_some() => {
                    report.add(
                        EXPIRED,
                        [Some(*place), facts.end].into_iter().flatten(),
                        || format!("{} is told to be trimmed, and is in the log", asked.id),
                    );
                }
                Outcome::Reply(_) if expired.is_some_and(|expired| expired < call.asked) => {
                    report.add(EXPIRED, expired.into_iter().chain([*place]), || {
                        format!(
                            "{} was told to be trimmed, and has a reply after that",
                            asked.id
                        )
                    });
                }
                _ => {}
            }
        }
    }
}
