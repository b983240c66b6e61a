//! Clients of a real server that is killed again and again: each goes on by itself, what it was
//! told is true, and nothing is stored twice.

use std::time::Duration;

use edgebus::{Entry, RequestStore, Seq};
use edgebus_testing::till::Shop;
use edgebus_testing::{Proxy, Weather, seeds};
use tokio::runtime::Runtime;

use crate::support::{Place, Server};

/// How long clients wait for a server.
const PATIENT: Duration = Duration::from_secs(60);

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Everything that a server left on disk.
fn log(place: &Place) -> Vec<Entry> {
    let store = RequestStore::open(place.data()).expect("it opens");
    let log: Result<_, _> = store.replay_from(Seq(1)).collect();
    log.expect("it is sound")
}

#[test]
fn clients_outlive_a_server_that_is_killed_and_comes_back_where_it_was() {
    for seed in seeds(&[51]) {
        println!("seed {seed}");
        let place = Place::new();
        let mut server = Server::start(&place);
        let url = server.url.clone();
        let day = runtime().block_on(async {
            let mut shop = Shop::open(&url, seed, PATIENT).await;
            for part in [0.1, 0.3, 0.5, 0.7, 0.9] {
                shop.worked(part).await;
                server.crash();
                server = Server::start_at(&place, &url);
            }
            shop.close().await
        });
        server.crash();
        let outcomes = day.check(&log(&place));
        assert_eq!(outcomes.refused, 0, "{outcomes:?}");
    }
}

#[test]
fn clients_outlive_a_bad_network_to_a_server_that_is_killed_and_comes_back_elsewhere() {
    for seed in seeds(&[61]) {
        println!("seed {seed}");
        let place = Place::new();
        let mut server = Server::start(&place);
        let proxy = Proxy::with(&server.url, seed, Weather::storm());
        let day = runtime().block_on(async {
            let mut shop = Shop::open(proxy.url(), seed, PATIENT).await;
            for part in [0.2, 0.4, 0.6] {
                shop.worked(part).await;
                server.crash();
                server = Server::start(&place);
                proxy.set_target(&server.url);
            }
            shop.worked(0.7).await;
            proxy.calm();
            shop.close().await
        });
        server.crash();
        let outcomes = day.check(&log(&place));
        assert_eq!(outcomes.refused, 0, "{outcomes:?}");
        day.check_heard(&proxy);
    }
}
