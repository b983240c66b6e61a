//! What happened in one run, as those saw it who asked, worked and looked: the only thing the
//! [checker](crate::checker) reads.
//!
//! In reading order:
//! - [`event`]: what can happen; [`call`]: what can be asked and told; [`end`]: what was read at the
//!   very end
//! - [`recorder`]: takes it down, from as many places as there are
//! - `show`: an event on one line; `counts`: how much of what there was
//!
//! Plain types: ids, codes and numbers, no code of the product's. Contents are digests, made here.
//!
//! Invariants that whoever records must keep, or the checker accuses the innocent:
//! - What is *asked* is noted before the library is called, what is *told* or *given* after it
//!   returned. So the truth about a call lies between the two.
//! - Calls of one [`Client`] are noted in the order in which the library got them. Who cannot tell
//!   gives each call a client of its own.
//! - [`Event::Opened`] is noted before the stream is asked for; what comes on a stream is noted in
//!   the order in which it came.

pub mod call;
mod counts;
pub mod end;
pub mod event;
pub mod recorder;
mod show;

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

pub use call::{Asked, How, Kind, Operation, Outcome, Settling, Setup, Start};
pub use counts::Counts;
pub use end::{Final, FinalConsumer, FinalReply, Letter, Row};
pub use event::{Death, Event};
pub use recorder::Recorder;

/// A place in a history: 0 for what happened first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Place(pub u32);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A call, by which what was told is known to belong to what was asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Call(pub u32);

/// Who asks: calls of one are in the order in which the library got them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Client(pub u32);

/// A stream of a consumer's messages; each one that is opened has a number of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Worker(pub u32);

/// Stands for bytes: equal for equal ones, and for no others that a run meets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Digest(pub u64);

impl Digest {
    /// Of these bytes: FNV-1a (64 bits), its halves mixed as MurmurHash3 finishes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
            hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
        }
        Self(hash ^ (hash >> 33))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0 >> 32)
    }
}

/// An event and when it was noted, from the start of the run.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Noted {
    /// Simulated time, or real.
    pub at: Duration,
    /// What happened.
    pub event: Event,
}

/// What a run allowed, without which some events cannot be judged.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Terms {
    /// What may be trimmed without anybody asking for it.
    pub retention: Retention,
    /// At the end faults had stopped and everybody had time to finish: what is still open then
    /// hangs.
    pub drained: bool,
}

/// What a store trims by itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Retention {
    /// Nothing.
    #[default]
    ByHand,
    /// At least so many of the last messages are kept.
    Keeps(u64),
    /// By age or size: nothing that the checker could say how far it may go.
    Any,
}

/// All that was noted of one run, in its order.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct History {
    /// What the run allowed.
    pub terms: Terms,
    /// What happened.
    pub noted: Vec<Noted>,
}

impl History {
    /// The events with their places.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = (Place, &Event)> {
        let noted = self.noted.iter().enumerate();
        noted.map(|(place, noted)| (Place(place as u32), &noted.event))
    }

    /// What was read at the very end; `None` when the run did not come to that.
    pub fn last(&self) -> Option<&Final> {
        self.noted
            .iter()
            .rev()
            .find_map(|noted| match &noted.event {
                Event::Final(last) => Some(&**last),
                _ => None,
            })
    }

    /// How much of what there was.
    pub fn counts(&self) -> Counts {
        Counts::of(self)
    }
}
