//! `cargo xtask audit`: the dependency rules of `deny.toml`, checked by cargo-deny.
//!
//! Kept out of `cargo xtask test`, because it needs a tool that Rust does not bring and an advisory database from the
//! network; a change must be testable without either.

use std::path::Path;
use std::process::Stdio;

use crate::steps::cargo;

/// Runs `cargo deny check` in `root`.
///
/// Fails when cargo-deny is missing or finds something; its own report has already been printed then.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let installed = cargo(root)
        .args(["deny", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !installed {
        return Err(
            "audit: cargo-deny is missing; install it with `cargo install --locked cargo-deny`"
                .to_owned(),
        );
    }
    let status = cargo(root)
        .args(["deny", "check"])
        .status()
        .map_err(|error| format!("audit: cannot start cargo: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err("audit: FAILED; update or replace the crates named above, or add an exception with its \
             reason to deny.toml; without a network run `cargo deny check bans licenses sources`"
            .to_owned())
    }
}
