//! Clients with a spool, on a network that is gone for a while, and with lives that end: what was
//! on some disk reaches the log, once, in the order in which it was said.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use edgebus::{Accepted, RequestId, SendError, SpoolingClient};
use edgebus_testing::history::check;
use edgebus_testing::till::{check_heard, client, request, within};
use edgebus_testing::{Dice, Ended, History, Proxy, Weather, seeds};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::fixture::Restarting;

const TILLS: u64 = 4;
const CALLS: u64 = 200;

fn ended(result: &Result<Accepted, SendError>) -> Ended {
    match result {
        Ok(Accepted::Stored(receipt)) => Ended::Stored {
            seq: receipt.seq,
            duplicate: receipt.duplicate,
        },
        Ok(Accepted::Spooled(spooled)) => Ended::Spooled(spooled.number),
        Ok(other) => panic!("{other:?}"),
        Err(SendError::Unknown { .. }) => Ended::Unknown,
        Err(error) => Ended::Refused(error.code()),
    }
}

/// One till: its notes, and in the order of its calls what is on some disk.
#[derive(Default)]
struct Day {
    history: History,
    kept: Vec<RequestId>,
}

async fn open(url: &str, name: &str, dir: &std::path::Path) -> SpoolingClient {
    within(async {
        loop {
            // Whoever had the spool before may still be closing it.
            if let Ok(client) = client(url, name).spool(dir).connect().await {
                return client;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

async fn work(url: String, seed: u64, number: u64, calls: watch::Sender<u64>) -> Day {
    let folder = tempfile::tempdir().unwrap();
    let name = format!("till-{number}");
    let mut till = Some(open(&url, &name, folder.path()).await);
    let mut dice = Dice::new(seed, number, 9);
    let mut day = Day {
        history: History::of(name.as_str()),
        kept: Vec::new(),
    };
    let mut pending = Vec::new();
    for n in 0..CALLS {
        let message = request(seed, number, n);
        let call = day.history.asks(&message);
        let id = message.id;
        let sending = till.as_ref().expect("it lives").enqueue(message);
        pending.push((call, id, within(sending).await.unwrap()));
        calls.send_modify(|calls| *calls += 1);
        let dies = dice.chance(0.01);
        if dies {
            // It is over with this life, whatever became of the last requests.
            till = None;
        }
        if dies || dice.chance(0.1) {
            for (call, id, pending) in pending.drain(..) {
                let ended = ended(&within(pending).await);
                if let Ended::Stored { .. } | Ended::Spooled(_) = ended {
                    day.kept.push(id);
                }
                day.history.ended(call, ended);
            }
        }
        if dies {
            till = Some(open(&url, &name, folder.path()).await);
        }
    }
    for (call, id, pending) in pending {
        let ended = ended(&within(pending).await);
        if let Ended::Stored { .. } | Ended::Spooled(_) = ended {
            day.kept.push(id);
        }
        day.history.ended(call, ended);
    }
    let till = till.expect("it lives");
    within(till.flush()).await.unwrap();
    assert_eq!(till.waiting(), 0);
    day
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_spooled_reaches_the_log_once_and_in_order_through_outages_and_lives_that_end() {
    let mut spooled = 0;
    for seed in seeds(&[71, 72]) {
        println!("seed {seed}");
        let mut server = Restarting::start().await;
        let proxy = Proxy::with(server.url(), seed, Weather::storm());
        let progress = watch::Sender::new(0);
        let mut calls = progress.subscribe();
        let mut tills = JoinSet::new();
        for number in 0..TILLS {
            tills.spawn(work(proxy.url().to_owned(), seed, number, progress.clone()));
        }
        drop(progress);
        for (down, up) in [(0.1, 0.3), (0.5, 0.8)] {
            let calls_at = |part: f64| (part * (TILLS * CALLS) as f64) as u64;
            let _ = within(calls.wait_for(|made| *made >= calls_at(down))).await;
            proxy.refuse(true);
            proxy.cut_all();
            let _ = within(calls.wait_for(|made| *made >= calls_at(up))).await;
            server.restart(&proxy).await;
            proxy.refuse(false);
        }
        proxy.calm();
        // What fell silent stays so until somebody notices.
        let days = within(tills.join_all()).await;
        let log = server.log();
        let places = log.iter().map(|entry| (entry.record().id(), entry.seq()));
        let places: BTreeMap<_, _> = places.collect();
        let mut made = BTreeSet::new();
        let mut histories = Vec::new();
        for day in days {
            let seqs = day.kept.iter().map(|id| places.get(id));
            let seqs: Vec<_> = seqs.collect::<Option<_>>().expect("all of it is stored");
            assert!(seqs.is_sorted(), "in the order of calls");
            histories.push(day.history);
        }
        for number in 0..TILLS {
            made.extend((0..CALLS).map(|n| request(seed, number, n).id));
        }
        spooled += check(&histories, &log).spooled;
        check_heard(&proxy, &made);
    }
    assert!(spooled > 100, "only {spooled} were spooled");
}

/// To which of two stores a client comes is chance; what may have reached one is not sent to the
/// other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_stored_by_two_stores_unless_the_application_asks_again() {
    for seed in seeds(&[81, 82]) {
        println!("seed {seed}");
        let servers = [Restarting::start().await, Restarting::start().await];
        let proxy = Proxy::with(servers[0].url(), seed, Weather::calm());
        let till = client(proxy.url(), "till").give_up_after(Some(Duration::from_secs(30)));
        let till = till.window(64).connect().await.unwrap();
        proxy.set_weather(Weather::storm());
        let mut history = History::of("till");
        let mut pending = Vec::new();
        for n in 0..600 {
            let message = request(seed, 0, n);
            let call = history.asks(&message);
            pending.push((
                call,
                message.id,
                within(till.enqueue(message)).await.unwrap(),
            ));
            if n % 60 == 59 {
                proxy.set_target(servers[n as usize / 60 % 2].url());
                proxy.cut_all();
            }
        }
        let logs = servers.each_ref();
        let mut unknown = 0;
        let mut receipts = BTreeMap::new();
        for (_, id, pending) in pending {
            match within(pending).await {
                Ok(receipt) => drop(receipts.insert(id, receipt.seq)),
                Err(SendError::Unknown { .. }) => unknown += 1,
                Err(error) => panic!("{error}"),
            }
        }
        let logs = logs.map(|server| {
            let log = server.log();
            let places = log.iter().map(|entry| (entry.record().id(), entry.seq()));
            places.collect::<BTreeMap<_, _>>()
        });
        for id in logs[0].keys() {
            assert!(!logs[1].contains_key(id), "{id} is in both stores");
        }
        for (id, seq) in &receipts {
            let place = logs[0].get(id).or(logs[1].get(id));
            assert_eq!(place, Some(seq), "{id} is where its receipt says");
        }
        println!("{unknown} are unknown");
    }
}
