//! How a command is run on one message.
//!
//! Invariants: a command that reads nothing, writes more than fits, leaves children behind or
//! never ends holds up nobody: its input may go unread, its output is bounded, and when its time is
//! over its whole process group is ended. Its exit is always waited for, so no zombie stays.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::captured::{Output, Tail};
use crate::error::CliError;

/// Exit status that means: never try this message again.
const REJECT: i32 = 65;
/// What a command gets between being asked to end and being killed.
const END_TIME: Duration = Duration::from_secs(2);
/// Most that a command can have left in a pipe when it ended.
const PIPE_BYTES_MAX: usize = 1024 * 1024;

/// The command of `--exec`.
#[derive(Debug)]
pub(super) enum Script {
    /// An executable file, run without a shell.
    File(PathBuf),
    /// A line for the shell.
    Shell(OsString),
}

/// One run of it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) payload: Bytes,
    pub(super) environment: Vec<(&'static str, String)>,
    pub(super) timeout: Duration,
    /// Longest output that can be a reply.
    pub(super) output_bytes_max: usize,
    /// Show people what it writes to stderr.
    pub(super) show_stderr: bool,
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Well; what it wrote.
    Done(Bytes),
    /// The message is not to be tried again, and why.
    Reject(String),
    /// The message is to be tried again, and why.
    Retry(String),
    /// It was killed because nobody waits for it any more.
    Killed,
}

/// Whether a command is one path with folders and nothing else.
fn is_path_alone(command: &OsString) -> bool {
    let text = command.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "/._-+".contains(c);
    text.contains('/') && text.chars().all(plain)
}

impl Script {
    /// A file is run as it is, so that its name may hold anything; all else goes to the shell.
    ///
    /// # Errors
    /// It says nothing, or names a file that cannot be run: no message is to pay for that.
    pub(super) fn new(command: OsString) -> Result<Self, CliError> {
        let path = Path::new(&command);
        let shown = path.display();
        if command.to_string_lossy().trim().is_empty() {
            return Err(CliError::usage("--exec needs a command"));
        }
        match std::fs::metadata(path) {
            Ok(file) if file.is_file() && file.permissions().mode() & 0o111 != 0 => {
                // A bare name would be looked for along PATH.
                Ok(Self::File(Path::new(".").join(path)))
            }
            Ok(file) if file.is_file() => Err(CliError::usage(format!(
                "{shown} cannot be executed: chmod +x {shown}, or name its interpreter"
            ))),
            Err(_) if is_path_alone(&command) => {
                Err(CliError::usage(format!("there is no file {shown}")))
            }
            _ => Ok(Self::Shell(command)),
        }
    }

    fn command(&self) -> Command {
        match self {
            Self::File(path) => Command::new(path),
            Self::Shell(line) => {
                let mut command = Command::new("/bin/sh");
                command.arg("-c").arg(line);
                command
            }
        }
    }

    /// Runs it on a message. `kill` ends it at once.
    pub(super) async fn run(&self, job: Job, kill: oneshot::Receiver<()>) -> Ended {
        match self.spawn(&job) {
            Ok(child) => wait(child, &job, kill).await,
            Err(error) => Ended::Retry(format!("the command cannot be started: {error}")),
        }
    }

    fn spawn(&self, job: &Job) -> io::Result<Child> {
        let spawn = |mut command: Command| {
            command
                .envs(job.environment.iter().map(|(name, value)| (*name, value)))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                // A group of its own: an interrupt of the terminal is not meant for it, and all
                // that it starts can be ended with it.
                .process_group(0)
                .kill_on_drop(true)
                .spawn()
        };
        match (spawn(self.command()), self) {
            // A script that does not name its interpreter: a shell would take it for its own.
            (Err(error), Self::File(path))
                if error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error()) =>
            {
                let mut command = Command::new("/bin/sh");
                command.arg(path);
                spawn(command)
            }
            (spawned, _) => spawned,
        }
    }
}

/// Why a command is being ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    No,
    TimedOut,
    Killed,
}

async fn wait(mut child: Child, job: &Job, kill: oneshot::Receiver<()>) -> Ended {
    let (Some(mut stdin), Some(mut stdout), Some(mut stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Ended::Retry("the command has no pipes".to_owned());
    };
    let mut write = std::pin::pin!(async move {
        // A command may leave its input unread.
        let _ = stdin.write_all(&job.payload).await;
    });
    let mut kill = std::pin::pin!(async move {
        if kill.await.is_err() {
            std::future::pending::<()>().await;
        }
    });
    let mut deadline = std::pin::pin!(tokio::time::sleep(job.timeout));
    let mut output = Output::new(job.output_bytes_max);
    let mut tail = Tail::new(job.show_stderr);
    let (mut writing, mut reading, mut hearing) = (true, true, true);
    let mut stop = Stop::No;
    let (mut out, mut err) = (vec![0; 16 * 1024], vec![0; 4 * 1024]);
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            () = &mut write, if writing => writing = false,
            read = stdout.read(&mut out), if reading => match read {
                Ok(count) if count > 0 => output.add(&out[..count]),
                _ => reading = false,
            },
            read = stderr.read(&mut err), if hearing => match read {
                Ok(count) if count > 0 => tail.add(&err[..count]),
                _ => hearing = false,
            },
            () = &mut deadline => {
                let signal = if stop == Stop::No { Signal::TERM } else { Signal::KILL };
                stop = if stop == Stop::No { Stop::TimedOut } else { stop };
                end_group(&child, signal);
                deadline.as_mut().reset(Instant::now() + END_TIME);
            }
            () = &mut kill, if stop != Stop::Killed => {
                stop = Stop::Killed;
                end_group(&child, Signal::KILL);
            }
        }
    };
    // All that the command wrote is in the pipes by now. Their end is not waited for: something
    // it left running may hold them open.
    drain(&stdout, &mut out, |bytes| output.add(bytes));
    drain(&stderr, &mut err, |bytes| tail.add(bytes));
    match (stop, status) {
        (Stop::Killed, _) => Ended::Killed,
        (Stop::TimedOut, _) => {
            let timeout = humantime::format_duration(job.timeout);
            let over = format!("the command did not end within {timeout}");
            match tail.into_text() {
                text if text.is_empty() => Ended::Retry(over),
                text => Ended::Retry(format!("{over}: {text}")),
            }
        }
        (Stop::No, Ok(status)) => judge(status, output, tail),
        (Stop::No, Err(error)) => {
            Ended::Retry(format!("the command cannot be waited for: {error}"))
        }
    }
}

/// Signals everything the command started. Its number is its own as long as it was not waited for.
fn end_group(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| Pid::from_raw(id as i32));
    if let Some(pid) = pid {
        // It may have ended meanwhile.
        let _ = kill_process_group(pid, signal);
    }
}

fn drain(pipe: impl AsFd, buffer: &mut [u8], mut take: impl FnMut(&[u8])) {
    let mut left = PIPE_BYTES_MAX;
    while left > 0 {
        match rustix::io::read(&pipe, &mut *buffer) {
            Ok(count) if count > 0 => {
                take(&buffer[..count]);
                left = left.saturating_sub(count);
            }
            Err(Errno::INTR) => {}
            // The end, or nothing there: the pipe does not block.
            _ => break,
        }
    }
}

fn judge(status: ExitStatus, output: Output, tail: Tail) -> Ended {
    let reason = || {
        let text = tail.into_text();
        match (text.is_empty(), status.code(), status.signal()) {
            (false, ..) => text,
            (true, Some(code), _) => format!("exit status {code}"),
            (true, None, Some(signal)) => format!("killed by signal {signal}"),
            (true, None, None) => status.to_string(),
        }
    };
    match status.code() {
        Some(0) => match output.into_bytes() {
            Ok(bytes) => Ended::Done(bytes),
            Err(max) => Ended::Reject(format!(
                "the command wrote more than {max} bytes, which is no reply: store the content elsewhere \
                 and reply where"
            )),
        },
        Some(REJECT) => Ended::Reject(reason()),
        _ => Ended::Retry(reason()),
    }
}

#[cfg(test)]
mod tests;
