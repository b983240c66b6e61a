//! `edgebus-sim inject`: one system call of the real server fails, at any place, and what it then
//! does is what was promised.
//!
//! `strace` makes the call fail and notes when. A sync or a journal write that fails must end the
//! server with status 74; what is asked after that is not acknowledged before the next start, and
//! the next start has all that was. A full disk may be refused by code instead.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::crash::{any_seed, folder, keep_if_wrong, tuning};
use super::figures::{Figures, judge, verdict};
use super::load::notes::Notes;
use super::load::{Load, Plan};
use super::server::{Server, Setup};
use super::strace::{self, Injected, Injection};
use super::{Failure, binary, ending, interrupt};
use crate::history::{Death, Event, History, Noted, Terms};
use crate::rng::SimRng;
use crate::say::{self, err, out};
use crate::sizes;

/// How long a server runs in which nothing has failed yet.
const LIFE: Duration = Duration::from_millis(2_500);
/// How often its end is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Exit status of a server whose store stopped.
const FAIL_STOP: i32 = 74;
/// The thread that acknowledges.
const ENGINE: &str = "edgebus-engine";

/// What is made to fail. With `pwrite64` and `fallocate` journal and tables are both met.
const FAILURES: [(&str, &str); 8] = [
    ("fdatasync,fsync", "EIO"),
    ("fdatasync,fsync", "EIO"),
    ("pwrite64", "EIO"),
    ("pwrite64", "ENOSPC"),
    ("fallocate", "ENOSPC"),
    ("fallocate", "EIO"),
    ("rename,renameat,renameat2", "EIO"),
    ("ftruncate", "EIO"),
];

/// `edgebus-sim inject …`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many servers are run in which a call fails
    #[arg(long, default_value_t = 30, value_parser = sizes::count::<u32>)]
    pub cycles: u32,
    /// What follows from it: requests, their fates, and which call fails [default: any]
    #[arg(long)]
    pub seed: Option<u64>,
    /// The edgebus to try [default: the one of this workspace, built if need be]
    #[arg(long, value_name = "PATH")]
    pub binary: Option<PathBuf>,
}

/// Has calls fail, checks, and prints what it was.
///
/// # Errors
/// [`Failure`].
pub fn run(options: &Options) -> Result<(), Failure> {
    let strace = strace::find()?;
    let binary = binary::find(options.binary.as_deref())?;
    let seed = options.seed.unwrap_or_else(any_seed);
    let again = binary::again(options.binary.as_deref());
    out!(
        "edgebus-sim inject --cycles {} --seed {seed}{again}",
        options.cycles
    );
    let begun = Instant::now();
    let folder = folder()?;
    let mut setup = Setup::new(&binary, folder.path());
    let inject = inject(&mut setup, &strace, options.cycles, seed);
    let (history, came) = interrupt::run(inject)?;
    let violations = judge(&history, &format!("inject-{seed}")).len() + came.violations.len();
    for violation in &came.violations {
        err!("VIOLATION {violation}");
    }
    for (name, count) in [
        ("servers", options.cycles),
        ("calls that failed", came.failed),
        ("of them, while starting", came.before_ready),
        ("stopped with 74", came.stopped),
        ("went on (disk full)", came.went_on),
        ("call was not reached", came.not_reached),
    ] {
        out!("  {name:<24} {count}");
    }
    say::all(&Figures::of(&history));
    out!("  {:<24} {:.1} s", "took", begun.elapsed().as_secs_f64());
    keep_if_wrong(folder, violations);
    verdict(violations)?;
    match came.failed {
        0 => Err(Failure::CannotRun(
            "no call was reached that should have failed, which shows nothing: more --cycles"
                .to_owned(),
        )),
        _ => Ok(()),
    }
}

/// What came of it.
#[derive(Debug, Default)]
struct Came {
    failed: u32,
    before_ready: u32,
    stopped: u32,
    went_on: u32,
    not_reached: u32,
    /// When the thread that acknowledges could not sync, or not write, from the start of the run.
    io_failed: Vec<Duration>,
    violations: Vec<String>,
}

/// How a server ended that ran under `strace`.
#[derive(Clone, Copy, Debug)]
enum End {
    BeforeReady(ExitStatus),
    ByItself(ExitStatus),
    Told(ExitStatus),
}

async fn inject(
    setup: &mut Setup,
    strace: &Path,
    cycles: u32,
    seed: u64,
) -> Result<(History, Came), Failure> {
    let mut rng = SimRng::seeded(seed);
    let notes = Notes::new(Terms::default());
    notes.started();
    // The first one makes the store and finds a port.
    let server = setup.start().await?;
    let load = Load::start(&Plan::new(seed), server.url(), &notes);
    server.kill()?;
    notes.died(Death::Kill);
    let mut came = Came::default();
    for cycle in 1..=cycles {
        let log = setup.log.with_file_name(format!("strace-{cycle}.log"));
        let injection = any(&mut rng);
        setup.config = tuning(&mut rng);
        setup.under = injection.runner(strace, &log);
        notes.started();
        let end = live(setup).await?;
        notes.died(match end {
            End::Told(_) => Death::Shutdown,
            _ => Death::FailStop,
        });
        let written = std::fs::read(&log).map_err(|e| Failure::broken(log.display(), e))?;
        let injected = strace::injected(&String::from_utf8_lossy(&written));
        came.take(end, &injection, &injected, &notes);
    }
    setup.under.clear();
    notes.started();
    let server = setup.start().await?;
    let mut history = ending::end(load, server, setup).await?;
    for at in &came.io_failed {
        let place = history.noted.partition_point(|noted| noted.at < *at);
        let event = Event::IoFailed;
        history.noted.insert(place, Noted { at: *at, event });
    }
    Ok((history, came))
}

/// Some call, early or late: the first ones are those of a start.
fn any(rng: &mut SimRng) -> Injection {
    let (calls, error) = *rng.pick(&FAILURES);
    let at_most = match calls {
        "pwrite64" | "fdatasync,fsync" => *rng.pick(&[8, 40, 200]),
        _ => 4,
    };
    Injection {
        calls,
        error,
        when: 1 + rng.below(at_most),
    }
}

/// Runs a server until it ends, or for a while.
async fn live(setup: &Setup) -> Result<End, Failure> {
    let mut server = match setup.spawn()?.ready_or_ended().await? {
        Ok(server) => server,
        Err((_, status)) => return Ok(End::BeforeReady(status)),
    };
    let until = Instant::now() + LIFE;
    while Instant::now() < until {
        if server.has_ended() {
            return server.wait().map(End::ByItself);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    stop(server)
}

/// Tells it to end; it may have done so at the same moment.
fn stop(server: Server) -> Result<End, Failure> {
    match server.signal(Signal::TERM) {
        Ok(()) => server.wait().map(End::Told),
        Err(_) => server.wait().map(End::ByItself),
    }
}

impl Came {
    fn take(&mut self, end: End, injection: &Injection, injected: &[Injected], notes: &Notes) {
        let must_stop = injected.iter().find(|call| call.must_stop());
        let wrong = wrong(end, must_stop);
        if let Some(what) = wrong {
            let Injection { calls, error, when } = injection;
            let what = format!("{what} ({calls} {error} at {when}: {injected:?})");
            self.violations.push(what);
        }
        match end {
            _ if injected.is_empty() => self.not_reached += 1,
            End::BeforeReady(_) => self.before_ready += 1,
            End::ByItself(_) => self.stopped += 1,
            End::Told(status) if status.code() == Some(FAIL_STOP) => self.stopped += 1,
            End::Told(_) => self.went_on += 1,
        }
        self.failed += injected.len() as u32;
        if let Some(call) = must_stop
            && call.thread == ENGINE
            && !matches!(end, End::BeforeReady(_))
        {
            self.io_failed.push(notes.since_start(call.at));
        }
    }
}

/// What a server did that it must not.
fn wrong(end: End, must_stop: Option<&Injected>) -> Option<String> {
    match (end, must_stop) {
        (End::BeforeReady(status), _) if status.success() => {
            Some(format!("a start that failed ended with {status}"))
        }
        (End::BeforeReady(_), _) => None,
        // Only an I/O error ends a server.
        (End::ByItself(status), _) if status.code() != Some(FAIL_STOP) => {
            Some(format!("it stopped with {status}, not with {FAIL_STOP}"))
        }
        (End::ByItself(_), _) => None,
        (End::Told(status), Some(_)) if status.code() != Some(FAIL_STOP) => Some(format!(
            "a sync or journal write failed, and it ended with {status} when it was told to"
        )),
        (End::Told(status), None) if !matches!(status.code(), Some(0 | FAIL_STOP)) => {
            Some(format!("told to stop, it ended with {status}"))
        }
        (End::Told(_), _) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn failed(call: &str, given: &str, error: &str) -> Injected {
        Injected {
            at: Duration::ZERO,
            thread: ENGINE.to_owned(),
            call: call.to_owned(),
            given: given.to_owned(),
            error: error.to_owned(),
        }
    }

    #[test]
    fn server_that_goes_on_after_a_sync_that_failed_is_found_out() {
        let status = |code| ExitStatus::from_raw(code << 8);
        let sync = failed("fdatasync", "9</data/journal/1.wal>", "EIO");
        assert!(sync.must_stop());
        assert!(wrong(End::Told(status(0)), Some(&sync)).is_some());
        assert!(wrong(End::ByItself(status(1)), Some(&sync)).is_some());
        assert!(wrong(End::BeforeReady(status(0)), Some(&sync)).is_some());
        assert_eq!(wrong(End::ByItself(status(FAIL_STOP)), Some(&sync)), None);
        assert_eq!(wrong(End::BeforeReady(status(1)), Some(&sync)), None);
    }

    #[test]
    fn full_disk_need_not_stop_a_server() {
        let full = failed("pwrite64", "9</data/journal/1.wal>", "ENOSPC");
        assert!(!full.must_stop());
        assert!(!failed("pwrite64", "9</data/store.redb>", "EIO").must_stop());
        assert_eq!(wrong(End::Told(ExitStatus::from_raw(0)), None), None);
        assert!(wrong(End::Told(ExitStatus::from_raw(9)), None).is_some());
    }
}
