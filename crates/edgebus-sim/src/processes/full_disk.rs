//! `edgebus-sim full-disk`: the disk fills up under load and is freed again, with nobody repairing
//! anything.
//!
//! While it is full new requests are refused with `storage_full` and a time to wait, duplicates are
//! answered, and consumers do what is left. Once it is freed requests are taken again by the same
//! process. In some rounds the server is killed while the disk is full, and has to start on it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use edgebus::{Client, Code, Message, Receipt, SendError};
use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::crash::{any_seed, folder};
use super::figures::{Figures, judge, verdict};
use super::load::content::Content;
use super::load::notes::Notes;
use super::load::{Load, Plan};
use super::mounted::{Mounted, Programs};
use super::server::Setup;
use super::{Failure, binary, ending, interrupt};
use crate::history::{self, Death, History, Terms};
use crate::rng::SimRng;
use crate::say::{self, err, out};
use crate::sizes;

const MIB: u64 = 1024 * 1024;
/// How long anything may take that must come by itself; far longer than it does.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long load goes on before the disk fills up, and after it was freed.
const BETWEEN_MAX: Duration = Duration::from_millis(800);
/// Between two tries of the one who looks.
const AGAIN: Duration = Duration::from_millis(20);
/// As whom the one who looks asks, and sends.
const PROBE: u16 = 500;

/// A disk, and the limits of a server on it.
#[derive(Clone, Copy, Debug)]
struct Size {
    disk: u64,
    segment: u64,
    free_min: u64,
}

/// A small one, a middle one, and one with everybody's limits.
const SIZES: [Size; 3] = [
    Size {
        disk: 64 * MIB,
        segment: MIB,
        free_min: 4 * MIB,
    },
    Size {
        disk: 160 * MIB,
        segment: 4 * MIB,
        free_min: 16 * MIB,
    },
    Size {
        disk: 384 * MIB,
        segment: 16 * MIB,
        free_min: 64 * MIB,
    },
];

/// `edgebus-sim full-disk …`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How often each of three disks is filled
    #[arg(long, default_value_t = 4, value_parser = sizes::count::<u32>)]
    pub rounds: u32,
    /// What follows from it: requests, their fates, and how full it gets [default: any]
    #[arg(long)]
    pub seed: Option<u64>,
    /// The edgebus to try [default: the one of this workspace, built if need be]
    #[arg(long, value_name = "PATH")]
    pub binary: Option<PathBuf>,
}

/// Fills, frees, checks, and prints what it was.
///
/// # Errors
/// [`Failure`].
pub fn run(options: &Options) -> Result<(), Failure> {
    let programs = Programs::find("mounting a small disk in memory")?;
    let binary = binary::find(options.binary.as_deref())?;
    let seed = options.seed.unwrap_or_else(any_seed);
    let again = binary::again(options.binary.as_deref());
    out!(
        "edgebus-sim full-disk --rounds {} --seed {seed}{again}",
        options.rounds
    );
    let begun = Instant::now();
    let mut violations = 0;
    let mut figures = Figures::default();
    let mut told = Told::default();
    for (number, size) in (0..).zip(SIZES) {
        let folder = folder()?;
        let mounted = programs.mount_memory(size.disk, &folder.path().join("disk"))?;
        let mut setup = Setup::new(&binary, folder.path());
        setup.data = mounted.dir().join("data");
        setup.config = config(size);
        let filling = fill(
            &mut setup,
            &mounted,
            size,
            options.rounds,
            seed.wrapping_add(number),
        );
        let (history, round) = interrupt::run(filling)?;
        for what in &round.violations {
            err!("VIOLATION on {} MiB: {what}", size.disk / MIB);
        }
        violations +=
            judge(&history, &format!("full-disk-{seed}-{number}")).len() + round.violations.len();
        figures.add(&Figures::of(&history));
        told.add(round);
    }
    out!("  {:<24} {}", "times filled and freed", told.rounds);
    out!("  {:<24} {}", "killed while full", told.killed);
    out!("  {:<24} {}", "drained while full", told.drained);
    out!("  {:<24} {}", "duplicates while full", told.duplicates);
    say::all(&figures);
    out!("  {:<24} {:.1} s", "took", begun.elapsed().as_secs_f64());
    verdict(violations)
}

fn config(size: Size) -> String {
    format!(
        "[store]\npayload_bytes = \"64KiB\"\nseal_bytes = \"256KiB\"\nseal_after = \"300ms\"\nsegment_bytes = \
         \"{}MiB\"\ndisk_free_bytes = \"{}MiB\"\n",
        size.segment / MIB,
        size.free_min / MIB
    )
}

/// What was seen.
#[derive(Debug, Default)]
struct Told {
    rounds: u32,
    killed: u32,
    drained: u32,
    duplicates: u32,
    violations: Vec<String>,
}

impl Told {
    fn add(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.killed += other.killed;
        self.drained += other.drained;
        self.duplicates += other.duplicates;
        self.violations.extend(other.violations);
    }

    fn wrong(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }
}

async fn fill(
    setup: &mut Setup,
    disk: &Mounted,
    size: Size,
    rounds: u32,
    seed: u64,
) -> Result<(History, Told), Failure> {
    let mut rng = SimRng::seeded(seed);
    let notes = Notes::new(Terms::default());
    let mut told = Told::default();
    notes.started();
    let mut server = setup.start().await?;
    let mut plan = Plan::new(seed);
    plan.payload_bytes_max = 8 * 1024;
    let load = Load::start(&plan, server.url(), &notes);
    let mut probe = Probe::connect(server.url(), seed, &notes).await?;
    for _ in 0..rounds {
        tokio::time::sleep(BETWEEN_MAX.mul_f64(rng.fraction())).await;
        probe.is_taken().await?;
        // From just below the limit to nothing at all.
        let left = match rng.chance(0.4) {
            true => 0,
            false => rng.below(size.free_min),
        };
        let ballast = Ballast::fill(disk.dir(), left)?;
        notes.fault("disk full", format!("{left} bytes left"));
        if !probe.is_refused(&mut told).await? {
            told.wrong("a full disk took requests");
        }
        if rng.chance(0.3) {
            server.kill()?;
            notes.died(Death::Kill);
            notes.started();
            server = setup.start().await?;
            told.killed += 1;
            probe.is_refused(&mut told).await?;
        }
        match load.drained(PATIENCE).await? {
            true => told.drained += 1,
            false => told.wrong("consumers did not do what was left"),
        }
        drop(ballast);
        if !probe.is_taken().await? {
            told.wrong("requests were refused after the disk was freed");
        }
        if server.has_ended() {
            return Err(Failure::Broken(
                "the server ended on a full disk".to_owned(),
            ));
        }
        told.rounds += 1;
    }
    let history = ending::end(load, server, setup).await?;
    Ok((history, told))
}

/// One who looks how requests fare.
struct Probe {
    client: Client,
    content: Content,
    notes: Notes,
    sent: u64,
    /// One that has a receipt.
    taken: Option<Message>,
}

impl Probe {
    async fn connect(url: &str, seed: u64, notes: &Notes) -> Result<Self, Failure> {
        let client = Client::builder(url).name("probe").connect().await;
        Ok(Self {
            client: client.map_err(|e| Failure::broken("the server takes nobody", e))?,
            content: Content::new(seed, 1_000),
            notes: notes.clone(),
            sent: 0,
            taken: None,
        })
    }

    async fn send(&self, message: &Message) -> Result<Receipt, SendError> {
        let client = history::Client(u32::from(PROBE));
        let call = self.notes.sends(client, message);
        let ended = self.client.send_message(message.clone()).await;
        self.notes.sent(call, &ended);
        ended
    }

    fn next(&mut self) -> Message {
        self.sent += 1;
        self.content.request(PROBE, self.sent)
    }

    /// Waits until a new request is taken. Whether one was.
    async fn is_taken(&mut self) -> Result<bool, Failure> {
        let message = self.next();
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            match self.send(&message).await {
                Ok(_) => {
                    self.taken = Some(message);
                    return Ok(true);
                }
                Err(error) if error.is_retryable() => tokio::time::sleep(AGAIN).await,
                Err(error) => return Err(Failure::broken("a request", error)),
            }
        }
        Ok(false)
    }

    /// Waits until a new request is refused as it has to be, and sees that an old one is not.
    /// Whether one was.
    async fn is_refused(&mut self, told: &mut Told) -> Result<bool, Failure> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let message = self.next();
            let Err(error) = self.send(&message).await else {
                tokio::time::sleep(AGAIN).await;
                continue;
            };
            if error.code() != Code::StorageFull {
                continue;
            }
            if error.to_refusal().retry_after_ms.is_none() {
                told.wrong("storage_full did not say when to come again");
            }
            if let Some(taken) = self.taken.clone() {
                match self.send(&taken).await {
                    Ok(receipt) if receipt.duplicate => told.duplicates += 1,
                    other => told.wrong(format!("a duplicate on a full disk: {other:?}")),
                }
            }
            return Ok(true);
        }
        Ok(false)
    }
}

/// A file that takes the room; gone when dropped.
struct Ballast(PathBuf);

impl Ballast {
    fn fill(disk: &Path, left: u64) -> Result<Self, Failure> {
        let path = disk.join("ballast");
        let failed = |e: std::io::Error| Failure::broken("the disk cannot be filled", e);
        let file = File::create(&path).map_err(failed)?;
        let ballast = Self(path);
        let mut taken = 0;
        // The server takes and gives room meanwhile.
        for _ in 0..100 {
            let stat = statvfs(disk).map_err(|e| failed(e.into()))?;
            let free = stat.f_bavail * stat.f_frsize;
            if free <= left {
                break;
            }
            match fallocate(&file, FallocateFlags::empty(), taken, free - left) {
                Ok(()) => taken += free - left,
                Err(rustix::io::Errno::NOSPC) => {}
                Err(error) => return Err(failed(error.into())),
            }
        }
        Ok(ballast)
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        // The disk may be gone already, and the file with it.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_each_size_fit_its_disk() {
        for size in SIZES {
            // Segments in use, a spare, the reserve, and the tables.
            assert!(size.disk > size.free_min + 6 * size.segment, "{size:?}");
            assert!(config(size).contains("disk_free_bytes"));
        }
    }

    #[test]
    fn ballast_goes_with_its_owner() {
        let folder = tempfile::tempdir().expect("a folder");
        let ballast = Ballast(folder.path().join("ballast"));
        File::create(&ballast.0).expect("made");
        let path = ballast.0.clone();
        drop(ballast);
        assert!(!path.exists());
    }
}
