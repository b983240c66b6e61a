//! Takes down what this program is built of: the commit, the compiler, the target.
//!
//! Invariants: what cannot be found out is "unknown", and never stops a build. It runs again when the commit changes,
//! or a source, with which this package is built anew anyway; a build in which nothing changed builds nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What figures come from, from the root. A note that was not committed changes none of them.
const SOURCES: [&str; 11] = [
    "Cargo.lock",
    "Cargo.toml",
    "crates/edgebus-core/Cargo.toml",
    "crates/edgebus-core/src",
    "crates/edgebus/Cargo.toml",
    "crates/edgebus/src",
    "crates/edgebus-cli/Cargo.toml",
    "crates/edgebus-cli/src",
    "crates/edgebus-sim/Cargo.toml",
    "crates/edgebus-sim/build.rs",
    "crates/edgebus-sim/src",
];

fn main() {
    let folder = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let root = folder.join("../..");
    let root = root.canonicalize().unwrap_or(root);
    for source in SOURCES.map(|source| root.join(source)) {
        watch(&source);
    }
    let unknown = || "unknown".to_owned();
    let variable = |name| std::env::var(name).unwrap_or_else(|_| unknown());
    tell("COMMIT", &commit(&root).unwrap_or_else(unknown));
    let rustc = words(Command::new(variable("RUSTC")).arg("--version"));
    tell("RUSTC", &rustc.unwrap_or_else(unknown));
    tell("TARGET", &variable("TARGET"));
    tell("PROFILE", &variable("PROFILE"));
}

fn tell(name: &str, value: &str) {
    println!("cargo::rustc-env=EDGEBUS_SIM_{name}={value}");
}

/// Has cargo run this again when a file changes. One that is not there would have it run each time.
fn watch(path: &Path) {
    if path.exists() {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

/// The commit, and whether the sources are as it has them; `None` without git or a repository of this tree.
fn commit(root: &Path) -> Option<String> {
    // A tree that was unpacked within another one's repository is not described by that.
    let top = PathBuf::from(git(root, &["rev-parse", "--show-toplevel"])?);
    if top.canonicalize().ok()? != root {
        return None;
    }
    let branch = git(root, &["rev-parse", "--symbolic-full-name", "HEAD"]);
    let parts = ["HEAD", "logs/HEAD", "index", "packed-refs"];
    for part in parts.into_iter().chain(branch.as_deref()) {
        // In a work tree of its own these are in several folders, all elsewhere.
        if let Some(path) = git(root, &["rev-parse", "--git-path", part]) {
            watch(&root.join(path));
        }
    }
    let commit = git(root, &["rev-parse", "--short=12", "HEAD"])?;
    let status = [&["status", "--porcelain", "--"][..], &SOURCES].concat();
    Some(match git(root, &status).as_deref() {
        Some("") => commit,
        Some(_) => format!("{commit} with uncommitted changes"),
        None => format!("{commit}, perhaps with uncommitted changes"),
    })
}

/// What git says of this tree, whatever repository a hook that runs cargo is of.
fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let mut git = Command::new("git");
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        git.env_remove(name);
    }
    // Without it a look at the status may write to the index, which is watched.
    git.env("GIT_OPTIONAL_LOCKS", "0");
    words(git.arg("-C").arg(root).args(arguments))
}

/// What a program printed, if it ended well.
fn words(command: &mut Command) -> Option<String> {
    let ended = command.output().ok()?;
    let text = String::from_utf8(ended.stdout).ok()?;
    ended.status.success().then(|| text.trim().to_owned())
}
