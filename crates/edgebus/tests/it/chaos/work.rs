//! Requests with replies, and those who work on them, all on a bad network.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use edgebus::consumer::Reply;
use edgebus::{Client, ConsumeConfig, Handled, Message, RequestId};
use edgebus_testing::history::check;
use edgebus_testing::till::{check_heard, client, connect, request, within};
use edgebus_testing::{Ended, History, Proxy, Weather, seeds};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::fixture::Restarting;
use crate::delivery::fixture::{name, pattern};

/// What the workers saw: how often each request was run, and which were run after their reply had
/// been told.
#[derive(Default)]
struct Runs {
    runs: BTreeMap<RequestId, u64>,
    answered: BTreeSet<RequestId>,
    after_the_reply: Vec<RequestId>,
}

/// What goes to a worker that fell silent counts as failed when `ack_wait` is over, and may go to
/// another silent one then: the server takes a connection for alive until the network says otherwise.
fn responder() -> ConsumeConfig {
    let config = edgebus::consumer::ConsumerConfig::responder(pattern("orders.*"))
        .ack_wait_ms(2_000)
        .backoff_ms([50])
        .max_attempts(u32::MAX);
    ConsumeConfig::new(name("pricing")).config(config).credit(8)
}

async fn work(client: &Client, runs: &Arc<Mutex<Runs>>) -> edgebus::Handler {
    let runs = runs.clone();
    let handler = client.handle(pattern("orders.*"), responder(), move |message| {
        let runs = runs.clone();
        async move {
            let id = message.request_id();
            let mut runs = runs.lock();
            *runs.runs.entry(id).or_default() += 1;
            if runs.answered.contains(&id) {
                runs.after_the_reply.push(id);
            }
            Handled::Reply(Reply::new(message.payload()))
        }
    });
    within(handler).await.unwrap()
}

/// Asks, and notes it as one who asks for nothing else.
async fn ask(client: &Client, runs: &Mutex<Runs>, message: Message) -> History {
    let mut history = History::of(message.id.to_string());
    let call = history.asks(&message);
    let response = within(client.request_message(message.clone())).await;
    let response = response.unwrap();
    assert_eq!(response.reply.payload, message.payload);
    runs.lock().answered.insert(message.id);
    let (seq, duplicate) = (response.receipt.seq, response.receipt.duplicate);
    history.ended(call, Ended::Stored { seq, duplicate });
    history
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_gets_its_reply_and_is_never_run_again_after_it() {
    const CLIENTS: u64 = 4;
    const REQUESTS: u64 = 40;
    for seed in seeds(&[31]) {
        println!("seed {seed}");
        let mut server = Restarting::start().await;
        let proxy = Proxy::with(server.url(), seed, Weather::storm());
        let runs = Arc::new(Mutex::new(Runs::default()));
        let mut workers = Vec::new();
        for number in 0..2 {
            let name = format!("worker-{number}");
            let client = connect(|| client(proxy.url(), &name).give_up_after(None)).await;
            workers.push(work(&client, &runs).await);
        }
        let mut asking = JoinSet::new();
        for number in 0..CLIENTS {
            let name = format!("till-{number}");
            let patient = Some(Duration::from_secs(60));
            let client = connect(|| client(proxy.url(), &name).give_up_after(patient)).await;
            for n in 0..REQUESTS {
                let (client, runs) = (client.clone(), runs.clone());
                asking.spawn(async move { ask(&client, &runs, request(seed, number, n)).await });
            }
        }
        // A restart in the middle of it all.
        within(async {
            while runs.lock().answered.len() < 50 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        server.restart(&proxy).await;
        let histories = within(asking.join_all()).await;
        proxy.calm();
        let log = server.log();
        check(&histories, &log);
        assert_eq!(log.len() as u64, CLIENTS * REQUESTS);
        let made = log.iter().map(|entry| entry.record().id()).collect();
        check_heard(&proxy, &made);
        for worker in workers {
            within(worker.stop()).await;
        }
        let runs = runs.lock();
        assert_eq!(runs.runs.len(), log.len());
        assert_eq!(runs.after_the_reply, [], "run again after the reply");
        let more = runs.runs.values().filter(|runs| **runs > 1).count();
        println!("{more} of {} were run more than once", log.len());
    }
}
