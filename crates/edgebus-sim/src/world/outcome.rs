//! One world from its seed to what came of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use edgebus::host;
use tokio::time::Instant;

use super::actors::Crew;
use super::finale::Finale;
use super::plan::store_config;
use super::server::Machine;
use super::{Phase, Weather, World, panics};
use crate::checker::{self, Violation};
use crate::disk::{Counts as DiskCounts, SimDisk};
use crate::history::recorder::Recorder;
use crate::history::{History, Retention, Terms};
use crate::rng::SimRng;

/// What came of a world.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed it came from.
    pub seed: u64,
    /// What happened.
    pub history: History,
    /// What broke the contract, or panicked.
    pub violations: Vec<Violation>,
    /// What the disks met, the server's and those of spools.
    pub disks: DiskCounts,
    /// Stands for the whole run: two runs with the same one were the same.
    pub trace: u64,
    /// How long it took in there.
    pub lasted: Duration,
}

/// Runs the world of a seed, in which everything may go wrong.
pub fn simulate(seed: u64) -> Outcome {
    simulate_in(seed, Weather::Storm)
}

/// Runs the world of a seed in some weather.
pub fn simulate_in(seed: u64, weather: Weather) -> Outcome {
    panics::begin();
    let mut rng = SimRng::seeded(seed);
    let mut chance = rng.fork();
    let _host = host::simulate(move || chance.bits());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing");
    let mut scene = None;
    let lived = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            let set = Scene::set(&mut rng, weather);
            scene = Some((set.world.clone(), set.disk.clone()));
            set.play(rng).await;
        });
    }));
    // Tasks that are left go here, and may panic like others.
    drop(runtime);
    let panics = panics::end();
    let mut outcome = match scene {
        Some((world, disk)) => Outcome::of(seed, &world, &disk),
        None => Outcome::empty(seed),
    };
    for what in panics {
        outcome.violations.push(Violation {
            rule: "nothing panics",
            what,
            places: Vec::new(),
        });
    }
    if lived.is_err() && outcome.violations.is_empty() {
        outcome.violations.push(Violation {
            rule: "nothing panics",
            what: "the world ended early".to_owned(),
            places: Vec::new(),
        });
    }
    outcome
}

/// Everything in its place, before anything happens.
struct Scene {
    world: World,
    disk: SimDisk,
    machine: Machine,
}

impl Scene {
    fn set(rng: &mut SimRng, weather: Weather) -> Self {
        let start = Instant::now();
        let (config, keeps) = store_config(rng);
        let terms = Terms {
            retention: keeps.map_or(Retention::ByHand, Retention::Keeps),
            drained: false,
        };
        let recorder = Recorder::new(terms, move || start.elapsed());
        let world = World::new(rng, recorder, start);
        let disk = SimDisk::new(rng.bits());
        let machine = Machine {
            world: world.clone(),
            disk: disk.clone(),
            config,
            rng: rng.fork(),
            weather,
        };
        if !weather.is_at_sea() {
            world.net.calm();
        }
        Self {
            world,
            disk,
            machine,
        }
    }

    async fn play(self, mut rng: SimRng) {
        let lives = self.machine.weather.lives(&mut rng);
        let (finale, done) = Finale::new();
        let mut crew = Crew::begin(&self.world, &mut rng);
        let mut server = tokio::spawn(self.machine.live(lives, finale));
        tokio::select! {
            biased;
            // It panicked, which was taken down: nobody is ever served again.
            _ = &mut server => {}
            () = crew.finish() => {
                done.tell();
                let _ = server.await;
            }
        }
        self.world.set_phase(Phase::Over);
        crew.end().await;
    }
}

impl Outcome {
    fn of(seed: u64, world: &World, disk: &SimDisk) -> Self {
        let lasted = world
            .recorder
            .look(|history| history.noted.last().map(|last| last.at));
        let mut disks = disk.counts();
        disks.add_all(&world.known().spool_disks);
        let history = world.recorder.finish();
        Self {
            seed,
            violations: checker::check(&history),
            trace: trace(&history, &disks),
            history,
            disks,
            lasted: lasted.unwrap_or_default(),
        }
    }

    fn empty(seed: u64) -> Self {
        Self {
            seed,
            history: History::default(),
            violations: Vec::new(),
            disks: DiskCounts::default(),
            trace: 0,
            lasted: Duration::ZERO,
        }
    }
}

/// Everything that happened, and what the disks did, in one number.
fn trace(history: &History, disks: &DiskCounts) -> u64 {
    use std::hash::{Hash as _, Hasher as _};
    let mut hash = Fnv::default();
    history.hash(&mut hash);
    format!("{disks:?}").hash(&mut hash);
    hash.finish()
}

/// FNV-1a, 64 bits: the same everywhere.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl std::hash::Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
