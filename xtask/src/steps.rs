//! `cargo xtask test`: the steps a change must pass, in order, stopping at the first that fails.
//!
//! The cheap steps come first, so that a style slip is reported in a second and not after the compile. Output of cargo
//! goes through untouched: the closing `test result:` lines must stay readable in a log.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::tidy;

/// One step: a name for the log and what runs.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) action: Action,
}

/// What a step runs.
pub(crate) enum Action {
    /// Something in this process, with the command for it.
    Here(&'static str, fn(&Path) -> Result<(), String>),
    /// Cargo with these arguments.
    Cargo {
        arguments: &'static [&'static str],
        /// Environment for this step only.
        env: Option<(&'static str, &'static str)>,
        /// The rustup component that brings the subcommand, when a minimal toolchain lacks it.
        component: Option<&'static str>,
    },
}

const STEPS: &[Step] = &[
    Step {
        name: "format",
        action: Action::Cargo {
            arguments: &["fmt", "--all", "--", "--check"],
            env: None,
            component: Some("rustfmt"),
        },
    },
    Step {
        name: "tidy",
        action: Action::Here("cargo xtask tidy", tidy::run),
    },
    // The whole workspace: this is also what compiles the packages that are not default members.
    Step {
        name: "clippy",
        action: Action::Cargo {
            arguments: &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ],
            env: None,
            component: Some("clippy"),
        },
    },
    // Without `--all-targets`, which would leave out the doc tests.
    Step {
        name: "tests and doc tests",
        action: Action::Cargo {
            arguments: &["test", "--workspace"],
            // Tests mostly wait, for a disk or for each other: with one to a core the cores idle.
            env: Some(("RUST_TEST_THREADS", "4")),
            component: None,
        },
    },
    // The binary of edgebus-cli and the library of edgebus are both called `edgebus` and would be written to the same
    // folder; the library is the one with readers, the command documents itself with `--help`.
    Step {
        name: "docs",
        action: Action::Cargo {
            arguments: &[
                "doc",
                "--workspace",
                "--no-deps",
                "--exclude",
                "edgebus-cli",
            ],
            env: Some(("RUSTDOCFLAGS", "-D warnings")),
            component: None,
        },
    },
];

/// Runs all steps in `root`; the first failure ends the run and is the error.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    run_each(STEPS, |action| action.run(root))
}

fn run_each(
    steps: &[Step],
    mut run: impl FnMut(&Action) -> Result<(), String>,
) -> Result<(), String> {
    let started = Instant::now();
    let count = steps.len();
    for (index, step) in steps.iter().enumerate() {
        let number = index + 1;
        println!(
            "==> {number}/{count} {}: {}",
            step.name,
            step.action.describe()
        );
        let step_started = Instant::now();
        run(&step.action).map_err(|reason| {
            let seconds = started.elapsed().as_secs_f64();
            let name = step.name;
            format!("==> FAILED at {number}/{count} {name}, after {seconds:.1} s: {reason}")
        })?;
        println!("    done in {:.1} s", step_started.elapsed().as_secs_f64());
    }
    println!(
        "==> passed: {count} steps in {:.1} s",
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

/// A cargo command that runs in `root`, with the cargo this process was started by.
pub(crate) fn cargo(root: &Path) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.current_dir(root);
    // What cargo told this process about its own package: build scripts that look at it, ring's for one, would run again
    // whenever the same is built without this process, and everything above them be compiled anew.
    for (name, _) in std::env::vars_os() {
        let about_package = |name: &str| {
            let parts = [
                "CARGO_PKG_",
                "CARGO_MANIFEST_",
                "CARGO_BIN_",
                "CARGO_CRATE_",
            ];
            parts.iter().any(|part| name.starts_with(part))
        };
        if name.to_str().is_some_and(about_package) {
            command.env_remove(name);
        }
    }
    command
}

impl Action {
    /// Cargo with these arguments, as it is.
    pub(crate) const fn cargo(arguments: &'static [&'static str]) -> Self {
        Self::Cargo {
            arguments,
            env: None,
            component: None,
        }
    }

    /// The command line a person would type for it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Here(command, _) => (*command).to_owned(),
            Self::Cargo { arguments, env, .. } => {
                let command = format!("cargo {}", arguments.join(" "));
                match env {
                    Some((name, value)) => format!("{name}=\"{value}\" {command}"),
                    None => command,
                }
            }
        }
    }

    pub(crate) fn run(&self, root: &Path) -> Result<(), String> {
        let (arguments, env, component) = match self {
            Self::Here(_, run) => return run(root),
            Self::Cargo {
                arguments,
                env,
                component,
            } => (arguments, env, component),
        };
        if let Some(component) = component {
            require_component(root, arguments[0], component)?;
        }
        let status = cargo(root)
            .args(*arguments)
            .envs(*env)
            .status()
            .map_err(|error| format!("cannot start cargo: {error}"))?;
        if status.success() {
            Ok(())
        } else {
            Err(format!(
                "see the output above; this step alone: {}",
                self.describe()
            ))
        }
    }
}

/// Names the missing rustup component, where cargo would only say that it knows no such command.
fn require_component(root: &Path, subcommand: &str, component: &str) -> Result<(), String> {
    let present = cargo(root)
        .args([subcommand, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if present {
        Ok(())
    } else {
        Err(format!(
            "`cargo {subcommand}` is missing; install it with `rustup component add {component}`"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cheap_steps_come_before_the_compile() {
        let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        assert_eq!(
            names,
            ["format", "tidy", "clippy", "tests and doc tests", "docs"]
        );
    }

    #[test]
    fn doc_tests_are_not_switched_off() {
        let test = STEPS
            .iter()
            .find(|step| step.name == "tests and doc tests")
            .unwrap();
        assert_eq!(
            test.action.describe(),
            "RUST_TEST_THREADS=\"4\" cargo test --workspace"
        );
    }

    #[test]
    fn description_shows_the_environment() {
        let docs = STEPS.iter().find(|step| step.name == "docs").unwrap();
        assert!(
            docs.action
                .describe()
                .starts_with("RUSTDOCFLAGS=\"-D warnings\" cargo doc ")
        );
    }

    #[test]
    fn first_failure_ends_the_run_and_names_its_step() {
        let mut ran = Vec::new();
        let outcome = run_each(STEPS, |action| {
            ran.push(action.describe());
            if matches!(action, Action::Here(..)) {
                Err("two violations".to_owned())
            } else {
                Ok(())
            }
        });
        assert_eq!(ran, ["cargo fmt --all -- --check", "cargo xtask tidy"]);
        let message = outcome.unwrap_err();
        assert!(
            message.starts_with("==> FAILED at 2/5 tidy, after "),
            "{message}"
        );
        assert!(message.ends_with(": two violations"), "{message}");
    }

    #[test]
    fn missing_component_is_named() {
        let reason = require_component(
            &std::env::temp_dir(),
            "no-such-subcommand-of-cargo",
            "clippy",
        )
        .unwrap_err();
        assert!(reason.contains("rustup component add clippy"), "{reason}");
    }
}
