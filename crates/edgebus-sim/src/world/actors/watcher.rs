//! Looks at all that can be seen of the log: live notifications, pages of it, single messages, and
//! figures.

use std::time::Duration;

use edgebus::{Entry, LogQuery, Notification, RequestId, Seq, Subscription};

use super::super::net::Owner;
use super::super::{Phase, World};
use super::{client, up_to};
use crate::history::{Call, Client, Digest, Event, Operation, Outcome};
use crate::rng::SimRng;

/// Listens to notifications as they come until all is over.
pub(super) async fn subscribe(world: World, mut rng: SimRng) {
    while world.phase() < Phase::Over {
        let owner = world.new_client();
        let (mut fate, mut chance) = (rng.fork(), rng.fork());
        let living = async {
            tokio::select! {
                biased;
                () = world.reached(Phase::Over) => {}
                () = listen(&world, owner, &mut chance) => {}
            }
        };
        client::live(&world, owner, &mut fate, living).await;
    }
}

async fn listen(world: &World, owner: Owner, rng: &mut SimRng) {
    let library = client::connect(world, owner, rng).await;
    loop {
        let pattern = "news.>".parse().expect("a pattern");
        if let Ok(mut news) = library.subscribe(Subscription::to(pattern)).await {
            while let Some(notification) = news.next().await {
                if let Notification::Message(entry) = notification
                    && entry.seq() > Seq(0)
                {
                    seen(world, None, &entry);
                }
            }
        }
        tokio::time::sleep(up_to(rng, 100)).await;
    }
}

/// Reads the log, here and there, until all is over.
pub(super) async fn read(world: World, mut rng: SimRng) {
    while world.phase() < Phase::Over {
        let owner = world.new_client();
        let (mut fate, mut chance) = (rng.fork(), rng.fork());
        let living = async {
            tokio::select! {
                biased;
                () = world.reached(Phase::Over) => {}
                () = look(&world, owner, &mut chance) => {}
            }
        };
        client::live(&world, owner, &mut fate, living).await;
    }
}

async fn look(world: &World, owner: Owner, rng: &mut SimRng) {
    let library = client::connect(world, owner, rng).await;
    let mut last = Seq(1);
    let mut ids: Vec<RequestId> = Vec::new();
    loop {
        tokio::time::sleep(Duration::from_millis(20) + up_to(rng, 150)).await;
        match rng.below(6) {
            0 => {
                if let Ok(stats) = library.stats().await {
                    last = Seq(stats.last_seq);
                    world.recorder.note(Event::SeenLast { seq: last });
                }
            }
            1 => {
                let seq = Seq(1 + rng.below(last.0 + 2));
                if let Ok(Some(entry)) = library.get(seq).await {
                    ids.push(entry.record().id());
                    seen(world, None, &entry);
                }
            }
            2 if !ids.is_empty() => {
                if let Ok(Some(entry)) = library.find(*rng.pick(&ids)).await {
                    seen(world, None, &entry);
                }
            }
            _ => page(world, owner, &library, Seq(1 + rng.below(last.0 + 2)), rng).await,
        }
    }
}

/// A page of the log, from some message on.
async fn page(world: &World, owner: Owner, library: &edgebus::Client, from: Seq, rng: &mut SimRng) {
    let to = Seq(from.0 + rng.below(60));
    let mut query = LogQuery::from(from);
    query.to = Some(to);
    query.limit = *rng.pick(&[3, 20, 1_000]);
    let what = Operation::Show(from, to);
    let call = world.recorder.operating(Client(owner.0), what);
    match library.log(query).await {
        Ok(page) => {
            for entry in &page.entries {
                seen(world, Some(call), entry);
            }
            let end = page.entries.last().map_or(Seq(from.0 - 1), Entry::seq);
            let upto = page.next.map_or(end, |next| Seq(next.0 - 1));
            world.recorder.told(call, Outcome::Shown(upto));
        }
        Err(refusal) => {
            world.recorder.told(call, Outcome::Refused(refusal.code));
        }
    }
}

fn seen(world: &World, call: Option<Call>, entry: &Entry) {
    let record = entry.record();
    world.recorder.note(Event::Seen {
        call,
        seq: entry.seq(),
        id: record.id(),
        payload: Digest::of(&record.payload()),
    });
}
