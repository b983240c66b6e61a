//! Consumers are made and set up anew.

use edgebus_core::consumer::{ConsumerConfig, ConsumerMode, Start};
use edgebus_core::{Code, ConsumerName, Refusal, Seq};

use super::commands::{Begin, refusal};
use super::{CONSUMERS_MAX, Dispatch};
use crate::clock::Now;
use crate::store::RequestStore;

impl Dispatch {
    /// Makes a consumer, or sets one up anew that does the same work.
    pub(super) fn put(
        &mut self,
        store: &mut RequestStore,
        name: &ConsumerName,
        config: &ConsumerConfig,
        begin: Begin,
        now: Now,
    ) -> Result<(), Refusal> {
        let Some(there) = store.ledgers().get(name).and_then(|ledger| ledger.config()) else {
            return self.make(store, name, config, begin, now);
        };
        same_work(name, there, config)?;
        config.check()?;
        // Where it began was decided when it was made.
        let config = config.clone().start(there.start);
        if config != *there {
            store.stage_put(name, config, Seq(0)).map_err(refusal)?;
            self.configured(name);
        }
        Ok(())
    }

    /// Makes a consumer.
    fn make(
        &mut self,
        store: &mut RequestStore,
        name: &ConsumerName,
        config: &ConsumerConfig,
        begin: Begin,
        now: Now,
    ) -> Result<(), Refusal> {
        config.check()?;
        self.check_room()?;
        self.check_overlap(store, name, config)?;
        let offset = match (begin, config.start) {
            (_, Start::New) | (Begin::New, _) => store.staged_seq(),
            (Begin::At(seq), _) => {
                let before = Seq(seq.0.max(store.first_seq().0).saturating_sub(1));
                // Behind the end it begins at the end: nothing that comes is left out in silence.
                before.min(store.staged_seq())
            }
        };
        store
            .stage_put(name, config.clone(), offset)
            .map_err(refusal)?;
        // One that had an offset only has a machine already.
        if self.slots.contains_key(name) {
            self.configured(name);
        } else {
            self.add_slot(store, name, now);
        }
        tracing::info!(consumer = %name, "a consumer was made");
        Ok(())
    }

    fn configured(&mut self, name: &ConsumerName) {
        self.forget_page(name);
        if let Some(slot) = self.slots.get_mut(name) {
            slot.machine.configured();
            slot.wake();
        }
    }

    pub(super) fn check_room(&self) -> Result<(), Refusal> {
        if self.slots.len() < CONSUMERS_MAX {
            return Ok(());
        }
        let message =
            format!("there are {CONSUMERS_MAX} consumers, which is as many as may be: remove one");
        Err(Refusal::new(Code::Busy, message))
    }

    /// A request has one responder, so that it has one reply.
    fn check_overlap(
        &self,
        store: &RequestStore,
        name: &ConsumerName,
        config: &ConsumerConfig,
    ) -> Result<(), Refusal> {
        if config.mode != ConsumerMode::Responder {
            return Ok(());
        }
        for (other, ledger) in store.ledgers() {
            let Some(theirs) = ledger.config() else {
                continue;
            };
            if other == name || theirs.mode != ConsumerMode::Responder || theirs.kind != config.kind
            {
                continue;
            }
            let both = config.patterns.iter().find(|ours| {
                let mut patterns = theirs.patterns.iter();
                patterns.any(|pattern| pattern.overlaps(ours))
            });
            if let Some(pattern) = both {
                let message = format!(
                    "responder {other} selects some of the topics of {pattern}, and a request has one responder: \
                     work for {other}, make a listener, or remove {other}"
                );
                return Err(Refusal::new(Code::ResponderOverlap, message));
            }
        }
        Ok(())
    }
}

/// Whether a consumer that is there does what is asked for.
fn same_work(
    name: &ConsumerName,
    there: &ConsumerConfig,
    wanted: &ConsumerConfig,
) -> Result<(), Refusal> {
    let same = there.mode == wanted.mode
        && there.kind == wanted.kind
        && there.patterns == wanted.patterns
        && there.target == wanted.target;
    if same {
        return Ok(());
    }
    let patterns: Vec<&str> = there.patterns.iter().map(|p| p.as_str()).collect();
    let message = format!(
        "consumer {name} is there and is a {:?} of {:?} messages on {}: use another name, or remove it",
        there.mode,
        there.kind,
        patterns.join(", ")
    );
    Err(Refusal::new(Code::ConsumerExists, message))
}
