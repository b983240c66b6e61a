//! What a client asked for and how it ended, noted as the application saw it, and the promises
//! that follow for the log.
//!
//! [`check`] believes nobody but the log: a receipt is true when the log has that id at that number
//! with that payload.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use edgebus_core::{Code, Entry, Message, RequestId, Seq};

/// How a request ended for whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With a receipt.
    Stored {
        /// Where it is in the log.
        seq: Seq,
        /// Whether it had been there before.
        duplicate: bool,
    },
    /// Nothing of it was stored.
    Refused(Code),
    /// It is on the client's own disk, under this number.
    Spooled(u64),
    /// It may have been stored.
    Unknown,
}

/// What one client asked for, in the order of its calls.
#[derive(Debug, Default)]
pub struct History {
    name: String,
    asked: Vec<Asked>,
}

#[derive(Debug)]
struct Asked {
    id: RequestId,
    payload: Bytes,
    ended: Option<Ended>,
}

/// A call that was noted.
#[derive(Clone, Copy, Debug)]
pub struct Call(usize);

impl History {
    /// A client that has not asked for anything.
    pub fn of(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            asked: Vec::new(),
        }
    }

    /// Notes that it asks for a request to be stored, before it does.
    pub fn asks(&mut self, message: &Message) -> Call {
        self.asked.push(Asked {
            id: message.id,
            payload: message.payload.clone(),
            ended: None,
        });
        Call(self.asked.len() - 1)
    }

    /// Notes how that ended.
    ///
    /// # Panics
    /// When it had ended already.
    pub fn ended(&mut self, call: Call, ended: Ended) {
        let asked = &mut self.asked[call.0];
        let before = asked.ended.replace(ended);
        assert_eq!(before, None, "{}: {} ended twice", self.name, asked.id);
    }

    /// What has to be asked again: every request that is unknown after the last time it was asked
    /// for here.
    pub fn unknown(&self) -> Vec<RequestId> {
        let mut last = BTreeMap::new();
        for asked in &self.asked {
            last.insert(asked.id, asked.ended);
        }
        let unknown = |(id, ended)| (ended == Some(Ended::Unknown)).then_some(id);
        last.into_iter().filter_map(unknown).collect()
    }

    /// How calls ended so far.
    pub fn outcomes(&self) -> Outcomes {
        let mut outcomes = Outcomes::default();
        for asked in &self.asked {
            outcomes.add(asked.ended);
        }
        outcomes
    }
}

/// How many calls ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// With a receipt for what was stored then.
    pub stored: u64,
    /// With a receipt for what had been stored before.
    pub duplicates: u64,
    /// Refused.
    pub refused: u64,
    /// On the client's disk.
    pub spooled: u64,
    /// Unknown.
    pub unknown: u64,
    /// Not ended.
    pub open: u64,
}

impl Outcomes {
    fn add(&mut self, ended: Option<Ended>) {
        *match ended {
            Some(Ended::Stored {
                duplicate: false, ..
            }) => &mut self.stored,
            Some(Ended::Stored { .. }) => &mut self.duplicates,
            Some(Ended::Refused(_)) => &mut self.refused,
            Some(Ended::Spooled(_)) => &mut self.spooled,
            Some(Ended::Unknown) => &mut self.unknown,
            None => &mut self.open,
        } += 1;
    }
}

/// Checks what clients were told against the whole log:
/// every call ended; every receipt is true; nothing is stored twice, nothing that nobody asked for,
/// nothing that was only ever refused; only one receipt says of an id that it was new; what one
/// client alone asked for, and got a receipt for at once, is in the order of its calls.
///
/// # Panics
/// With the first promise that was broken.
pub fn check(histories: &[History], log: &[Entry]) -> Outcomes {
    let stored = stored_once(log);
    let mut totals = Outcomes::default();
    let mut asked_by: BTreeMap<RequestId, BTreeSet<usize>> = BTreeMap::new();
    let mut payloads: BTreeMap<RequestId, &Bytes> = BTreeMap::new();
    let mut perhaps_stored: BTreeSet<RequestId> = BTreeSet::new();
    let mut was_new: BTreeMap<RequestId, &str> = BTreeMap::new();
    for (client, history) in histories.iter().enumerate() {
        for Asked { id, payload, ended } in &history.asked {
            let name = &*history.name;
            totals.add(*ended);
            asked_by.entry(*id).or_default().insert(client);
            let first = *payloads.entry(*id).or_insert(payload);
            assert_eq!(first, payload, "the test asks for {id} with two payloads");
            match ended {
                None => panic!("{name}: {id} never ended"),
                Some(Ended::Stored { seq, duplicate }) => {
                    let found = stored.get(id);
                    let (at, content) = found.unwrap_or_else(|| {
                        panic!("{name}: {id} has a receipt for {seq} and is not in the log")
                    });
                    assert_eq!(at, seq, "{name}: {id} is elsewhere than its receipt says");
                    assert_eq!(content, payload, "{name}: {id} has another payload");
                    if !duplicate && let Some(other) = was_new.insert(*id, name) {
                        panic!("{id} was new to both {other} and {name}");
                    }
                    perhaps_stored.insert(*id);
                }
                Some(Ended::Spooled(_) | Ended::Unknown) => drop(perhaps_stored.insert(*id)),
                Some(Ended::Refused(_)) => {}
            }
        }
    }
    for id in stored.keys() {
        assert!(payloads.contains_key(id), "nobody asked for {id}");
        let only_refused = !perhaps_stored.contains(id);
        assert!(!only_refused, "{id} was refused and is in the log");
    }
    for (client, history) in histories.iter().enumerate() {
        in_order(history, |id| asked_by[&id].iter().eq([&client]));
    }
    totals
}

/// Where each id is, and with which payload; each is there once, and no number is left out.
fn stored_once(log: &[Entry]) -> BTreeMap<RequestId, (Seq, Bytes)> {
    let mut stored = BTreeMap::new();
    let first = log.first().map_or(1, |entry| entry.seq().0);
    for (seq, entry) in (first..).zip(log) {
        let id = entry.record().id();
        assert_eq!(entry.seq(), Seq(seq), "the log has a hole");
        let before = stored.insert(id, (entry.seq(), entry.record().payload()));
        if let Some((other, _)) = before {
            panic!("{id} is stored twice: at {other} and {seq}");
        }
    }
    stored
}

/// What is only this client's, and ended with a receipt the first time, is in the order of calls.
fn in_order(history: &History, is_only_its: impl Fn(RequestId) -> bool) {
    let mut seen = BTreeSet::new();
    let mut last = Seq(0);
    for Asked { id, ended, .. } in &history.asked {
        let first_time = seen.insert(*id);
        if let Some(Ended::Stored { seq, .. }) = ended
            && first_time
            && is_only_its(*id)
        {
            let name = &history.name;
            assert!(*seq > last, "{name}: {id} at {seq} was asked after {last}");
            last = *seq;
        }
    }
}
