//! Places: who may crash together, over all consumers of a bus.
//!
//! A place is a process that messages are with. Suspects (messages that may have killed a place)
//! go only to a place where nothing else is, and nothing else goes there until they are settled;
//! a consumer that wants such a place claims it, and it runs empty.
//!
//! Invariant: what a machine enters here it leaves again, and it drops its claim as soon as it
//! could not use it: a claim that stays behind would keep everybody else out for ever.

use std::collections::BTreeMap;

use super::op::PlaceKind;

/// Where a worker runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Place {
    /// In the server's own process.
    Process,
    /// At the other end of the connection with this number.
    Connection(u64),
    /// Nowhere in particular: each lease is a place of its own and ends by time alone.
    Detached,
}

impl Place {
    /// What is journaled of it.
    pub const fn kind(self) -> PlaceKind {
        match self {
            Self::Process => PlaceKind::Process,
            Self::Connection(_) => PlaceKind::Connection,
            Self::Detached => PlaceKind::Detached,
        }
    }
}

/// What is at each place. One for a bus; its consumers share it.
#[derive(Debug, Default)]
pub struct Places {
    consumers: u64,
    at: BTreeMap<Place, At>,
}

#[derive(Debug, Default)]
struct At {
    in_flight: u32,
    probes: u32,
    claims: Vec<u64>,
}

impl Places {
    /// How many messages are at a place, over all consumers.
    pub fn in_flight(&self, place: Place) -> u32 {
        self.at.get(&place).map_or(0, |at| at.in_flight)
    }

    /// Whether a place is kept free for a suspect, or has one: what any consumer may give out then
    /// depends on the others.
    pub fn has_claims(&self) -> bool {
        let mut places = self.at.values();
        places.any(|at| at.probes > 0 || !at.claims.is_empty())
    }

    /// Whether nothing is there and nobody waits for it.
    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// A number under which a consumer claims places.
    pub(super) fn register(&mut self) -> u64 {
        self.consumers += 1;
        self.consumers
    }

    /// Whether a message that is no suspect may go there.
    pub(super) fn is_open(&self, place: Place) -> bool {
        let at = self.at.get(&place);
        at.is_none_or(|at| at.probes == 0 && at.claims.is_empty())
    }

    /// Whether nothing is there, so that a suspect may go there.
    pub(super) fn is_idle(&self, place: Place) -> bool {
        self.in_flight(place) == 0
    }

    pub(super) fn enter(&mut self, place: Place, alone: bool) {
        if place == Place::Detached {
            return;
        }
        let at = self.at.entry(place).or_default();
        at.in_flight += 1;
        at.probes += u32::from(alone);
    }

    pub(super) fn leave(&mut self, place: Place, alone: bool) {
        self.change(place, |at| {
            debug_assert!(
                at.in_flight > 0,
                "a message leaves a place it never entered"
            );
            at.in_flight = at.in_flight.saturating_sub(1);
            at.probes = at.probes.saturating_sub(u32::from(alone));
        });
    }

    pub(super) fn claim(&mut self, place: Place, consumer: u64) {
        self.at.entry(place).or_default().claims.push(consumer);
    }

    pub(super) fn unclaim(&mut self, place: Place, consumer: u64) {
        self.change(place, |at| at.claims.retain(|claim| *claim != consumer));
    }

    fn change(&mut self, place: Place, change: impl FnOnce(&mut At)) {
        if let Some(at) = self.at.get_mut(&place) {
            change(at);
            if at.in_flight == 0 && at.claims.is_empty() {
                self.at.remove(&place);
            }
        }
    }
}
