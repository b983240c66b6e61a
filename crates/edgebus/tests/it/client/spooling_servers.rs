//! Clients with a spool, and servers that take less than others or nothing for now.

use edgebus::spool::{RowState, Spool};
use edgebus::{
    Accepted, Client, Code, MessageBus, RequestId, Server, ServerConfig, SpoolingClient,
};
use tokio::task::JoinHandle;

use super::fixture::{Site, is_lost, until};
use crate::bus::fixture::{TestBus, eventually, id, large_message, log_ids, message, within};

async fn serve(bus: &MessageBus, frame_bytes_max: usize) -> (String, JoinHandle<()>) {
    let mut config = ServerConfig::default();
    config.listen = vec!["tcp://127.0.0.1:0".parse().unwrap()];
    config.limits.frame_bytes_max = frame_bytes_max;
    let server = Server::bind(bus.clone(), config).await.unwrap();
    let url = server.urls().remove(0).to_string();
    (url, tokio::spawn(server.run(std::future::pending())))
}

fn first(count: u64) -> Vec<RequestId> {
    (0..count).map(id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_for_a_smaller_server_is_a_dead_letter_and_the_rest_is_forwarded() {
    let site = Site::open().await;
    let folder = tempfile::tempdir().unwrap();
    let spool = site.builder().spool(folder.path());
    let till = within(spool.connect()).await.unwrap();
    site.unplug();
    until(till.client(), is_lost).await;
    let batch = (0..200).map(|number| match number {
        100 => large_message(number, 200 * 1024),
        101 => large_message(number, 70 * 1024),
        _ => large_message(number, 4 * 1024),
    });
    for result in within(till.send_batch(batch.collect())).await {
        assert!(matches!(result.unwrap(), Accepted::Spooled(_)));
    }
    let small = TestBus::start();
    let (url, _serving) = serve(&small.bus, ServerConfig::FRAME_BYTES_MIN).await;
    site.proxy.set_target(&url);
    site.plug();
    within(till.flush()).await.unwrap();
    let mut wanted = first(200);
    wanted.drain(100..102);
    assert_eq!(log_ids(&small.bus), wanted);
    let rows = Spool::look(folder.path()).unwrap().list(0, 10).unwrap();
    let dead = rows.iter().map(|row| match &row.state {
        RowState::Dead { code, .. } => (row.record.id(), *code),
        other => panic!("{other:?}"),
    });
    let large = Code::PayloadTooLarge;
    assert_eq!(
        dead.collect::<Vec<_>>(),
        [(id(100), large), (id(101), large)]
    );
}

async fn fill(till: &SpoolingClient, server: &TestBus, from: u64) -> u64 {
    server.files.set_free_bytes(1024);
    for number in from.. {
        let accepted = within(till.send_message(message(number))).await.unwrap();
        if accepted.receipt().is_none() {
            return number + 1;
        }
    }
    unreachable!()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_cannot_take_for_now_is_spooled_and_forwarded_in_order_when_it_can() {
    let server = TestBus::start();
    let (url, _serving) = serve(&server.bus, 1024 * 1024).await;
    let folder = tempfile::tempdir().unwrap();
    let spool = Client::builder(&url).spool(folder.path());
    let till = within(spool.connect()).await.unwrap();
    let mut sent = 0;
    for _ in 0..3 {
        sent = fill(&till, &server, sent).await;
        let batch = (sent..sent + 2_000).map(message);
        for result in within(till.send_batch(batch.collect())).await {
            assert!(matches!(result.unwrap(), Accepted::Spooled(_)));
        }
        sent += 2_000;
        server.files.set_free_bytes(u64::MAX);
        eventually(|| !server.bus.stats().storage_full).await;
        within(till.flush()).await.unwrap();
    }
    assert_eq!(log_ids(&server.bus), first(sent));
}
