//! Commands that run beside a test, and the pipes that tell their scripts when to go on.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Place, Server, send_signal, text};

/// After this a test has failed: what it waits for does not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command that runs; it is killed when dropped.
pub(crate) struct Background {
    pub(crate) child: Child,
    stdout: Lines,
    stderr: Lines,
}

/// Lines as they come, on a thread of their own, so that no pipe fills up.
struct Lines {
    lines: Receiver<String>,
    /// Those that were passed over, for when a test fails.
    seen: Vec<String>,
}

impl Lines {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines() {
                if sender.send(line.expect("it is text")).is_err() {
                    break;
                }
            }
        });
        Self {
            lines,
            seen: Vec::new(),
        }
    }

    fn wait_for(&mut self, part: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => self.seen.push(line),
                Err(error) => panic!("no line with {part:?} ({error}), but {:?}", self.seen),
            }
        }
    }

    fn rest(&mut self) -> Vec<String> {
        self.lines.iter().collect()
    }
}

/// How a command ended, and what it said last.
pub(crate) struct Finished {
    pub(crate) status: i32,
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: Vec<String>,
}

impl Background {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let stdout = Lines::of(child.stdout.take().expect("is piped"));
        let stderr = Lines::of(child.stderr.take().expect("is piped"));
        Self {
            child,
            stdout,
            stderr,
        }
    }

    /// A `reply` that works already.
    pub(crate) fn reply(server: &Server, args: &[&str]) -> Self {
        let mut command = server.command(&[&["reply"], args].concat());
        let mut reply = Self::start(&mut command);
        reply.hear("edgebus: working on ");
        reply
    }

    /// A `sub` that listens already.
    pub(crate) fn sub(server: &Server, args: &[&str]) -> Self {
        let mut command = server.command(&[&["sub"], args].concat());
        let mut sub = Self::start(&mut command);
        sub.hear("edgebus: listening to ");
        sub
    }

    /// Waits for a line on stdout that has this in it.
    pub(crate) fn line(&mut self, part: &str) -> String {
        self.stdout.wait_for(part)
    }

    /// The next line on stdout, as JSON.
    pub(crate) fn json(&mut self) -> Value {
        let line = self.line("");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"))
    }

    /// Waits for a line on stderr that has this in it.
    pub(crate) fn hear(&mut self, part: &str) -> String {
        self.stderr.wait_for(part)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send_signal(&self.child, signal);
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Finished {
        Finished {
            stdout: self.stdout.rest(),
            stderr: self.stderr.rest(),
            status: self
                .child
                .wait()
                .expect("it ends")
                .code()
                .expect("was not killed"),
        }
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(self) -> Finished {
        self.signal(Signal::TERM);
        self.finish()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A named pipe that a script waits at: `cat PIPE` ends when the test opens the gate.
pub(crate) struct Gate(PathBuf);

impl Gate {
    pub(crate) fn new(place: &Place, name: &str) -> Self {
        let path = place.path(name);
        let made = Command::new("mkfifo").arg(&path).status();
        assert!(made.expect("mkfifo is there").success());
        Self(path)
    }

    /// What a script does to wait.
    pub(crate) fn wait(&self) -> String {
        format!("cat {} >/dev/null", text(&self.0))
    }

    /// Lets one script through; waits until it is there.
    pub(crate) fn open(&self) {
        let mut pipe = std::fs::OpenOptions::new()
            .write(true)
            .open(&self.0)
            .expect("the pipe opens");
        // Nobody reads any more: the script was killed.
        let _ = pipe.write_all(b"\n");
    }
}

/// How many lines a file has; none if it is not there.
pub(crate) fn lines_of(place: &Place, name: &str) -> usize {
    let content = std::fs::read_to_string(place.path(name)).unwrap_or_default();
    content.lines().count()
}
