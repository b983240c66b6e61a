//! Asks, waits for the reply or not long enough, and asks again: also for replies that it has.

use std::collections::BTreeMap;
use std::time::Duration;

use edgebus::{RequestId, Scope};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::super::World;
use super::super::net::Owner;
use super::message::{ORDERS, Sent, is_open, unanswered};
use super::{client, up_to};
use crate::history::{Client, Digest, Kind, Outcome};
use crate::rng::SimRng;

/// Asks until the storm is over and it is known what became of each request.
pub(super) async fn ask(world: World, mut rng: SimRng) {
    let mut open = Open::default();
    while world.is_storm() || !open.all.is_empty() {
        let owner = world.new_client();
        let (mut fate, mut chance) = (rng.fork(), rng.fork());
        open.under_way.clear();
        let asking = life(&world, owner, &mut chance, &mut open);
        client::live(&world, owner, &mut fate, asking).await;
        if world.is_storm() {
            tokio::time::sleep(up_to(&mut rng, 300)).await;
        }
    }
}

/// Requests to which no reply came so far, at most.
const OPEN_MAX: usize = 40;

/// Requests to which no reply came so far.
#[derive(Debug, Default)]
struct Open {
    all: BTreeMap<RequestId, Sent>,
    under_way: BTreeMap<RequestId, u32>,
}

async fn life(world: &World, owner: Owner, rng: &mut SimRng, open: &mut Open) {
    let library = client::connect(world, owner, rng).await;
    let me = Client(owner.0);
    let most = *rng.pick(&[1, 3, 8]);
    let mut under_way = FuturesUnordered::new();
    loop {
        let is_storm = world.is_storm();
        if !is_storm && open.all.is_empty() && under_way.is_empty() {
            return;
        }
        let pause = tokio::time::sleep(up_to(rng, if is_storm { 150 } else { 5 }));
        let is_full = under_way.len() >= most;
        tokio::select! {
            biased;
            Some((sent, outcome)) = under_way.next(), if !under_way.is_empty() => {
                answered(open, &sent, outcome);
            }
            () = pause, if !is_full => {
                if let Some(sent) = choose(world, rng, open) {
                    *open.under_way.entry(sent.id).or_default() += 1;
                    let patience = match is_storm {
                        true => *rng.pick(&[30, 300, 3_000]),
                        false => 10_000,
                    };
                    under_way.push(request(world, &library, me, sent, patience));
                } else {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }
}

/// Asks once, with patience in milliseconds.
async fn request(
    world: &World,
    library: &edgebus::Client,
    me: Client,
    sent: Sent,
    patience: u64,
) -> (Sent, Outcome) {
    let call = sent.ask(world, me, Kind::Request);
    let asked = library.request_message(sent.message());
    let asked = tokio::time::timeout(Duration::from_millis(patience), asked).await;
    let outcome = match asked {
        Err(_) => Outcome::Unknown,
        Ok(Err(error)) => unanswered(&error),
        Ok(Ok(response)) => {
            let receipt = &response.receipt;
            let (seq, duplicate) = (receipt.seq, receipt.duplicate);
            world
                .recorder
                .told(call, Outcome::Stored { seq, duplicate });
            Outcome::Reply(Digest::of(&response.reply.payload))
        }
    };
    world.recorder.told(call, outcome);
    (sent, outcome)
}

fn answered(open: &mut Open, sent: &Sent, outcome: Outcome) {
    if let Some(count) = open.under_way.get_mut(&sent.id) {
        *count -= 1;
        if *count == 0 {
            open.under_way.remove(&sent.id);
        }
    }
    if !is_open(outcome) {
        open.all.remove(&sent.id);
    }
}

/// What is asked next.
fn choose(world: &World, rng: &mut SimRng, open: &mut Open) -> Option<Sent> {
    if !world.is_storm() || rng.chance(0.3) || open.all.len() >= OPEN_MAX {
        let waits = |id: &&RequestId| !open.under_way.contains_key(*id);
        let waiting: Vec<_> = open.all.keys().filter(waits).collect();
        return (!waiting.is_empty()).then(|| open.all[*rng.pick(&waiting)].clone());
    }
    if rng.chance(0.25) {
        let known = world.known();
        let asked: Vec<_> = known
            .sent
            .iter()
            .filter(|sent| sent.is_answered())
            .collect();
        let sent = (!asked.is_empty()).then(|| (*rng.pick(&asked)).clone())?;
        return Some(Sent {
            scope: Scope::default(),
            ..sent
        });
    }
    let topic = *rng.pick(&ORDERS);
    let mut sent = Sent::new(world, rng, Scope::default(), topic);
    if rng.chance(0.04) {
        sent.expires = Some(Duration::from_millis(50 + rng.below(2_000)));
    }
    open.all.insert(sent.id, sent.clone());
    world.known().add(&sent, rng);
    Some(sent)
}
