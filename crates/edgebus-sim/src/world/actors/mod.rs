//! Who does something in a world. Each lives several lives of its own, and dies in the middle of
//! things.
//!
//! In reading order: [`message`] what is sent; [`client`] a process that connects and dies;
//! [`sender`] sends, [`requester`] asks and waits for replies, [`spooler`] sends by way of its own
//! disk; [`consumers`] how consumers are set up; [`worker`] works for them; [`operator`] does what
//! operators do; [`watcher`] looks at all that can be seen.

mod client;
mod consumers;
mod message;
mod operator;
mod requester;
mod sender;
mod spooler;
mod watcher;
mod worker;

use std::time::Duration;

use edgebus::Scope;
use tokio::task::JoinSet;

use super::{World, scopes};
use crate::disk::Counts as DiskCounts;
use crate::rng::SimRng;
pub(crate) use message::Sent;

/// Messages that others know of, at most.
const KNOWN_MAX: usize = 400;

/// What everyone may know: to send again what others sent.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Messages that were sent.
    pub(crate) sent: Vec<Sent>,
    /// What the disks of spools met.
    pub(crate) spool_disks: DiskCounts,
}

impl Known {
    /// Others may send it as well.
    fn add(&mut self, sent: &Sent, rng: &mut SimRng) {
        match self.sent.len() < KNOWN_MAX {
            true => self.sent.push(sent.clone()),
            false => self.sent[rng.below(KNOWN_MAX as u64) as usize] = sent.clone(),
        }
    }
}

/// Everybody.
pub(super) struct Crew {
    /// They finish by themselves once nothing goes wrong any more.
    finishing: JoinSet<()>,
    /// They go on until all is over.
    staying: JoinSet<()>,
}

impl Crew {
    pub(super) fn begin(world: &World, rng: &mut SimRng) -> Self {
        let mut finishing = JoinSet::new();
        let mut staying = JoinSet::new();
        for scope in [Scope::default(), scopes::other()] {
            finishing.spawn(sender::send(world.clone(), scope, rng.fork()));
            finishing.spawn(requester::ask(world.clone(), rng.fork()));
            finishing.spawn(spooler::spool(world.clone(), rng.fork()));
        }
        finishing.spawn(operator::operate(world.clone(), rng.fork()));
        for consumer in [
            consumers::ORDERS,
            consumers::ORDERS,
            consumers::AUDIT,
            consumers::AUDIT,
            consumers::MIRROR,
            consumers::NEWS,
        ] {
            staying.spawn(worker::work(world.clone(), consumer, rng.fork()));
        }
        staying.spawn(watcher::subscribe(world.clone(), rng.fork()));
        staying.spawn(watcher::read(world.clone(), rng.fork()));
        Self { finishing, staying }
    }

    /// Waits until everyone has finished who does so by himself; the others go on.
    pub(super) async fn finish(&mut self) {
        while self.finishing.join_next().await.is_some() {}
    }

    /// Waits for the others, once all is over.
    pub(super) async fn end(mut self) {
        while self.staying.join_next().await.is_some() {}
    }
}

/// A time by chance.
fn up_to(rng: &mut SimRng, most_ms: u64) -> Duration {
    Duration::from_millis(rng.below(most_ms.max(1)))
}
