//! A process that is held still: SIGSTOP, and SIGCONT on every way out.
//!
//! Invariant: once this is there, no thread of the process runs, and none is in the middle of a
//! system call: what was in a sync has come back from it.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::Failure;

/// How long a sync may keep a thread from stopping.
const STOP_TIME: Duration = Duration::from_secs(30);

/// A process that stands still until this is dropped.
#[derive(Debug)]
pub struct Stopped(Pid);

impl Stopped {
    /// Stops a process and waits until all its threads stand still.
    ///
    /// # Errors
    /// [`Failure::Broken`] when it is gone, or does not stop.
    pub fn stop(pid: Pid) -> Result<Self, Failure> {
        kill_process(pid, Signal::STOP).map_err(|e| Failure::broken("it cannot be stopped", e))?;
        let stopped = Self(pid);
        let until = Instant::now() + STOP_TIME;
        while !all_stopped(pid)? {
            if Instant::now() > until {
                return Err(Failure::Broken(format!(
                    "process {pid} has not stopped after {STOP_TIME:?}"
                )));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(stopped)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // Gone meanwhile: it need not go on.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

fn all_stopped(pid: Pid) -> Result<bool, Failure> {
    let gone = |e| Failure::broken(format_args!("process {pid} cannot be looked at"), e);
    let tasks = format!("/proc/{}/task", pid.as_raw_nonzero());
    for task in std::fs::read_dir(tasks).map_err(gone)? {
        let stat = task.map_err(gone)?.path().join("stat");
        // A thread that has ended meanwhile runs no more.
        if let Ok(stat) = std::fs::read_to_string(stat)
            && state(&stat) != Some('T')
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The state of a thread in a line of `/proc/PID/stat`: behind its name, which may hold anything.
fn state(stat: &str) -> Option<char> {
    stat.rsplit_once(") ")?.1.chars().next()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn state_is_found_behind_any_name() {
        assert_eq!(state("12 (edgebus) T 1 12"), Some('T'));
        assert_eq!(state("12 (a) R) D 1 12"), Some('D'));
        assert_eq!(state("nonsense"), None);
    }

    #[test]
    fn process_stands_still_and_goes_on() {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .spawn()
            .expect("is everywhere");
        let stopped = Stopped::stop(Pid::from_child(&child)).expect("stops");
        assert_eq!(all_stopped(Pid::from_child(&child)), Ok(true));
        drop(stopped);
        drop(child.stdin.take());
        assert!(child.wait().expect("ends").success());
    }
}
