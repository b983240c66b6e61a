//! The `openssl` command, as the one who has the last word on certificates and handshakes.

use std::process::{Command, Stdio};

use crate::support::Run;

/// Runs `openssl` to its end. What it prints may be no text, where it prints what a server says.
pub(crate) fn openssl(args: &[&str]) -> Run {
    let output = Command::new("openssl")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("these tests need the openssl command: {error}"));
    Run {
        status: output.status.code().expect("was not killed"),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
