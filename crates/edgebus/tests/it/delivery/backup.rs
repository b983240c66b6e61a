//! A backup that is taken from a server while requests are sent and answered: each request is in it
//! wholly, with its reply and what its consumer knows of it, or not at all.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use edgebus::admin::BackupPart;
use edgebus::files::{Files, RealFiles};
use edgebus::store::backup::{BackupFile, Identity, Restored, restore};
use edgebus::{Client, ClientConfig, Code, MessageBus, Seq, StoreConfig};
use parking_lot::Mutex;

use super::fixture::{ask, name, pattern, reply_to, responder};
use crate::bus::fixture::{TestBus, id, within};
use crate::tcp::fixture::TestServer;

/// A store that seals all the time.
fn restless() -> StoreConfig {
    let mut config = StoreConfig::default();
    config.segment_bytes = 256 * 1024;
    config.record.payload_bytes_max = 8 * 1024;
    config.seal_bytes = 16 * 1024;
    config.seal_journal_bytes = 64 * 1024;
    config.ids_per_generation = 100;
    config
}

async fn take(client: &Client) -> Vec<u8> {
    let mut file = Vec::new();
    let mut last: Option<BackupPart> = None;
    while !last.as_ref().is_some_and(|part| part.done) {
        let part = within(client.backup_part(last.as_ref())).await.unwrap();
        file.extend_from_slice(&part.bytes);
        last = Some(part);
    }
    file
}

fn restored(folder: &Path, file: &[u8]) -> Restored {
    let path = folder.join("file");
    std::fs::write(&path, file).unwrap();
    let files: Arc<dyn Files> = Arc::new(RealFiles);
    let backup = BackupFile::open(&*files, &path, |_, _| {}).unwrap();
    let dir = folder.join("restored");
    restore(&files, &backup, &dir, Identity::New, |_, _| {}).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_is_in_a_backup_wholly_or_not_at_all() {
    let mut server = TestServer::start_on(TestBus::start_with(restless()), |_| {}).await;
    let handler = server.bus().clone();
    let handling = handler.handle(pattern("prices.*"), responder(), |message| async move {
        reply_to(&message)
    });
    let handling = handling.await.unwrap();
    // By number: its seq, once the reply was told.
    let told: Arc<Mutex<BTreeMap<u64, Seq>>> = Arc::default();
    let stop = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (0..4u64)
        .map(|sender| {
            let (bus, told, stop) = (server.bus().clone(), told.clone(), stop.clone());
            tokio::spawn(async move {
                let mut number = sender;
                while !stop.load(Ordering::Relaxed) {
                    number += 4;
                    let response = bus.request_message(ask(number)).await.unwrap();
                    told.lock().insert(number, response.receipt.seq);
                }
            })
        })
        .collect();
    let client = server.connect(ClientConfig::default()).await;
    while told.lock().len() < 200 {
        tokio::task::yield_now().await;
    }
    let before = told.lock().clone();
    let file = take(&client).await;
    let last_after = server.bus().reader().last_seq();
    while told.lock().len() < before.len() + 100 {
        tokio::task::yield_now().await;
    }
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        within(sender).await.unwrap();
    }

    let folder = tempfile::tempdir().unwrap();
    let restored = restored(folder.path(), &file);
    assert!(restored.last_seq <= last_after, "nothing newer");
    let bus = MessageBus::open(folder.path().join("restored")).unwrap();
    let reader = bus.reader();
    let ledger = reader.consumer(&name("prices")).unwrap();
    let mut there = BTreeMap::new();
    for entry in reader.replay_from(Seq(1)) {
        let entry = entry.unwrap();
        let reply = reader.reply(entry.seq()).unwrap();
        assert_eq!(
            reply.is_some(),
            ledger.is_done(entry.seq()),
            "both or neither"
        );
        if let Some(reply) = reply {
            let asked = entry.record().payload();
            assert_eq!(reply.payload, [b"no idea ".as_slice(), &asked].concat());
        }
        there.insert(entry.record().id(), entry.seq());
    }
    assert_eq!(there.len() as u64, restored.requests);
    assert_eq!(restored.last_seq.0, restored.requests);
    for (number, seq) in &before {
        assert_eq!(
            there.get(&id(*number)),
            Some(seq),
            "what was told before it began"
        );
        assert!(reader.reply(*seq).unwrap().is_some());
    }
    // What is known is not run again, and is answered as it was; what is not runs once.
    let again = bus.handle(pattern("prices.*"), responder(), |message| async move {
        reply_to(&message)
    });
    let again = again.await.unwrap();
    let all = told.lock().clone();
    for number in all.keys() {
        let response = within(bus.request_message(ask(*number))).await.unwrap();
        let known = there.get(&id(*number));
        assert_eq!(response.receipt.duplicate, known.is_some());
        if let Some(seq) = known {
            assert_eq!(response.receipt.seq, *seq);
        } else {
            assert!(response.receipt.seq > restored.last_seq);
        }
    }
    drop((handling, again));
    bus.shutdown().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backup_ends_with_its_connection_and_there_is_one_at_a_time() {
    let mut server = TestServer::start_on(TestBus::start_with(restless()), |_| {}).await;
    for number in 1..=50 {
        within(server.bus().send_to_server(ask(number)))
            .await
            .unwrap();
    }
    let first = server.connect(ClientConfig::default()).await;
    let part = within(first.backup_part(None)).await.unwrap();
    // All of so small a store is one part; without another it is over.
    assert!(part.done);
    let over = within(first.backup_part(Some(&part))).await;
    assert_eq!(over.unwrap_err().code, Code::NotFound);

    let wrong = BackupPart {
        id: part.id + 1,
        ..part
    };
    let unknown = within(first.backup_part(Some(&wrong))).await;
    assert_eq!(unknown.unwrap_err().code, Code::NotFound);
    assert!(take(&first).await.starts_with(b"edgebus-backup 1\n"));
    server.stop().await;
}
