//! The server's lives: one disk, on which it starts, serves and goes, again and again.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use edgebus::{BusState, MessageBus, RequestStore, Server, ServerConfig, StoreConfig};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::finale::Finale;
use super::kinds::FaultKind;
use super::net::{Arrival, Net};
use super::plan::{Ending, Plan};
use super::process::Process;
use super::steps::{Stop, Strikes, take_turns};
use super::{Phase, Weather, World, scopes};
use crate::disk::SimDisk;
use crate::history::{Death, Event};
use crate::rng::SimRng;

const DIR: &str = "/srv/edgebus/data";
/// More than any disk here ever holds.
const ROOMY: u64 = 1 << 40;
/// How long a server that stopped itself goes on answering before its process ends.
const LAST_WORDS: Duration = Duration::from_millis(30);
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The machine that the server runs on.
pub(super) struct Machine {
    pub(super) world: World,
    pub(super) disk: SimDisk,
    pub(super) config: StoreConfig,
    pub(super) rng: SimRng,
    pub(super) weather: Weather,
}

/// What is there while the server runs.
struct Running {
    bus: MessageBus,
    /// Tells the server to stop.
    stop: Option<oneshot::Sender<()>>,
    /// Dropped with the process.
    tasks: JoinSet<()>,
}

impl Machine {
    /// All lives: those in which things go wrong, and the one in which all ends.
    pub(super) async fn live(mut self, lives: u64, finale: Finale) {
        for number in 1..=lives {
            let mut rng = self.rng.fork();
            let plan = self.weather.plan(&mut rng);
            self.world
                .remark(format_args!("life {number} of {lives}: {:?}", plan.ending));
            self.life(&plan, &mut rng, None).await;
            self.turn_clock(&plan, &mut rng);
            tokio::time::sleep(plan.down).await;
        }
        self.disk.clear_faults();
        self.disk.set_capacity(ROOMY);
        self.world.net.calm();
        self.world.set_phase(Phase::Calm);
        let mut rng = self.rng.fork();
        self.life(&Plan::calm(), &mut rng, Some(finale)).await;
    }

    /// From a start to an end, and the power back if it was gone.
    async fn life(&mut self, plan: &Plan, rng: &mut SimRng, finale: Option<Finale>) {
        let process = Process::new(&self.disk);
        match plan.ending {
            Ending::PowerCut { after_calls } => self.disk.cut_after_ops(after_calls),
            Ending::Kill { after_calls } => process.kill_after(after_calls),
            Ending::Io {
                after_calls,
                fault,
                times,
            } => self.disk.fail_after_ops(after_calls, fault, times),
            Ending::Shutdown => {}
        }
        let mut strikes = Strikes::new(&self.disk);
        let opened = self.open(&process, plan, &mut strikes, rng).await;
        let has_served = opened.is_some();
        let how = match opened {
            Some(store) => {
                let serving = self.serve(store, &process, plan, &mut strikes, rng, finale);
                serving.await
            }
            None => None,
        };
        let cut = match has_served {
            true => FaultKind::PowerCut,
            false => FaultKind::PowerCutOpening,
        };
        self.end(&process, plan, (how, cut), rng);
    }

    /// Opens the store; `None` when what was ordered went wrong meanwhile.
    async fn open(
        &self,
        process: &Process,
        plan: &Plan,
        strikes: &mut Strikes,
        rng: &mut SimRng,
    ) -> Option<RequestStore> {
        tokio::time::sleep(Duration::from_millis(rng.below(60))).await;
        let clock = Arc::new(self.world.wall.process());
        let files = Arc::new(process.clone());
        let opened = RequestStore::open_with(Path::new(DIR), self.config.clone(), files, clock);
        strikes.look(&self.world, &self.disk, plan);
        match opened {
            _ if process.is_over() => None,
            Ok(store) => Some(store),
            Err(_) if strikes.have_hit() => None,
            Err(error) => panic!("the store does not open: {error}"),
        }
    }

    /// Serves until it is over; says how it ended if the process ended by itself.
    async fn serve(
        &self,
        store: RequestStore,
        process: &Process,
        plan: &Plan,
        strikes: &mut Strikes,
        rng: &mut SimRng,
        finale: Option<Finale>,
    ) -> Option<Death> {
        let (bus, steps) = MessageBus::start_stepped(store);
        let mut running = Running::start(&self.world, bus).await;
        self.world.recorder.note(Event::Started);
        let turns = std::pin::pin!(take_turns(
            &self.world,
            steps,
            (&self.disk, process),
            plan,
            strikes,
            rng.fork(),
        ));
        let mut turns = turns;
        let mut fails_stop = running.bus.state();
        let how = tokio::select! {
            biased;
            stop = &mut turns => match stop {
                Stop::Stopped => Some(Death::Shutdown),
                Stop::Gone => None,
            },
            _ = fails_stop.wait_for(|state| matches!(state, BusState::Poisoned(_))) => {
                Some(Death::FailStop)
            }
            () = jumps(&self.world, &plan.jumps, rng.fork()) => None,
            () = running.script(self, plan, finale) => None,
        };
        match how {
            // It still says that it takes nothing more.
            Some(Death::FailStop) => drop(tokio::time::timeout(LAST_WORDS, turns).await),
            // What it told before may still leave.
            None if !plan.grace.is_zero() => tokio::time::sleep(plan.grace).await,
            _ => {}
        }
        how
    }

    /// The process is gone; the machine gets its power back if that was gone.
    fn end(
        &self,
        process: &Process,
        plan: &Plan,
        (how, cut): (Option<Death>, FaultKind),
        rng: &mut SimRng,
    ) {
        let death = match (how, plan.ending) {
            (Some(death), _) if !process.is_over() => death,
            (_, Ending::Kill { .. }) => Death::Kill,
            (Some(Death::FailStop), Ending::Io { .. }) => Death::FailStop,
            _ => Death::PowerCut,
        };
        self.disk.clear_faults();
        match death {
            Death::PowerCut => {
                self.world.net.server_goes_dark();
                process.end();
                let was_on = !self.disk.power_is_off();
                self.world
                    .fault(cut, if was_on { "idle" } else { "at a call" });
                self.disk.power_cut(rng);
                self.world.net.server_comes_back();
            }
            Death::Kill => self.world.fault(FaultKind::Kill, "at a call"),
            Death::Shutdown => self.world.fault(FaultKind::Shutdown, "in order"),
            Death::FailStop => {}
        }
        process.end();
        self.world.net.server_ends();
        self.disk.set_capacity(ROOMY);
        self.world.recorder.note(Event::Died { how: death });
    }

    /// While the machine is down, its wall clock goes wrong.
    fn turn_clock(&self, plan: &Plan, rng: &mut SimRng) {
        if let Some(kind) = plan.clock {
            jump(&self.world, kind, rng);
        }
    }
}

/// The wall clock goes wrong while the server runs. Never returns.
async fn jumps(world: &World, jumps: &[(Duration, FaultKind)], mut rng: SimRng) {
    let mut jumps = jumps.to_vec();
    jumps.sort_unstable();
    let begin = tokio::time::Instant::now();
    for (at, kind) in jumps {
        tokio::time::sleep_until(begin + at).await;
        jump(world, kind, &mut rng);
    }
    std::future::pending().await
}

/// The wall clock goes wrong in this way.
fn jump(world: &World, kind: FaultKind, rng: &mut SimRng) {
    let now = world.wall.now_ms();
    let (to, frozen) = match kind {
        FaultKind::ClockForwards => (now + rng.below(3 * DAY_MS), false),
        FaultKind::ClockBackwards => (now.saturating_sub(rng.below(3 * DAY_MS)), false),
        FaultKind::ClockFrozen => (now, true),
        _ => (0, false),
    };
    world.fault(kind, format_args!("by {} ms", to as i64 - now as i64));
    world.wall.set(to, frozen);
}

impl Running {
    async fn start(world: &World, bus: MessageBus) -> Self {
        let mut config = ServerConfig::default();
        config.listen = Vec::new();
        scopes::configure(&mut config);
        let server = Server::bind(bus.clone(), config).await;
        let server = server.expect("it listens on nothing");
        let handle = server.handle();
        let (stop, stopped) = oneshot::channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(server.run(async {
            let _ = stopped.await;
        }));
        tasks.spawn(welcome(handle, world.net.listen()));
        Self {
            bus,
            stop: Some(stop),
            tasks,
        }
    }

    /// What happens while it runs, beside what clients do; ends when the life is to end.
    async fn script(&mut self, machine: &Machine, plan: &Plan, finale: Option<Finale>) {
        if let Some(finale) = finale {
            finale.play(&machine.world, &self.bus).await;
            return self.shut_down(&machine.world.net).await;
        }
        let until = tokio::time::Instant::now() + plan.lasts;
        if let Some((at, time)) = plan.full {
            tokio::time::sleep(at).await;
            let used = machine.disk.used_bytes();
            machine
                .world
                .fault(FaultKind::DiskFull, format_args!("{used} bytes"));
            machine.disk.set_capacity(used);
            tokio::time::sleep(time).await;
            machine.disk.set_capacity(ROOMY);
        }
        tokio::time::sleep_until(until).await;
        if plan.ending == Ending::Shutdown {
            self.shut_down(&machine.world.net).await;
        }
    }

    /// As the binary does when it is told to end. Never returns: the turns end.
    async fn shut_down(&mut self, net: &Net) {
        drop(self.stop.take());
        net.stop_listening();
        while self.tasks.join_next().await.is_some() {}
        self.bus.shutdown().await;
        std::future::pending().await
    }
}

/// Serves whoever connects.
async fn welcome(handle: edgebus::ServerHandle, mut arrivals: mpsc::UnboundedReceiver<Arrival>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            arrival = arrivals.recv() => {
                let Some(Arrival { wire, peer }) = arrival else { break };
                connections.spawn(serve_one(handle.clone(), wire, peer));
            }
            Some(_) = connections.join_next() => {}
        }
    }
    while connections.join_next().await.is_some() {}
}

async fn serve_one(handle: edgebus::ServerHandle, wire: super::wire::Wire, peer: SocketAddr) {
    handle.serve_stream(wire, peer).await;
}
