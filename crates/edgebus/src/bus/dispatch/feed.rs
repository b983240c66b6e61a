//! What consumers are offered: from memory where it is there, else from the feeder.

use edgebus_core::consumer::Offer;
use edgebus_core::query::LogQuery;
use edgebus_core::{ConsumerName, Entry, Seq};

use super::near::Near;
use super::{Dispatch, Slot, moment};
use crate::bus::feeder::{Failed, Fed, Job};
use crate::clock::Now;
use crate::store::{RequestStore, TailRead};

/// Messages and bytes looked at in one go, so that one consumer does not hold up the others.
const SCAN_MESSAGES: usize = 512;
const SCAN_BYTES: usize = 1024 * 1024;
/// Messages of one page, and of one load, from the tables.
const PAGE_MESSAGES: usize = 1024;
const LOAD_MESSAGES: usize = 256;
/// How long a consumer rests whose messages cannot be read.
const UNREADABLE_S: u64 = 30;

impl Slot {
    /// Whether there may be something to give out, or a message to look at.
    fn wants_a_look(&mut self, end: Seq, now: Now) -> bool {
        if let Some(until) = self.unreadable_until {
            if now.monotonic < until {
                return false;
            }
            self.unreadable_until = None;
            self.awake = true;
        }
        self.awake || self.looked_upto < end
    }
}

impl Dispatch {
    /// Offers every consumer what it can take. Says whether to come back at once.
    pub(in crate::bus) fn feed(&mut self, store: &mut RequestStore, now: Now) -> bool {
        let end = store.staged_seq();
        // While a place is kept free, and just after, a consumer may have to wait for another.
        let claims = self.places.has_claims();
        let all = claims || std::mem::replace(&mut self.claims, claims);
        let wanting = self.slots.iter_mut().filter_map(|(name, slot)| {
            let wants = all || slot.wants_a_look(end, now);
            slot.awake &= !wants;
            wants.then(|| name.clone())
        });
        let names: Vec<_> = wanting.collect();
        let (mut near, mut more) = (Near::default(), false);
        for name in names {
            self.feed_due(store, &name, now);
            let behind = self.scan(store, &name, &mut near, now);
            if let Some(slot) = self.slots.get_mut(&name) {
                slot.behind = behind;
            }
            more |= behind;
        }
        more
    }

    /// Retries, suspects, requeued and replayed messages.
    fn feed_due(&mut self, store: &mut RequestStore, name: &ConsumerName, now: Now) {
        let moment = moment(store, now);
        let (Some(slot), Some(ledger)) = (self.slots.get(name), store.ledgers().get(name)) else {
            return;
        };
        let due = slot
            .machine
            .due(ledger, &self.places, moment, LOAD_MESSAGES);
        let mut wanted = Vec::new();
        for (seq, letter) in due {
            let near = match letter {
                Some(_) => None,
                None => in_memory(store, seq),
            };
            match near {
                Some(entry) => drop(self.offer(store, name, &entry, now)),
                None => wanted.push((seq, letter)),
            }
        }
        if let Some(slot) = self.slots.get_mut(name) {
            wanted.retain(|(seq, _)| slot.loading.insert(*seq));
            if !wanted.is_empty() {
                self.jobs.push(Job::Load {
                    consumer: name.clone(),
                    ticket: slot.born,
                    wanted,
                });
            }
        }
    }

    /// Goes on where the consumer stands. Says whether there is more to look at at once.
    fn scan(
        &mut self,
        store: &mut RequestStore,
        name: &ConsumerName,
        near: &mut Near,
        now: Now,
    ) -> bool {
        let end = store.staged_seq();
        let mut looked = 0;
        loop {
            let (Some(slot), Some(ledger)) = (self.slots.get_mut(name), store.ledgers().get(name))
            else {
                return false;
            };
            let Some(from) = slot.machine.scan_from(ledger) else {
                // It stands still until something happens to it.
                slot.looked_upto = Seq(u64::MAX);
                return false;
            };
            slot.looked_upto = Seq(from.0 - 1);
            if from > end {
                return false;
            }
            if looked >= SCAN_MESSAGES {
                slot.awake = true;
                return true;
            }
            while slot.page.front().is_some_and(|entry| entry.seq() < from) {
                slot.page.pop_front();
            }
            if let Some(entry) = slot.page.front().cloned() {
                slot.machine.passed(Seq(entry.seq().0 - 1));
                looked += 1;
                if self.offer(store, name, &entry, now) == Offer::NoRoom {
                    self.forget_idle_page(store, name);
                    return false;
                }
                continue;
            }
            if from <= slot.page_upto {
                slot.machine.passed(slot.page_upto);
                continue;
            }
            if slot.page_ticket.is_some() {
                return false;
            }
            if !near.begins_at(from) {
                match store.tail_from(from, SCAN_MESSAGES, SCAN_BYTES) {
                    TailRead::End => return false,
                    TailRead::InTables => {
                        self.ask_page(store, name, from);
                        return false;
                    }
                    TailRead::Entries(entries) => *near = Near::new(from, entries),
                }
            }
            let Some(config) = ledger.config() else {
                return false;
            };
            let wanted = near.wanted_by(config);
            looked += near.entries.len();
            if wanted.is_empty() {
                slot.machine.passed(near.last);
                continue;
            }
            for entry in wanted {
                if let Some(slot) = self.slots.get_mut(name) {
                    slot.machine.passed(Seq(entry.seq().0 - 1));
                }
                if self.offer(store, name, entry, now) == Offer::NoRoom {
                    return false;
                }
            }
            if let Some(slot) = self.slots.get_mut(name) {
                slot.machine.passed(near.last);
            }
        }
    }

    fn ask_page(&mut self, store: &RequestStore, name: &ConsumerName, from: Seq) {
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        let config = store.ledgers().get(name).and_then(|ledger| ledger.config());
        let (Some(slot), Some(config)) = (self.slots.get_mut(name), config) else {
            return;
        };
        slot.page_ticket = Some(ticket);
        let mut query = LogQuery::from(from);
        query.topics = config.patterns.clone();
        query.kind = Some(config.kind);
        query.limit = PAGE_MESSAGES;
        query.page_bytes = SCAN_BYTES;
        self.jobs.push(Job::Page {
            consumer: name.clone(),
            ticket,
            query,
        });
    }

    /// A consumer that nobody works for may wait for long, and there may be many: what was read
    /// for it is read again when somebody comes.
    fn forget_idle_page(&mut self, store: &RequestStore, name: &ConsumerName) {
        let (slot, ledger) = (self.slots.get(name), store.ledgers().get(name));
        let waits = slot.zip(ledger).is_some_and(|(slot, ledger)| {
            !slot.machine.has_worker() && slot.machine.scan_from(ledger).is_none()
        });
        if waits {
            self.forget_page(name);
        }
    }

    /// What was read does not count any more.
    pub(super) fn forget_page(&mut self, name: &ConsumerName) {
        if let Some(slot) = self.slots.get_mut(name) {
            slot.page.clear();
            slot.page_upto = Seq(0);
            slot.page_ticket = None;
            slot.wake();
        }
    }

    fn offer(
        &mut self,
        store: &mut RequestStore,
        name: &ConsumerName,
        entry: &Entry,
        now: Now,
    ) -> Offer {
        let moment = moment(store, now);
        let offered = self.drive(store, name, |machine, ledger, places, out| {
            machine.offer(ledger, places, entry, moment, out)
        });
        offered.unwrap_or(Offer::NoRoom)
    }

    fn awaits(&self, store: &RequestStore, name: &ConsumerName, seq: Seq) -> bool {
        let (slot, ledger) = (self.slots.get(name), store.ledgers().get(name));
        slot.zip(ledger)
            .is_some_and(|(slot, ledger)| slot.machine.awaits(ledger, seq))
    }

    /// Takes up what the feeder found.
    pub(in crate::bus) fn fed(&mut self, store: &mut RequestStore, fed: Fed, now: Now) {
        match fed {
            Fed::Page {
                consumer,
                ticket,
                entries,
                upto,
            } => {
                if let Some(slot) = self.slots.get_mut(&consumer)
                    && slot.page_ticket == Some(ticket)
                {
                    slot.page_ticket = None;
                    slot.page = entries.into();
                    slot.page_upto = upto;
                    slot.wake();
                }
            }
            Fed::Loaded {
                consumer,
                ticket,
                found,
            } => self.loaded(store, &consumer, ticket, found, now),
            Fed::Answer { seq, answer } => match answer {
                Some(answer) => self.waiters.answer(seq, &answer),
                None => self.waiters.not_found(seq),
            },
            Fed::Failed {
                of: Failed::Messages(consumer, ticket),
                error,
            } => self.unreadable(&consumer, ticket, &error, now),
            Fed::Failed {
                of: Failed::Answer(seq),
                error,
            } => {
                tracing::error!(%seq, %error, "the outcome of a request cannot be read");
                self.waiters.forget(seq);
            }
        }
    }

    fn loaded(
        &mut self,
        store: &mut RequestStore,
        name: &ConsumerName,
        born: u64,
        found: Vec<(Seq, Option<Entry>)>,
        now: Now,
    ) {
        match self.slots.get_mut(name) {
            Some(slot) if slot.born == born => {
                for (seq, _) in &found {
                    slot.loading.remove(seq);
                }
                slot.wake();
            }
            _ => return,
        }
        for (seq, entry) in found {
            match entry {
                // One that finds no room is asked for again.
                Some(entry) if self.awaits(store, name, seq) => {
                    self.offer(store, name, &entry, now);
                }
                // It was done, removed or reset while it was being read.
                Some(_) => {}
                None => drop(self.drive(store, name, |machine, ledger, places, out| {
                    machine.gone(ledger, places, seq, out);
                })),
            }
        }
    }

    fn unreadable(
        &mut self,
        name: &ConsumerName,
        ticket: u64,
        error: &crate::store::StoreError,
        now: Now,
    ) {
        let Some(slot) = self.slots.get_mut(name) else {
            return;
        };
        if slot.born != ticket && slot.page_ticket != Some(ticket) {
            return;
        }
        tracing::error!(consumer = %name, %error, "a consumer's messages cannot be read; it rests");
        slot.page_ticket = slot.page_ticket.filter(|asked| *asked != ticket);
        slot.loading.clear();
        slot.unreadable_until = Some(now.monotonic + std::time::Duration::from_secs(UNREADABLE_S));
    }
}

/// A message that is in memory still.
fn in_memory(store: &RequestStore, seq: Seq) -> Option<Entry> {
    match store.tail_from(seq, 1, 1) {
        TailRead::Entries(entries) => entries.into_iter().next().filter(|e| e.seq() == seq),
        _ => None,
    }
}
