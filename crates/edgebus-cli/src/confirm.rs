//! Asks before something is lost that cannot be brought back.

use std::io::{IsTerminal, Write};

use crate::error::{CliError, REFUSED};
use crate::output::say;

/// Whether to ask: on a terminal, unless that was forbidden. A script has said what it wants.
pub(crate) fn asks(force: bool) -> bool {
    !force && std::io::stdin().is_terminal()
}

/// Asks on the terminal.
///
/// # Errors
/// The answer is not yes.
pub(crate) fn ask(question: &str) -> Result<(), CliError> {
    // Without the question the answer is no as well.
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "edgebus: {question} [y/N] ");
    let _ = stderr.flush();
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    say!("edgebus: nothing was changed");
    Err(CliError::silent(REFUSED))
}
