//! What goes wrong on a network, how often, and the choice of it.

use std::time::Duration;

use crate::dice::Dice;

/// What goes wrong on all connections.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// What happens to what clients say.
    pub to_server: Faults,
    /// What happens to what the server says.
    pub to_client: Faults,
    /// How likely a new connection is refused.
    pub refuse: f64,
}

/// What happens to chunks of one direction; each a probability, by chunk.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// The connection is cut in place of passing it.
    pub cut: f64,
    /// Some of its first bytes pass, and then the connection is cut.
    pub halve: f64,
    /// It passes later, by up to `delay_max`.
    pub delay: f64,
    /// The longest delay.
    pub delay_max: Duration,
    /// It and all behind it wait for `stall_for`.
    pub stall: f64,
    /// How long that is.
    pub stall_for: Duration,
    /// One of its bits arrives wrong.
    pub flip: f64,
    /// Nothing passes any more on this connection, in either direction, and nobody is told.
    pub vanish: f64,
}

impl Weather {
    /// Nothing goes wrong.
    pub fn calm() -> Self {
        Self {
            to_server: Faults::none(),
            to_client: Faults::none(),
            refuse: 0.0,
        }
    }

    /// The same goes wrong in both directions.
    pub fn of(faults: Faults) -> Self {
        Self {
            to_server: faults,
            to_client: faults,
            refuse: 0.0,
        }
    }

    /// A bad day: about one chunk in thirty ends its connection, every tenth is late, few
    /// arrive changed.
    pub fn storm() -> Self {
        Self {
            refuse: 0.1,
            ..Self::of(Faults {
                cut: 0.015,
                halve: 0.015,
                delay: 0.1,
                delay_max: Duration::from_millis(5),
                stall: 0.01,
                stall_for: Duration::from_millis(60),
                flip: 0.003,
                vanish: 0.002,
            })
        }
    }
}

impl Faults {
    /// Everything passes at once.
    pub fn none() -> Self {
        Self {
            cut: 0.0,
            halve: 0.0,
            delay: 0.0,
            delay_max: Duration::ZERO,
            stall: 0.0,
            stall_for: Duration::ZERO,
            flip: 0.0,
            vanish: 0.0,
        }
    }
}

/// What happens to one chunk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fate {
    Pass,
    Late(Duration),
    /// With this bit wrong.
    Flipped(usize),
    /// So many bytes pass; then the connection ends, by a reset or as if an end had closed it.
    CutAfter(usize, End),
    Vanish,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum End {
    Reset,
    Close,
    /// Both ends stay connected and hear nothing any more.
    Silence,
}

/// What happens to a chunk of so many bytes.
pub(super) fn fate(dice: &mut Dice, faults: &Faults, bytes: usize) -> Fate {
    let end = match dice.chance(0.5) {
        true => End::Reset,
        false => End::Close,
    };
    if dice.chance(faults.cut) {
        Fate::CutAfter(0, end)
    } else if dice.chance(faults.halve) {
        // Closed, as a reset may overtake the bytes that were to pass.
        Fate::CutAfter(dice.below(bytes as u64) as usize, End::Close)
    } else if dice.chance(faults.vanish) {
        Fate::Vanish
    } else if dice.chance(faults.flip) {
        Fate::Flipped(dice.below(bytes as u64 * 8) as usize)
    } else if dice.chance(faults.stall) {
        Fate::Late(faults.stall_for)
    } else if dice.chance(faults.delay) {
        let micros = faults.delay_max.as_micros() as u64;
        Fate::Late(Duration::from_micros(dice.below(micros + 1)))
    } else {
        Fate::Pass
    }
}
