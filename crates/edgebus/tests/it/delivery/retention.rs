//! Retention and the consumers that hold it, on a bus whose clock moves when the test says so.

use std::sync::Arc;
use std::time::Duration;

use edgebus::consumer::{ConsumerConfig, Hold};
use edgebus::files::RealFiles;
use edgebus::{Code, Message, MessageBus, RequestStore, Seq, StoreConfig};

use super::fixture::{name, pattern};
use crate::bus::fixture::{eventually, id, within};
use crate::store::manual_clock::ManualClock;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const YEAR_2070_MS: u64 = 3_155_760_000_000;

struct Kept {
    bus: MessageBus,
    clock: ManualClock,
    _folder: tempfile::TempDir,
}

impl Kept {
    fn start(configure: impl FnOnce(&mut StoreConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(1_790_000_000_000);
        let mut config = StoreConfig::default();
        configure(&mut config);
        let files = Arc::new(RealFiles);
        let store =
            RequestStore::open_with(folder.path(), config, files, Arc::new(clock.clone())).unwrap();
        Self {
            bus: MessageBus::start(store).unwrap(),
            clock,
            _folder: folder,
        }
    }

    /// Stores so many orders of a kilobyte, and has them sealed.
    async fn fill(&self, from: u64, orders: u64) {
        let orders = (from..from + orders).map(order).collect();
        for stored in within(self.bus.send_batch(orders)).await {
            stored.unwrap();
        }
        self.clock.advance(Duration::from_secs(31));
        let reader = self.bus.reader();
        let last = reader.synced_lsn();
        eventually(|| reader.stats().sealed_lsn >= last.0).await;
    }

    fn first_seq(&self) -> Seq {
        self.bus.reader().first_seq()
    }

    async fn add(&self, consumer: &str, config: ConsumerConfig) {
        let added = self.bus.consumer_add(name(consumer), config);
        within(added).await.unwrap();
    }

    /// Gaps of a consumer, and the last of them.
    async fn gaps(&self, consumer: &str) -> (u64, Option<(Seq, Seq)>) {
        let info = within(self.bus.consumer_info(name(consumer)))
            .await
            .unwrap();
        (info.gaps, info.last_gap)
    }
}

fn order(number: u64) -> Message {
    // Not to be compressed to nothing.
    let noise: String = (0..40)
        .map(|word| {
            format!(
                "{:x}",
                (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ ((word * word) << 40)
            )
        })
        .collect();
    Message::new(id(number), "orders.created".parse().unwrap(), noise)
}

fn on(topic: &str) -> ConsumerConfig {
    ConsumerConfig::listener(pattern(topic))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumer_whose_topic_never_occurs_does_not_hold_retention() {
    let kept = Kept::start(|config| config.retention_age = Duration::from_secs(60));
    kept.add("never", on("returns.*").hold(Hold::Forever)).await;
    kept.fill(1, 500).await;
    kept.clock.advance(Duration::from_secs(120));
    eventually(|| kept.first_seq() == Seq(501)).await;
    assert_eq!(kept.gaps("never").await, (0, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumer_that_is_away_longer_than_its_hold_gets_its_gap() {
    let kept = Kept::start(|config| config.retention_age = Duration::from_secs(60));
    kept.add("away", on("orders.>").hold(Hold::ForMs(600_000)))
        .await;
    kept.fill(1, 500).await;
    kept.clock.advance(Duration::from_secs(300));
    kept.fill(501, 100).await;
    assert_eq!(kept.first_seq(), Seq(1), "it is held");
    kept.clock.advance(Duration::from_secs(600));
    eventually(|| kept.first_seq() == Seq(601)).await;
    let (gaps, last) = kept.gaps("away").await;
    assert!(gaps > 0);
    assert_eq!(last.map(|(_, to)| to), Some(Seq(600)));
    let asked = within(kept.bus.request_state(id(1))).await.unwrap();
    assert_eq!(asked.answer, Some(edgebus::consumer::Answer::Expired));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holder_for_ever_is_named_when_the_log_is_full_and_lets_go_when_it_is_done() {
    let kept = Kept::start(|config| config.retention_bytes = 256 * 1024);
    kept.add("archive", on("orders.>").hold(Hold::Forever))
        .await;
    kept.fill(1, 1500).await;
    let reader = kept.bus.reader();
    eventually(|| reader.stats().log_bytes > 256 * 1024).await;
    // The engine looks once a second of its clock.
    kept.clock.advance(Duration::from_secs(2));
    let mut number = 2000;
    let refusal = loop {
        number += 1;
        match within(kept.bus.send_to_server(order(number))).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error.to_refusal(),
        }
    };
    assert_eq!(refusal.code, Code::StorageFull);
    assert!(refusal.message.contains("archive"), "{refusal}");
    assert_eq!(kept.first_seq(), Seq(1));
    let again = within(kept.bus.send_to_server(order(1))).await.unwrap();
    assert!(again.duplicate, "what is stored is answered all the same");

    let last = kept.bus.reader().last_seq();
    within(kept.bus.set_consumer_offset(name("archive"), last))
        .await
        .unwrap();
    kept.clock.advance(Duration::from_secs(2));
    eventually(|| kept.first_seq() > Seq(1)).await;
    kept.clock.advance(Duration::from_secs(2));
    within(async {
        while kept.bus.send_to_server(order(1_000_000)).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(kept.gaps("archive").await, (0, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clock_that_is_set_to_2070_trims_nothing() {
    let kept = Kept::start(|config| config.retention_age = 7 * DAY);
    kept.add("away", on("orders.>").hold(Hold::ForMs(1000)))
        .await;
    kept.fill(1, 300).await;
    kept.clock.set_wall_ms(YEAR_2070_MS);
    kept.clock.advance(Duration::from_secs(10));
    kept.fill(301, 100).await;
    assert_eq!(kept.first_seq(), Seq(1));
    assert_eq!(kept.gaps("away").await, (0, None));
    // By the clock that counts, it is trimmed in its time.
    kept.clock.advance(8 * DAY);
    eventually(|| kept.first_seq() == Seq(401)).await;
}
