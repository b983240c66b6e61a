//! Choices from a seed.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng as _, SeedableRng as _};

/// A source of choices: the same for the same seed and place, whatever others choose.
#[derive(Debug)]
pub struct Dice(Xoshiro256PlusPlus);

impl Dice {
    /// The choices of a part of a run: say, of a client, or of a direction of a connection.
    pub fn new(seed: u64, part: u64, side: u64) -> Self {
        let seed = seed ^ ((part << 8) | side).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// A number from 0 to `bound - 1`.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Whether something of this probability happens; 0 never does and 1 always.
    pub fn chance(&mut self, probability: f64) -> bool {
        ((self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64) < probability
    }

    /// One of the items.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }
}

/// The seeds to run with: those of `EDGEBUS_CHAOS_SEEDS`, written `7` or `100..200`, or these few.
///
/// # Panics
/// When the variable is written otherwise.
pub fn seeds(few: &[u64]) -> Vec<u64> {
    let Ok(text) = std::env::var("EDGEBUS_CHAOS_SEEDS") else {
        return few.to_vec();
    };
    let number = |text: &str| text.parse::<u64>().expect("a seed is a number");
    match text.split_once("..") {
        Some((from, to)) => (number(from)..number(to)).collect(),
        None => vec![number(&text)],
    }
}
