//! Randomness from a seed.
//!
//! The generator is xoshiro256++, whose output rand promises to keep; how its numbers become
//! choices is written here, because rand may change that between releases and a seed noted in a
//! bug report must still replay.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

/// A source of choices; the same seed gives the same ones on every machine.
///
/// ```
/// use edgebus_sim::SimRng;
///
/// let mut one = SimRng::seeded(7);
/// let mut other = SimRng::seeded(7);
/// assert_eq!(one.below(1_000), other.below(1_000));
/// ```
#[derive(Clone, Debug)]
pub struct SimRng(Xoshiro256PlusPlus);

impl SimRng {
    /// The sequence of a seed.
    pub fn seeded(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// A sequence of its own for a part of a run, so that a choice more in one part does not
    /// shift all choices of the others.
    pub fn fork(&mut self) -> Self {
        Self::seeded(self.bits())
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number from 0 to `bound - 1`.
    ///
    /// # Panics
    /// When `bound` is 0, as there is no such number.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "there is no number below 0");
        // The high half of the product; its bias is at most bound / 2^64.
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from 0 (included) to 1 (excluded).
    pub fn fraction(&mut self) -> f64 {
        // As many bits as an f64 holds exactly.
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Whether something of this probability happens; 0 never does and 1 always.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.fraction() < probability
    }

    /// One of the items.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// Random bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let bits = self.bits().to_le_bytes();
            chunk.copy_from_slice(&bits[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_numbers_for_ever() {
        let mut rng = SimRng::seeded(1);
        let numbers: Vec<u64> = (0..4).map(|_| rng.below(1_000_000)).collect();
        // From an independent program: splitmix64 of the seed, then xoshiro256++.
        assert_eq!(numbers, [811612, 747104, 100150, 746216]);
    }

    #[test]
    fn seeds_differ_and_forks_do_too() {
        let mut first = SimRng::seeded(1);
        assert_ne!(first.clone().bits(), SimRng::seeded(2).bits());
        assert_ne!(first.fork().bits(), first.fork().bits());
    }

    #[test]
    fn chance_is_sure_at_its_ends() {
        let mut rng = SimRng::seeded(3);
        for _ in 0..1_000 {
            assert!(!rng.chance(0.0));
            assert!(rng.chance(1.0));
            assert!(rng.below(3) < 3);
        }
    }

    #[test]
    fn every_choice_comes_up() {
        let mut rng = SimRng::seeded(4);
        let mut seen = [false; 5];
        for _ in 0..200 {
            seen[*rng.pick(&[0_usize, 1, 2, 3, 4])] = true;
        }
        assert_eq!(seen, [true; 5]);
    }
}
