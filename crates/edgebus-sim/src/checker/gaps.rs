//! Nothing is skipped in silence: what lies behind a consumer's offset and was for it was settled, is
//! a dead letter, was skipped by an operator, or is part of a gap that is told; a replay leaves
//! nothing out.

use std::collections::{BTreeMap, HashSet};

use edgebus_core::Seq;

use super::facts::{CallFacts, ConsumerFacts, Facts, MessageFacts, What};
use super::patterns::matches;
use super::report::Report;
use crate::history::{
    Call, Event, FinalConsumer, How, Kind, Operation, Outcome, Place, Setup, Start,
};

const SILENT: &str = "silent gap";
const UNREPORTED: &str = "gap that was not reported";
const NOT_SHOWN: &str = "stored and not shown";

pub(super) fn check(facts: &Facts<'_>, report: &mut Report) {
    let consumers = facts.last.into_iter().flat_map(|last| &last.consumers);
    for state in consumers {
        let Some(consumer) = facts.consumers.get(&state.name) else {
            continue;
        };
        let Some((setup, made)) = consumer.one_setup(facts) else {
            continue;
        };
        let watch = Watch {
            facts,
            consumer,
            setup,
            made,
        };
        watch.passed(state, report);
        watch.trimmed(state, report);
    }
    shown(facts, report);
}

/// What is owed to one consumer.
pub(super) struct Watch<'f, 'h> {
    pub(super) facts: &'f Facts<'h>,
    pub(super) consumer: &'f ConsumerFacts<'h>,
    pub(super) setup: &'h Setup,
    /// Since here it certainly is there.
    pub(super) made: Option<Place>,
}

impl Watch<'_, '_> {
    /// Whether a message is for it, in this place of the log.
    pub(super) fn is_owed(&self, message: &MessageFacts<'_>, seq: Seq) -> bool {
        let from_start = match self.setup.start {
            Start::All => message.row.is_some(),
            Start::Seq(first) => message.row.is_some() && seq >= first,
            Start::New | Start::Other => false,
        };
        let later = self.made.is_some_and(|made| message.first_asked > made);
        (from_start || later) && self.is_selected(message)
    }

    fn is_selected(&self, message: &MessageFacts<'_>) -> bool {
        let selects = |topic: &str, notification: bool| {
            let mut patterns = self.setup.patterns.iter();
            notification == self.setup.notifications
                && patterns.any(|pattern| matches(pattern, topic))
        };
        match message.row {
            Some(row) => selects(&row.topic, row.notification),
            // Which of several was stored is not known any more.
            None => self
                .facts
                .asked(message)
                .all(|(_, asked)| selects(&asked.topic, asked.kind == Kind::Publish)),
        }
    }

    /// Whether somebody settled it for good: not before an operator had it done again.
    pub(super) fn is_settled(&self, seq: Seq) -> bool {
        let since = self.wanted_again(seq);
        let calls = self.consumer.settled.get(&seq).into_iter().flatten();
        let mut calls = calls.filter_map(|call| self.facts.call(*call));
        calls.any(|call| {
            // Whoever only wants it tried again has not done it, whatever he is told.
            let ends = matches!(call.what, What::Settle(said) if said.how.completes() || said.how == How::Term);
            ends && !call.is_refused() && call.asked >= since
        })
    }

    /// The place where the last reset or removal was asked for that certainly wants it done again.
    fn wanted_again(&self, seq: Seq) -> Place {
        let resets = self
            .consumer
            .operations
            .iter()
            .filter_map(|(call, what)| match what {
                Operation::Reset(_, offset) if *offset < seq => self.facts.call(*call),
                Operation::Delete(_) => self.facts.call(*call),
                _ => None,
            });
        let done = resets.filter(|call| call.done().is_some());
        done.map(|call| call.asked).max().unwrap_or(Place(0))
    }

    /// Whether it is, or was, a dead letter, or an operator may have skipped it.
    pub(super) fn is_excused(&self, state: &FinalConsumer, seq: Seq) -> bool {
        let known = |call: &Call| {
            self.facts
                .call(*call)
                .is_some_and(|call| !call.is_refused())
        };
        let mut operations = self.consumer.operations.iter();
        let skipped = operations.any(|(call, what)| {
            known(call)
                && match what {
                    Operation::Reset(_, offset) => seq <= *offset,
                    Operation::Bury(_, buried) => seq == *buried,
                    // It may have been one that nobody looked at.
                    Operation::RemoveLetters(_) => self.may_be_letter(seq),
                    _ => false,
                }
        });
        let letters = self.facts.last.into_iter().flat_map(|last| &last.letters);
        let mut letters = letters.filter(|letter| letter.consumer == state.name);
        let mut seen = self.consumer.letters.iter();
        skipped
            || letters.any(|letter| letter.seq == seq)
            || seen.any(|(_, letter, _)| *letter == seq)
            || self
                .consumer
                .gaps
                .iter()
                .any(|(from, to)| (*from..=*to).contains(&seq))
    }

    fn may_be_letter(&self, seq: Seq) -> bool {
        let expires = self.facts.message_at(seq).is_some_and(|message| {
            let mut asked = self.facts.asked(message);
            asked.any(|(_, asked)| asked.expires.is_some())
        });
        expires
            || self
                .consumer
                .given
                .iter()
                .any(|given| given.token.seq == seq)
    }

    /// What is still in the log and behind the offset.
    fn passed(&self, state: &FinalConsumer, report: &mut Report) {
        for message in &self.facts.messages {
            let Some(seq) = message.row.map(|row| row.seq) else {
                continue;
            };
            if seq > state.offset
                || !self.is_owed(message, seq)
                || self.is_settled(seq)
                || self.is_excused(state, seq)
            {
                continue;
            }
            let places = [Some(message.first_asked), self.facts.end];
            report.add(SILENT, places.into_iter().flatten(), || {
                format!("{} passed {seq}, which nobody settled for it", state.name)
            });
        }
    }

    /// What is trimmed and was not settled is counted.
    fn trimmed(&self, state: &FinalConsumer, report: &mut Report) {
        // Set back, or made, where nothing is any more, it has nothing to miss there.
        let mut operations = self.consumer.operations.iter();
        if operations.any(|(_, what)| matches!(what, Operation::Reset(..) | Operation::Delete(_))) {
            return;
        }
        let mut missed = self.facts.messages.iter().filter_map(|message| {
            let (_, seq) = message.evidence.filter(|_| message.row.is_none())?;
            let gone = seq < self.facts.floor && seq <= state.offset;
            let owed = gone && self.is_owed(message, seq) && !self.is_settled(seq);
            (owed && !self.is_excused(state, seq) && !self.may_be_letter(seq)).then_some(seq)
        });
        let Some(first) = missed.next() else {
            return;
        };
        let count = 1 + missed.count() as u64;
        if count > state.gap_messages {
            report.add(UNREPORTED, self.facts.end, || {
                let (name, told) = (&state.name, state.gap_messages);
                format!("{name} missed {count} messages, {first} first, and is told of {told}")
            });
        }
    }
}

/// What had a receipt when somebody began to look is shown, as far as it was not trimmed.
fn shown(facts: &Facts<'_>, report: &mut Report) {
    let mut shows: BTreeMap<Call, HashSet<Seq>> = BTreeMap::new();
    for (_, event) in facts.history.events() {
        if let Event::Seen {
            call: Some(call),
            seq,
            ..
        } = event
        {
            shows.entry(*call).or_default().insert(*seq);
        }
    }
    let mut known: Vec<(Seq, Place, &MessageFacts<'_>)> = facts
        .messages
        .iter()
        .filter_map(|message| message.evidence.map(|(place, seq)| (seq, place, message)))
        .filter(|(seq, _, _)| *seq >= facts.floor)
        .collect();
    known.sort_unstable_by_key(|(seq, _, _)| *seq);
    let none = HashSet::new();
    for (call, asked) in facts.calls() {
        let What::Operate(Operation::Show(from, _)) = asked.what else {
            continue;
        };
        let Some((place, upto)) = shown_upto(asked) else {
            continue;
        };
        let seen = shows.get(&call).unwrap_or(&none);
        let begin = known.partition_point(|(seq, _, _)| seq < from);
        for (seq, evidence, message) in &known[begin..] {
            if *seq > upto {
                break;
            }
            if *evidence < asked.asked && !seen.contains(seq) {
                report.add(NOT_SHOWN, [*evidence, asked.asked, place], || {
                    format!("{} at {seq} was left out of what was shown", message.id)
                });
            }
        }
    }
}

fn shown_upto(call: &CallFacts<'_>) -> Option<(Place, Seq)> {
    call.told.iter().find_map(|(place, end)| match end {
        Outcome::Shown(upto) => Some((*place, *upto)),
        _ => None,
    })
}
