//! Clients with a spool.

use std::time::Duration;

use edgebus::spool::{RowState, Spool, SpoolConfig};
use edgebus::{Accepted, Client, ClientConfig, Code, ConnectionState, Seq, SpoolingClient};

use super::fixture::{Site, is_connected, is_lost, until};
use crate::bus::fixture::{id, large_message, message, within};

async fn open(site: &Site, folder: &tempfile::TempDir) -> SpoolingClient {
    within(site.builder().spool(folder.path()).connect())
        .await
        .unwrap()
}

fn spooled(accepted: &Accepted) -> bool {
    matches!(accepted, Accepted::Spooled(_))
}

fn ids(site: &Site) -> Vec<edgebus::RequestId> {
    site.log().iter().map(|entry| entry.record().id()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_while_no_server_is_there_is_spooled_and_forwarded_in_order() {
    let site = Site::open().await;
    let folder = tempfile::tempdir().unwrap();
    let till = open(&site, &folder).await;
    let first = within(till.send_message(message(0))).await.unwrap();
    assert_eq!(first.receipt().unwrap().seq, Seq(1));
    site.unplug();
    until(till.client(), is_lost).await;
    for number in 1..=300 {
        let accepted = within(till.send_message(message(number))).await.unwrap();
        assert!(spooled(&accepted), "{accepted:?}");
        assert_eq!(accepted.request_id(), id(number));
    }
    assert_eq!(till.waiting(), 300);
    site.plug();
    within(till.flush()).await.unwrap();
    assert_eq!(till.waiting(), 0);
    assert_eq!(ids(&site), (0..=300).map(id).collect::<Vec<_>>());
    let direct = within(till.send_message(message(301))).await.unwrap();
    assert_eq!(direct.receipt().unwrap().seq, Seq(302));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_begins_without_a_server_and_the_next_one_forwards() {
    let mut site = Site::open().await;
    let folder = tempfile::tempdir().unwrap();
    site.stop().await;
    let till = open(&site, &folder).await;
    let batch = (0..500).map(message).collect();
    let results = within(till.send_batch(batch)).await;
    assert!(
        results
            .iter()
            .all(|result| spooled(result.as_ref().unwrap()))
    );
    drop(till);
    site.start().await;
    let again = loop {
        // The one before may hold the folder for a moment.
        match site.builder().spool(folder.path()).connect().await {
            Ok(till) => break till,
            Err(error) => assert!(error.to_string().contains("in use"), "{error}"),
        }
    };
    within(again.flush()).await.unwrap();
    assert_eq!(ids(&site), (0..500).map(id).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_holds_while_the_cable_is_cut_under_a_stream_of_requests() {
    let site = Site::open().await;
    let folder = tempfile::tempdir().unwrap();
    let till = open(&site, &folder).await;
    let sending = tokio::spawn({
        let till = till.clone();
        async move {
            let mut pending = Vec::new();
            for number in 0..5_000 {
                pending.push(till.enqueue(message(number)).await.unwrap());
            }
            let mut stored = 0;
            for pending in pending {
                stored += u32::from(!spooled(&pending.await.unwrap()));
            }
            stored
        }
    });
    for _ in 0..8 {
        site.unplug();
        until(till.client(), is_lost).await;
        site.plug();
        until(till.client(), is_connected).await;
    }
    within(sending).await.unwrap();
    within(till.flush()).await.unwrap();
    assert_eq!(ids(&site), (0..5_000).map(id).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_in_flight_when_the_cable_was_cut_is_spooled_under_its_id() {
    let site = Site::open().await;
    let folder = tempfile::tempdir().unwrap();
    let till = open(&site, &folder).await;
    site.proxy.freeze(true);
    let pending: Vec<_> = (0..10)
        .map(|number| till.try_send(message(number)).unwrap())
        .collect();
    super::fixture::written(&site.proxy, 0).await;
    site.unplug();
    for (number, pending) in (0..).zip(pending) {
        let accepted = within(pending).await.unwrap();
        assert!(spooled(&accepted));
        assert_eq!(accepted.request_id(), id(number));
    }
    site.proxy.freeze(false);
    site.plug();
    within(till.flush()).await.unwrap();
    assert_eq!(ids(&site), (0..10).map(id).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_that_is_refused_for_good_is_a_dead_letter_and_blocks_nothing() {
    let site = Site::open().await;
    let folder = tempfile::tempdir().unwrap();
    let bus = site.bus().clone();
    let mut other = message(2);
    other.payload = "something else".into();
    bus.send_to_server(other).await.unwrap();
    let till = open(&site, &folder).await;
    site.unplug();
    until(till.client(), is_lost).await;
    let mut late = message(3);
    late.expires_ms = 1;
    let batch = vec![message(1), message(2), late, message(4)];
    for result in within(till.send_batch(batch)).await {
        assert!(spooled(&result.unwrap()));
    }
    // Its time runs by the clock of the spool, in milliseconds.
    let begin = std::time::Instant::now();
    while begin.elapsed() < std::time::Duration::from_millis(5) {
        tokio::task::yield_now().await;
    }
    site.plug();
    within(till.flush()).await.unwrap();
    assert_eq!(ids(&site), [id(2), id(1), id(4)]);
    assert_eq!(till.dead(), 2);
    drop(till);
    let spool = within(async {
        loop {
            match Spool::open(folder.path(), SpoolConfig::default()) {
                Ok(spool) => break spool,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    let rows = spool.list(0, 10).unwrap();
    let codes: Vec<_> = rows
        .iter()
        .map(|row| match &row.state {
            RowState::Dead { code, .. } => (row.record.id(), *code),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(codes, [(id(2), Code::IdConflict), (id(3), Code::Expired)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_spool_refuses_by_name_and_takes_more_once_there_is_room() {
    let site = Site::open().await;
    let folder = tempfile::tempdir().unwrap();
    let builder = site.builder().spool(folder.path()).bytes_max(4_000);
    let till = within(builder.connect()).await.unwrap();
    site.unplug();
    until(till.client(), is_lost).await;
    let mut taken = 0;
    let full = loop {
        match within(till.send_message(message(taken))).await {
            Ok(accepted) => assert!(spooled(&accepted)),
            Err(full) => break full,
        }
        taken += 1;
    };
    assert!(taken > 10, "{taken}");
    assert_eq!(
        (full.code(), full.request_id()),
        (Code::StorageFull, id(taken))
    );
    assert!(full.to_string().contains("spool"), "{full}");
    site.plug();
    within(till.flush()).await.unwrap();
    within(till.send_message(message(taken))).await.unwrap();
    assert_eq!(ids(&site), (0..=taken).map(id).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folder_that_is_in_use_is_refused_by_name() {
    let site = Site::open().await;
    let folder = tempfile::tempdir().unwrap();
    let _till = open(&site, &folder).await;
    let second = Client::builder(site.proxy.url()).spool(folder.path());
    let error = within(second.connect()).await.unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folder_that_another_client_has_is_waited_for_if_told_so() {
    let site = Site::open().await;
    let folder = tempfile::tempdir().unwrap();
    let till = open(&site, &folder).await;
    let second = Client::builder(site.proxy.url())
        .spool(folder.path())
        .folder_within(Duration::from_secs(60));
    let second = tokio::spawn(second.connect());
    drop(till);
    let second = within(second).await.unwrap().unwrap();
    let accepted = within(second.send_message(message(1))).await.unwrap();
    assert_eq!(accepted.receipt().unwrap().seq, Seq(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_says_nothing_is_not_waited_for_longer_than_told() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = ClientConfig::default().connect_timeout(Duration::from_secs(600));
    let builder = Client::builder(&format!("tcp://{}", silent.local_addr().unwrap()))
        .config(config)
        .spool(folder.path())
        .server_within(Duration::from_millis(10));
    let till = within(builder.connect()).await.unwrap();
    assert_eq!(till.client().state(), ConnectionState::Connecting);
    assert!(spooled(
        &within(till.send_message(message(1))).await.unwrap()
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drained_client_leaves_the_rest_in_the_spool_for_the_next_one() {
    let mut site = Site::open().await;
    let folder = tempfile::tempdir().unwrap();
    site.stop().await;
    let till = open(&site, &folder).await;
    within(till.send_batch((0..5_000).map(message).collect())).await;
    within(till.drain()).await;
    drop(till);
    site.start().await;
    for _ in 0..2 {
        let builder = site.builder().spool(folder.path());
        let builder = builder.folder_within(Duration::from_secs(60));
        let till = within(builder.connect()).await.unwrap();
        within(till.drain()).await;
        drop(till);
    }
    let builder = site.builder().spool(folder.path());
    let builder = builder.folder_within(Duration::from_secs(60));
    let till = within(builder.connect()).await.unwrap();
    within(till.flush()).await.unwrap();
    assert_eq!(ids(&site), (0..5_000).map(id).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spool_is_forwarded_in_frames_that_the_server_takes() {
    let site = Site::open().await;
    let folder = tempfile::tempdir().unwrap();
    let till = open(&site, &folder).await;
    site.unplug();
    until(till.client(), is_lost).await;
    // Several times the largest frame, in fewer requests than may be undecided.
    let batch = (0..600).map(|number| large_message(number, 8 * 1024));
    for result in within(till.send_batch(batch.collect())).await {
        assert!(spooled(&result.unwrap()));
    }
    site.plug();
    within(till.flush()).await.unwrap();
    assert_eq!(ids(&site), (0..600).map(id).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_that_wait_for_a_server_keep_no_room_from_what_can_be_spooled() {
    let site = Site::open().await;
    let folder = tempfile::tempdir().unwrap();
    let builder = site.builder().window(2).give_up_after(None);
    let till = within(builder.spool(folder.path()).connect())
        .await
        .unwrap();
    site.unplug();
    until(till.client(), is_lost).await;
    let asking: Vec<_> = (10..12)
        .map(|number| tokio::spawn(ask(till.client().clone(), number)))
        .collect();
    crate::bus::fixture::eventually(|| till.client().try_send(message(9)).is_err()).await;
    assert!(spooled(
        &within(till.send_message(message(1))).await.unwrap()
    ));
    // Nobody waits for them any more, and no server knows of them.
    asking.iter().for_each(tokio::task::JoinHandle::abort);
    for asked in asking {
        assert!(asked.await.is_err());
    }
    site.plug();
    within(till.flush()).await.unwrap();
    within(till.send_message(message(2))).await.unwrap();
    let stored = ids(&site);
    assert!(
        !stored.contains(&id(10)) && !stored.contains(&id(11)),
        "{stored:?}"
    );
}

async fn ask(client: Client, number: u64) {
    let _ = client.request_message(message(number)).await;
}
