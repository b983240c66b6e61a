//! `cargo xtask plants`: every bug that can be planted in the product is found by the simulator.
//!
//! Builds `edgebus-sim` with the bugs' switches and runs worlds with each of them in turn until one breaks a promise.
//! The switch is for the packages of this workspace alone: cargo runs this program as the wrapper of their compiler, so
//! that everything else is taken from the usual release build and a normal build is not touched.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use crate::steps::cargo;

/// Set for this program where it is run in place of the compiler.
const WRAPS: &str = "EDGEBUS_XTASK_PLANTS";
/// Worlds in which a bug has to be found.
const SEEDS: u64 = 300;
/// Worlds that are run at a time: a bug is mostly found in the first few.
const SEEDS_AT_A_TIME: u64 = 20;

/// Whether cargo runs this program in place of the compiler.
pub(crate) fn is_compiler() -> bool {
    std::env::var_os(WRAPS).is_some()
}

/// Compiles as cargo says, with the switch. Returns the compiler's exit status.
pub(crate) fn compile() -> i32 {
    let mut arguments = std::env::args_os().skip(1);
    let Some(compiler) = arguments.next() else {
        eprintln!("{WRAPS} is set: unset it");
        return 2;
    };
    let compiled = Command::new(compiler)
        .args(arguments)
        .args(["--cfg", "edgebus_plant"])
        .env_remove(WRAPS)
        .status();
    match compiled {
        Ok(status) => status.code().unwrap_or(1),
        Err(error) => {
            eprintln!("cannot run the compiler: {error}");
            1
        }
    }
}

/// Plants each bug, or these; an error names those that were not found.
pub(crate) fn run(root: &Path, names: &[&str]) -> Result<(), String> {
    let simulator = build(root)?;
    let listed = output(Command::new(&simulator).args(["run", "--plant", "list"]))?;
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let all = text
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let wanted: Vec<&str> = all
        .filter(|name| names.is_empty() || names.contains(name))
        .collect();
    if wanted.is_empty() {
        return Err("no such bug: `edgebus-sim run --plant list` names all".to_owned());
    }
    let mut missed = Vec::new();
    for name in &wanted {
        let started = Instant::now();
        match find(&simulator, name)? {
            Some(found) => println!(
                "{name:<30} seed {:<4} {:<32} {:.1} s",
                found.seed,
                found.rule,
                started.elapsed().as_secs_f64()
            ),
            None => {
                println!("{name:<30} NOT FOUND in {SEEDS} seeds");
                missed.push(*name);
            }
        }
    }
    let (found, all) = (wanted.len() - missed.len(), wanted.len());
    println!("plants: {found} of {all} bugs found within {SEEDS} seeds each");
    match missed.is_empty() {
        true => Ok(()),
        false => Err(format!("not found: {}", missed.join(", "))),
    }
}

/// Where a bug showed.
struct Found {
    seed: String,
    rule: String,
}

fn find(simulator: &Path, name: &str) -> Result<Option<Found>, String> {
    for from in (0..SEEDS).step_by(SEEDS_AT_A_TIME as usize) {
        let (seeds, from) = (SEEDS_AT_A_TIME.to_string(), from.to_string());
        let mut run = Command::new(simulator);
        let run = output(run.args(["run", "--seeds", &seeds, "--from", &from, "--plant", name]))?;
        match run.status.code() {
            Some(0) => {}
            Some(1) => return Ok(Some(shown(&String::from_utf8_lossy(&run.stdout)))),
            _ => {
                let said = String::from_utf8_lossy(&run.stderr);
                return Err(format!("with {name} the simulator ended oddly: {said}"));
            }
        }
    }
    Ok(None)
}

/// The first violation among what was printed: a line that names the seed, and one for each promise.
fn shown(text: &str) -> Found {
    let mut lines = text.lines();
    let seed = lines.find_map(|line| line.strip_prefix("seed ")?.split_whitespace().next());
    let rule = lines.next().and_then(|line| line.trim().split(':').next());
    Found {
        seed: seed.unwrap_or("?").to_owned(),
        rule: rule.unwrap_or("?").to_owned(),
    }
}

/// Builds the simulator with the switches, beside the usual one.
fn build(root: &Path) -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("cannot find myself: {error}"))?;
    let built = cargo(root)
        .args(["build", "--release", "--package", "edgebus-sim"])
        .args(["--bin", "edgebus-sim", "--message-format", "json"])
        .env("RUSTC_WORKSPACE_WRAPPER", own)
        .env(WRAPS, "1")
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if !built.status.success() {
        return Err("the simulator does not compile with the bugs in it".to_owned());
    }
    let text = String::from_utf8_lossy(&built.stdout);
    let mut paths = text.lines().filter_map(executable);
    let path = paths
        .next_back()
        .ok_or("cargo did not say where the simulator is")?;
    // The next usual build puts another one there.
    let kept = path.with_file_name("edgebus-sim-plants");
    std::fs::copy(&path, &kept).map_err(|error| format!("cannot keep the simulator: {error}"))?;
    Ok(kept)
}

/// The path of a program in one of cargo's messages.
fn executable(line: &str) -> Option<PathBuf> {
    let (_, rest) = line.split_once("\"executable\":\"")?;
    let (path, _) = rest.split_once('"')?;
    Some(PathBuf::from(path))
}

fn output(command: &mut Command) -> Result<Output, String> {
    let ended = command.output();
    ended.map_err(|error| format!("cannot run the simulator: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_violation_is_told_by_seed_and_rule() {
        let found = shown(
            "seed 12 broke 3 promises: edgebus-sim replay 12\n  acked and lost: x #1\nseeds  20\n",
        );
        assert_eq!(found.seed, "12");
        assert_eq!(found.rule, "acked and lost");
    }

    #[test]
    fn program_is_found_in_what_cargo_says() {
        let line = r#"{"reason":"compiler-artifact","executable":"/target/release/edgebus-sim"}"#;
        let path = executable(line);
        assert_eq!(path, Some(PathBuf::from("/target/release/edgebus-sim")));
        assert_eq!(executable(r#"{"executable":null}"#), None);
    }
}
