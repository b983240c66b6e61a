//! The command line: what it prints, to whom, and the exit status in which a verdict reaches a script.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn sim(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgebus-sim"));
    command.args(words).stdin(Stdio::null());
    command
}

/// A pipe that nobody reads any more.
fn unread() -> Stdio {
    let (_, writer) = std::io::pipe().expect("a pipe");
    writer.into()
}

fn status(output: &Output) -> i32 {
    output.status.code().expect("no signal ended it")
}

fn complaints(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn figures(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn verdict_is_in_the_status_also_when_nobody_reads() {
    for (words, wanted) in [
        (&["run", "--seeds", "1"][..], 0),
        (&["replay", "1000000"], 0),
        (&["run", "--plant", "list"], 0),
        (&["run", "--plant", "no-such-bug"], 2),
        (&["--help"], 0),
        (&["run", "--help"], 0),
        (&["--version"], 0),
        (&["no-such-command"], 2),
    ] {
        let ended = sim(words).stdout(unread()).output().expect("it runs");
        let said = complaints(&ended);
        assert_eq!(status(&ended), wanted, "{words:?}: {said}");
        assert!(!said.contains("panicked"), "{words:?}: {said}");
        let mut unheard = sim(words);
        let ended = unheard.stdout(unread()).stderr(unread()).output();
        assert_eq!(status(&ended.expect("it runs")), wanted, "{words:?}");
    }
}

#[test]
fn figures_that_cannot_be_written_are_no_success() {
    let full = || File::options().write(true).open("/dev/full");
    let mut command = sim(&["run", "--plant", "list"]);
    let ended = command.stdout(full().expect("is on every Linux")).output();
    let ended = ended.expect("it runs");
    assert_eq!(status(&ended), 2);
    let said = complaints(&ended);
    assert!(said.contains("standard output cannot be written"), "{said}");
}

#[test]
fn proof_of_nothing_is_refused() {
    for words in [
        &["run", "--seeds", "0"][..],
        &["run", "--threads", "0"],
        &["clocks", "--seeds", "0"],
        &["faults", "--seeds", "0"],
        &["faults", "--every", "0"],
        &["crash", "--cycles", "0"],
        &["ready", "--mib", "0"],
        &["ready", "--starts", "0"],
        &["flips", "--flips", "0"],
        &["flips", "--requests", "0"],
        &["snapshots", "--cycles", "0"],
        &["inject", "--cycles", "0"],
        &["full-disk", "--rounds", "0"],
        &["soak", "--minutes", "0"],
        &["soak", "--minutes", "0.5"],
        &["soak", "--minutes", "NaN"],
        &["flood", "--scale", "0"],
        &["flood", "--seconds", "0"],
        &["flood", "--base-seconds", "0"],
        &["flood", "--scale", "inf"],
        &["certificates", "--tills", "0"],
        &["certificates", "--seconds", "0"],
        &["certificates", "--seconds", "1e300"],
        &["fuzz", "--seconds", "0"],
    ] {
        let ended = sim(words).output().expect("it runs");
        let said = complaints(&ended);
        assert_eq!(status(&ended), 2, "{words:?}: {said}");
        assert!(ended.stdout.is_empty(), "{words:?} began");
        assert!(
            said.contains("at least") || said.contains("is needed"),
            "{words:?}: {said}"
        );
    }
}

#[test]
fn file_of_requests_that_makes_no_store_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("orders");
    let path = file.to_str().expect("text");
    let long = "x".repeat(5_000);
    let too_long = ["{}\n".repeat(10), long].concat();
    for (text, word) in [
        ("", "holds 0 requests"),
        ("\n \n\n", "holds 0 requests"),
        ("{}\n", "holds 1 requests"),
        (&too_long, "5000 bytes"),
    ] {
        std::fs::write(&file, text).expect("written");
        let mut command = sim(&["flips", "--flips", "1", "--orders", path]);
        let ended = command.output().expect("it runs");
        let said = complaints(&ended);
        assert_eq!(status(&ended), 2, "{text:?}: {said}");
        assert!(said.contains(word) && said.contains(path), "{said}");
    }
    std::fs::write(&file, "{}\n".repeat(10)).expect("written");
    let mut command = sim(&["flips", "--flips", "1", "--orders", path]);
    let ended = command.output().expect("it runs");
    assert_eq!(status(&ended), 0, "{}", complaints(&ended));
}

/// Began with the last seed there is, and ended there, with nothing run and status 0.
#[test]
fn faults_without_a_call_that_fails_are_no_proof() {
    let mut command = sim(&["faults", "--from", &u64::MAX.to_string()]);
    let ended = command.args(["--every", "20000"]).output();
    let ended = ended.expect("it runs");
    let (said, figures) = (complaints(&ended), figures(&ended));
    assert!(
        figures.contains(&format!("seed {}, ", u64::MAX)),
        "{figures}"
    );
    assert!(figures.contains("at     1 calls"), "{figures}");
    assert_eq!(status(&ended), 2, "{said}");
    assert!(said.contains("only the first call failed"), "{said}");
}

#[test]
fn binary_that_is_no_edgebus_cannot_be_put_to_the_proof() {
    for command in ["crash", "ready", "soak", "flood", "certificates"] {
        let ended = sim(&[command, "--binary", "/bin/true"]).output();
        let ended = ended.expect("it runs");
        let said = complaints(&ended);
        assert_eq!(status(&ended), 2, "{command}: {said}");
        assert!(said.contains("is not edgebus"), "{command}: {said}");
        let figures = figures(&ended);
        assert!(!figures.contains("violations"), "{command}: {figures}");
    }
}

/// Something that tells a version as edgebus does, and never serves. Made by a process of its own: a file that a
/// process of another test has open for writing, as a copy of this one, cannot be executed.
fn fake(folder: &Path) -> String {
    let path = folder.join("edge bus").to_str().expect("text").to_owned();
    let made = Command::new("sh")
        .args(["-c", "cat > \"$1\" && chmod +x \"$1\"", "sh", &path])
        .stdin(Stdio::piped())
        .spawn();
    let mut made = made.expect("is everywhere");
    let script = b"#!/bin/sh\ntest \"$1\" = --version && echo edgebus 0.0.0\n";
    let mut stdin = made.stdin.take().expect("a pipe");
    stdin.write_all(script).expect("written");
    drop(stdin);
    assert!(made.wait().expect("ends").success());
    path
}

/// A server that does not start is bad news about it, and no want of the machine.
#[test]
fn bad_news_is_in_the_status_also_when_nobody_reads() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = fake(folder.path());
    let crash = || sim(&["crash", "--cycles", "1", "--binary", &path]);
    let ended = crash().stdout(unread()).stderr(unread()).output();
    assert_eq!(status(&ended.expect("it runs")), 1);
    let figures = figures(&crash().output().expect("it runs"));
    let again = format!(" --binary '{path}'\n");
    assert!(figures.contains(&again), "{figures}");
}

/// What encoders write was taken in its place, and somebody's own inputs were never tried.
#[test]
fn corpus_that_is_named_and_holds_nothing_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().to_str().expect("text");
    let missing = format!("{empty}/missing");
    let fuzz = |corpus: &str| {
        let words = ["fuzz", "--seconds", "1", "--target", "frames", "--corpus"];
        sim(&words).arg(corpus).output().expect("it runs")
    };
    for corpus in [empty, &missing, "/dev/null"] {
        let ended = fuzz(corpus);
        let said = complaints(&ended);
        assert_eq!(status(&ended), 2, "{corpus}: {said}");
        assert!(said.contains(corpus), "{said}");
    }
    std::fs::create_dir(folder.path().join("frames")).expect("made");
    assert_eq!(status(&fuzz(empty)), 2);
    std::fs::write(folder.path().join("frames/one"), "frame").expect("written");
    let ended = fuzz(empty);
    assert_eq!(status(&ended), 0, "{}", complaints(&ended));
    let again = format!("fuzz --seconds 1 --seed 1 --target frames --corpus {empty}\n");
    assert!(figures(&ended).contains(&again), "{}", figures(&ended));
    assert!(
        figures(&ended).contains("of 1 inputs"),
        "{}",
        figures(&ended)
    );
}

#[test]
fn every_help_tells_the_exit_status() {
    let help = |words: &[&str]| {
        let ended = sim(words).arg("--help").output().expect("it runs");
        assert_eq!(status(&ended), 0, "{words:?}");
        figures(&ended)
    };
    let all = help(&[]);
    let commands = all.split_once("Commands:").expect("a list").1;
    let names = commands
        .lines()
        .skip(1)
        .map_while(|line| line.split_whitespace().next());
    let mut count = 0;
    for name in names.filter(|name| *name != "help") {
        let text = help(&[name]);
        assert!(
            text.contains("Exit status:") && text.contains("\n  2  "),
            "{name}: {text}"
        );
        count += 1;
    }
    assert_eq!(count, 14, "{all}");
    assert!(all.contains("Exit status:"), "{all}");
}

#[test]
fn figures_begin_with_what_they_come_from() {
    let printed = |words: &[&str]| figures(&sim(words).output().expect("it runs"));
    let version = printed(&["--version"]);
    for part in [
        concat!("edgebus-sim ", env!("CARGO_PKG_VERSION"), ", commit "),
        ", rustc 1.",
        "-linux-",
    ] {
        assert!(version.contains(part), "{part}: {version}");
    }
    let first = |words: &[&str]| printed(words).lines().next().map(str::to_owned);
    assert_eq!(
        first(&["run", "--seeds", "1"]).as_deref(),
        Some(version.trim_end())
    );
    assert_eq!(
        first(&["flips", "--flips", "1"]).as_deref(),
        Some(version.trim_end())
    );
    // Whoever plants each of them reads the names.
    let names = printed(&["run", "--plant", "list"]);
    assert!(names.starts_with("ack-before-sync "), "{names}");
}

/// Said that nothing but the server's clock went wrong, while spooling clients lost their power.
#[test]
fn help_of_clocks_says_what_else_goes_wrong() {
    let printed = |words: &[&str]| figures(&sim(words).output().expect("it runs"));
    let help = printed(&["clocks", "--help"]);
    assert!(
        help.contains("by way of a spool lose their power"),
        "{help}"
    );
    let seen = printed(&["clocks", "--seeds", "1"]);
    let count = |kind: &str| {
        let line = seen.lines().find(|line| line.contains(kind));
        let count = line.and_then(|line| line.split_whitespace().next_back());
        count.and_then(|count| count.parse::<u64>().ok())
    };
    assert!(count("power cut, spooling client") > Some(0), "{seen}");
    assert!(count("kill of a client") > Some(0), "{seen}");
    for kind in [
        "power cut, server running",
        "I/O error of the server",
        "disk full",
        "connection cut",
    ] {
        assert_eq!(count(kind), Some(0), "{kind}: {seen}");
    }
}
