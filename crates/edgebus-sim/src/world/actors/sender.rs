//! Sends requests, several at a time; sends them again when it is not known what became of them,
//! and sometimes anyway; and sends others under their ids.

use std::collections::BTreeMap;
use std::time::Duration;

use edgebus::{PendingReceipt, RequestId, Scope, SendError};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::super::net::Owner;
use super::message::{EVENTS, IDLE, NEWS, ORDERS, Sent, is_open, outcome, refused};
use super::{World, client, up_to};
use crate::history::{Call, Client, Kind};
use crate::rng::SimRng;

/// Sends until the storm is over and it is known what became of each message.
pub(super) async fn send(world: World, scope: Scope, mut rng: SimRng) {
    let mut owed = Owed {
        scope,
        all: BTreeMap::new(),
        under_way: BTreeMap::new(),
    };
    while world.is_storm() || !owed.is_empty() {
        let owner = world.new_client();
        let (mut fate, mut chance) = (rng.fork(), rng.fork());
        owed.under_way.clear();
        let sending = life(&world, owner, &mut chance, &mut owed);
        client::live(&world, owner, &mut fate, sending).await;
        if world.is_storm() {
            tokio::time::sleep(up_to(&mut rng, 300)).await;
        }
    }
}

/// Messages of which it is not known what became of them, at most.
const OWED_MAX: usize = 60;

/// What it is to send until it knows what became of it.
#[derive(Debug)]
struct Owed {
    /// Where all of it is sent.
    scope: Scope,
    all: BTreeMap<RequestId, Sent>,
    /// Sent, and not answered yet.
    under_way: BTreeMap<RequestId, u32>,
}

impl Owed {
    fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// One that nobody waits for at present.
    fn pick(&self, rng: &mut SimRng) -> Option<Sent> {
        let waits = |id: &&RequestId| !self.under_way.contains_key(*id);
        let waiting: Vec<_> = self.all.keys().filter(waits).collect();
        (!waiting.is_empty()).then(|| self.all[*rng.pick(&waiting)].clone())
    }
}

async fn life(world: &World, owner: Owner, rng: &mut SimRng, owed: &mut Owed) {
    let library = client::connect_in(world, owner, owed.scope, rng).await;
    let me = Client(owner.0);
    let window = *rng.pick(&[1, 4, 16]);
    let pause_ms = *rng.pick(&[10, 60, 200, 500]);
    let mut under_way = FuturesUnordered::new();
    loop {
        let pause = tokio::time::sleep(match rng.chance(0.3) {
            true => Duration::ZERO,
            false => up_to(rng, pause_ms),
        });
        let is_full = under_way.len() >= window;
        tokio::select! {
            biased;
            Some((call, sent, result)) = under_way.next(), if !under_way.is_empty() => {
                told(world, owed, call, &sent, &result);
            }
            () = pause, if !is_full => {
                let Some(next) = choose(world, rng, owed) else {
                    if under_way.is_empty() && !world.is_storm() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                let call = next.ask(world, me, Kind::Send);
                match library.enqueue(next.message()).await {
                    Ok(pending) => {
                        *owed.under_way.entry(next.id).or_default() += 1;
                        under_way.push(wait(call, next, pending));
                    }
                    Err(error) => {
                        world.recorder.told(call, refused(&error));
                        // It was closed, or the message makes no sense.
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            }
        }
    }
}

async fn wait(
    call: Call,
    sent: Sent,
    pending: PendingReceipt,
) -> (Call, Sent, Result<edgebus::Receipt, SendError>) {
    (call, sent, pending.await)
}

fn told(
    world: &World,
    owed: &mut Owed,
    call: Call,
    sent: &Sent,
    result: &Result<edgebus::Receipt, SendError>,
) {
    let outcome = outcome(result);
    world.recorder.told(call, outcome);
    if let Some(count) = owed.under_way.get_mut(&sent.id) {
        *count -= 1;
        if *count == 0 {
            owed.under_way.remove(&sent.id);
        }
    }
    let is_it = owed
        .all
        .get(&sent.id)
        .is_some_and(|own| own.payload == sent.payload);
    if is_it && !is_open(outcome) {
        owed.all.remove(&sent.id);
    }
}

/// What is sent next; `None`: nothing for now.
fn choose(world: &World, rng: &mut SimRng, owed: &mut Owed) -> Option<Sent> {
    if !world.is_storm() {
        return owed.pick(rng);
    }
    match rng.below(20) {
        _ if owed.all.len() >= OWED_MAX => owed.pick(rng),
        0..3 => owed.pick(rng),
        3 | 4 => known(world, rng, owed.scope),
        5 => known(world, rng, owed.scope).map(|sent| sent.forged(rng)),
        _ => {
            let topic = match rng.below(10) {
                0..4 => *rng.pick(&ORDERS),
                4..8 => *rng.pick(&EVENTS),
                8 => IDLE,
                _ => *rng.pick(&NEWS),
            };
            let mut sent = Sent::new(world, rng, owed.scope, topic);
            if rng.chance(0.04) {
                sent.expires = Some(Duration::from_millis(50 + rng.below(2_000)));
            }
            owed.all.insert(sent.id, sent.clone());
            world.known().add(&sent, rng);
            Some(sent)
        }
    }
}

/// What somebody sent before, in whichever scope: in another one it is another request.
fn known(world: &World, rng: &mut SimRng, scope: Scope) -> Option<Sent> {
    let known = &world.known().sent;
    let sent = (!known.is_empty()).then(|| rng.pick(known).clone())?;
    Some(Sent { scope, ..sent })
}
