//! Which `edgebus` is put to the proof.
//!
//! Never an old one by mistake: unless one is named, cargo is asked to build it when a source of it
//! is newer.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use rustix::fs::{Access, access};

use super::{Failure, tools};
use crate::say;

/// What the binary is made of.
const SOURCES: [&str; 4] = [
    "Cargo.lock",
    "crates/edgebus-core/src",
    "crates/edgebus/src",
    "crates/edgebus-cli/src",
];
/// A build from nothing, on a small machine.
const BUILD_TIME: Duration = Duration::from_secs(30 * 60);
/// How long a binary may take to tell its version, on a busy machine.
const VERSION_TIME: Duration = Duration::from_secs(20);

/// The binary that was named, or the one beside this program, built anew if need be.
///
/// # Errors
/// [`Failure::CannotRun`] when there is none.
pub fn find(named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        return sound(path);
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

/// What has to be typed for the same binary again, behind the rest of a command.
pub fn again(named: Option<&Path>) -> String {
    named.map_or_else(String::new, |path| format!(" --binary {}", say::word(path)))
}

/// A binary that was named, by its whole path: one without a folder would be looked for in `PATH`. Asked for its
/// version, so that it is known for an edgebus that runs here before anything begins.
fn sound(path: &Path) -> Result<PathBuf, Failure> {
    let wrong = |what: &str| Failure::CannotRun(format!("--binary {} {what}", path.display()));
    let about = path
        .metadata()
        .map_err(|e| wrong(&format!("is not there: {e}")))?;
    if !about.is_file() {
        return Err(wrong("is no file"));
    }
    if access(path, Access::EXEC_OK).is_err() {
        return Err(wrong("may not be executed"));
    }
    let path = std::path::absolute(path).map_err(|e| wrong(&format!("has no path: {e}")))?;
    let told = tools::run_to_end(Command::new(&path).arg("--version"), VERSION_TIME)
        .map_err(|e| wrong(&format!("cannot be run: {e}")))?;
    match told.status.success() && told.stdout.starts_with("edgebus ") {
        true => Ok(path),
        false => Err(wrong(&format!(
            "is not edgebus: asked for its version it said {:?} and ended with {}",
            first_line(&told.stdout),
            told.status
        ))),
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
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
    let mut cargo = cargo();
    cargo
        .args(["build", "--quiet", "-p", "edgebus-cli", "--profile"])
        .arg(profile_named(profile))
        .arg("--target-dir")
        .arg(target)
        .current_dir(&workspace);
    let ended = tools::run_to_end(&mut cargo, BUILD_TIME)?;
    match ended.status.success() {
        true => Ok(()),
        false => Err(Failure::broken(
            "edgebus cannot be built",
            ended.stderr.trim(),
        )),
    }
}

/// Cargo as it would be called by hand. What it told this process about its own package is left out: build scripts that
/// look at it, ring's for one, would run again, and everything above them be compiled anew, here and by hand afterwards.
fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    let names = std::env::vars_os().map(|(name, _)| name);
    for name in names.filter(|name| name.to_str().is_some_and(is_about_package)) {
        cargo.env_remove(name);
    }
    cargo
}

/// Whether cargo tells a package's program something about that package in this variable.
fn is_about_package(name: &str) -> bool {
    let parts = [
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "CARGO_BIN_",
        "CARGO_CRATE_",
    ];
    parts.iter().any(|part| name.starts_with(part))
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
    fn binary_that_is_named_and_is_none_is_said_to_be() {
        let folder = tempfile::tempdir().expect("a folder");
        let plain = folder.path().join("plain");
        std::fs::write(&plain, "").expect("written");
        for (path, word) in [
            (Path::new("/no/such/edgebus"), "is not there"),
            (folder.path(), "is no file"),
            (&plain, "may not be executed"),
            (Path::new("/bin/true"), "is not edgebus"),
            (Path::new("/bin/false"), "is not edgebus"),
        ] {
            let failure = find(Some(path)).expect_err("none");
            assert_eq!(failure.status(), 2);
            let said = failure.to_string();
            assert!(said.contains(word), "{said}");
            assert!(said.contains(path.to_str().expect("text")), "{said}");
        }
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
    fn cargo_is_called_as_by_hand() {
        // Cargo has set these for this test.
        let set =
            std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_about_package));
        let set: Vec<_> = set.map(|(name, _)| name).collect();
        let cargo = cargo();
        let left_out: Vec<_> = cargo
            .get_envs()
            .filter(|(_, value)| value.is_none())
            .collect();
        assert!(set.iter().any(|name| name == "CARGO_PKG_NAME"), "{set:?}");
        assert_eq!(left_out.len(), set.len(), "{left_out:?}");
        assert!(!is_about_package("CARGO") && !is_about_package("CARGO_HOME"));
        assert!(!is_about_package("CARGO_TARGET_DIR"));
    }

    #[test]
    fn folders_of_cargo_are_those_of_its_profiles() {
        assert_eq!(profile_named("debug"), "dev");
        assert_eq!(profile_named("release"), "release");
    }
}
