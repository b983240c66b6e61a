//! Which `edgebus` is put to the proof.
//!
//! Never an old one by mistake: unless one is named, cargo is asked to build it when a source of it
//! is newer.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::{Failure, tools};

/// What the binary is made of.
const SOURCES: [&str; 4] = [
    "Cargo.lock",
    "crates/edgebus-core/src",
    "crates/edgebus/src",
    "crates/edgebus-cli/src",
];
/// A build from nothing, on a small machine.
const BUILD_TIME: Duration = Duration::from_secs(30 * 60);

/// The binary that was named, or the one beside this program, built anew if need be.
///
/// # Errors
/// [`Failure::CannotRun`] when there is none.
pub fn find(named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        return match path.is_file() {
            true => Ok(path.to_owned()),
            false => Err(Failure::CannotRun(format!(
                "there is no binary {}",
                path.display()
            ))),
        };
    }
    let folder = own_folder()?;
    match beside(&folder) {
        Ok(path) if is_newer_than_sources(&path) => Ok(path),
        _ => {
            build(&folder)?;
            beside(&folder)
        }
    }
}

/// Whether no source that it is made of was written after it.
fn is_newer_than_sources(binary: &Path) -> bool {
    let sources = SOURCES.map(|folder| newest(&workspace().join(folder)));
    let built = binary.metadata().and_then(|about| about.modified());
    built.is_ok_and(|built| sources.into_iter().flatten().all(|source| source < built))
}

/// When the newest file below a path was written; `None` when there is none.
fn newest(path: &Path) -> Option<SystemTime> {
    match std::fs::read_dir(path) {
        Ok(entries) => entries
            .filter_map(|entry| newest(&entry.ok()?.path()))
            .max(),
        Err(_) => path.metadata().and_then(|about| about.modified()).ok(),
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The binary beside this program as it is; built only when there is none. For tests, where cargo
/// has built it a moment ago with all the rest.
///
/// # Errors
/// [`Failure::CannotRun`] when there is none.
pub fn built() -> Result<PathBuf, Failure> {
    let folder = own_folder()?;
    beside(&folder).or_else(|_| {
        build(&folder)?;
        beside(&folder)
    })
}

fn beside(folder: &Path) -> Result<PathBuf, Failure> {
    let path = folder.join("edgebus");
    match path.is_file() {
        true => Ok(path),
        false => Err(Failure::CannotRun(format!(
            "there is no {}: build it (cargo build -p edgebus-cli), or name one with --binary",
            path.display()
        ))),
    }
}

/// Where this program is; tests are one folder below.
fn own_folder() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().map_err(|e| Failure::broken("the own path", e))?;
    let folder = own.parent().unwrap_or(Path::new("."));
    let above = folder.parent().filter(|_| folder.ends_with("deps"));
    Ok(above.unwrap_or(folder).to_owned())
}

/// Has cargo build the binary into a folder of this workspace. A copy of this program that was
/// taken elsewhere builds nothing.
fn build(folder: &Path) -> Result<(), Failure> {
    let workspace = workspace();
    let target = folder.parent().unwrap_or(folder);
    let profile = folder.file_name().and_then(|name| name.to_str());
    let (true, Some(profile)) = (workspace.join("Cargo.toml").is_file(), profile) else {
        return Ok(());
    };
    if !target.join("CACHEDIR.TAG").is_file() {
        return Ok(());
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo
        .args(["build", "--quiet", "-p", "edgebus-cli", "--profile"])
        .arg(profile_named(profile))
        .arg("--target-dir")
        .arg(target)
        .current_dir(&workspace);
    // Cargo sets these for a program that it runs; they are not meant for one that it runs in turn.
    cargo.env_remove("CARGO_MANIFEST_DIR");
    let ended = tools::run_to_end(&mut cargo, BUILD_TIME)?;
    match ended.status.success() {
        true => Ok(()),
        false => Err(Failure::broken(
            "edgebus cannot be built",
            ended.stderr.trim(),
        )),
    }
}

/// The profile whose output goes to a folder.
fn profile_named(folder: &str) -> &str {
    match folder {
        "debug" => "dev",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_that_is_named_and_missing_is_said_to_be() {
        let missing = Path::new("/no/such/edgebus");
        let failure = find(Some(missing)).expect_err("missing");
        assert_eq!(failure.status(), 2);
        assert!(failure.to_string().contains("/no/such/edgebus"));
    }

    #[test]
    fn binary_that_is_older_than_a_source_is_not_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let binary = folder.path().join("edgebus");
        std::fs::write(&binary, "").expect("written");
        let at = |time| {
            std::fs::File::options()
                .write(true)
                .open(&binary)?
                .set_modified(time)
        };
        at(SystemTime::now() + Duration::from_secs(3600)).expect("set");
        assert!(is_newer_than_sources(&binary));
        at(SystemTime::UNIX_EPOCH).expect("set");
        assert!(!is_newer_than_sources(&binary));
        assert!(!is_newer_than_sources(Path::new("/no/such/edgebus")));
    }

    #[test]
    fn folders_of_cargo_are_those_of_its_profiles() {
        assert_eq!(profile_named("debug"), "dev");
        assert_eq!(profile_named("release"), "release");
    }
}
