//! The history in tables: calls with their outcomes, messages with what was learnt of them, streams,
//! consumers. `build` makes them in one pass, before any rule looks.
//!
//! Words: a *claim* says that a message has a place in the log: a receipt, a delivery, something
//! seen. A message's *evidence* is the first claim.

mod build;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use edgebus_core::consumer::LeaseToken;
use edgebus_core::{ConsumerName, RequestId, Scope, Seq};

use crate::history::{
    Asked, Call, Digest, Final, History, Operation, Outcome, Place, Row, Settling, Setup, Terms,
    Worker,
};

/// What a call asked for.
#[derive(Clone, Copy, Debug)]
pub(in crate::checker) enum What<'h> {
    /// A message is to be stored.
    Store(&'h Asked),
    /// An operator's wish.
    Operate(&'h Operation),
    /// What a worker said.
    Settle(&'h Settling),
}

/// A call and what came of it.
#[derive(Debug)]
pub(in crate::checker) struct CallFacts<'h> {
    pub(in crate::checker) what: What<'h>,
    pub(in crate::checker) asked: Place,
    pub(in crate::checker) told: Vec<(Place, Outcome)>,
    /// Whoever asked went away.
    pub(in crate::checker) given_up: Option<Place>,
}

impl CallFacts<'_> {
    /// Whether it was refused: nothing came of it.
    pub(in crate::checker) fn is_refused(&self) -> bool {
        let mut told = self.told.iter();
        told.any(|(_, outcome)| matches!(outcome, Outcome::Refused(_) | Outcome::StaleLease))
    }

    /// Where it was told that it was done; before that it took effect. `None`: it may take effect
    /// at any time, or never.
    pub(in crate::checker) fn done(&self) -> Option<Place> {
        let mut told = self.told.iter();
        told.find_map(|(place, outcome)| matches!(outcome, Outcome::Done).then_some(*place))
    }
}

/// A claim that a message has a place in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::checker) struct Claim {
    pub(in crate::checker) by: By,
    pub(in crate::checker) place: Place,
    pub(in crate::checker) seq: Seq,
    pub(in crate::checker) id: RequestId,
    /// `None`: a receipt does not tell.
    pub(in crate::checker) payload: Option<Digest>,
    /// `None`: a worker does not see it.
    pub(in crate::checker) scope: Option<Scope>,
}

/// Who claims.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::checker) enum By {
    Receipt,
    Delivery,
    Look,
}

/// What is known of a message that somebody asked to be stored.
#[derive(Debug)]
pub(in crate::checker) struct MessageFacts<'h> {
    pub(in crate::checker) scope: Scope,
    pub(in crate::checker) id: RequestId,
    pub(in crate::checker) calls: Vec<Call>,
    pub(in crate::checker) first_asked: Place,
    /// Its first receipt or other sign of it: where, and which place in the log.
    pub(in crate::checker) evidence: Option<(Place, Seq)>,
    /// Its row at the end.
    pub(in crate::checker) row: Option<&'h Row>,
}

/// A stream of a consumer's messages.
#[derive(Debug)]
pub(in crate::checker) struct StreamFacts<'h> {
    pub(in crate::checker) opened: Place,
    pub(in crate::checker) given: Vec<GivenFacts<'h>>,
}

/// A delivery.
#[derive(Clone, Copy, Debug)]
pub(in crate::checker) struct GivenFacts<'h> {
    pub(in crate::checker) place: Place,
    pub(in crate::checker) consumer: &'h ConsumerName,
    pub(in crate::checker) token: LeaseToken,
    pub(in crate::checker) attempt: u32,
}

/// What is known of a consumer.
#[derive(Debug, Default)]
pub(in crate::checker) struct ConsumerFacts<'h> {
    /// Calls that set it up.
    pub(in crate::checker) set_ups: Vec<(Call, &'h Setup)>,
    /// All other operators' calls that concern it.
    pub(in crate::checker) operations: Vec<(Call, &'h Operation)>,
    pub(in crate::checker) given: Vec<GivenFacts<'h>>,
    /// Calls, by message.
    pub(in crate::checker) settled: BTreeMap<Seq, Vec<Call>>,
    /// Dead letters that were seen.
    pub(in crate::checker) letters: Vec<(Place, Seq, edgebus_core::consumer::DeadLetterCode)>,
    /// Messages that it was seen to have missed.
    pub(in crate::checker) gaps: Vec<(Seq, Seq)>,
}

impl<'h> ConsumerFacts<'h> {
    /// Its setup, when it only ever had one, so that what is owed to it can be told; and since when it
    /// certainly is there, `None` when that is not known.
    pub(in crate::checker) fn one_setup(
        &self,
        facts: &Facts<'h>,
    ) -> Option<(&'h Setup, Option<Place>)> {
        let (_, setup) = *self.set_ups.first()?;
        if self.set_ups.iter().any(|(_, other)| *other != setup) {
            return None;
        }
        let set_ups = self.set_ups.iter();
        let made = set_ups.filter_map(|(call, _)| {
            let call = facts.call(*call)?;
            Some((call.asked, call.done()?))
        });
        let made = match self.removed(facts) {
            Removed::Never => made.map(|(_, done)| done).min(),
            Removed::By(gone) => made
                .filter(|(asked, _)| *asked > gone)
                .map(|(_, done)| done)
                .min(),
            Removed::Perhaps => None,
        };
        Some((setup, made))
    }

    fn removed(&self, facts: &Facts<'h>) -> Removed {
        let mut removed = Removed::Never;
        for (call, what) in &self.operations {
            let Some(call) = facts.call(*call).filter(|call| !call.is_refused()) else {
                continue;
            };
            if matches!(what, Operation::Delete(_)) {
                match (call.done(), removed) {
                    (None, _) | (_, Removed::Perhaps) => return Removed::Perhaps,
                    (Some(done), Removed::By(before)) => removed = Removed::By(done.max(before)),
                    (Some(done), Removed::Never) => removed = Removed::By(done),
                }
            }
        }
        removed
    }

    /// Whether somebody ever asked for it to be removed.
    pub(in crate::checker) fn is_removed(&self, facts: &Facts<'h>) -> bool {
        let mut operations = self.operations.iter();
        operations.any(|(call, what)| {
            let refused = facts.call(*call).is_some_and(CallFacts::is_refused);
            matches!(what, Operation::Delete(_)) && !refused
        })
    }

    /// Whether an operator may have had a message done again that was settled by this call.
    pub(in crate::checker) fn may_run_again(
        &self,
        facts: &Facts<'h>,
        seq: Seq,
        settled: Place,
    ) -> bool {
        self.operations.iter().any(|(call, what)| {
            let wanted = match what {
                Operation::Reset(_, offset) => seq > *offset,
                Operation::ReplayInto(_, from, to) => (*from..=*to).contains(&seq),
                Operation::Requeue(_) | Operation::Delete(_) => true,
                _ => false,
            };
            wanted
                && facts.call(*call).is_some_and(|call| {
                    !call.is_refused() && call.done().is_none_or(|done| done > settled)
                })
        })
    }
}

/// Whether a consumer was ever removed.
#[derive(Clone, Copy, Debug)]
enum Removed {
    Never,
    /// The last time before here.
    By(Place),
    /// Nobody knows when, if at all.
    Perhaps,
}

/// The history in tables.
#[derive(Debug)]
pub(in crate::checker) struct Facts<'h> {
    pub(in crate::checker) history: &'h History,
    pub(in crate::checker) terms: Terms,
    pub(in crate::checker) last: Option<&'h Final>,
    /// Where the end was read.
    pub(in crate::checker) end: Option<Place>,
    /// In the order in which they were asked.
    calls: Vec<(Call, CallFacts<'h>)>,
    by_call: HashMap<Call, usize>,
    pub(in crate::checker) messages: Vec<MessageFacts<'h>>,
    by_key: HashMap<(Scope, RequestId), usize>,
    by_id: HashMap<RequestId, Vec<usize>>,
    by_seq: HashMap<Seq, usize>,
    pub(in crate::checker) claims: Vec<Claim>,
    pub(in crate::checker) streams: BTreeMap<Worker, StreamFacts<'h>>,
    pub(in crate::checker) consumers: BTreeMap<ConsumerName, ConsumerFacts<'h>>,
    for_all: Vec<(Call, &'h Operation)>,
    starts: Vec<Place>,
    rows: HashMap<Seq, &'h Row>,
    /// Everything below was trimmed, as far as anybody saw.
    pub(in crate::checker) floor: Seq,
}

impl<'h> Facts<'h> {
    /// A call; `None` when nobody noted that it was asked.
    pub(in crate::checker) fn call(&self, call: Call) -> Option<&CallFacts<'h>> {
        let (_, facts) = self.calls.get(*self.by_call.get(&call)?)?;
        Some(facts)
    }

    /// All calls, in the order in which they were asked.
    pub(in crate::checker) fn calls(&self) -> impl Iterator<Item = (Call, &CallFacts<'h>)> {
        self.calls.iter().map(|(call, facts)| (*call, facts))
    }

    /// The message with this id in this scope.
    pub(in crate::checker) fn message_of(&self, asked: &Asked) -> Option<&MessageFacts<'h>> {
        let number = self.by_key.get(&(asked.scope, asked.id))?;
        self.messages.get(*number)
    }

    /// The messages with this id, in whatever scope.
    pub(in crate::checker) fn messages_of(
        &self,
        id: RequestId,
    ) -> impl Iterator<Item = &MessageFacts<'h>> {
        let numbers = self.by_id.get(&id).into_iter().flatten();
        numbers.filter_map(|number| self.messages.get(*number))
    }

    /// The message at this place in the log.
    pub(in crate::checker) fn message_at(&self, seq: Seq) -> Option<&MessageFacts<'h>> {
        self.messages.get(*self.by_seq.get(&seq)?)
    }

    /// What was at this place at the end.
    pub(in crate::checker) fn row(&self, seq: Seq) -> Option<&'h Row> {
        self.rows.get(&seq).copied()
    }

    /// Whether the server started between two places.
    pub(in crate::checker) fn restarted(&self, from: Place, to: Place) -> bool {
        let begin = self.starts.partition_point(|start| *start <= from);
        self.starts.get(begin).is_some_and(|start| *start < to)
    }

    /// How a message was asked for, in order.
    pub(in crate::checker) fn asked<'a>(
        &'a self,
        message: &'a MessageFacts<'h>,
    ) -> impl Iterator<Item = (&'a CallFacts<'h>, &'h Asked)> {
        message.calls.iter().filter_map(|call| {
            let call = self.call(*call)?;
            match call.what {
                What::Store(asked) => Some((call, asked)),
                _ => None,
            }
        })
    }
}

/// Topic and payload: what an id stands for.
pub(in crate::checker) fn content(asked: &Asked) -> (&Arc<str>, Digest) {
    (&asked.topic, asked.payload)
}
