//! `edgebus-sim snapshots`: what a power cut leaves on a real ext4, seen at random moments of load.
//!
//! In reading order: [`image`] a file system in a file, and its copies; [`control`] somebody beside
//! the server who shows whether the copies are worth anything; this module the rest.
//!
//! The server's data is on an ext4 in an image behind a loop device. A snapshot is a copy of the
//! image while nobody runs: it holds what the file system has written to the device, and not what
//! is still in the page cache of its files, just as a disk after the power was cut. The device's
//! own cache is not part of it: that is the simulator's. A thread that is in a sync is waited for,
//! as a device that is shut down under it reports a success that is none.

pub mod control;
mod image;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use self::control::{Control, Found};
use super::crash::{any_seed, folder, tuning};
use super::figures::{Figures, judge, verdict};
use super::load::notes::Notes;
use super::load::{Load, Plan};
use super::mounted::{Loop, Mounted, Programs};
use super::server::{Server, Setup};
use super::stopped::Stopped;
use super::{Failure, binary, ending, interrupt};
use crate::history::{Death, Event, History, Noted, Terms};
use crate::rng::SimRng;
use crate::say::{self, err, out};
use crate::sizes;

/// The image; sparse, so that it takes what is in it.
const IMAGE_BYTES: u64 = 1024 * 1024 * 1024;
/// How long load goes on between two snapshots, at most.
const BETWEEN_MAX: Duration = Duration::from_millis(700);

/// `edgebus-sim snapshots …`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many snapshots are taken
    #[arg(long, default_value_t = 20, value_parser = sizes::count::<u32>)]
    pub cycles: u32,
    /// What follows from it: requests, their fates, and when a snapshot is taken [default: any]
    #[arg(long)]
    pub seed: Option<u64>,
    /// The edgebus to try [default: the one of this workspace, built if need be]
    #[arg(long, value_name = "PATH")]
    pub binary: Option<PathBuf>,
}

/// Takes snapshots under load, checks each, and prints what it was.
///
/// # Errors
/// [`Failure`].
pub fn run(options: &Options) -> Result<(), Failure> {
    let programs = Programs::find("mounting a file system of its own")?;
    let binary = binary::find(options.binary.as_deref())?;
    let seed = options.seed.unwrap_or_else(any_seed);
    let again = binary::again(options.binary.as_deref());
    out!(
        "edgebus-sim snapshots --cycles {} --seed {seed}{again}",
        options.cycles
    );
    let begun = Instant::now();
    let folder = folder()?;
    let world = World::make(programs, folder.path())?;
    let taken = interrupt::run(world.run(&binary, options.cycles, seed))?;
    out!("  {:<24} {}", "snapshots", options.cycles);
    out!("  {:<24} {}", "acked before them", taken.acked);
    out!("  {:<24} {}", "control writer synced", taken.control);
    let loose = format!("{} of {}", taken.without_loose, options.cycles);
    out!("  {:<24} {loose}", "missed unsynced writes");
    say::all(&taken.figures);
    out!("  {:<24} {:.1} s", "took", begun.elapsed().as_secs_f64());
    verdict(taken.violations)?;
    match taken.without_loose {
        0 => Err(Failure::CannotRun(
            "no snapshot missed anything that was not synced, so they show nothing: more --cycles"
                .to_owned(),
        )),
        _ => Ok(()),
    }
}

/// What came of it.
#[derive(Debug, Default)]
struct Taken {
    /// Receipts that clients had before a snapshot, over all of them.
    acked: u64,
    /// What the control writer had synced before the last one.
    control: u64,
    /// Snapshots in which something was missing that had not been synced.
    without_loose: u32,
    violations: usize,
    figures: Figures,
}

/// The file system that the server's data is on. Fields go in this order.
#[derive(Debug)]
struct World {
    mounted: Mounted,
    device: Loop,
    image: PathBuf,
    folder: PathBuf,
    programs: Programs,
}

impl World {
    fn make(programs: Programs, folder: &Path) -> Result<Self, Failure> {
        let image = folder.join("image");
        image::make(&image, IMAGE_BYTES)?;
        let device = programs.attach(&image)?;
        let mounted = programs.mount(&device, &folder.join("mounted"))?;
        Ok(Self {
            mounted,
            device,
            image,
            folder: folder.to_owned(),
            programs,
        })
    }

    async fn run(&self, binary: &Path, cycles: u32, seed: u64) -> Result<Taken, Failure> {
        let mut rng = SimRng::seeded(seed);
        let mut setup = Setup::new(binary, &self.folder);
        setup.data = self.mounted.dir().join("data");
        setup.config = tuning(&mut rng);
        let own = std::env::current_exe().map_err(|e| Failure::broken("the own path", e))?;
        let control = Control::start(&own, self.mounted.dir().join("control"))?;
        let notes = Notes::new(Terms::default());
        notes.started();
        let server = setup.start().await?;
        let load = Load::start(&Plan::new(seed), server.url(), &notes);
        let mut taken = Taken::default();
        for cycle in 1..=cycles {
            tokio::time::sleep(BETWEEN_MAX.mul_f64(rng.fraction())).await;
            let seen = self.snapshot(&server, &control, &notes)?;
            self.look(seen, &setup, cycle, &mut taken)?;
        }
        drop(control);
        let history = ending::end(load, server, &setup).await?;
        taken.violations += judge(&history, &format!("snapshots-{seed}")).len();
        taken.figures = Figures::of(&history);
        Ok(taken)
    }

    /// Copies the image while nobody runs.
    fn snapshot(&self, server: &Server, control: &Control, notes: &Notes) -> Result<Seen, Failure> {
        let still = (Stopped::stop(server.pid())?, Stopped::stop(control.pid())?);
        // Whatever was told by now was told by somebody who has stopped since.
        let history = notes.recorder().look(History::clone);
        let synced = control.synced();
        let copy = self.folder.join("snapshot");
        image::copy_at_rest(&self.image, &self.device, &copy)?;
        drop(still);
        Ok(Seen {
            history,
            synced,
            copy,
        })
    }

    /// Opens a snapshot as one opens a disk after a power cut.
    fn look(
        &self,
        seen: Seen,
        setup: &Setup,
        cycle: u32,
        taken: &mut Taken,
    ) -> Result<(), Failure> {
        let Seen {
            mut history,
            synced,
            copy,
        } = seen;
        let device = self.programs.attach(&copy)?;
        // The file system's own recovery runs here.
        let mounted = self
            .programs
            .mount(&device, &self.folder.join("looked-at"))?;
        let found = Found::read(&mounted.dir().join("control"));
        if found.synced < synced {
            return Err(Failure::CannotRun(format!(
                "snapshot {cycle} lost what the control writer had synced ({synced}, found {}): snapshots of \
                 this machine's devices show nothing",
                found.synced
            )));
        }
        let mut at_copy = setup.clone();
        at_copy.data = mounted.dir().join("data");
        let last = ending::read(&at_copy)?;
        let at = history
            .noted
            .last()
            .map_or(Duration::ZERO, |noted| noted.at);
        let how = Death::PowerCut;
        for event in [Event::Died { how }, Event::Final(Box::new(last))] {
            history.noted.push(Noted { at, event });
        }
        let violations = judge(&history, &format!("snapshot-{cycle}")).len();
        if violations > 0 {
            err!("in snapshot {cycle}");
        }
        taken.violations += violations;
        taken.acked += Figures::of(&history).acked;
        taken.control = synced;
        taken.without_loose += u32::from(found.loose < synced);
        Ok(())
    }
}

/// What was known when a snapshot was taken.
struct Seen {
    /// All that was noted.
    history: History,
    /// What the control writer had synced.
    synced: u64,
    /// The snapshot.
    copy: PathBuf,
}
