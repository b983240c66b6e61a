//! Bits that turn over in a store of orders: a small part of what `edgebus-sim flips` does.

mod repair;

use edgebus_sim::flips::{Outcome, flips};

#[test]
fn no_flipped_bit_delivers_anything_wrong_and_each_that_counts_is_named() {
    let figures = flips(200, 1, None, 150);
    assert!(figures.violations.is_empty(), "seed 1: {figures}");
    let of = |wanted: Outcome| {
        let outcomes = figures.outcomes.iter();
        let counts = outcomes.filter(|((outcome, _), _)| *outcome == wanted);
        counts.map(|(_, count)| count).sum::<u64>()
    };
    // Flips that hit nothing show nothing.
    assert!(of(Outcome::RefusedToOpen) > 10, "{figures}");
    assert!(
        of(Outcome::FoundByReading) + of(Outcome::FoundByCheck) > 10,
        "{figures}"
    );
}
