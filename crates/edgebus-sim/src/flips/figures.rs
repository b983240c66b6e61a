//! What became of the bits, and how it is printed.
//!
//! Invariant: wrong payloads, deletions and panics are printed as numbers, also when there were none.

use std::collections::BTreeMap;
use std::fmt;

/// Violations that are shown in full.
const VIOLATIONS_SHOWN: usize = 20;

/// What became of the bits.
#[derive(Debug, Default)]
pub struct Figures {
    /// Size of the store, in bytes, and how many of them count.
    pub bytes: u64,
    /// See `bytes`.
    pub bytes_in_use: u64,
    /// How many bits were turned over.
    pub flips: u64,
    /// How many of them a repair turned back.
    pub healed: u64,
    /// By what became of it, and by what the byte is for.
    pub outcomes: BTreeMap<(Outcome, String), u64>,
    /// What must not be.
    pub violations: Vec<Violation>,
}

/// What became of a bit that turned over: the first of these that is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The store did not open, and named the place.
    RefusedToOpen,
    /// It opened, and reported the last group as torn, which it keeps aside.
    TakenForATear,
    /// It opened, and who read, or wrote, was told that something is corrupt.
    FoundByReading,
    /// It opened, and an id or a reply was not found, of which nobody was told; `check` tells.
    MissedAndFoundByCheck,
    /// It opened and did nothing wrong; `check` tells.
    FoundByCheck,
    /// The byte does not count, and nobody says anything.
    Harmless,
    /// The byte counts, and nobody says anything.
    Silent,
}

/// What must not be: at most one for each bit, the worst.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What was broken.
    pub kind: Kind,
    /// The bit, and what was seen.
    pub what: String,
}

/// What a violation breaks; the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Something was delivered that nobody sent, or in another's place.
    WrongPayload,
    /// Something acknowledged was gone without a word, or bytes were changed or not kept that might have told it.
    Deletion,
    /// A panic that nothing caught.
    Panic,
    /// Another wrong answer, or none where one is owed.
    Other,
}

impl Violation {
    pub(super) fn new(kind: Kind, what: impl Into<String>) -> Self {
        let what = what.into();
        Self { kind, what }
    }

    /// The same, with the place before it.
    pub(super) fn at(self, place: impl fmt::Display) -> Self {
        Self::new(self.kind, format!("{place}: {}", self.what))
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Figures {
    /// How many violations of a kind there were.
    pub fn count(&self, kind: Kind) -> usize {
        let violations = self.violations.iter();
        violations
            .filter(|violation| violation.kind == kind)
            .count()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} flips over a store of {} bytes, of which {} count; half of them in those of the tables that count",
            self.flips, self.bytes, self.bytes_in_use
        )?;
        let mut by_outcome: BTreeMap<Outcome, u64> = BTreeMap::new();
        for ((outcome, _), count) in &self.outcomes {
            *by_outcome.entry(*outcome).or_default() += count;
        }
        for (outcome, count) in by_outcome {
            writeln!(f, "{count:>7}  {}", outcome.words())?;
            for ((_, place), count) in self.outcomes.iter().filter(|((of, _), _)| *of == outcome) {
                writeln!(f, "         {count:>7}  {place}")?;
            }
        }
        writeln!(
            f,
            "{:>7}  turned back by check --repair, with nothing lost",
            self.healed
        )?;
        for (kind, words) in [
            (Kind::WrongPayload, "wrong payloads delivered"),
            (Kind::Deletion, "deletions"),
            (Kind::Panic, "uncaught panics"),
            (Kind::Other, "other violations"),
        ] {
            writeln!(f, "{:>7}  {words}", self.count(kind))?;
        }
        for violation in self.violations.iter().take(VIOLATIONS_SHOWN) {
            writeln!(f, "violation: {violation}")?;
        }
        Ok(())
    }
}

impl Outcome {
    fn words(self) -> &'static str {
        match self {
            Self::RefusedToOpen => "refused to open, place named, nothing changed",
            Self::TakenForATear => "taken for a tear of the last group, bytes kept aside",
            Self::FoundByReading => "opened, and whoever came upon it was told",
            Self::MissedAndFoundByCheck => {
                "opened, an id or a reply not found; named by check only"
            }
            Self::FoundByCheck => "opened, all answers right; named by check only",
            Self::Harmless => "in bytes that do not count",
            Self::Silent => "in bytes that count, and found by nobody",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_promised_not_to_be_is_printed_also_when_it_was_not() {
        let mut figures = Figures::default();
        for words in ["wrong payloads delivered", "deletions", "uncaught panics"] {
            let line = format!("\n      0  {words}\n");
            assert!(figures.to_string().contains(&line), "{figures}");
        }
        let gone = Violation::new(Kind::Deletion, "seq 7 is gone").at("a byte");
        figures.violations.push(gone);
        let text = figures.to_string();
        assert!(text.contains("\n      1  deletions\n"), "{text}");
        assert!(text.contains("\n      0  uncaught panics\n"), "{text}");
        assert!(text.contains("violation: a byte: seq 7 is gone"), "{text}");
    }
}
