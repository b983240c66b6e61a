//! What is wrong with a configuration, and where: told all at once, and never with what may be a
//! secret.

use std::fmt;
use std::path::PathBuf;

/// Most problems that are told; a file that is no configuration at all has thousands.
const TOLD_MAX: usize = 50;

/// Where something was said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// A line of a file, from 1; 0 is the file as a whole.
    File(PathBuf, usize),
    /// An environment variable.
    Environment(String),
    /// An option of the command.
    Option(&'static str),
    /// Nowhere: several things together.
    Whole,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, 0) => write!(f, "{}", path.display()),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "{name} in the environment"),
            Self::Option(name) => f.write_str(name),
            Self::Whole => f.write_str("configuration"),
        }
    }
}

/// One thing that is wrong, and what to write instead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Problem {
    pub(crate) place: Place,
    pub(crate) what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Problems as they are found; at most so many are kept, the rest is counted.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    told: Vec<Problem>,
    more: usize,
    warnings: Vec<String>,
}

impl Problems {
    /// Adds one. What it says is only made up when it will be told.
    pub(crate) fn add(&mut self, place: Place, what: impl FnOnce() -> String) {
        if self.told.len() < TOLD_MAX {
            let what = what();
            self.told.push(Problem { place, what });
        } else {
            self.more += 1;
        }
    }

    /// Adds what is odd, which is told beside what is wrong: it may be the reason of it.
    pub(crate) fn warn(&mut self, warnings: impl IntoIterator<Item = String>) {
        self.warnings.extend(warnings);
    }

    /// What is odd.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether nothing is wrong.
    pub(crate) fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// All of them as lines: those of the file in its order, then the others.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut told: Vec<&Problem> = self.told.iter().collect();
        told.sort_by_key(|problem| match problem.place {
            Place::File(_, line) => line,
            _ => usize::MAX,
        });
        let mut lines: Vec<String> = told.iter().map(ToString::to_string).collect();
        if self.more > 0 {
            lines.push(format!("configuration: {} more problems", self.more));
        }
        lines
    }
}

impl Extend<Problem> for Problems {
    fn extend<I: IntoIterator<Item = Problem>>(&mut self, problems: I) {
        for problem in problems {
            self.add(problem.place, || problem.what);
        }
    }
}
