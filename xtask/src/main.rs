//! `cargo xtask`: the development commands of edgebus.
//!
//! Owns the command line and the exit status; each command lives in its own module. Only the standard library is used,
//! so that a fresh machine compiles this in seconds. Exit status: 0 done, 1 a check failed, 2 usage.

// In a test a panic with its line is the best report there is.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod audit;
mod coverage;
mod plants;
mod proof;
mod steps;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask COMMAND

  test      everything a change must pass: format, tidy, clippy, tests with doc tests, docs
  proof     what is promised, shown on simulated worlds and on the real binary (docs/reliability.md)
  plants    every bug that can be planted is found by the simulator; names after it: only those
  tidy      the style rules of this tree alone (headers, file sizes, layers, forbidden code)
  coverage  how many lines of each part the tests reach (needs cargo-tarpaulin)
  audit     licenses, advisories, banned crates and sources (needs cargo-deny)
";

fn main() -> ExitCode {
    if plants::is_compiler() {
        return ExitCode::from(u8::try_from(plants::compile()).unwrap_or(1));
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["test"] => workspace_root().and_then(|root| steps::run(&root)),
        ["proof"] => workspace_root().and_then(|root| proof::run(&root)),
        ["tidy"] => workspace_root().and_then(|root| tidy::run(&root)),
        ["coverage"] => workspace_root().and_then(|root| coverage::run(&root)),
        ["audit"] => workspace_root().and_then(|root| audit::run(&root)),
        ["plants", names @ ..] => workspace_root().and_then(|root| plants::run(&root, names)),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// The folder that holds the workspace manifest.
///
/// Cargo names the xtask package at run time, so a tree that was moved after it was compiled is still found.
fn workspace_root() -> Result<PathBuf, String> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .ok_or("CARGO_MANIFEST_DIR is not set: run this as `cargo xtask COMMAND`")?;
    let root = package
        .parent()
        .ok_or("xtask has no parent folder: keep it directly below the workspace root")?;
    Ok(root.to_path_buf())
}
