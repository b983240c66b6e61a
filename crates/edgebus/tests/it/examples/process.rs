//! An example as a child process, and what it prints.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc;

use rustix::process::{Pid, Signal, kill_process};

use crate::blocking::fixture::HANGS_AFTER;

/// It is killed when this is dropped before its end.
pub(super) struct Example {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
    _folder: tempfile::TempDir,
}

impl Example {
    /// Starts it in a folder of its own.
    pub(super) fn start(name: &str, args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(binary(name))
            .args(args)
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (line, lines) = mpsc::channel();
        std::thread::spawn(move || {
            // Until it ends, or nobody reads any more.
            let _ = stdout.lines().try_for_each(|text| line.send(text.unwrap()));
        });
        Self {
            stdin: child.stdin.take(),
            child,
            lines,
            _folder: folder,
        }
    }

    /// Waits for a line that contains this.
    pub(super) fn says(&self, text: &str) -> String {
        let mut before = Vec::new();
        loop {
            match self.lines.recv_timeout(HANGS_AFTER) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => before.push(line),
                Err(error) => panic!("no {text:?} ({error}), only {before:?}"),
            }
        }
    }

    /// Types a line.
    pub(super) fn hears(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// As Ctrl-C does.
    pub(super) fn interrupt(&self) {
        let pid = Pid::from_raw(self.child.id() as i32).unwrap();
        kill_process(pid, Signal::INT).unwrap();
    }

    /// Types nothing more and waits for its end; what it had still printed.
    pub(super) fn end(mut self) -> (ExitStatus, Vec<String>) {
        drop(self.stdin.take());
        let lines = self.lines.iter().collect();
        (self.child.wait().unwrap(), lines)
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where cargo puts it: beside the folder of this test.
fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let built = test.parent().unwrap().parent().unwrap();
    let path = built.join("examples").join(name);
    assert!(
        path.exists(),
        "{} is not there: `cargo test -p edgebus` builds it",
        path.display()
    );
    path
}
