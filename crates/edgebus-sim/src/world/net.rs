//! A network in memory: connections that are slow, cut, silent, stalled, and carry wrong bits.
//!
//! Each connection's fate is drawn when it is made: after so many bytes one thing happens to it, or
//! nothing does. What passes from or to a machine whose power is off is nothing; such a machine is
//! found out by whoever waits long enough, or once it has its power back.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::mpsc;

use super::kinds::{FaultKind, fault};
use super::pipe::Pipe;
use super::wire::Wire;
use crate::history::Recorder;
use crate::rng::SimRng;

/// When a connection to nobody is given up by the operating system.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How often something happens to a connection.
const FATEFUL: f64 = 0.6;

/// A process that connects; another number for each start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner(pub(crate) u32);

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {}", self.0)
    }
}

/// The network of a world. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Net(Arc<Mutex<State>>);

/// Somebody who connected to the server.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) wire: Wire,
    pub(crate) peer: SocketAddr,
}

/// What becomes of somebody who connects.
#[derive(Debug)]
pub(super) enum Dialed {
    Connected(Wire, Duration),
    Refused(Duration),
    NoAnswer,
}

#[derive(Debug)]
struct State {
    rng: SimRng,
    recorder: Recorder,
    /// Faults happen.
    faulty: bool,
    server: Server,
    connections: BTreeMap<u64, Weak<Mutex<Connection>>>,
    next: u64,
    /// The server's machine has its power.
    server_on: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Server {
    /// Without power.
    Dark,
    /// Nobody listens.
    Refuses,
    Listens(mpsc::UnboundedSender<Arrival>),
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

impl Side {
    /// The pipe it writes to.
    pub(super) fn out(self) -> usize {
        match self {
            Self::Client => 0,
            Self::Server => 1,
        }
    }

    /// The pipe it reads from.
    pub(super) fn inbound(self) -> usize {
        1 - self.out()
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    number: u64,
    owner: Owner,
    pub(super) rng: SimRng,
    /// To the server, to the client.
    pub(super) pipes: [Pipe; 2],
    fate: Option<Fate>,
    /// Whether an end's machine, or its process, is gone; by side.
    gone: [bool; 2],
    server_on: Arc<AtomicBool>,
    recorder: Recorder,
}

/// What happens to a connection.
#[derive(Clone, Copy, Debug)]
struct Fate {
    /// In which direction, and after how many bytes.
    pipe: usize,
    after_bytes: u64,
    what: FaultKind,
}

impl Net {
    pub(crate) fn new(mut rng: SimRng, recorder: Recorder) -> Self {
        let rng = rng.fork();
        Self(Arc::new(Mutex::new(State {
            rng,
            recorder,
            faulty: true,
            server: Server::Refuses,
            connections: BTreeMap::new(),
            next: 1,
            server_on: Arc::new(AtomicBool::new(true)),
        })))
    }

    /// From here on nothing more goes wrong.
    pub(crate) fn calm(&self) {
        self.lock().faulty = false;
        self.each(|_| true, |connection| connection.fate = None);
    }

    /// The server listens; whoever connects comes here.
    pub(crate) fn listen(&self) -> mpsc::UnboundedReceiver<Arrival> {
        let (arrivals, arrived) = mpsc::unbounded_channel();
        self.lock().server = Server::Listens(arrivals);
        arrived
    }

    /// Nobody else is let in; who is there may stay.
    pub(crate) fn stop_listening(&self) {
        self.lock().server = Server::Refuses;
    }

    /// The server's process is gone, its machine is not: its connections are closed for it.
    pub(crate) fn server_ends(&self) {
        self.lock().server = Server::Refuses;
        self.each(|_| true, |connection| connection.dies(Side::Server));
    }

    /// The server's machine has no power.
    pub(crate) fn server_goes_dark(&self) {
        let state = &mut *self.lock();
        state.server = Server::Dark;
        state.server_on.store(false, Ordering::Relaxed);
        drop_all(state, |connection| connection.goes_dark(Side::Server));
    }

    /// The server's machine has its power back; nobody listens yet.
    pub(crate) fn server_comes_back(&self) {
        let mut state = self.lock();
        state.server = Server::Refuses;
        state.server_on.store(true, Ordering::Relaxed);
    }

    /// A client's process is gone, its machine is not.
    pub(crate) fn client_ends(&self, owner: Owner) {
        self.each(
            |connection| connection.owner == owner,
            |connection| connection.dies(Side::Client),
        );
    }

    /// A client's machine has no power.
    pub(crate) fn client_goes_dark(&self, owner: Owner) {
        self.each(
            |connection| connection.owner == owner,
            |connection| connection.goes_dark(Side::Client),
        );
    }

    /// Tries to connect.
    pub(super) fn dial(&self, owner: Owner) -> Dialed {
        let state = &mut *self.lock();
        state
            .connections
            .retain(|_, connection| connection.strong_count() > 0);
        let latency = Duration::from_millis(*state.rng.pick(&[0, 0, 1, 1, 2, 5, 20]));
        let faulty = state.faulty;
        let arrivals = match &state.server {
            Server::Listens(arrivals) => arrivals.clone(),
            Server::Refuses => {
                fault(&state.recorder, FaultKind::NoConnection, owner);
                return Dialed::Refused(latency);
            }
            Server::Dark => {
                fault(&state.recorder, FaultKind::NoAnswer, owner);
                return Dialed::NoAnswer;
            }
        };
        if faulty && state.rng.chance(0.03) {
            fault(&state.recorder, FaultKind::NoAnswer, owner);
            return Dialed::NoAnswer;
        }
        let number = state.next;
        state.next += 1;
        let choppy = faulty && state.rng.chance(0.4);
        let fate = (faulty && state.rng.chance(FATEFUL)).then(|| Fate::draw(&mut state.rng));
        let connection = Arc::new(Mutex::new(Connection {
            number,
            owner,
            rng: state.rng.fork(),
            pipes: [Pipe::new(latency, choppy), Pipe::new(latency, choppy)],
            fate,
            gone: [false; 2],
            server_on: state.server_on.clone(),
            recorder: state.recorder.clone(),
        }));
        state
            .connections
            .insert(number, Arc::downgrade(&connection));
        let peer = SocketAddr::from((Ipv4Addr::new(10, 0, 0, owner.0 as u8), 1024 + number as u16));
        let wire = Wire::new(connection.clone(), Side::Server);
        let arrival = Arrival { wire, peer };
        if arrivals.send(arrival).is_err() {
            fault(&state.recorder, FaultKind::NoConnection, owner);
            return Dialed::Refused(latency);
        }
        Dialed::Connected(Wire::new(connection, Side::Client), latency)
    }

    fn each(&self, which: impl Fn(&Connection) -> bool, mut what: impl FnMut(&mut Connection)) {
        drop_all(&self.lock(), |connection| {
            if which(connection) {
                what(connection);
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does something to each connection that somebody still holds.
fn drop_all(state: &State, mut what: impl FnMut(&mut Connection)) {
    for connection in state.connections.values().filter_map(Weak::upgrade) {
        what(&mut lock(&connection));
    }
}

pub(super) fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fate {
    fn draw(rng: &mut SimRng) -> Self {
        let magnitude = rng.below(10);
        Self {
            pipe: rng.below(2) as usize,
            // As often among the first hundred bytes as among the last ten thousand.
            after_bytes: 32 + rng.below(64 << magnitude),
            what: *rng.pick(&[
                FaultKind::Cut,
                FaultKind::Cut,
                FaultKind::Silence,
                FaultKind::Stall,
                FaultKind::Flip,
                FaultKind::Flip,
            ]),
        }
    }
}

impl Connection {
    /// Something was sent: its fate may have come.
    pub(super) fn sent(&mut self, pipe: usize) {
        let Some(fate) = self.fate else { return };
        if fate.pipe != pipe || self.pipes[pipe].sent_bytes < fate.after_bytes {
            return;
        }
        self.fate = None;
        match fate.what {
            FaultKind::Cut => self.cut(),
            FaultKind::Flip => {
                if self.pipes[pipe].flip(&mut self.rng) {
                    self.fault(FaultKind::Flip);
                }
            }
            FaultKind::Stall => {
                let time = Duration::from_millis(50 + self.rng.below(4_000));
                self.pipes[pipe].stall(time);
                self.fault(FaultKind::Stall);
            }
            _ => {
                self.pipes[pipe].silence();
                if self.rng.chance(0.5) {
                    self.pipes[1 - pipe].silence();
                }
                self.pipes
                    .iter_mut()
                    .for_each(|pipe| pipe.reset_in(KEEPALIVE));
                self.fault(FaultKind::Silence);
            }
        }
    }

    fn fault(&self, kind: FaultKind) {
        let (number, owner) = (self.number, self.owner);
        fault(
            &self.recorder,
            kind,
            format_args!("connection {number} of {owner}"),
        );
    }

    fn cut(&mut self) {
        for pipe in &mut self.pipes {
            let most = 2 * pipe.latency().as_millis() as u64 + 1;
            pipe.reset_in(Duration::from_millis(self.rng.below(most)));
        }
        self.fault(FaultKind::Cut);
    }

    /// Whether an end's process or machine is gone: what it still does counts for nothing.
    pub(super) fn is_gone(&self, side: Side) -> bool {
        self.gone[side.out()]
    }

    /// The process at an end is gone: the other end gets what is under way, or not, and is told.
    fn dies(&mut self, side: Side) {
        if std::mem::replace(&mut self.gone[side.out()], true) {
            return;
        }
        let latency = self.pipes[side.out()].latency();
        let out = &mut self.pipes[side.out()];
        match self.rng.chance(0.5) {
            true => out.close(),
            false => out.reset_in(latency),
        }
        self.pipes[side.inbound()].reset_in(latency);
    }

    /// An end hangs up: what it sent arrives, and what is sent to it does not.
    pub(super) fn leave(&mut self, side: Side) {
        self.gone[side.out()] = true;
        self.pipes[side.out()].close();
        let latency = self.pipes[side.inbound()].latency();
        self.pipes[side.inbound()].reset_in(latency);
    }

    /// The machine at an end has no power: the other end hears nothing more, for long.
    fn goes_dark(&mut self, side: Side) {
        if std::mem::replace(&mut self.gone[side.out()], true) {
            return;
        }
        for pipe in &mut self.pipes {
            pipe.silence();
            pipe.reset_in(KEEPALIVE);
        }
    }

    /// Somebody says something to an end that is gone: told so once its machine runs again.
    pub(super) fn said_to_nobody(&mut self, side: Side) {
        let has_power = self.server_on.load(Ordering::Relaxed);
        if side == Side::Client && self.gone[Side::Server.out()] && has_power {
            let latency = self.pipes[0].latency() + Duration::from_millis(1);
            self.pipes
                .iter_mut()
                .for_each(|pipe| pipe.reset_in(latency));
        }
    }
}
