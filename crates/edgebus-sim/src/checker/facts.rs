//! The history in tables: calls with their outcomes, messages with what was learnt of them, streams,
//! consumers. Made in one pass, before any rule looks.
//!
//! Words: a *claim* says that a message has a place in the log: a receipt, a delivery, something
//! seen. A message's *evidence* is the first claim.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use edgebus_core::consumer::LeaseToken;
use edgebus_core::{ConsumerName, RequestId, Scope, Seq};

use crate::history::{
    Asked, Call, Client, Digest, Event, Final, History, Operation, Outcome, Place, Row, Settling,
    Setup, Terms, Worker,
};

/// What a call asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum What<'h> {
    /// A message is to be stored.
    Store(&'h Asked),
    /// An operator's wish.
    Operate(&'h Operation),
    /// What a worker said.
    Settle(&'h Settling),
}

/// A call and what came of it.
#[derive(Debug)]
pub(super) struct CallFacts<'h> {
    pub(super) what: What<'h>,
    pub(super) asked: Place,
    pub(super) told: Vec<(Place, Outcome)>,
    /// Whoever asked went away.
    pub(super) given_up: Option<Place>,
}

impl CallFacts<'_> {
    /// Whether it was refused: nothing came of it.
    pub(super) fn is_refused(&self) -> bool {
        let mut told = self.told.iter();
        told.any(|(_, outcome)| matches!(outcome, Outcome::Refused(_) | Outcome::StaleLease))
    }

    /// Where it was told that it was done; before that it took effect. `None`: it may take effect
    /// at any time, or never.
    pub(super) fn done(&self) -> Option<Place> {
        let mut told = self.told.iter();
        told.find_map(|(place, outcome)| matches!(outcome, Outcome::Done).then_some(*place))
    }
}

/// A claim that a message has a place in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Claim {
    pub(super) by: By,
    pub(super) place: Place,
    pub(super) seq: Seq,
    pub(super) id: RequestId,
    /// `None`: a receipt does not tell.
    pub(super) payload: Option<Digest>,
    /// `None`: a worker does not see it.
    pub(super) scope: Option<Scope>,
}

/// Who claims.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum By {
    Receipt,
    Delivery,
    Look,
}

/// What is known of a message that somebody asked to be stored.
#[derive(Debug)]
pub(super) struct MessageFacts<'h> {
    pub(super) scope: Scope,
    pub(super) id: RequestId,
    pub(super) calls: Vec<Call>,
    pub(super) first_asked: Place,
    /// Its first receipt or other sign of it: where, and which place in the log.
    pub(super) evidence: Option<(Place, Seq)>,
    /// Its row at the end.
    pub(super) row: Option<&'h Row>,
}

/// A stream of a consumer's messages.
#[derive(Debug)]
pub(super) struct StreamFacts<'h> {
    pub(super) opened: Place,
    pub(super) given: Vec<GivenFacts<'h>>,
}

/// A delivery.
#[derive(Clone, Copy, Debug)]
pub(super) struct GivenFacts<'h> {
    pub(super) place: Place,
    pub(super) consumer: &'h ConsumerName,
    pub(super) token: LeaseToken,
    pub(super) attempt: u32,
}

/// What is known of a consumer.
#[derive(Debug, Default)]
pub(super) struct ConsumerFacts<'h> {
    /// Calls that set it up.
    pub(super) set_ups: Vec<(Call, &'h Setup)>,
    /// All other operators' calls that concern it.
    pub(super) operations: Vec<(Call, &'h Operation)>,
    pub(super) given: Vec<GivenFacts<'h>>,
    /// Calls, by message.
    pub(super) settled: BTreeMap<Seq, Vec<Call>>,
    /// Dead letters that were seen.
    pub(super) letters: Vec<(Place, Seq, edgebus_core::consumer::DeadLetterCode)>,
    /// Messages that it was seen to have missed.
    pub(super) gaps: Vec<(Seq, Seq)>,
}

impl<'h> ConsumerFacts<'h> {
    /// Its setup, when it only ever had one and was never removed, so that what is owed to it can
    /// be told; and where it certainly was there.
    pub(super) fn one_setup(&self, facts: &Facts<'h>) -> Option<(&'h Setup, Place)> {
        let (_, setup) = *self.set_ups.first()?;
        if self.is_removed(facts) || self.set_ups.iter().any(|(_, other)| *other != setup) {
            return None;
        }
        let done = self
            .set_ups
            .iter()
            .filter_map(|(call, _)| facts.call(*call)?.done());
        Some((setup, done.min()?))
    }

    /// Whether somebody ever asked for it to be removed.
    pub(super) fn is_removed(&self, facts: &Facts<'h>) -> bool {
        let mut operations = self.operations.iter();
        operations.any(|(call, what)| {
            let refused = facts.call(*call).is_some_and(CallFacts::is_refused);
            matches!(what, Operation::Delete(_)) && !refused
        })
    }

    /// Whether an operator may have had a message done again that was settled by this call.
    pub(super) fn may_run_again(&self, facts: &Facts<'h>, seq: Seq, settled: Place) -> bool {
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

/// The history in tables.
#[derive(Debug)]
pub(super) struct Facts<'h> {
    pub(super) history: &'h History,
    pub(super) terms: Terms,
    pub(super) last: Option<&'h Final>,
    /// Where the end was read.
    pub(super) end: Option<Place>,
    calls: HashMap<Call, CallFacts<'h>>,
    /// In the order in which they were asked.
    pub(super) call_order: Vec<Call>,
    pub(super) messages: Vec<MessageFacts<'h>>,
    by_key: HashMap<(Scope, RequestId), usize>,
    by_id: HashMap<RequestId, Vec<usize>>,
    by_seq: HashMap<Seq, usize>,
    pub(super) claims: Vec<Claim>,
    pub(super) streams: BTreeMap<Worker, StreamFacts<'h>>,
    pub(super) consumers: BTreeMap<ConsumerName, ConsumerFacts<'h>>,
    for_all: Vec<(Call, &'h Operation)>,
    starts: Vec<Place>,
    rows: HashMap<Seq, &'h Row>,
    /// Everything below was trimmed, as far as anybody saw.
    pub(super) floor: Seq,
}

impl<'h> Facts<'h> {
    pub(super) fn of(history: &'h History) -> Self {
        let mut facts = Self {
            history,
            terms: history.terms,
            last: history.last(),
            end: None,
            calls: HashMap::new(),
            call_order: Vec::new(),
            messages: Vec::new(),
            by_key: HashMap::new(),
            by_id: HashMap::new(),
            by_seq: HashMap::new(),
            claims: Vec::new(),
            streams: BTreeMap::new(),
            consumers: BTreeMap::new(),
            for_all: Vec::new(),
            starts: Vec::new(),
            rows: HashMap::new(),
            floor: Seq(1),
        };
        let mut gone = Vec::new();
        let mut closed = HashMap::new();
        let mut clients: HashMap<Call, Client> = HashMap::new();
        for (place, event) in history.events() {
            facts.take(place, event, &mut clients);
            match event {
                Event::Gone { client } => gone.push((place, *client)),
                Event::Closed { worker } => drop(closed.insert(*worker, place)),
                _ => {}
            }
        }
        for consumer in facts.consumers.values_mut() {
            consumer.operations.extend(&facts.for_all);
        }
        facts.give_up(&gone, &closed, &clients);
        facts.read_end();
        facts.find_evidence();
        facts
    }

    fn take(&mut self, place: Place, event: &'h Event, clients: &mut HashMap<Call, Client>) {
        match event {
            Event::Asked(asked) => {
                clients.insert(asked.call, asked.client);
                self.ask(asked.call, place, What::Store(asked));
                let message = self.message(asked.scope, asked.id, place);
                self.messages[message].calls.push(asked.call);
            }
            Event::Operating { call, client, what } => {
                clients.insert(*call, *client);
                self.ask(*call, place, What::Operate(what));
                self.operate(*call, what);
            }
            Event::Opened { worker, .. } => {
                let given = Vec::new();
                let opened = place;
                self.streams.insert(*worker, StreamFacts { opened, given });
            }
            Event::Given {
                worker,
                consumer,
                token,
                id,
                payload,
                attempt,
            } => {
                let given = GivenFacts {
                    place,
                    consumer,
                    token: *token,
                    attempt: *attempt,
                };
                self.consumer(consumer).given.push(given);
                if let Some(stream) = worker.and_then(|worker| self.streams.get_mut(&worker)) {
                    stream.given.push(given);
                }
                self.claim(By::Delivery, place, token.seq, *id, Some(*payload), None);
            }
            Event::Settling(settling) => {
                self.ask(settling.call, place, What::Settle(settling));
                let consumer = self.consumer(&settling.consumer);
                let settled = consumer.settled.entry(settling.token.seq);
                settled.or_default().push(settling.call);
            }
            Event::Told { call, outcome } => self.tell(place, *call, *outcome),
            Event::Seen {
                seq, id, payload, ..
            } => self.claim(By::Look, place, *seq, *id, Some(*payload), None),
            Event::Trimmed { before } => self.floor = self.floor.max(*before),
            Event::Gap { consumer, from, to } => self.consumer(consumer).gaps.push((*from, *to)),
            Event::DeadLetter {
                consumer,
                seq,
                reason,
            } => self.consumer(consumer).letters.push((place, *seq, *reason)),
            Event::Final(_) => self.end = Some(place),
            Event::Started => self.starts.push(place),
            Event::Closed { .. }
            | Event::Gone { .. }
            | Event::SeenLast { .. }
            | Event::Fault { .. }
            | Event::IoFailed
            | Event::Died { .. }
            | Event::Remark(_) => {}
        }
    }

    fn ask(&mut self, call: Call, asked: Place, what: What<'h>) {
        self.call_order.push(call);
        let facts = CallFacts {
            what,
            asked,
            told: Vec::new(),
            given_up: None,
        };
        self.calls.insert(call, facts);
    }

    fn operate(&mut self, call: Call, what: &'h Operation) {
        match what.consumer() {
            None => {}
            Some(Some(name)) => {
                let consumer = self.consumer(name);
                match what {
                    Operation::SetUp(_, setup) => consumer.set_ups.push((call, setup)),
                    _ => consumer.operations.push((call, what)),
                }
            }
            Some(None) => self.for_all.push((call, what)),
        }
    }

    fn tell(&mut self, place: Place, call: Call, outcome: Outcome) {
        let Some(facts) = self.calls.get_mut(&call) else {
            return;
        };
        facts.told.push((place, outcome));
        if let (What::Store(asked), Outcome::Stored { seq, .. }) = (facts.what, outcome) {
            let by = By::Receipt;
            self.claim(by, place, seq, asked.id, None, Some(asked.scope));
        }
    }

    fn claim(
        &mut self,
        by: By,
        place: Place,
        seq: Seq,
        id: RequestId,
        payload: Option<Digest>,
        scope: Option<Scope>,
    ) {
        self.claims.push(Claim {
            by,
            place,
            seq,
            id,
            payload,
            scope,
        });
    }

    fn message(&mut self, scope: Scope, id: RequestId, place: Place) -> usize {
        let next = self.messages.len();
        let number = *self.by_key.entry((scope, id)).or_insert(next);
        if number == next {
            self.by_id.entry(id).or_default().push(number);
            self.messages.push(MessageFacts {
                scope,
                id,
                calls: Vec::new(),
                first_asked: place,
                evidence: None,
                row: None,
            });
        }
        number
    }

    fn consumer(&mut self, name: &ConsumerName) -> &mut ConsumerFacts<'h> {
        self.consumers.entry(name.clone()).or_default()
    }

    fn give_up(
        &mut self,
        gone: &[(Place, Client)],
        closed: &HashMap<Worker, Place>,
        clients: &HashMap<Call, Client>,
    ) {
        let gone: HashMap<Client, Place> = gone.iter().map(|(at, client)| (*client, *at)).collect();
        for (call, facts) in &mut self.calls {
            facts.given_up = match facts.what {
                What::Settle(settling) => settling.worker.and_then(|w| closed.get(&w)).copied(),
                _ => clients
                    .get(call)
                    .and_then(|client| gone.get(client))
                    .copied(),
            };
        }
    }

    fn read_end(&mut self) {
        let Some(last) = self.last else {
            return;
        };
        let first = last.log.first().map_or(last.last.next(), |row| row.seq);
        self.floor = self.floor.max(first);
        for row in &last.log {
            self.rows.insert(row.seq, row);
            if let Some(message) = self.by_key.get(&(row.scope, row.id)) {
                self.messages[*message].row = Some(row);
                self.by_seq.insert(row.seq, *message);
            }
        }
    }

    fn find_evidence(&mut self) {
        for number in 0..self.claims.len() {
            let claim = self.claims[number];
            let Some(message) = self.claimed(&claim) else {
                continue;
            };
            let facts = &mut self.messages[message];
            if facts.evidence.is_none() {
                facts.evidence = Some((claim.place, claim.seq));
            }
            self.by_seq.entry(claim.seq).or_insert(message);
        }
    }

    /// The message a claim is about, by its number. A worker sees no scope: where an id lives in
    /// several, the place in the log tells them apart, or nothing does.
    fn claimed(&self, claim: &Claim) -> Option<usize> {
        if let Some(scope) = claim.scope {
            return self.by_key.get(&(scope, claim.id)).copied();
        }
        let of_id = self.by_id.get(&claim.id)?;
        match of_id[..] {
            [only] => Some(only),
            _ => {
                let there = self.by_seq.get(&claim.seq)?;
                of_id.contains(there).then_some(*there)
            }
        }
    }

    /// A call; `None` when nobody noted that it was asked.
    pub(super) fn call(&self, call: Call) -> Option<&CallFacts<'h>> {
        self.calls.get(&call)
    }

    /// All calls, in the order in which they were asked.
    pub(super) fn calls(&self) -> impl Iterator<Item = (Call, &CallFacts<'h>)> {
        let calls = self.call_order.iter();
        calls.filter_map(|call| Some((*call, self.calls.get(call)?)))
    }

    /// The message with this id in this scope.
    pub(super) fn message_of(&self, asked: &Asked) -> Option<&MessageFacts<'h>> {
        let number = self.by_key.get(&(asked.scope, asked.id))?;
        self.messages.get(*number)
    }

    /// The messages with this id, in whatever scope.
    pub(super) fn messages_of(&self, id: RequestId) -> impl Iterator<Item = &MessageFacts<'h>> {
        let numbers = self.by_id.get(&id).into_iter().flatten();
        numbers.filter_map(|number| self.messages.get(*number))
    }

    /// The message at this place in the log.
    pub(super) fn message_at(&self, seq: Seq) -> Option<&MessageFacts<'h>> {
        self.messages.get(*self.by_seq.get(&seq)?)
    }

    /// What was at this place at the end.
    pub(super) fn row(&self, seq: Seq) -> Option<&'h Row> {
        self.rows.get(&seq).copied()
    }

    /// Whether the server started between two places.
    pub(super) fn restarted(&self, from: Place, to: Place) -> bool {
        let begin = self.starts.partition_point(|start| *start <= from);
        self.starts.get(begin).is_some_and(|start| *start < to)
    }

    /// How a message was asked for, in order.
    pub(super) fn asked<'a>(
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
pub(super) fn content(asked: &Asked) -> (&Arc<str>, Digest) {
    (&asked.topic, asked.payload)
}
