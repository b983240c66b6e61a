//! What a spool should hold, kept in memory and as simple as can be.

use std::collections::{BTreeMap, BTreeSet};

use edgebus::spool::{RowState, SpoolRow};
use edgebus::{Record, RecordLimits};
use edgebus_sim::SimRng;

use crate::model::Request;

/// All that was told.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) waiting: BTreeMap<u64, Record>,
    pub(super) dead: BTreeMap<u64, Record>,
    /// Settled before others in front of them, or without room to write that down: after a start they
    /// may wait again.
    pub(super) remembered: BTreeMap<u64, Record>,
    /// The last number that was given out.
    pub(super) last: u64,
}

/// What was asked for and not told: each part may have been done.
#[derive(Clone, Debug, Default)]
pub(super) struct Unsure {
    /// In their order: some first ones of them.
    pub(super) appended: Vec<Record>,
    pub(super) forwarded: Vec<u64>,
    pub(super) dead: Vec<u64>,
    pub(super) removed: Vec<u64>,
    pub(super) retried: Vec<u64>,
}

pub(super) fn record(rng: &mut SimRng) -> Record {
    let mut message = Request::random(rng).message();
    if rng.chance(0.03) {
        let mut payload = vec![0; 20_000 + rng.below(60_000) as usize];
        rng.fill(&mut payload);
        message.payload = payload.into();
    }
    Record::encode(&message, &RecordLimits::default()).expect("fits")
}

impl Model {
    /// The first number that is not settled.
    fn first(&self) -> u64 {
        self.waiting.keys().next().copied().unwrap_or(self.last + 1)
    }

    /// What is settled in front of all that waits is on disk: it does not come back.
    pub(super) fn settle_for_good(&mut self) {
        let first = self.first();
        self.remembered.retain(|number, _| *number > first);
    }

    pub(super) fn bytes(&self) -> u64 {
        let all = self.waiting.values().chain(self.dead.values());
        all.map(|record| record.as_bytes().len() as u64).sum()
    }

    /// Takes for true what a start found, if that can be.
    pub(super) fn adopt(&mut self, rows: &[SpoolRow], unsure: &Unsure) -> Result<(), String> {
        let mut next = Self {
            last: self.last,
            ..Self::default()
        };
        let mut before = 0;
        for row in rows {
            if row.number <= before {
                return Err(format!("{} behind {before}", row.number));
            }
            before = row.number;
            let rows = match row.state {
                RowState::Waiting => &mut next.waiting,
                _ => &mut next.dead,
            };
            rows.insert(row.number, row.record.clone());
        }
        self.check_waiting(&next, unsure)?;
        self.check_dead(&next, unsure)?;
        next.last = next.last.max(before);
        // On disk or not, they are what they are now.
        *self = next;
        Ok(())
    }

    fn check_waiting(&self, next: &Self, unsure: &Unsure) -> Result<(), String> {
        let may_go: BTreeSet<&u64> = [&unsure.forwarded, &unsure.dead, &unsure.removed]
            .into_iter()
            .flatten()
            .collect();
        for number in self.waiting.keys() {
            if !next.waiting.contains_key(number) && !may_go.contains(number) {
                return Err(format!("request {number} is lost"));
            }
        }
        let mut new = Vec::new();
        for (number, record) in &next.waiting {
            let known = self.waiting.get(number).or(self.remembered.get(number));
            match known {
                Some(known) if known == record => {}
                Some(_) => return Err(format!("request {number} is another")),
                None if *number > self.last => new.push((*number, record)),
                None => return Err(format!("request {number} is back")),
            }
        }
        let retried = unsure.retried.iter().map(|number| &self.dead[number]);
        let wanted = (self.last + 1..).zip(unsure.appended.iter().chain(retried));
        let wanted: Vec<_> = wanted.take(new.len()).collect();
        if new != wanted {
            return Err(format!("{} new ones are not those given", new.len()));
        }
        Ok(())
    }

    fn check_dead(&self, next: &Self, unsure: &Unsure) -> Result<(), String> {
        let may_go: BTreeSet<&u64> = unsure.removed.iter().chain(&unsure.retried).collect();
        for number in self.dead.keys() {
            if !next.dead.contains_key(number) && !may_go.contains(number) {
                return Err(format!("dead letter {number} is lost"));
            }
        }
        for (number, record) in &next.dead {
            let was_waiting = self.waiting.get(number).or(self.remembered.get(number));
            let died = was_waiting.filter(|_| unsure.dead.contains(number));
            if self.dead.get(number).or(died) != Some(record) {
                return Err(format!("dead letter {number} is new or another"));
            }
        }
        // A retried one is in one place.
        let retried = unsure.retried.iter();
        let gone = retried
            .filter(|number| !next.dead.contains_key(number))
            .count();
        let new = next.waiting.range(self.last + 1..).count();
        if !unsure.retried.is_empty() && gone != new {
            return Err(format!("{gone} dead letters wait as {new} requests"));
        }
        Ok(())
    }

    /// Whether rows are exactly what waits and is dead.
    pub(super) fn compare(&self, rows: &[SpoolRow]) -> Result<(), String> {
        let all: BTreeMap<_, _> = self.waiting.iter().chain(&self.dead).collect();
        let found: Vec<_> = rows.iter().map(|row| (&row.number, &row.record)).collect();
        let wanted: Vec<_> = all.into_iter().collect();
        let states = rows.iter().all(|row| {
            let waits = self.waiting.contains_key(&row.number);
            waits == (row.state == RowState::Waiting)
        });
        match found == wanted && states {
            true => Ok(()),
            false => {
                let found: Vec<_> = rows.iter().map(|row| row.number).collect();
                let wanted: Vec<_> = wanted.iter().map(|(number, _)| **number).collect();
                Err(format!("{found:?} and not {wanted:?}"))
            }
        }
    }
}
