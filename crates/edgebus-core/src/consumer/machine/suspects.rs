//! Suspects: messages that were with a place when it died. One of them did it.
//!
//! They are tried one at a time, each alone at its place, so that the next crash names its message.
//! A consumer with suspects claims one place; that runs empty, and other places go on.

use super::super::ledger::Ledger;
use super::super::places::{Place, Places};
use super::Consumer;

/// A place kept free for this consumer's suspects.
#[derive(Debug, Default)]
pub(super) struct Claim {
    /// This consumer, among those that claim places.
    id: Option<u64>,
    pub(super) place: Option<Place>,
    /// Something changed while the places were not at hand.
    pub(super) stale: bool,
}

impl Consumer {
    /// Places are not at hand: the claim is looked at with the next tick, which is due at once.
    pub(super) fn claim_may_change(&mut self) {
        self.claim.stale |= self.claim.place.is_some() || self.waiting.suspects() > 0;
    }

    /// Claims a place when a suspect could go there, and gives the claim up when none could: a
    /// claim keeps all consumers out of the place.
    pub(super) fn reclaim(&mut self, ledger: &Ledger, places: &mut Places) {
        self.claim.stale = false;
        if self.claim.place.is_none() && self.waiting.suspects() == 0 {
            return;
        }
        let wanted = self.wanted_place(ledger, places);
        if wanted == self.claim.place {
            return;
        }
        self.unclaim(places);
        if let Some(place) = wanted {
            let id = *self.claim.id.get_or_insert_with(|| places.register());
            places.claim(place, id);
            self.claim.place = wanted;
        }
    }

    pub(super) fn unclaim(&mut self, places: &mut Places) {
        if let (Some(place), Some(id)) = (self.claim.place.take(), self.claim.id) {
            places.unclaim(place, id);
        }
    }

    /// An idle place, or the one claimed already, or the one that is empty soonest.
    fn wanted_place(&self, ledger: &Ledger, places: &Places) -> Option<Place> {
        let ready = self.waiting.due_suspects(self.now_ms).next().is_some();
        if !ready || self.probe.is_some() || self.room(ledger, self.now_ms) == 0 {
            return None;
        }
        let detached = |worker: &super::Worker| worker.place == Place::Detached;
        if self.workers.ready().any(detached) {
            return None;
        }
        let places_ready = self.workers.ready().map(|worker| worker.place);
        places_ready.min_by_key(|place| {
            let in_flight = places.in_flight(*place);
            (in_flight > 0, Some(*place) != self.claim.place, in_flight)
        })
    }
}
