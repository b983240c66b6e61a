//! How much of what there was in a run, to be added up over many.

use std::collections::BTreeMap;

use super::call::{Operation, Outcome};
use super::{Death, Event, History, How, Kind};

/// How much of what there was.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// What was asked, said and looked at, by kind.
    pub operations: BTreeMap<&'static str, u64>,
    /// How calls ended, by kind.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// What was made to go wrong, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// How servers stopped.
    pub deaths: BTreeMap<Death, u64>,
}

impl Counts {
    /// Of one run.
    pub fn of(history: &History) -> Self {
        let mut counts = Self::default();
        for noted in &history.noted {
            match &noted.event {
                Event::Told { outcome, .. } => add(&mut counts.outcomes, outcome_kind(*outcome)),
                Event::Fault { kind, .. } => add(&mut counts.faults, kind),
                Event::Died { how } => *counts.deaths.entry(*how).or_default() += 1,
                event => {
                    if let Some(kind) = operation_kind(event) {
                        add(&mut counts.operations, kind);
                    }
                }
            }
        }
        counts
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        add_all(&mut self.operations, &other.operations);
        add_all(&mut self.outcomes, &other.outcomes);
        add_all(&mut self.faults, &other.faults);
        add_all(&mut self.deaths, &other.deaths);
    }

    /// All operations.
    pub fn operations_total(&self) -> u64 {
        self.operations.values().sum()
    }
}

fn add<K: Ord>(counts: &mut BTreeMap<K, u64>, kind: K) {
    *counts.entry(kind).or_default() += 1;
}

fn add_all<K: Ord + Copy>(counts: &mut BTreeMap<K, u64>, others: &BTreeMap<K, u64>) {
    for (kind, count) in others {
        *counts.entry(*kind).or_default() += count;
    }
}

/// What counts as an operation: what somebody outside the server does or is given.
fn operation_kind(event: &Event) -> Option<&'static str> {
    Some(match event {
        Event::Asked(asked) => match asked.kind {
            Kind::Send => "send",
            Kind::Request => "request",
            Kind::Spool => "spool",
            Kind::Publish => "publish",
        },
        Event::Operating { what, .. } => match what {
            Operation::SetUp(..) => "set up consumer",
            Operation::Reset(..) => "reset consumer",
            Operation::Delete(..) => "delete consumer",
            Operation::Pause(..) => "pause consumer",
            Operation::Resume(..) => "resume consumer",
            Operation::ReplayInto(..) => "replay into consumer",
            Operation::Requeue(..) => "requeue",
            Operation::RemoveLetters(..) => "remove dead letters",
            Operation::Bury(..) => "bury",
            Operation::Trim(..) => "trim",
            Operation::Show(..) => "replay",
        },
        Event::Settling(settling) => match settling.how {
            How::Ack => "ack",
            How::Complete(_) => "complete",
            How::Nak => "nak",
            How::Term => "term",
            How::Extend => "extend",
            How::Release => "release",
        },
        Event::Opened { .. } => "open stream",
        Event::Given { .. } => "delivery",
        _ => return None,
    })
}

fn outcome_kind(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Stored {
            duplicate: false, ..
        } => "stored",
        Outcome::Stored { .. } => "duplicate",
        Outcome::Spooled { .. } => "spooled",
        Outcome::Refused(code) => code.as_str(),
        Outcome::Unknown => "unknown",
        Outcome::Reply(_) => "reply",
        Outcome::DeadLettered => "dead-lettered",
        Outcome::ReplyExpired => "reply expired",
        Outcome::TimedOut => "timed out",
        Outcome::Done => "done",
        Outcome::AlreadyCompleted => "already completed",
        Outcome::StaleLease => "stale lease",
        Outcome::Shown(_) => "shown",
    }
}
