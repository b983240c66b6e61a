//! What goes wrong in one life of the server.

use std::io;
use std::time::Duration;

use edgebus::StoreConfig;

use super::kinds::FaultKind;
use super::weather::jump;
use crate::disk::Fault;
use crate::disk::Times;
use crate::rng::SimRng;

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The power goes during this call that changes something on the disk.
    PowerCut { after_calls: u64 },
    /// The process is killed before this call.
    Kill { after_calls: u64 },
    /// This call fails.
    Io {
        after_calls: u64,
        fault: Fault,
        times: Times,
    },
    /// It is shut down in order.
    Shutdown,
}

/// One life.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) ending: Ending,
    /// How long the life lasts if nothing ends it before.
    pub(super) lasts: Duration,
    /// How long the process goes on after its disk is gone: what it told before may still leave.
    pub(super) grace: Duration,
    /// How long a turn of the engine that wrote something takes.
    pub(super) turn: Duration,
    /// How often the sealer gets a turn beside the engine's.
    pub(super) sealing: f64,
    /// When the disk is full, and for how long.
    pub(super) full: Option<(Duration, Duration)>,
    /// Until the next life.
    pub(super) down: Duration,
    /// What the wall clock does, and when, if not while the machine is down.
    pub(super) clock: Option<FaultKind>,
    /// When the wall clock goes wrong while it runs, and how.
    pub(super) jumps: Vec<(Duration, FaultKind)>,
}

impl Plan {
    pub(super) fn draw(rng: &mut SimRng) -> Self {
        let magnitude = *rng.pick(&[30, 120, 250, 500]);
        let after_calls = 1 + rng.below(magnitude);
        let ending = match rng.below(20) {
            0..11 => Ending::PowerCut { after_calls },
            11 | 12 => Ending::Kill { after_calls },
            13..17 => Ending::Io {
                after_calls,
                fault: match rng.chance(0.6) {
                    true => Fault::Error(io::ErrorKind::Other),
                    false => Fault::ShortWrite(io::ErrorKind::Other),
                },
                times: match rng.chance(0.6) {
                    true => Times::Sticky,
                    false => Times::Once,
                },
            },
            _ => Ending::Shutdown,
        };
        let ms = |rng: &mut SimRng, most: u64| Duration::from_millis(rng.below(most));
        Self {
            ending,
            lasts: Duration::from_millis(800) + ms(rng, 6_000),
            grace: *rng.pick(&[Duration::ZERO, Duration::ZERO, Duration::from_millis(40)]),
            turn: Duration::from_millis(*rng.pick(&[0, 0, 1, 1, 3, 12])),
            sealing: *rng.pick(&[0.1, 0.5, 1.0]),
            full: rng.chance(0.3).then(|| {
                let at = Duration::from_millis(20) + ms(rng, 400);
                (at, Duration::from_millis(100) + ms(rng, 1_500))
            }),
            down: match rng.below(3) {
                0 => ms(rng, 20),
                1 => ms(rng, 500),
                _ => ms(rng, 3_000),
            },
            clock: rng.chance(0.25).then(|| *rng.pick(&FaultKind::CLOCKS)),
            jumps: match rng.chance(0.3) {
                true => vec![jump(rng, Duration::from_millis(800))],
                false => Vec::new(),
            },
        }
    }

    /// The last life, in which nothing goes wrong.
    pub(super) fn calm() -> Self {
        Self {
            ending: Ending::Shutdown,
            lasts: Duration::MAX,
            grace: Duration::ZERO,
            turn: Duration::ZERO,
            sealing: 1.0,
            full: None,
            down: Duration::ZERO,
            clock: None,
            jumps: Vec::new(),
        }
    }
}

/// A store that seals, recycles segments and begins new tables of ids every few requests.
pub(super) fn store_config(rng: &mut SimRng) -> (StoreConfig, Option<u64>) {
    let mut config = StoreConfig::default();
    config.segment_bytes = 160 * 1024;
    config.record.payload_bytes_max = 4 * 1024;
    config.seal_bytes = *rng.pick(&[6, 12, 40]) * 1024;
    config.seal_journal_bytes = *rng.pick(&[32, 64, 200]) * 1024;
    config.seal_after = Duration::from_millis(*rng.pick(&[300, 2_000, 30_000]));
    config.disk_free_bytes_min = 256 * 1024;
    config.cache_bytes = 1024 * 1024;
    config.ids_per_generation = *rng.pick(&[20, 40, 200]);
    let keeps = rng.chance(0.3).then(|| *rng.pick(&[60, 150, 400]));
    config.retention_count = keeps.unwrap_or(u64::MAX);
    (config, keeps)
}
