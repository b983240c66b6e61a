//! What may go wrong in a world: everything by chance, or one thing alone.

use std::time::Duration;

use super::kinds::FaultKind;
use super::plan::{Ending, Plan};
use crate::disk::{Fault, Times};
use crate::rng::SimRng;

/// What may go wrong in a world.
#[derive(Clone, Copy, Debug, Default)]
pub enum Weather {
    /// Everything, by chance.
    #[default]
    Storm,
    /// The server's wall clock, and nothing else; the server is shut down or killed between.
    Clocks,
    /// One call of the server's that changes something on its disk, in its first life.
    Strike {
        /// Which, counted from 1.
        call: u64,
        /// How it fails.
        fault: Fault,
        /// Whether those behind it fail too.
        times: Times,
    },
}

/// How long a life lasts in which one call fails: enough for sealing and segments that are used again.
const STRIKE_LASTS: Duration = Duration::from_millis(2_500);
/// How often the wall clock goes wrong in a life, in which it is all that does.
const JUMPS: u64 = 6;

impl Weather {
    /// Whether connections are cut, slow or wrong.
    pub(super) fn is_at_sea(&self) -> bool {
        matches!(self, Self::Storm)
    }

    /// How many lives the server has before all is calm.
    pub(super) fn lives(&self, rng: &mut SimRng) -> u64 {
        match self {
            Self::Storm => *rng.pick(&[8, 9, 10, 12]),
            Self::Clocks => 4,
            Self::Strike { .. } => 1,
        }
    }

    /// What goes wrong in the next life.
    pub(super) fn plan(&self, rng: &mut SimRng) -> Plan {
        let drawn = Plan::draw(rng);
        match *self {
            Self::Storm => drawn,
            Self::Clocks => Plan {
                ending: match drawn.ending {
                    Ending::Kill { .. } => drawn.ending,
                    _ => Ending::Shutdown,
                },
                full: None,
                clock: Some(*rng.pick(&FaultKind::CLOCKS)),
                jumps: (0..JUMPS).map(|_| jump(rng, drawn.lasts)).collect(),
                ..drawn
            },
            Self::Strike { call, fault, times } => Plan {
                ending: Ending::Io {
                    after_calls: call,
                    fault,
                    times,
                },
                lasts: STRIKE_LASTS,
                full: None,
                clock: None,
                jumps: Vec::new(),
                ..drawn
            },
        }
    }
}

/// When in a life, and how, the wall clock goes wrong.
pub(super) fn jump(rng: &mut SimRng, within: Duration) -> (Duration, FaultKind) {
    let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
    let at = Duration::from_millis(rng.below(within_ms.max(1)));
    (at, *rng.pick(&FaultKind::CLOCKS))
}
