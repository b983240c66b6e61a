//! Clients, workers and somebody who looks, all of the real library, against a real server that may
//! die at any moment.
//!
//! In reading order: [`content`] what is sent and what becomes of it; [`notes`] what is taken down;
//! [`client`], [`worker`] and [`watcher`] who does so; [`Load`] all of them together.
//!
//! Invariants: nobody here gives up because the server is away. Clients end with everything decided;
//! workers go on until they are told, so that all is drained.

mod client;
pub mod content;
pub mod notes;
mod watcher;
pub mod worker;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use edgebus::admin::ConsumerInfo;
use edgebus::{Client, ConsumerName};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::client::Sender;
use self::content::Content;
use self::notes::Notes;
use self::watcher::Watcher;
use self::worker::{ROLES, Worker};
use super::Failure;
use crate::history;
use crate::rng::SimRng;

/// How long clients may take to have everything decided; far longer than they do.
const DECIDED_TIME: Duration = Duration::from_secs(120);
/// How long workers may take to leave.
const LEFT_TIME: Duration = Duration::from_secs(60);
/// How soon a connection that was not made is tried again.
const AGAIN: Duration = Duration::from_millis(5);

/// How much load.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What follows from it: who sends what, when, and what becomes of it.
    pub seed: u64,
    /// Clients that send.
    pub clients: u16,
    /// The largest payload, in bytes.
    pub payload_bytes_max: u64,
    /// How long a client waits between two things it does, at most.
    pub pause_max: Duration,
}

impl Plan {
    /// Eight clients that send as they can.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            clients: 8,
            payload_bytes_max: 48 * 1024,
            pause_max: Duration::from_millis(4),
        }
    }
}

/// What everybody of a load knows.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    /// The server.
    url: Arc<str>,
    /// Becomes true when clients are to end, and when workers are.
    clients_end: watch::Receiver<bool>,
    workers_end: watch::Receiver<bool>,
    content: Content,
    notes: Notes,
    pause_max: Duration,
}

impl Shared {
    /// Whether clients are to end.
    fn is_stopping(&self) -> bool {
        *self.clients_end.borrow()
    }

    /// Waits until workers are to end.
    async fn workers_end(&self) {
        // An error would mean that the load is gone, which is an end as well.
        let _ = self.workers_end.clone().wait_for(|end| *end).await;
    }

    async fn pause(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// Connects, however often that takes; `None` once the load ends.
async fn connect(shared: &Shared, builder: impl Fn() -> edgebus::ClientBuilder) -> Option<Client> {
    loop {
        match builder().connect().await {
            Ok(client) => return Some(client),
            Err(_) if *shared.workers_end.borrow() => return None,
            Err(_) => shared.pause(AGAIN).await,
        }
    }
}

/// Clients, workers and a watcher that run. Dropped, they are aborted.
#[derive(Debug)]
pub struct Load {
    clients: JoinSet<()>,
    workers: JoinSet<()>,
    clients_end: watch::Sender<bool>,
    workers_end: watch::Sender<bool>,
    notes: Notes,
    url: Arc<str>,
}

impl Load {
    /// Begins. The server need not be there yet.
    pub fn start(plan: &Plan, url: &str, notes: &Notes) -> Self {
        let (clients_end, stop_clients) = watch::channel(false);
        let (workers_end, stop_workers) = watch::channel(false);
        let shared = Shared {
            url: url.into(),
            clients_end: stop_clients,
            workers_end: stop_workers,
            content: Content::new(plan.seed, plan.payload_bytes_max),
            notes: notes.clone(),
            pause_max: plan.pause_max,
        };
        let mut rng = SimRng::seeded(plan.seed);
        let mut clients = JoinSet::new();
        for number in 0..plan.clients {
            clients.spawn(Sender::new(number, shared.clone(), rng.fork()).run());
        }
        let mut workers = JoinSet::new();
        let executions = Arc::new(AtomicU64::new(0));
        let roles = ROLES
            .iter()
            .flat_map(|role| std::iter::repeat_n(role, role.workers as usize));
        for (number, role) in (0..).zip(roles) {
            let executions = executions.clone();
            let worker = Worker::new(number, *role, shared.clone(), executions);
            workers.spawn(worker.run(rng.fork()));
        }
        let client = history::Client(u32::from(plan.clients));
        clients.spawn(Watcher::new(client, shared, rng.fork()).run());
        Self {
            clients,
            workers,
            clients_end,
            workers_end,
            notes: notes.clone(),
            url: url.into(),
        }
    }

    /// Where its notes go.
    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Has clients end, and waits until everything they asked for is decided. Needs a server.
    ///
    /// # Errors
    /// [`Failure::Broken`] when that takes minutes.
    ///
    /// # Panics
    /// When one of them did.
    pub async fn decide(&mut self) -> Result<(), Failure> {
        self.clients_end.send_replace(true);
        all_end(&mut self.clients, DECIDED_TIME, "clients").await
    }

    /// Waits until consumers have done everything. Whether they have; if not, the checker says what
    /// is missing.
    ///
    /// # Errors
    /// [`Failure::Broken`] when there is no server to ask.
    pub async fn drained(&self, at_most: Duration) -> Result<bool, Failure> {
        let client = Client::connect(&self.url).await;
        let client = client.map_err(|e| Failure::broken("nobody can be asked", e))?;
        let ask = async {
            loop {
                let consumers = client.consumers().await;
                let consumers = consumers.map_err(|e| Failure::broken("consumers", e))?;
                // Others may have been made by whoever runs this.
                let own = |name: &ConsumerName| ROLES.iter().any(|role| role.name() == *name);
                let done = |info: &&ConsumerInfo| {
                    own(&info.name)
                        && info.lag + info.in_flight + info.retrying + info.suspects == 0
                };
                if consumers.iter().filter(done).count() == ROLES.len() {
                    return Ok(true);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(at_most, ask)
            .await
            .unwrap_or(Ok(false))
    }

    /// Has workers leave.
    ///
    /// # Errors
    /// [`Failure::Broken`] when they do not.
    ///
    /// # Panics
    /// When one of them did.
    pub async fn leave(mut self) -> Result<(), Failure> {
        self.workers_end.send_replace(true);
        all_end(&mut self.workers, LEFT_TIME, "workers").await
    }
}

async fn all_end(tasks: &mut JoinSet<()>, at_most: Duration, who: &str) -> Result<(), Failure> {
    let end = async {
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended
                && let Ok(panic) = error.try_into_panic()
            {
                std::panic::resume_unwind(panic);
            }
        }
    };
    tokio::time::timeout(at_most, end).await.map_err(|_| {
        let left = tasks.len();
        Failure::Broken(format!("{left} {who} have not ended after {at_most:?}"))
    })
}
