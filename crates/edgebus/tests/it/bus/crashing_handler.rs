//! A handler that kills its own process: the message that did it is found out, its neighbours are
//! not charged, and the process stays up in the end.
//!
//! The process is this test binary, started again with a folder to work in.

use std::path::Path;
use std::process::{Command, ExitStatus};

use edgebus::consumer::ConsumerConfig;
use edgebus::delivery::{ConsumeConfig, Handled};
use edgebus::{ConsumerName, Message, MessageBus, RequestId, RequestStore, Seq};

/// Names the folder; a process without it has nothing to do.
const FOLDER: &str = "EDGEBUS_TEST_CRASHING_FOLDER";
const ORDERS: u64 = 2_000;
const POISON: u64 = 777;
const IN_FLIGHT: usize = 256;
const ATTEMPTS: u32 = 3;

fn consumer() -> ConsumerName {
    "orders".parse().expect("name")
}

fn order(number: u64) -> Message {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    let topic = "orders.created".parse().expect("topic");
    Message::new(RequestId::from_bytes(id), topic, number.to_string())
}

#[test]
fn handler_that_aborts_the_process_leaves_one_dead_letter_and_a_process_that_stays_up() {
    let dir = tempfile::tempdir().expect("folder");
    let mut crashes = 0;
    loop {
        let ended = run_process(dir.path());
        if ended.success() {
            break;
        }
        crashes += 1;
        assert!(crashes <= ATTEMPTS + 1, "crashed {crashes} times: {ended}");
    }
    // Once with its neighbours, which says nothing, and then alone until it is given up.
    assert_eq!(crashes, ATTEMPTS + 1);

    let store = RequestStore::open(dir.path()).expect("opens");
    let letters = store.reader().dead_letters(0, 10).expect("readable");
    let seqs: Vec<u64> = letters.iter().map(|(_, letter)| letter.seq).collect();
    assert_eq!(seqs, [POISON]);
    let charged = &letters[0].1.attempts;
    assert_eq!(charged.len(), ATTEMPTS as usize, "{charged:?}");
    let offset = store.get_consumer_offset(&consumer()).expect("readable");
    assert_eq!(offset, Some(Seq(ORDERS)));
}

fn run_process(dir: &Path) -> ExitStatus {
    Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "bus::crashing_handler::process_with_the_handler"])
        .env(FOLDER, dir)
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .status()
        .expect("runs")
}

/// The process of the test above.
#[test]
fn process_with_the_handler() {
    let Some(dir) = std::env::var_os(FOLDER) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    runtime.block_on(work(Path::new(&dir)));
}

async fn work(dir: &Path) {
    let bus = MessageBus::open(dir).expect("opens");
    let orders = (1..=ORDERS).map(order).collect();
    for receipt in bus.send_batch(orders).await {
        receipt.expect("stored");
    }
    let config = ConsumerConfig::listener("orders.*".parse().expect("pattern"))
        .max_attempts(ATTEMPTS)
        .backoff_ms([1])
        .max_in_flight(IN_FLIGHT as u32);
    let config = ConsumeConfig::new(consumer())
        .config(config)
        .credit(IN_FLIGHT as u32)
        .concurrency(IN_FLIGHT);
    let pattern = "orders.*".parse().expect("pattern");
    let handler = bus
        .handle(pattern, config, |order| async move {
            if order.payload() == POISON.to_string() {
                std::process::abort();
            }
            // Lets others be in flight at the same time.
            for _ in 0..IN_FLIGHT {
                tokio::task::yield_now().await;
            }
            Handled::Done
        })
        .await
        .expect("works");
    loop {
        let info = bus.consumer_info(consumer()).await.expect("there");
        if info.offset == Seq(ORDERS) {
            break;
        }
        tokio::task::yield_now().await;
    }
    handler.stop().await;
    bus.shutdown().await;
}
