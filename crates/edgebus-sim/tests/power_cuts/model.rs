//! What a store should hold, kept in memory and as simple as can be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use edgebus::{ConsumerName, Message, RequestId, RequestStore, Seq};
use edgebus_sim::SimRng;

pub(crate) const CONSUMERS: [&str; 3] = ["till", "kitchen", "audit"];

/// A request as it was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Request {
    pub(crate) id: RequestId,
    pub(crate) topic: &'static str,
    pub(crate) payload: Arc<[u8]>,
}

impl Request {
    /// A request nobody sent before: of a size and content by chance.
    pub(crate) fn random(rng: &mut SimRng) -> Self {
        let mut id = [0; 16];
        rng.fill(&mut id);
        let bytes_max = *rng.pick(&[0, 20, 200, 3_000]);
        let mut payload = vec![b'x'; rng.below(bytes_max + 1) as usize];
        if rng.chance(0.5) {
            rng.fill(&mut payload);
        }
        Self {
            id: RequestId::from_bytes(id),
            topic: *rng.pick(&["orders.created", "orders.paid", "doors"]),
            payload: payload.into(),
        }
    }

    /// The same id with other content.
    pub(crate) fn forged(&self) -> Self {
        let payload = [self.payload.as_ref(), b"!"].concat();
        Self {
            payload: payload.into(),
            ..self.clone()
        }
    }

    pub(crate) fn message(&self) -> Message {
        let topic = self.topic.parse().expect("topic");
        Message::new(self.id, topic, self.payload.to_vec())
    }
}

/// A change of state.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Append(Request),
    Offset(&'static str, Seq),
    DeadLetter(&'static str, Seq),
}

/// Everything a store holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Model {
    pub(crate) log: Vec<Request>,
    pub(crate) offsets: BTreeMap<&'static str, Seq>,
    pub(crate) dead: BTreeSet<(&'static str, Seq)>,
}

impl Model {
    /// The last sequence number.
    pub(crate) fn last_seq(&self) -> Seq {
        Seq(self.log.len() as u64)
    }

    /// With these changes done.
    pub(crate) fn after(&self, changes: &[Change]) -> Self {
        let mut model = self.clone();
        for change in changes {
            match change {
                Change::Append(request) => model.log.push(request.clone()),
                Change::Offset(consumer, offset) => {
                    model.offsets.insert(consumer, *offset);
                }
                Change::DeadLetter(consumer, seq) => {
                    model.dead.insert((consumer, *seq));
                }
            }
        }
        model
    }

    /// Why a store does not hold exactly this; `Ok` when it does.
    pub(crate) fn compare(&self, store: &RequestStore) -> Result<(), String> {
        let mut seq = Seq(0);
        for entry in store.replay_from(Seq(1)) {
            let entry = entry.map_err(|error| format!("replay after seq {seq}: {error}"))?;
            seq = seq.next();
            if entry.seq() != seq {
                return Err(format!("seq {} where {seq} belongs", entry.seq()));
            }
            let record = entry.record();
            let Some(wanted) = self.log.get(seq.0 as usize - 1) else {
                return Err(format!("seq {seq} should not be there"));
            };
            let same = record.id() == wanted.id
                && record.topic_str() == wanted.topic
                && record.payload_bytes() == wanted.payload.as_ref();
            if !same {
                return Err(format!("seq {seq} is not what was sent"));
            }
        }
        if seq != self.last_seq() || store.reader().last_seq() != seq {
            return Err(format!("the log ends at {seq}, not {}", self.last_seq()));
        }
        for consumer in CONSUMERS {
            let found = store.get_consumer_offset(&name(consumer));
            let found = found.map_err(|error| error.to_string())?;
            if found.as_ref() != self.offsets.get(consumer) {
                return Err(format!("offset of {consumer} is {found:?}"));
            }
        }
        let (found, wanted) = (store.dead_letter_count(), self.dead.len() as u64);
        if found != wanted {
            return Err(format!("{found} dead letters, not {wanted}"));
        }
        Ok(())
    }

    /// Checks the look-ups that [`Model::compare`] leaves out: every id and every dead letter.
    pub(crate) fn check_look_ups(&self, store: &mut RequestStore) {
        let reader = store.reader();
        for (seq, request) in (1..).map(Seq).zip(&self.log) {
            let found = reader.find(request.id, Default::default()).expect("find");
            assert_eq!(found, Some(seq), "id of seq {seq}");
        }
        let now = store.clock().now();
        for (consumer, seq) in &self.dead {
            let staged = store.stage_dead_letter(*seq, &name(consumer), "again", now);
            assert_eq!(staged.expect("look-up"), Ok(false), "{consumer} {seq}");
        }
        assert_eq!(store.staged_bytes(), 0, "nothing was new");
    }
}

pub(crate) fn name(consumer: &str) -> ConsumerName {
    consumer.parse().expect("consumer name")
}
