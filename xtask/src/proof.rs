//! `cargo xtask proof`: what edgebus promises, shown on the simulated world and on the real binary.
//!
//! Each proof is a command that anyone can run alone; this is the list of them with sizes that fit a
//! check of every change. All run, whatever fails, and the end says what did. Larger sizes are for a
//! night: see docs/reliability.md.

use std::path::Path;
use std::time::Instant;

use crate::plants;
use crate::steps::{Action, Step};

/// A command of the simulator.
macro_rules! sim {
    ($($word:literal),*) => {
        Action::cargo(&["run", "--release", "-q", "-p", "edgebus-sim", "--", $($word),*])
    };
}

/// The proofs, in the order of docs/reliability.md; the quick to fail come first.
const PROOFS: &[Step] = &[
    Step {
        name: "binaries",
        action: Action::cargo(&[
            "build",
            "--release",
            "-p",
            "edgebus-cli",
            "-p",
            "edgebus-sim",
        ]),
    },
    Step {
        name: "simulated worlds",
        action: sim!("run", "--seeds", "1000"),
    },
    Step {
        name: "clocks",
        action: sim!("clocks", "--seeds", "50"),
    },
    Step {
        name: "calls fail once",
        action: sim!("faults", "--every", "20"),
    },
    Step {
        name: "planted bugs",
        action: Action::Here("cargo xtask plants", |root| plants::run(root, &[])),
    },
    Step {
        name: "kill -9 under load",
        action: sim!("crash", "--cycles", "100"),
    },
    Step {
        name: "ready with a large store",
        action: sim!("ready", "--mib", "256", "--starts", "4"),
    },
    Step {
        name: "snapshots of a disk",
        action: sim!("snapshots", "--cycles", "10"),
    },
    Step {
        name: "I/O errors of the real system",
        action: sim!("inject", "--cycles", "20"),
    },
    Step {
        name: "full disk",
        action: sim!("full-disk", "--rounds", "2"),
    },
    Step {
        name: "bit flips",
        action: sim!("flips", "--flips", "500"),
    },
    Step {
        name: "decoders",
        action: sim!("fuzz", "--seconds", "36"),
    },
    Step {
        name: "floods",
        action: sim!(
            "flood",
            "--scale",
            "0.2",
            "--seconds",
            "5",
            "--base-seconds",
            "2"
        ),
    },
    Step {
        name: "certificates",
        action: sim!("certificates"),
    },
];

/// Runs all proofs in `root`; the error names those that failed.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    run_all(PROOFS, |action| action.run(root))
}

fn run_all(
    proofs: &[Step],
    mut run: impl FnMut(&Action) -> Result<(), String>,
) -> Result<(), String> {
    let started = Instant::now();
    let count = proofs.len();
    let mut failed = Vec::new();
    for (index, Step { name, action }) in proofs.iter().enumerate() {
        println!("==> {}/{count} {name}: {}", index + 1, action.describe());
        let proof_started = Instant::now();
        let outcome = run(action);
        let seconds = proof_started.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => println!("    holds; {seconds:.1} s"),
            Err(reason) => {
                println!("    FAILED after {seconds:.1} s: {reason}");
                failed.push(*name);
            }
        }
        // Without the binaries the others would only fail for that.
        if index == 0 && !failed.is_empty() {
            break;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    if failed.is_empty() {
        println!("==> all {count} proofs hold; {seconds:.1} s");
        Ok(())
    } else {
        Err(format!(
            "==> FAILED after {seconds:.1} s: {}",
            failed.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_proof_runs_although_one_fails_and_the_end_names_it() {
        let mut ran = 0;
        let outcome = run_all(PROOFS, |action| {
            ran += 1;
            match action.describe().contains("full-disk") {
                true => Err("no".to_owned()),
                false => Ok(()),
            }
        });
        assert_eq!(ran, PROOFS.len());
        let message = outcome.unwrap_err();
        assert!(message.ends_with(": full disk"), "{message}");
    }

    #[test]
    fn nothing_is_proven_without_the_binaries() {
        let mut ran = 0;
        let outcome = run_all(PROOFS, |_| {
            ran += 1;
            Err("no".to_owned())
        });
        assert_eq!(ran, 1);
        assert!(outcome.unwrap_err().ends_with(": binaries"));
    }

    #[test]
    fn each_command_is_described_as_it_can_be_typed() {
        let worlds = PROOFS[1].action.describe();
        assert_eq!(
            worlds,
            "cargo run --release -q -p edgebus-sim -- run --seeds 1000"
        );
    }
}
