//! What is sent, and what becomes of it with those who work on it: all of it from the seed.
//!
//! Invariant: an id stands for one topic and payload, whoever sends it and however often.

use std::time::Duration;

use bytes::Bytes;
use edgebus::{Message, RequestId, Topic};

use crate::rng::SimRng;

/// Topics that a responder answers.
const WORK: [&str; 3] = ["work.orders", "work.prices", "work.stock"];
/// Topics that only listeners hear of.
const NEWS: [&str; 2] = ["news.sales", "news.shifts"];
/// Ids that any client may send.
pub const SHARED: u16 = u16::MAX;

/// The requests of a run.
#[derive(Clone, Copy, Debug)]
pub struct Content {
    seed: u64,
    payload_bytes_max: u64,
}

impl Content {
    /// Those of a seed; payloads are mostly small, and never larger than this.
    pub fn new(seed: u64, payload_bytes_max: u64) -> Self {
        Self {
            seed,
            payload_bytes_max: payload_bytes_max.max(64),
        }
    }

    /// The n-th request of a client, or of [`SHARED`].
    pub fn request(&self, client: u16, n: u64) -> Message {
        let mut rng = self.rng(u64::from(client) << 48 | n);
        let topic = match rng.chance(0.7) {
            true => *rng.pick(&WORK),
            false => *rng.pick(&NEWS),
        };
        let id = self.id(client, n, &mut rng);
        let mut payload = format!("{n} of {client}:").into_bytes();
        let text = payload.len();
        payload.resize(text + self.filler(&mut rng), 0);
        rng.fill(&mut payload[text..]);
        // Half of them are text, which is printed in another way.
        if rng.chance(0.5) {
            payload[text..]
                .iter_mut()
                .for_each(|byte| *byte = b'a' + *byte % 26);
        }
        Message::new(id, parsed(topic), payload)
    }

    /// Something else under the id of a request: it must be refused.
    pub fn conflicting(&self, request: &Message) -> Message {
        let mut payload = request.payload.to_vec();
        payload.extend_from_slice(b"!");
        Message::new(request.id, request.topic.clone(), payload)
    }

    /// Ids of even clients go up as version 7 ids do, those of odd ones are random; both are found.
    fn id(&self, client: u16, n: u64, rng: &mut SimRng) -> RequestId {
        let mut id = [0; 16];
        rng.fill(&mut id);
        if client.is_multiple_of(2) {
            id[..8].copy_from_slice(&n.to_be_bytes());
        }
        // What keeps them apart for sure.
        id[8..10].copy_from_slice(&client.to_be_bytes());
        id[10..16].copy_from_slice(&n.to_be_bytes()[2..]);
        RequestId::from_bytes(id)
    }

    fn filler(&self, rng: &mut SimRng) -> usize {
        let bytes = match rng.below(50) {
            0 => rng.below(self.payload_bytes_max - 63),
            1..=9 => rng.below(4_000),
            _ => rng.below(300),
        };
        bytes.min(self.payload_bytes_max - 63) as usize
    }

    /// What a worker is to do with a message the n-th time it has it.
    pub fn fate(&self, id: RequestId, delivery: u32) -> Fate {
        // Client and number, as `id` has put them.
        let [_, _, _, _, _, _, _, _, own @ ..] = *id.as_bytes();
        let mut rng = self.rng(u64::from_be_bytes(own) ^ 0xFA7E);
        let first = delivery <= 1;
        match rng.below(100) {
            0 => Fate::Rejected,
            1..=4 if first => Fate::Fails,
            5..=6 if first => Fate::GivenBack,
            7..=12 => Fate::Slow(Duration::from_millis(1 + rng.below(40))),
            13..=14 => Fate::Extended(Duration::from_millis(rng.below(10))),
            _ => Fate::Done,
        }
    }

    fn rng(&self, number: u64) -> SimRng {
        let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        SimRng::seeded(self.seed ^ mixed)
    }
}

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Done at once.
    Done,
    /// Done after a while.
    Slow(Duration),
    /// Its lease is made longer, then it is done.
    Extended(Duration),
    /// Fails, and is done later.
    Fails,
    /// Given back untouched, and done later.
    GivenBack,
    /// Fails for good.
    Rejected,
}

/// A reply that no other execution gives.
pub fn reply(id: RequestId, worker: u32, execution: u64) -> Bytes {
    format!("{id} by {worker}, its {execution}.").into()
}

fn parsed(topic: &str) -> Topic {
    topic.parse().expect("topics here are sound")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn id_stands_for_one_content_and_no_other_has_it() {
        let content = Content::new(7, 10_000);
        let mut ids = BTreeSet::new();
        for client in [0, 1, 2, SHARED] {
            for n in 0..300 {
                let request = content.request(client, n);
                assert_eq!(request, content.request(client, n));
                assert!(ids.insert(request.id), "{n} of {client}");
                assert!(request.payload.len() <= 10_000);
                assert_ne!(content.conflicting(&request).payload, request.payload);
            }
        }
        assert_ne!(content.request(1, 1), Content::new(8, 10_000).request(1, 1));
    }

    #[test]
    fn every_fate_comes_up_and_ends() {
        let content = Content::new(1, 64);
        let mut seen = BTreeSet::new();
        for n in 0..2_000 {
            let id = content.request(3, n).id;
            let first = content.fate(id, 1);
            seen.insert(format!("{first:?}").split('(').next().map(str::to_owned));
            assert_eq!(first, content.fate(id, 1));
            let later = content.fate(id, 2);
            assert!(!matches!(later, Fate::Fails | Fate::GivenBack), "{later:?}");
        }
        assert_eq!(seen.len(), 6, "{seen:?}");
    }
}
