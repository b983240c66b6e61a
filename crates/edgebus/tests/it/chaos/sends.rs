//! Requests without replies: each is stored once, each call ends once, and no receipt is untrue.

use std::time::Duration;

use edgebus_testing::history::check;
use edgebus_testing::till::{Shop, check_heard, client, connect, ended, request, within};
use edgebus_testing::{Faults, History, Proxy, Weather, seeds};
use tokio::time::timeout;

use super::fixture::Restarting;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_wait_get_a_receipt_for_everything_through_storms_and_restarts() {
    for seed in seeds(&[1, 2, 3]) {
        println!("seed {seed}");
        let mut server = Restarting::start().await;
        let proxy = Proxy::with(server.url(), seed, Weather::storm());
        let mut shop = Shop::open(proxy.url(), seed, Duration::from_secs(60)).await;
        for part in [0.2, 0.5] {
            shop.worked(part).await;
            server.restart(&proxy).await;
        }
        shop.worked(0.7).await;
        proxy.cut_all();
        shop.worked(0.8).await;
        proxy.calm();
        let day = shop.close().await;
        let outcomes = day.check(&server.log());
        day.check_heard(&proxy);
        assert_eq!(outcomes.refused, 0, "{outcomes:?}");
        assert!(proxy.lost() > 20, "only {} were lost", proxy.lost());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_give_up_tell_unknown_from_not_sent_and_asking_again_ends_well() {
    let mut given_up = 0;
    for seed in seeds(&[11, 12]) {
        println!("seed {seed}");
        let server = Restarting::start().await;
        let proxy = Proxy::with(server.url(), seed, Weather::storm());
        let mut shop = Shop::open(proxy.url(), seed, Duration::from_millis(30)).await;
        for part in [0.2, 0.4, 0.6] {
            shop.worked(part).await;
            proxy.freeze(true);
            proxy.refuse(true);
            proxy.cut_all();
            // All of them may be asking again for what is unknown, which is no progress.
            let _ = timeout(Duration::from_millis(200), shop.worked(part + 0.1)).await;
            proxy.calm();
            proxy.set_weather(Weather::storm());
        }
        shop.worked(0.9).await;
        proxy.calm();
        let day = shop.close().await;
        let outcomes = day.check(&server.log());
        day.check_heard(&proxy);
        given_up += outcomes.unknown + outcomes.refused;
    }
    assert!(given_up > 20, "only {given_up} were given up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_clients_orders_are_stored_in_order_through_many_cuts() {
    let path = std::env::var("EDGEBUS_CHAOS_ORDERS").unwrap_or_else(|_| {
        let root = env!("CARGO_MANIFEST_DIR");
        format!("{root}/../../examples/data/orders-2000.ndjson")
    });
    let orders = std::fs::read_to_string(path).unwrap();
    for seed in seeds(&[21]) {
        println!("seed {seed}");
        let server = Restarting::start().await;
        let mut faults = Faults::none();
        (faults.cut, faults.halve) = (0.06, 0.06);
        let proxy = Proxy::with(server.url(), seed, Weather::of(faults));
        let client = connect(|| client(proxy.url(), "till").window(32)).await;
        let mut history = History::of("till");
        let mut pending = Vec::new();
        let mut made = Vec::new();
        for (n, line) in (0..).zip(orders.lines()) {
            let mut message = request(seed, 0, n);
            message.payload = line.to_owned().into();
            made.push(message.id);
            let call = history.asks(&message);
            pending.push((call, within(client.enqueue(message)).await.unwrap()));
        }
        for (call, pending) in pending {
            history.ended(call, ended(&within(pending).await));
        }
        let log = server.log();
        let outcomes = check(&[history], &log);
        assert_eq!(outcomes.stored + outcomes.duplicates, made.len() as u64);
        let stored: Vec<_> = log.iter().map(|entry| entry.record().id()).collect();
        assert!(stored == made, "they are in the order of the file");
        check_heard(&proxy, &made.into_iter().collect());
        println!("{} connections were lost", proxy.lost());
    }
}
