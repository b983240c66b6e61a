//! Many connections of somebody who means ill, or of many who mean well: memory stays bounded, and
//! nobody else notices.

use edgebus::{ClientConfig, Kind, MessageBus, Record, RecordLimits, ServerConfig};
use tokio::io::AsyncWriteExt;

use edgebus::consumer::ConsumerConfig;
use edgebus::stream::{Consume, Open};
use edgebus::wire::Frame;

use super::fixture::{TestServer, bytes_of, send, short};
use crate::bus::files::{Call, Of};
use crate::bus::fixture::{eventually, large_message, message, new, within};
use crate::delivery::fixture::name;

fn large_records(from: u64, count: u64, bytes: usize) -> Vec<Record> {
    let limits = RecordLimits::default();
    let messages = (from..from + count).map(|number| large_message(number, bytes));
    let records = messages.map(|message| Record::encode(&message, &limits));
    records.map(Result::unwrap).collect()
}

/// The disk stands still, and many clients send all they may have undecided: what one more sends is
/// taken all the same, and goes with the next groups.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_together_have_no_more_undecided_than_they_may() {
    const CONNECTIONS: u64 = 40;
    const POOL: usize = 1024 * 1024;
    const OWN: u64 = 64 * 1024;
    let limits = |config: &mut ServerConfig| config.limits.in_flight_bytes_max = POOL;
    let server = TestServer::start_with(limits).await;
    let client = server.connect(ClientConfig::default()).await;
    let hold = server.files().hold(Of::Journal, Call::Sync);
    let mut hogs = Vec::new();
    for number in 0..CONNECTIONS {
        let mut socket = server.welcomed().await;
        for part in 0..2 {
            let records = large_records(1000 * number + 10 * part, 4, 50_000);
            socket.send(&send(4 * part, records)).await;
        }
        hogs.push(socket);
    }
    let queued = |bus: &MessageBus| bus.stats().queued;
    eventually(|| queued(server.bus()) >= POOL as u64 / 51_000).await;
    let single = client.try_send(message(1 << 40)).unwrap();
    let stats = server.handle.stats();
    assert!(stats.undecided_bytes <= POOL as u64, "{stats:?}");
    assert!(queued(server.bus()) * 50_000 <= POOL as u64 + CONNECTIONS * OWN + 50_000);
    drop(hold);
    new(within(single).await);
    for socket in &mut hogs {
        socket.end().await;
        let told = super::fixture::outcomes(&socket.frames().await);
        assert_eq!(told.iter().filter(|(_, told)| told.is_ok()).count(), 8);
    }
    eventually(|| server.handle.stats().undecided_bytes == 0).await;
}

/// Many workers take nothing of what they asked for. Each used to be given 16 MiB, and as much again
/// on its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_read_nothing_hold_no_more_together_than_they_may() {
    const WORKERS: u64 = 30;
    const BYTES: u64 = 300_000;
    const OUTGOING: usize = 16 * 1024 * 1024;
    let limits = |config: &mut ServerConfig| config.limits.outgoing_bytes_max = OUTGOING;
    let server = TestServer::start_with(limits).await;
    let client = server.connect(ClientConfig::default()).await;
    for number in 0..60 {
        new(client
            .send_message(large_message(number, BYTES as usize))
            .await);
    }
    let config = || ConsumerConfig::listener("bulk".parse().unwrap());
    let mut deaf = Vec::new();
    for number in 0..WORKERS {
        let mut socket = server.welcomed().await;
        let mut consume = Consume::new(name(&format!("deaf-{number}")), u32::MAX);
        consume.config = Some(config());
        let open = Box::new((&Open::Consume(consume)).into());
        socket.send(&Frame::Open { stream: 1, open }).await;
        deaf.push(socket);
    }
    eventually(|| server.handle.stats().in_flight >= WORKERS).await;
    let consume = edgebus::ConsumeConfig::new(name("honest")).config(config());
    let mut messages = within(client.consumer(consume)).await.unwrap();
    for _ in 0..60 {
        let stats = server.handle.stats();
        // Twice, as each is encoded when it is written.
        let own = 2 * (WORKERS + 1) * (64 * 1024 + BYTES);
        assert!(stats.outgoing_bytes <= OUTGOING as u64 + own, "{stats:?}");
        let message = within(messages.next()).await.unwrap().unwrap();
        message.ack();
    }
    drop(deaf);
    drop(messages);
    eventually(|| server.handle.stats().outgoing_bytes == 0).await;
}

/// What is refused, and what is told of notifications, is more than what was asked: somebody who asks
/// and reads nothing is read no further, instead of having the answers pile up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_have_the_server_read_no_further() {
    const FRAMES: u64 = 200;
    const RECORDS: u64 = 4096;
    let news = |first_tag| {
        let records = (0..RECORDS).map(|number| {
            let message = message(first_tag + number).kind(Kind::Notification);
            Record::encode(&message, &RecordLimits::default()).unwrap()
        });
        let records = records.collect();
        Frame::Publish { first_tag, records }
    };
    // Nobody waits for replies to notifications.
    let refused = |first_tag| match news(first_tag) {
        Frame::Publish { first_tag, records } => Frame::Request { first_tag, records },
        frame => frame,
    };
    let limits = |config: &mut ServerConfig| config.limits.outgoing_bytes_max = 4 << 20;
    for frame in [bytes_of(&news(0)), bytes_of(&refused(0))] {
        let server = TestServer::start_with(limits).await;
        let mut deaf = server.welcomed().await;
        let mut taken = 0;
        while taken < FRAMES
            && let Ok(written) =
                tokio::time::timeout(20 * short(), deaf.stream.write_all(&frame)).await
        {
            written.unwrap();
            taken += 1;
        }
        assert!(taken < FRAMES);
        let stats = server.handle.stats();
        assert!(stats.outgoing_bytes <= 2 << 20, "{stats:?}");
        let client = server.connect(ClientConfig::default()).await;
        new(within(client.send_message(message(1 << 40))).await);
    }
}
