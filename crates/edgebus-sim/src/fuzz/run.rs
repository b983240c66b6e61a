//! Runs a target on stable Rust: every input of the corpus as it is, then changed ones.
//!
//! Invariant: what is given to the target follows from the seed, the corpus and the number of
//! executions alone; only how many there are depends on the time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::{Target, mutate::mutate};
use crate::SimRng;

/// Longest that one input may take. Far more than any does, also without optimisation: what takes
/// longer does not grow with its input alone.
pub const SECONDS_MAX: u64 = 20;

/// When a run ends.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// After so long.
    Time(Duration),
    /// After so many executions.
    Executions(u64),
}

/// How a run went.
#[derive(Debug)]
pub struct Outcome {
    /// How often the target was called.
    pub executions: u64,
    /// The longest that one input took.
    pub slowest: Duration,
    /// The input that broke a promise, and how; the run ended with it.
    pub broken: Option<(Vec<u8>, String)>,
}

/// Runs until the end or the first broken promise.
pub fn run(target: &Target, corpus: &[Vec<u8>], seed: u64, until: Until) -> Outcome {
    let begun = Instant::now();
    let mut rng = SimRng::seeded(seed);
    let mut outcome = Outcome {
        executions: 0,
        slowest: Duration::ZERO,
        broken: None,
    };
    let mut kept = corpus.iter();
    let is_over = |executions: u64| match until {
        Until::Time(time) => begun.elapsed() >= time,
        Until::Executions(most) => executions >= most,
    };
    loop {
        let input = match kept.next() {
            Some(input) => input.clone(),
            None if is_over(outcome.executions) || corpus.is_empty() => return outcome,
            None => mutate(corpus, &mut rng),
        };
        let one = Instant::now();
        let ended = catch_unwind(AssertUnwindSafe(|| (target.run)(&input)));
        let took = one.elapsed();
        outcome.executions += 1;
        outcome.slowest = outcome.slowest.max(took);
        let what = match ended {
            Err(panic) => words(&*panic),
            Ok(()) if took.as_secs() >= SECONDS_MAX => format!("took {took:?}"),
            Ok(()) => continue,
        };
        outcome.broken = Some((input, what));
        return outcome;
    }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRITTLE: Target = Target {
        name: "brittle",
        run: |data| assert!(data.first() != Some(&b'!'), "it begins with !"),
        seeds: || vec![("plain", b"plain".to_vec())],
    };

    fn seeds() -> Vec<Vec<u8>> {
        (BRITTLE.seeds)()
            .into_iter()
            .map(|(_, seed)| seed)
            .collect()
    }

    #[test]
    fn broken_promise_ends_the_run_with_the_input_that_does_it_again() {
        let outcome = run(&BRITTLE, &seeds(), 1, Until::Executions(1_000_000));
        let (input, what) = outcome.broken.expect("found within a million");
        assert_eq!((input[0], what.as_str()), (b'!', "it begins with !"));
        let again = run(&BRITTLE, &[input], 2, Until::Executions(1));
        assert!(again.broken.is_some());
    }

    #[test]
    fn same_seed_finds_the_same_input() {
        let found = |seed| run(&BRITTLE, &seeds(), seed, Until::Executions(1_000_000));
        let (one, other) = (found(7), found(7));
        assert_eq!(one.executions, other.executions);
        assert_eq!(one.broken, other.broken);
    }

    #[test]
    fn inputs_of_the_corpus_come_first_and_all_of_them() {
        let corpus = vec![b"a".to_vec(), b"b".to_vec(), b"!".to_vec()];
        let outcome = run(&BRITTLE, &corpus, 1, Until::Executions(0));
        assert_eq!(outcome.executions, 3);
        assert!(outcome.broken.is_some());
    }
}
