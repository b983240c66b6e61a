//! A set of numbers that mostly come in runs: what is settled before those in front of it are.
//!
//! Invariant: runs are apart from each other, so that the set of a whole spool is one run.

use std::collections::BTreeMap;

/// Numbers as runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    /// First and last of each run.
    runs: BTreeMap<u64, u64>,
}

impl Numbers {
    pub(super) fn contains(&self, number: u64) -> bool {
        let before = self.runs.range(..=number).next_back();
        before.is_some_and(|(_, last)| *last >= number)
    }

    /// Whether any number of a range is there.
    pub(super) fn any_in(&self, first: u64, last: u64) -> bool {
        let before = self.runs.range(..=last).next_back();
        before.is_some_and(|(_, end)| *end >= first)
    }

    pub(super) fn insert(&mut self, number: u64) {
        if self.contains(number) {
            return;
        }
        let last = self.runs.remove(&(number + 1)).unwrap_or(number);
        match self.runs.range_mut(..number).next_back() {
            Some((_, end)) if *end + 1 == number => *end = last,
            _ => {
                self.runs.insert(number, last);
            }
        }
    }

    /// Takes out the run that begins the set if it begins with this number, or before it; returns
    /// the number behind it.
    pub(super) fn take_up_to(&mut self, number: u64) -> Option<u64> {
        let mut behind = None;
        while let Some(run) = self.runs.first_entry()
            && *run.key() <= number
        {
            let last = run.remove();
            if last >= number {
                behind = Some(last + 1);
            }
        }
        behind
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.runs.iter().map(|(first, last)| last - first + 1).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn runs_hold_what_a_plain_set_holds_whatever_the_order() {
        for seed in 1..200u64 {
            let mut state = seed;
            let mut number = |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            let (mut runs, mut plain) = (Numbers::default(), BTreeSet::new());
            for _ in 0..60 {
                let new = 1 + number(40);
                runs.insert(new);
                plain.insert(new);
                let (first, last) = (number(40), number(40));
                let any = first <= last && plain.range(first..=last).next().is_some();
                assert_eq!(first <= last && runs.any_in(first, last), any);
                if number(8) == 0 {
                    let floor = number(20);
                    let mut behind = floor;
                    while plain.contains(&behind) {
                        behind += 1;
                    }
                    let taken = runs.take_up_to(floor);
                    assert_eq!(taken, (behind > floor).then_some(behind), "seed {seed}");
                    plain.retain(|number| *number > behind);
                }
                assert_eq!(runs.count(), plain.len() as u64, "seed {seed}");
                for number in 0..45 {
                    assert_eq!(runs.contains(number), plain.contains(&number));
                }
            }
            let gaps = |runs: &Numbers| {
                let runs: Vec<_> = runs.runs.iter().collect();
                runs.windows(2).all(|pair| *pair[0].1 + 1 < *pair[1].0)
            };
            assert!(gaps(&runs), "seed {seed}");
        }
    }
}
