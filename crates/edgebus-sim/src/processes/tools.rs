//! What of the system a command needs: rights, and programs that are run to their end.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::Failure;

/// How long a tool may take; far longer than any does.
const TOOL_TIME: Duration = Duration::from_secs(120);
/// How often the end of a child is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Fails unless this process may mount and attach.
///
/// # Errors
/// [`Failure::CannotRun`].
pub fn need_root(what_for: &str) -> Result<(), Failure> {
    match rustix::process::geteuid().is_root() {
        true => Ok(()),
        false => Err(Failure::CannotRun(format!(
            "{what_for} takes root: run it as root, on a machine where that is no harm"
        ))),
    }
}

/// The path of a program; where root's programs are, too.
///
/// # Errors
/// [`Failure::CannotRun`] when it is not installed.
pub fn need_tool(name: &str, package: &str) -> Result<PathBuf, Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
    std::env::split_paths(&path)
        .chain(usual.map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| {
            Failure::CannotRun(format!("{name} is missing: install the package {package}"))
        })
}

/// What the files below a folder take on the disk, in bytes.
///
/// # Errors
/// [`Failure::Broken`] when they cannot be looked at.
pub fn bytes_on_disk(folder: &Path) -> Result<u64, Failure> {
    let failed = |e| Failure::broken(folder.display(), e);
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        // Gone meanwhile: it takes nothing.
        let Ok(about) = path.symlink_metadata() else {
            continue;
        };
        bytes += match about.is_dir() {
            true => bytes_on_disk(&path)?,
            false => about.blocks() * 512,
        };
    }
    Ok(bytes)
}

/// Runs a program to its end and gives what it printed.
///
/// # Errors
/// [`Failure::Broken`] with what it said, when it cannot be run, fails, or does not end.
pub fn run(program: &Path, args: &[&str]) -> Result<String, Failure> {
    let mut command = Command::new(program);
    command.args(args);
    let ended = run_to_end(&mut command, TOOL_TIME)?;
    match ended.status.success() {
        true => Ok(ended.stdout),
        false => Err(Failure::broken(
            format_args!("{} {} failed", program.display(), args.join(" ")),
            ended.stderr.trim(),
        )),
    }
}

/// What a program left behind.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

/// Runs a program to its end, whatever its status is. Its output goes through files, so that it
/// never waits for a reader.
///
/// # Errors
/// [`Failure::Broken`] when it cannot be run or does not end in time; it is killed then.
pub fn run_to_end(command: &mut Command, at_most: Duration) -> Result<Ended, Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let file = || tempfile::tempfile().map_err(|e| Failure::broken("a file for its output", e));
    let (mut stdout, mut stderr) = (file()?, file()?);
    let copy = |file: &File| {
        file.try_clone()
            .map_err(|e| Failure::broken("a file for its output", e))
    };
    let child = command
        .stdin(Stdio::null())
        .stdout(copy(&stdout)?)
        .stderr(copy(&stderr)?)
        .spawn()
        .map_err(|e| Failure::broken(format_args!("{program} does not start"), e))?;
    let mut child = Killed(child);
    let status = wait(&mut child.0, at_most)?.ok_or_else(|| {
        Failure::broken(&program, format_args!("has not ended after {at_most:?}"))
    })?;
    Ok(Ended {
        status,
        stdout: content(&mut stdout)?,
        stderr: content(&mut stderr)?,
    })
}

/// Waits for the end of a child; `None` when it goes on for longer.
///
/// # Errors
/// [`Failure::Broken`] when it cannot be waited for.
pub fn wait(child: &mut Child, at_most: Duration) -> Result<Option<ExitStatus>, Failure> {
    let until = Instant::now() + at_most;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(Some(status)),
            Ok(None) if Instant::now() >= until => return Ok(None),
            Ok(None) => std::thread::sleep(LOOK_EVERY),
            Err(error) => return Err(Failure::broken("a child cannot be waited for", error)),
        }
    }
}

fn content(file: &mut File) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))
        .and_then(|_| file.read_to_end(&mut bytes))
        .map_err(|e| Failure::broken("what a program printed", e))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A child that does not outlive whoever waits for it.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Ended already: nothing is killed then.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_that_is_missing_is_named_with_its_package() {
        let failure = need_tool("edgebus-no-such-tool", "some-package").expect_err("missing");
        assert_eq!(failure.status(), 2);
        let said = failure.to_string();
        assert!(said.contains("edgebus-no-such-tool") && said.contains("some-package"));
    }

    #[test]
    fn program_is_run_to_its_end_and_its_words_are_kept() {
        let sh = need_tool("sh", "dash").expect("is everywhere");
        assert_eq!(run(&sh, &["-c", "echo well"]), Ok("well\n".to_owned()));
        let failure = run(&sh, &["-c", "echo badly >&2; exit 3"]).expect_err("fails");
        assert!(failure.to_string().ends_with("badly"), "{failure}");
    }

    #[test]
    fn program_that_does_not_end_is_killed() {
        let sh = need_tool("sh", "dash").expect("is everywhere");
        let mut command = Command::new(sh);
        command.args(["-c", "while :; do :; done"]);
        let failure = run_to_end(&mut command, Duration::from_millis(50)).expect_err("goes on");
        assert!(failure.to_string().contains("has not ended"), "{failure}");
    }
}
