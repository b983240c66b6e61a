//! `cargo xtask coverage`: how many lines of each part the tests reach.
//!
//! The figures come from cargo-tarpaulin, which needs no part of LLVM; this sums them up by the parts
//! of the architecture. A figure is no goal: it tells where nobody looks.

use std::collections::BTreeMap;
use std::path::Path;

use crate::steps::cargo;

/// The parts, each with the folders and files it is made of.
const PARTS: &[(&str, &[&str])] = &[
    ("store", &["crates/edgebus/src/store/"]),
    (
        "engine",
        &[
            "crates/edgebus/src/bus/engine/",
            "crates/edgebus/src/bus/lane.rs",
            "crates/edgebus/src/bus/queue.rs",
            "crates/edgebus/src/bus/steps.rs",
            "crates/edgebus/src/bus/threads.rs",
            "crates/edgebus/src/bus/turns.rs",
            "crates/edgebus/src/bus/pool.rs",
        ],
    ),
    (
        "session",
        &[
            "crates/edgebus-core/src/session/",
            "crates/edgebus-core/src/wire/",
        ],
    ),
    (
        "delivery",
        &[
            "crates/edgebus-core/src/consumer/",
            "crates/edgebus/src/bus/dispatch/",
            "crates/edgebus/src/delivery/",
        ],
    ),
    ("spool", &["crates/edgebus/src/spool/"]),
    ("client", &["crates/edgebus/src/client/"]),
    ("server", &["crates/edgebus/src/server/"]),
];

/// Where the report is written, below the workspace root.
const OUT: &str = "target/coverage";

/// Lines that can be reached, and those that were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lines {
    all: u64,
    reached: u64,
}

/// Runs the library's tests once more, watched, and prints a line for each part.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let status = cargo(root)
        .args(["tarpaulin", "--engine", "llvm", "--skip-clean"])
        .args(["-p", "edgebus-core", "-p", "edgebus", "-p", "edgebus-sim"])
        .args(["--lib", "--tests", "--out", "Lcov", "--output-dir", OUT])
        .args(["--target-dir", "target/coverage/build", "--timeout", "600"])
        .status()
        .map_err(|error| format!("cannot start cargo: {error}"))?;
    if !status.success() {
        return Err(
            "see above; where `cargo tarpaulin` is missing: `cargo install cargo-tarpaulin`"
                .to_owned(),
        );
    }
    let report = root.join(OUT).join("lcov.info");
    let text = std::fs::read_to_string(&report)
        .map_err(|error| format!("cannot read {}: {error}", report.display()))?;
    print!("{}", table(&sum(&text, root)));
    Ok(())
}

/// Lines by part, from a report in the format of lcov.
fn sum(text: &str, root: &Path) -> BTreeMap<&'static str, Lines> {
    let mut parts: BTreeMap<&'static str, Lines> = BTreeMap::new();
    let mut part = None;
    for line in text.lines() {
        if let Some(file) = line.strip_prefix("SF:") {
            let file = Path::new(file);
            let file = file.strip_prefix(root).unwrap_or(file);
            part = part_of(&file.to_string_lossy());
        } else if let Some(hit) = line.strip_prefix("DA:")
            && let Some(part) = part
            && let Some((_, times)) = hit.split_once(',')
        {
            let lines = parts.entry(part).or_default();
            lines.all += 1;
            lines.reached += u64::from(times != "0");
        }
    }
    parts
}

/// The part that a file belongs to, unless it is a test.
fn part_of(file: &str) -> Option<&'static str> {
    if file.contains("/tests") {
        return None;
    }
    let is_in = |places: &&[&str]| places.iter().any(|place| file.starts_with(place));
    let part = PARTS.iter().find(|(_, places)| is_in(places));
    part.map(|(name, _)| *name)
}

fn table(parts: &BTreeMap<&'static str, Lines>) -> String {
    let mut text = String::from("part      lines  reached\n");
    for (name, _) in PARTS {
        let Lines { all, reached } = parts.get(name).copied().unwrap_or_default();
        let percent = 100.0 * reached as f64 / all.max(1) as f64;
        text += &format!("{name:<9} {all:>5}  {reached:>5}  {percent:>5.1} %\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_by_part_and_tests_are_left_out() {
        let root = Path::new("/somewhere");
        let text = "TN:\nSF:/somewhere/crates/edgebus/src/store/op.rs\nDA:1,4\nDA:2,0\nend_of_record\n\
                    SF:/somewhere/crates/edgebus/src/store/tests/x.rs\nDA:1,4\nend_of_record\n\
                    SF:crates/edgebus/src/delivery/mod.rs\nDA:9,1\nend_of_record\n";
        let parts = sum(text, root);
        let store = Lines { all: 2, reached: 1 };
        assert_eq!(parts.get("store"), Some(&store));
        assert_eq!(parts.len(), 2);
        let table = table(&parts);
        assert!(table.contains("store         2      1   50.0 %"), "{table}");
        assert!(table.contains("engine        0      0    0.0 %"), "{table}");
    }
}
