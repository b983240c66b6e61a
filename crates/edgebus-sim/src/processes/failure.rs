//! Why a command ends without having shown what it was to show.

use crate::say::{self, err};
use std::fmt;
use std::process::ExitCode;

/// Why a command ended early, or with bad news.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// This machine, or this user, lacks something: what, in one sentence.
    CannotRun(String),
    /// Something that was promised did not hold. It has been printed in full.
    Violated(usize),
    /// Something went another way than it must: a server that does not start, a tool that fails.
    Broken(String),
    /// A signal asked for the end.
    Interrupted,
}

impl Failure {
    /// What did not work, and why.
    pub fn broken(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::Broken(format!("{what}: {why}"))
    }

    /// The exit status: 1 bad news, 2 cannot run here, 130 interrupted.
    pub fn status(&self) -> u8 {
        match self {
            Self::CannotRun(_) => 2,
            Self::Violated(_) | Self::Broken(_) => 1,
            Self::Interrupted => 130,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CannotRun(why) => write!(f, "cannot run here: {why}"),
            Self::Violated(1) => write!(f, "1 violation"),
            Self::Violated(count) => write!(f, "{count} violations"),
            Self::Broken(what) => f.write_str(what),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for Failure {}

/// The exit status of a command, after its failure was told on standard error.
pub fn exit(ended: Result<(), Failure>) -> ExitCode {
    match ended.and_then(|()| say::is_written()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            err!("edgebus-sim: {failure}");
            ExitCode::from(failure.status())
        }
    }
}
