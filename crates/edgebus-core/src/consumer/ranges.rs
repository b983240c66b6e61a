//! A set of sequence numbers kept as ranges: what is done above an offset is mostly contiguous.
//!
//! Invariant: ranges are inclusive, ascending, and neither overlap nor touch. How many there may be
//! is for the owner to bound; [`Ranges::len`] costs nothing.

use std::collections::BTreeMap;

use crate::id::Seq;

/// A set of sequence numbers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// How many ranges.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, seq: Seq) -> bool {
        self.range_at(seq.0).is_some()
    }

    fn range_at(&self, seq: u64) -> Option<(u64, u64)> {
        let (from, to) = self.0.range(..=seq).next_back()?;
        (*to >= seq).then_some((*from, *to))
    }

    /// Adds all from `from` to `to`, both included.
    pub(super) fn insert(&mut self, from: Seq, to: Seq) {
        let (mut from, mut to) = (from.0, to.0);
        if from > to {
            return;
        }
        if let Some((before, end)) = self.0.range(..=from).next_back()
            && end.saturating_add(1) >= from
        {
            from = *before;
            to = to.max(*end);
        }
        while let Some((start, end)) = self.0.range(from..=to.saturating_add(1)).next() {
            let (start, end) = (*start, *end);
            to = to.max(end);
            self.0.remove(&start);
        }
        self.0.insert(from, to);
    }

    /// Takes out all from `from` to `to`, both included.
    pub(super) fn remove(&mut self, from: Seq, to: Seq) {
        let (from, to) = (from.0, to.0);
        if from > to || self.0.is_empty() {
            return;
        }
        if let Some((start, end)) = self.range_at(from) {
            self.0.remove(&start);
            if start < from {
                self.0.insert(start, from - 1);
            }
            if end > to {
                self.0.insert(to + 1, end);
                return;
            }
        }
        while let Some((start, end)) = self.0.range(from..=to).next() {
            let (start, end) = (*start, *end);
            self.0.remove(&start);
            if end > to {
                self.0.insert(to + 1, end);
                return;
            }
        }
    }

    /// The ranges, ascending.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (Seq, Seq)> + '_ {
        self.0.iter().map(|(from, to)| (Seq(*from), Seq(*to)))
    }

    /// The smallest member that is at least `seq`.
    pub(super) fn at_or_after(&self, seq: Seq) -> Option<Seq> {
        if self.contains(seq) {
            return Some(seq);
        }
        self.0.range(seq.0..).next().map(|(from, _)| Seq(*from))
    }

    /// What the set has in common with a range, ascending.
    pub(super) fn common(&self, from: Seq, to: Seq) -> Vec<(Seq, Seq)> {
        if from > to {
            return Vec::new();
        }
        let first = self.range_at(from.0).map_or(from.0, |(start, _)| start);
        let parts = self.0.range(first..=to.0);
        parts
            .map(|(start, end)| (Seq((*start).max(from.0)), Seq((*end).min(to.0))))
            .collect()
    }

    /// Takes out what touches or lies below the offset and returns how far the offset gets by it.
    pub(super) fn absorb(&mut self, mut offset: Seq) -> Seq {
        while let Some(first) = self.0.first_entry() {
            if *first.key() > offset.0.saturating_add(1) {
                break;
            }
            offset = offset.max(Seq(first.remove()));
        }
        offset
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn members(ranges: &Ranges) -> BTreeSet<u64> {
        ranges.iter().flat_map(|(from, to)| from.0..=to.0).collect()
    }

    #[test]
    fn last_number_there_is_can_be_a_member() {
        let mut ranges = Ranges::default();
        ranges.insert(Seq(u64::MAX - 1), Seq(u64::MAX));
        assert!(ranges.contains(Seq(u64::MAX)));
        ranges.remove(Seq(u64::MAX), Seq(u64::MAX));
        assert!(!ranges.contains(Seq(u64::MAX)) && ranges.contains(Seq(u64::MAX - 1)));
    }

    proptest! {
        #[test]
        fn ranges_behave_as_a_set_of_numbers(
            steps in prop::collection::vec((any::<bool>(), 0u64..60, 0u64..12), 1..60),
            (from, length, floor) in (0u64..60, 0u64..20, 0u64..60),
        ) {
            let mut ranges = Ranges::default();
            let mut model = BTreeSet::new();
            for (insert, from, length) in steps {
                for seq in from..=from + length {
                    if insert { model.insert(seq); } else { model.remove(&seq); }
                }
                if insert {
                    ranges.insert(Seq(from), Seq(from + length));
                } else {
                    ranges.remove(Seq(from), Seq(from + length));
                }
                prop_assert_eq!(members(&ranges), model.clone());
                let parts: Vec<_> = ranges.iter().collect();
                prop_assert!(parts.windows(2).all(|two| two[0].1.0 + 1 < two[1].0.0));
            }
            let common: BTreeSet<u64> = ranges
                .common(Seq(from), Seq(from + length))
                .into_iter()
                .flat_map(|(from, to)| from.0..=to.0)
                .collect();
            let wanted: BTreeSet<u64> = model.range(from..=from + length).copied().collect();
            prop_assert_eq!(common, wanted);
            prop_assert_eq!(
                ranges.at_or_after(Seq(from)).map(|seq| seq.0),
                model.range(from..).next().copied()
            );
            let mut offset = floor;
            while model.contains(&(offset + 1)) { offset += 1; }
            prop_assert_eq!(ranges.absorb(Seq(floor)), Seq(offset));
            model.retain(|seq| *seq > offset);
            prop_assert_eq!(members(&ranges), model);
        }
    }
}
