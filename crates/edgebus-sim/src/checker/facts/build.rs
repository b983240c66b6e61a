//! The pass that makes the tables.

use std::collections::{BTreeMap, HashMap};

use edgebus_core::{ConsumerName, RequestId, Scope, Seq};

use super::{
    By, CallFacts, Claim, ConsumerFacts, Facts, GivenFacts, MessageFacts, StreamFacts, What,
};
use crate::history::{Call, Client, Digest, Event, History, Operation, Outcome, Place, Worker};

impl<'h> Facts<'h> {
    pub(in crate::checker) fn of(history: &'h History) -> Self {
        let mut facts = Self {
            history,
            terms: history.terms,
            last: history.last(),
            end: None,
            calls: Vec::new(),
            by_call: HashMap::new(),
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
        let facts = CallFacts {
            what,
            asked,
            told: Vec::new(),
            given_up: None,
        };
        self.by_call.insert(call, self.calls.len());
        self.calls.push((call, facts));
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
        let Some(number) = self.by_call.get(&call) else {
            return;
        };
        let facts = &mut self.calls[*number].1;
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
}
