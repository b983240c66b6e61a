//! What is printed: figures and stories to standard output, complaints to standard error.
//!
//! Invariant: nobody who stops reading (`| head`) changes what a command finds, nor its exit status:
//! from then on nothing is written, and the command goes on to its end. That standard output cannot
//! be written for another reason is a failure, told at the end.

use std::fmt;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::OnceLock;

use crate::processes::Failure;

/// Why standard output is not written any more.
static ENDED: OnceLock<Ended> = OnceLock::new();

#[derive(Debug)]
enum Ended {
    Unread,
    Unwritten(String),
}

/// Prints a line of figures.
macro_rules! out {
    ($($text:tt)*) => { $crate::say::stdout(format_args!("{}\n", format_args!($($text)*))) };
}

/// Says a line to whoever watches.
macro_rules! err {
    ($($text:tt)*) => { $crate::say::stderr(format_args!($($text)*)) };
}

pub(crate) use {err, out};

/// Writes to standard output as it is, lines with their ends.
pub(crate) fn stdout(text: fmt::Arguments<'_>) {
    if ENDED.get().is_some() {
        return;
    }
    if let Err(error) = std::io::stdout().lock().write_fmt(text) {
        let ended = match error.kind() {
            ErrorKind::BrokenPipe => Ended::Unread,
            _ => Ended::Unwritten(error.to_string()),
        };
        // Another thread may have met the same.
        let _ = ENDED.set(ended);
    }
}

/// Prints something that has lines of its own.
pub(crate) fn all(text: &impl fmt::Display) {
    stdout(format_args!("{text}"));
}

/// Writes a line to standard error. That nobody hears it is no reason to stop.
pub(crate) fn stderr(text: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A path as a shell takes it, for commands that are to be typed again.
pub(crate) fn word(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:=@%".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.into_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// Whether all that was printed could be written, or nobody wanted it.
///
/// # Errors
/// [`Failure::CannotRun`] when figures are missing that somebody waits for.
pub(crate) fn is_written() -> Result<(), Failure> {
    match ENDED.get() {
        Some(Ended::Unwritten(why)) => Err(Failure::CannotRun(format!(
            "standard output cannot be written: {why}"
        ))),
        Some(Ended::Unread) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_one_word_to_a_shell() {
        assert_eq!(
            word(Path::new("/opt/edgebus-1.0/edgebus")),
            "/opt/edgebus-1.0/edgebus"
        );
        assert_eq!(word(Path::new("edge bus")), "'edge bus'");
        assert_eq!(word(Path::new("$(it's)")), r"'$(it'\''s)'");
        assert_eq!(word(Path::new("")), "''");
    }
}
