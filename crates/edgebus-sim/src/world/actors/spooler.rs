//! Sends by way of its own disk, on a machine of its own whose power goes, too.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use edgebus::{Accepted, Code, RequestId, Scope, SendError, SpoolConfig, SpoolingClient};

use super::super::World;
use super::super::kinds::FaultKind;
use super::super::net::Owner;
use super::super::process::Process;
use super::super::time::Wall;
use super::message::{EVENTS, ORDERS, Sent, is_open, refused};
use super::{client, up_to};
use crate::disk::{Fault, SimDisk, Times};
use crate::history::{Call, Client, Event, Kind, Outcome};
use crate::rng::SimRng;

const DIR: &str = "/var/lib/till/spool";

/// Messages of which it is not known what became of them, at most.
const OWED_MAX: usize = 60;

/// How a process ends, if nothing else ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    PowerCut,
    Kill,
    Io,
    Calm,
}

/// Sends until the storm is over and everything has left the spool.
pub(super) async fn spool(world: World, mut rng: SimRng) {
    let machine = Machine {
        world: world.clone(),
        disk: SimDisk::new(rng.bits()),
        wall: Wall::new(),
    };
    let mut owed = BTreeMap::new();
    let mut is_done = false;
    while !is_done {
        is_done = machine.life(&mut rng, &mut owed).await;
        if world.is_storm() {
            tokio::time::sleep(up_to(&mut rng, 600)).await;
        }
    }
    world.known().spool_disks.add_all(&machine.disk.counts());
}

struct Machine {
    world: World,
    disk: SimDisk,
    wall: Wall,
}

impl Machine {
    /// One life; says whether there is nothing left to do.
    async fn life(&self, rng: &mut SimRng, owed: &mut BTreeMap<RequestId, Sent>) -> bool {
        let process = Process::new(&self.disk);
        let owner = self.world.new_client();
        let ending = self.arm(&process, rng);
        let (mut fate, mut chance) = (rng.fork(), rng.fork());
        let mut is_done = false;
        let living = async {
            tokio::select! {
                biased;
                () = process.over() => {}
                done = self.work(&process, owner, &mut chance, owed) => is_done = done,
            }
        };
        // Its disk decides when it dies.
        match ending {
            Ending::Calm => living.await,
            _ => {
                let most = Duration::from_millis(500) + up_to(&mut fate, 8_000);
                let _ = tokio::time::timeout(most, living).await;
            }
        }
        self.end(&process, owner, ending, rng);
        is_done
    }

    /// Orders what goes wrong.
    fn arm(&self, process: &Process, rng: &mut SimRng) -> Ending {
        let calls = *rng.pick(&[20, 60, 200]);
        let calls = 1 + rng.below(calls);
        if !self.world.is_storm() {
            return Ending::Calm;
        }
        match rng.below(10) {
            0..6 => {
                self.disk.cut_after_ops(calls);
                Ending::PowerCut
            }
            6..9 => {
                process.kill_after(calls);
                Ending::Kill
            }
            _ => {
                let fault = Fault::Error(io::ErrorKind::Other);
                self.disk.fail_after_ops(calls, fault, Times::Sticky);
                Ending::Io
            }
        }
    }

    /// The process is gone.
    fn end(&self, process: &Process, owner: Owner, ending: Ending, rng: &mut SimRng) {
        self.disk.clear_faults();
        process.end();
        let net = &self.world.net;
        match ending {
            Ending::PowerCut => {
                net.client_goes_dark(owner);
                self.disk.power_cut(rng);
                self.world.fault(FaultKind::PowerCutClient, owner);
            }
            Ending::Kill => self.world.fault(FaultKind::KillClient, owner),
            Ending::Io => self.world.fault(FaultKind::IoErrorClient, owner),
            Ending::Calm => {}
        }
        self.world.gone(owner);
    }

    /// Sends; says whether all is done.
    async fn work(
        &self,
        process: &Process,
        owner: Owner,
        rng: &mut SimRng,
        owed: &mut BTreeMap<RequestId, Sent>,
    ) -> bool {
        // What was ordered in a storm may strike after it.
        let is_armed = self.world.is_storm();
        tokio::time::sleep(up_to(rng, 30)).await;
        let mut config = SpoolConfig::default();
        config.segment_bytes = 64 * 1024;
        let opening = client::builder(&self.world, owner, Scope::default(), rng)
            .spool(DIR)
            .config(config)
            .server_within(up_to(rng, 300))
            .on(Arc::new(process.clone()), Arc::new(self.wall.process()));
        let library = match opening.connect().await {
            Ok(library) => library,
            // Its disk let it down, as was ordered.
            Err(_) if is_armed => return std::future::pending().await,
            Err(error) => panic!("the spool does not open: {error}"),
        };
        self.send(&library, Client(owner.0), rng, owed).await;
        if self.world.is_storm() {
            return false;
        }
        match library.flush().await {
            Ok(()) => {
                let dead = library.dead();
                if dead > 0 {
                    self.world
                        .remark(format_args!("{owner} has {dead} dead in its spool"));
                }
                true
            }
            Err(_) => false,
        }
    }

    /// Sends one after the other, or a few at a time.
    async fn send(
        &self,
        library: &SpoolingClient,
        me: Client,
        rng: &mut SimRng,
        owed: &mut BTreeMap<RequestId, Sent>,
    ) {
        let most = *rng.pick(&[1, 1, 6]);
        let pause_ms = *rng.pick(&[80, 250, 700]);
        loop {
            let mut under_way = Vec::new();
            for _ in 0..most {
                let Some(sent) = self.choose(rng, owed) else {
                    break;
                };
                let call = sent.ask(&self.world, me, Kind::Spool);
                match library.enqueue(sent.message()).await {
                    Ok(pending) => under_way.push((call, sent, pending)),
                    Err(error) => self.told(owed, call, &sent, &Err(error)),
                }
            }
            let mut is_stopped = false;
            for (call, sent, pending) in under_way {
                let result = pending.await;
                is_stopped |= matches!(&result, Err(error) if error.code() == Code::Poisoned);
                self.told(owed, call, &sent, &result);
            }
            if is_stopped {
                // Its disk failed: whoever runs it starts it again.
                return;
            }
            if !self.world.is_storm() && owed.is_empty() {
                return;
            }
            tokio::time::sleep(up_to(rng, pause_ms)).await;
        }
    }

    fn choose(&self, rng: &mut SimRng, owed: &mut BTreeMap<RequestId, Sent>) -> Option<Sent> {
        if !self.world.is_storm() || rng.chance(0.2) || owed.len() >= OWED_MAX {
            let all: Vec<_> = owed.values().collect();
            return (!all.is_empty()).then(|| (*rng.pick(&all)).clone());
        }
        let topic = match rng.chance(0.5) {
            true => *rng.pick(&ORDERS),
            false => *rng.pick(&EVENTS),
        };
        // Nobody else sends it: another one under its id would be a dead letter of the spool.
        let sent = Sent::new(&self.world, rng, Scope::default(), topic);
        owed.insert(sent.id, sent.clone());
        Some(sent)
    }

    fn told(
        &self,
        owed: &mut BTreeMap<RequestId, Sent>,
        call: Call,
        sent: &Sent,
        result: &Result<Accepted, SendError>,
    ) {
        let outcome = match result {
            Ok(Accepted::Stored(receipt)) => Outcome::Stored {
                seq: receipt.seq,
                duplicate: receipt.duplicate,
            },
            Ok(Accepted::Spooled(spooled)) => Outcome::Spooled {
                number: spooled.number,
            },
            Ok(_) => Outcome::Unknown,
            Err(error) => refused(error),
        };
        self.world.recorder.note(Event::Told { call, outcome });
        if !is_open(outcome) {
            owed.remove(&sent.id);
        }
    }
}
