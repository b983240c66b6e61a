//! Honest clients: one that sends a request every 20 ms over its connection, one that is always new
//! (connects, sends one, leaves). Both are timed, and what they were told is noted.

use std::net::SocketAddr;
use std::time::Duration;

use edgebus::{Client, ClientConfig};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::{Usage, request};
use crate::history::Client as Who;
use crate::processes::Failure;
use crate::processes::load::notes::Notes;

/// What takes longer hangs.
const HANGS_AFTER: Duration = Duration::from_secs(30);
const SEND_EVERY: Duration = Duration::from_millis(20);
const VISIT_EVERY: Duration = Duration::from_millis(100);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What they noticed.
#[derive(Debug, Default)]
pub(super) struct Noticed {
    /// How long each send took.
    pub(super) sends: Vec<Duration>,
    /// How long each visit took: connecting, sending, being told.
    pub(super) visits: Vec<Duration>,
    /// What went wrong; nothing may.
    pub(super) wrong: Vec<String>,
    /// The most that the server had.
    pub(super) usage: Usage,
}

impl Noticed {
    fn take(&mut self, other: Self) {
        self.sends.extend(other.sends);
        self.visits.extend(other.visits);
        self.wrong.extend(other.wrong);
        self.usage = self.usage.most(other.usage);
    }
}

/// Has them work until some moment.
///
/// # Errors
/// [`Failure::Broken`] when one cannot even begin.
pub(super) async fn work(
    url: &str,
    pid: rustix::process::Pid,
    notes: &Notes,
    until: Instant,
) -> Result<Noticed, Failure> {
    let mut all = JoinSet::new();
    all.spawn(sending(url.to_owned(), notes.clone(), until));
    all.spawn(visiting(url.to_owned(), notes.clone(), until));
    all.spawn(watching(pid, until));
    let mut noticed = Noticed::default();
    while let Some(one) = all.join_next().await {
        noticed.take(one.map_err(|e| Failure::broken("an honest client", e))?);
    }
    Ok(noticed)
}

/// One send; what went wrong with it.
async fn send(client: &Client, who: Who, notes: &Notes) -> Result<(), String> {
    let message = request("honest.one", vec![b'x'; 100]).map_err(|e| e.to_string())?;
    let call = notes.sends(who, &message);
    match tokio::time::timeout(HANGS_AFTER, client.send_message(message)).await {
        Ok(ended) => {
            notes.sent(call, &ended);
            ended.map(drop).map_err(|e| format!("a send: {e}"))
        }
        Err(_) => {
            notes.given_up(call);
            Err(format!("a send hangs for {HANGS_AFTER:?}"))
        }
    }
}

/// Being slow is no wrong, so it waits for as long as for anything.
async fn connect(url: &str) -> Result<Client, String> {
    let config = ClientConfig::default().connect_timeout(HANGS_AFTER);
    let client = Client::builder(url).config(config).connect().await;
    client.map_err(|e| format!("a connection: {e}"))
}

async fn sending(url: String, notes: Notes, until: Instant) -> Noticed {
    let mut noticed = Noticed::default();
    let client = match connect(&url).await {
        Ok(client) => client,
        Err(wrong) => {
            noticed.wrong.push(wrong);
            return noticed;
        }
    };
    let who = Who(notes.recorder().call().0);
    let mut turns = interval(SEND_EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < until {
        turns.tick().await;
        let begun = Instant::now();
        match send(&client, who, &notes).await {
            Ok(()) => noticed.sends.push(begun.elapsed()),
            Err(wrong) => noticed.wrong.push(wrong),
        }
    }
    noticed
}

async fn visiting(url: String, notes: Notes, until: Instant) -> Noticed {
    let mut noticed = Noticed::default();
    let mut turns = interval(VISIT_EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < until {
        turns.tick().await;
        let begun = Instant::now();
        let who = Who(notes.recorder().call().0);
        let visit = async { send(&connect(&url).await?, who, &notes).await };
        match visit.await {
            Ok(()) => noticed.visits.push(begun.elapsed()),
            Err(wrong) => noticed.wrong.push(wrong),
        }
    }
    noticed
}

async fn watching(pid: rustix::process::Pid, until: Instant) -> Noticed {
    let mut noticed = Noticed::default();
    while Instant::now() < until {
        // Off the tasks: with many descriptors the system takes its time to list them.
        let usage = tokio::task::spawn_blocking(move || Usage::of(pid)).await;
        noticed.usage = noticed.usage.most(usage.unwrap_or_default());
        sleep_until(until.min(Instant::now() + LOOK_EVERY)).await;
    }
    noticed
}

/// Where a URL of the server leads to.
///
/// # Errors
/// [`Failure::Broken`] when it is none of an address.
pub(super) fn address_of(url: &str) -> Result<SocketAddr, Failure> {
    let (_, address) = url.split_once("://").unwrap_or(("", url));
    address.parse().map_err(|e| Failure::broken(url, e))
}
