//! `strace` as a runner that makes system calls fail, and what it wrote about it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Failure, tools};

/// A call that is to fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Injection {
    /// The calls that are counted, together.
    pub calls: &'static str,
    /// With what it fails.
    pub error: &'static str,
    /// Which of a thread's calls fails, counted from 1. Each thread counts its own.
    pub when: u64,
}

/// Finds `strace`, and whether it may be used.
///
/// # Errors
/// [`Failure::CannotRun`] where it is missing or may not watch a process.
pub fn find() -> Result<PathBuf, Failure> {
    let strace = tools::need_tool("strace", "strace")?;
    let works = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "true"];
    tools::run(&strace, &works)
        .map_err(|e| Failure::CannotRun(format!("strace may not watch a process here: {e}")))?;
    Ok(strace)
}

impl Injection {
    /// What runs a program so that it happens, and writes about it.
    pub fn runner(&self, strace: &Path, log: &Path) -> Vec<String> {
        let Self { calls, error, when } = self;
        let (strace, log) = (strace.to_string_lossy(), log.to_string_lossy());
        let trace = format!("trace={calls}");
        let inject = format!("inject={calls}:error={error}:when={when}");
        let words: [&str; 13] = [
            &strace, "-f", "-qq", "-y", "-Y", "-ttt", "-o", &log, "-e", &trace, "-e", &inject, "--",
        ];
        words.map(str::to_owned).to_vec()
    }
}

/// A call that was made to fail.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Injected {
    /// When it was made, since 1970.
    pub at: Duration,
    /// The thread that made it.
    pub thread: String,
    /// Its name.
    pub call: String,
    /// What it was given; files by their paths.
    pub given: String,
    /// The error it got.
    pub error: String,
}

impl Injected {
    /// Whether the store has to stop for it: a sync, or a write to the journal, that failed for
    /// another reason than a full disk.
    pub fn must_stop(&self) -> bool {
        let sync = matches!(self.call.as_str(), "fsync" | "fdatasync");
        let journal = self.call == "pwrite64" && self.given.contains("/journal/");
        self.error != "ENOSPC" && (sync || journal)
    }
}

/// The calls that were made to fail, out of what `strace` wrote.
pub fn injected(log: &str) -> Vec<Injected> {
    let mut begun: HashMap<&str, (Duration, &str, &str)> = HashMap::new();
    let mut found = Vec::new();
    for line in log.lines() {
        let Some((process, rest)) = line.split_once(' ') else {
            continue;
        };
        let Some((at, call)) = rest.trim_start().split_once(' ') else {
            continue;
        };
        let Ok(at) = at.parse().map(Duration::from_secs_f64) else {
            continue;
        };
        let id = process.split('<').next().unwrap_or(process);
        let (at, name, given) = match resumed(call) {
            Some(_) => match begun.remove(id) {
                Some(begun) => begun,
                None => continue,
            },
            None => match call.split_once('(') {
                Some((name, given)) => (at, name, given),
                None => continue,
            },
        };
        if call.ends_with("<unfinished ...>") {
            begun.insert(id, (at, name, given));
        } else if call.contains("(INJECTED)")
            && let Some((_, result)) = call.rsplit_once("= -1 ")
        {
            let of = |text: &str| text.split([' ', ')']).next().unwrap_or_default().to_owned();
            let thread = process.split_once('<').map_or("", |(_, name)| name);
            let given = given.split(" <unfinished").next().unwrap_or(given);
            let given = given.split(" = -1 ").next().unwrap_or(given);
            found.push(Injected {
                at,
                thread: thread.trim_end_matches('>').to_owned(),
                call: name.to_owned(),
                given: given.trim_end_matches([' ', ')']).to_owned(),
                error: of(result),
            });
        }
    }
    found
}

/// The name of the call that a line is the end of.
fn resumed(call: &str) -> Option<&str> {
    call.strip_prefix("<... ")?.split(' ').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
17<edgebus> 1795447579.720204 fsync(11</tmp/data>) = 0
18<engine> 1795447579.800000 fdatasync(9</tmp/data/journal/1.wal> <unfinished ...>
19<sealer> 1795447579.810000 fdatasync(10</tmp/data/store.redb>) = -1 EIO (Input/output error) (INJECTED)
18<engine> 1795447579.820000 <... fdatasync resumed>) = -1 EIO (Input/output error) (INJECTED)
18<engine> 1795447579.830000 pwrite64(9</tmp/data/journal/1.wal>, \"ab\"..., 4096, 0) = -1 ENOSPC (No space left on device) (INJECTED)
17<edgebus> 1795447579.840000 +++ exited with 74 +++
";

    #[test]
    fn calls_that_were_made_to_fail_are_found_with_thread_time_and_file() {
        let found = injected(LOG);
        let seen: Vec<_> = found
            .iter()
            .map(|i| (&*i.thread, &*i.call, &*i.error, i.must_stop()))
            .collect();
        let wanted = [
            ("sealer", "fdatasync", "EIO", true),
            ("engine", "fdatasync", "EIO", true),
            ("engine", "pwrite64", "ENOSPC", false),
        ];
        assert_eq!(seen, wanted);
        assert_eq!(found[1].given, "9</tmp/data/journal/1.wal>");
        // Seconds as a float are a little off.
        let ms = found[1].at.subsec_micros().div_ceil(1000);
        assert_eq!(ms, 800, "when it was made");
    }

    #[test]
    fn lines_that_mean_nothing_here_are_passed_over() {
        assert_eq!(injected(""), []);
        assert_eq!(
            injected("17 x\nnonsense\n17 1.5 <... fsync resumed>) = -1 EIO (INJECTED)\n"),
            []
        );
    }
}
