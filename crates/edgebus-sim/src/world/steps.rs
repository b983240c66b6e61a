//! The turns of a server's engine, sealer and feeder, in an order by chance, until its end.

use std::time::Duration;

use edgebus::bus::{Sealing, Steps, Turn};
use tokio::time::Instant;

use super::World;
use super::kinds::FaultKind;
use super::plan::{Ending, Plan};
use super::process::Process;
use crate::disk::{Fault, SimDisk};
use crate::history::Event;
use crate::rng::SimRng;

/// Why there are no more turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The process or the machine's power is gone.
    Gone,
    /// It was told to stop, and has sealed all there was.
    Stopped,
}

/// How long a turn may be waited for where nothing calls for one.
const LOOK_AROUND: Duration = Duration::from_millis(1_000);
/// What some turns take together.
const TURNS_TAKE: Duration = Duration::from_millis(1);
/// How soon sealing is tried again on a full disk.
const FULL_AGAIN: Duration = Duration::from_millis(500);

/// Gives turns until the end.
pub(super) async fn take_turns(
    world: &World,
    mut steps: Steps,
    (disk, process): (&SimDisk, &Process),
    plan: &Plan,
    strikes: &mut Strikes,
    mut rng: SimRng,
) -> Stop {
    let mut sealing = Sealing::Worked;
    let mut full_until = Instant::now();
    loop {
        let turn = steps.engine();
        if steps.wants_sealer() && sealing == Sealing::Idle {
            sealing = Sealing::Worked;
        }
        if sealing == Sealing::Worked && rng.chance(plan.sealing) {
            sealing = steps.sealer();
            full_until = Instant::now() + FULL_AGAIN;
        }
        if sealing == Sealing::Full && Instant::now() >= full_until {
            sealing = Sealing::Worked;
        }
        let (may_feed, is_fed) = match rng.chance(0.8) {
            true => (true, steps.feeder()),
            false => (false, false),
        };
        strikes.look(world, disk, plan);
        if process.is_over() {
            return Stop::Gone;
        }
        // However fast it is, time passes: what waits for a time would else wait for ever.
        if rng.chance(0.02) {
            tokio::time::sleep(TURNS_TAKE).await;
        }
        match turn {
            Turn::Worked if plan.turn.is_zero() || rng.chance(0.3) => {
                tokio::task::yield_now().await;
            }
            Turn::Worked => tokio::time::sleep(plan.turn).await,
            Turn::Idle { .. } if is_fed => tokio::task::yield_now().await,
            Turn::Idle { appends, until } => {
                let look_around = match sealing {
                    _ if !may_feed => Duration::from_millis(1),
                    Sealing::Worked => Duration::from_millis(1),
                    Sealing::Full => FULL_AGAIN,
                    Sealing::Idle | Sealing::Failed => LOOK_AROUND,
                };
                let until = until.map_or(look_around, |until| until.min(look_around));
                steps.woken(appends, Some(until)).await;
            }
            Turn::Stopped => {
                steps.finish();
                strikes.look(world, disk, plan);
                return match process.is_over() {
                    true => Stop::Gone,
                    false => Stop::Stopped,
                };
            }
        }
    }
}

/// Notes the faults that hit the server's calls.
#[derive(Debug)]
pub(super) struct Strikes {
    faults: u64,
    failed_syncs: u64,
    is_noted: bool,
}

impl Strikes {
    pub(super) fn new(disk: &SimDisk) -> Self {
        let counts = disk.counts();
        Self {
            faults: counts.faults,
            failed_syncs: counts.failed_syncs,
            is_noted: false,
        }
    }

    /// Whether the fault that was ordered has hit.
    pub(super) fn have_hit(&self) -> bool {
        self.is_noted
    }

    pub(super) fn look(&mut self, world: &World, disk: &SimDisk, plan: &Plan) {
        let counts = disk.counts();
        if counts.faults > self.faults && !self.is_noted {
            self.is_noted = true;
            if let Ending::Io { fault, times, .. } = plan.ending {
                let kind = match fault {
                    Fault::ShortWrite(_) => FaultKind::ShortWrite,
                    _ => FaultKind::IoError,
                };
                world.fault(kind, format_args!("{times:?}"));
            }
        }
        if counts.failed_syncs > self.failed_syncs {
            self.failed_syncs = counts.failed_syncs;
            world.recorder.note(Event::IoFailed);
        }
    }
}
