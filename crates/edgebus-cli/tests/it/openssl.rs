//! The `openssl` command, as the one who has the last word on certificates and handshakes.

use std::process::{Command, Stdio};

use crate::support::Run;

/// Runs `openssl` to its end.
pub(crate) fn openssl(args: &[&str]) -> Run {
    let output = Command::new("openssl")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("these tests need the openssl command: {error}"));
    Run::of(output)
}
