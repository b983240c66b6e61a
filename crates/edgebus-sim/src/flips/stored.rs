//! The store that is damaged, and what was acknowledged of it.
//!
//! Some of everything: blocks in the tables, ids in several generations, replies, consumers with work
//! in hand, dead letters, journal that is sealed and journal that is not.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use edgebus::consumer::{
    Attempt, ConsumerConfig, ConsumerOp, DeadLetterCode, Ledger, PlaceKind, Reply,
};
use edgebus::store::{DeadLetter, NewLetter, StageError};
use edgebus::{
    ConsumerName, Message, RequestId, RequestStore, Seq, StoreConfig, StoreError, Topic,
};
use prost::Message as _;

use super::memory::{Image, Memory};
use crate::clock::SimClock;
use crate::processes::Failure;
use crate::rng::SimRng;

/// Where the store is.
pub const DIR: &str = "/data";
/// The wall clock when the store is made: 14 November 2023.
pub(crate) const WALL_MS: u64 = 1_700_000_000_000;
const RESPONDER: &str = "till";
const LISTENER: &str = "audit";
/// Of so many requests the last ones are not sealed.
const UNSEALED_SHARE: usize = 10;
/// With fewer none is sealed.
pub(crate) const REQUESTS_MIN: usize = UNSEALED_SHARE;

/// What was acknowledged.
#[derive(Debug)]
pub(crate) struct Acked {
    /// The requests, seq 1 first.
    pub(crate) log: Vec<Message>,
    pub(crate) replies: BTreeMap<u64, Reply>,
    pub(crate) letters: BTreeMap<u64, DeadLetter>,
    pub(crate) ledgers: BTreeMap<ConsumerName, Ledger>,
}

/// A store that seals, recycles segments and begins new tables of ids every few requests.
pub fn config() -> StoreConfig {
    let mut config = StoreConfig::default();
    config.segment_bytes = 160 * 1024;
    config.record.payload_bytes_max = 4 * 1024;
    config.seal_bytes = 24 * 1024;
    config.seal_journal_bytes = 96 * 1024;
    config.seal_after = Duration::from_secs(3600);
    config.disk_free_bytes_min = 0;
    config.cache_bytes = 1024 * 1024;
    config.ids_per_generation = 150;
    config
}

/// Opens the store of these files.
pub(crate) fn open(memory: &Memory, config: StoreConfig) -> Result<RequestStore, StoreError> {
    let clock = SimClock::new(WALL_MS + 3_600_000);
    RequestStore::open_with(
        Path::new(DIR),
        config,
        Arc::new(memory.clone()),
        Arc::new(clock),
    )
}

/// The requests: a line of JSON each, from a file's text, or made up.
pub(crate) fn orders(text: Option<&str>, count: usize, rng: &mut SimRng) -> Vec<Message> {
    let lines: Vec<String> = match text {
        Some(text) => lines(text).take(count).map(str::to_owned).collect(),
        None => (1..=count).map(|order| made_up(order, rng)).collect(),
    };
    let order = |(at, line): (usize, String)| {
        let mut id = [0; 16];
        rng.fill(&mut id);
        let topic = ["orders.created", "orders.paid.eu", "returns"][at % 3];
        let topic = Topic::try_from(topic).expect("a topic");
        Message::new(RequestId::from_bytes(id), topic, line)
    };
    lines.into_iter().enumerate().map(order).collect()
}

/// The lines that hold something.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim().is_empty())
}

/// The text of a file of requests, of which so many are to be stored.
///
/// # Errors
/// [`Failure::CannotRun`] when it cannot be read, holds too few, or one that is too large for the store.
pub(crate) fn read(path: &Path, count: usize) -> Result<String, Failure> {
    let wrong = |what: String| Failure::CannotRun(format!("{}: {what}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
    let found = lines(&text).take(count).count();
    if found < REQUESTS_MIN {
        return Err(wrong(format!(
            "it holds {found} requests, one a line, and a store takes {REQUESTS_MIN} at least"
        )));
    }
    let bytes_max = config().record.payload_bytes_max;
    let longest = lines(&text).take(count).map(str::len).max();
    match longest {
        Some(bytes) if bytes > bytes_max => Err(wrong(format!(
            "a request of {bytes} bytes: they are at most {bytes_max}"
        ))),
        _ => Ok(text),
    }
}

fn made_up(order: usize, rng: &mut SimRng) -> String {
    let (customer, items) = (rng.below(24_000), 1 + rng.below(20));
    let cents = items * (500 + rng.below(4_000));
    format!(
        "{{\"order\":{order},\"customer\":\"{customer:05}\",\"date\":\"1997-{:02}-{:02}\",\"items\":{items},\"amount\":{}.{:02}}}",
        1 + rng.below(12),
        1 + rng.below(28),
        cents / 100,
        cents % 100
    )
}

/// Makes the store and says what it acknowledged.
pub(crate) fn build(orders: Vec<Message>, rng: &mut SimRng) -> (Image, Acked) {
    let memory = Memory::default();
    let mut store = open(&memory, config()).expect("a new store");
    let (responder, listener) = (name(RESPONDER), name(LISTENER));
    let pattern = |text: &str| text.parse().expect("a pattern");
    let till = ConsumerConfig::responder(pattern("orders.>"));
    let audit = ConsumerConfig::listener(pattern(">"));
    store.stage_put(&responder, till, Seq(0)).expect("room");
    store.stage_put(&listener, audit, Seq(0)).expect("room");
    commit(&mut store);
    let mut acked = Acked {
        log: Vec::new(),
        replies: BTreeMap::new(),
        letters: BTreeMap::new(),
        ledgers: BTreeMap::new(),
    };
    let unsealed = orders.len() / UNSEALED_SHARE;
    let (sealed, count) = (orders.len() - unsealed, orders.len());
    for (at, order) in orders.into_iter().enumerate() {
        if at == sealed {
            store.close_overlay();
            commit(&mut store);
            // From here on nothing is sealed.
            drop(store);
            let mut config = config();
            (config.seal_bytes, config.seal_journal_bytes) = (usize::MAX, u64::MAX);
            store = open(&memory, config).expect("opens again");
        }
        append(&mut store, &mut acked, order);
        // The last group holds the last request and nothing else.
        if at + 1 < count {
            work(&mut store, &mut acked, rng);
        }
    }
    acked.ledgers = store.ledgers().clone();
    drop(store);
    (memory.image(), acked)
}

fn append(store: &mut RequestStore, acked: &mut Acked, order: Message) {
    let receipt = store.append_request(&order).expect("stored");
    acked.log.push(order);
    let wanted = Seq(acked.log.len() as u64);
    assert_eq!((receipt.seq, receipt.duplicate), (wanted, false));
}

/// Lets consumers do something, by chance, about the request stored last.
fn work(store: &mut RequestStore, acked: &mut Acked, rng: &mut SimRng) {
    let seq = Seq(acked.log.len() as u64);
    let (responder, listener) = (name(RESPONDER), name(LISTENER));
    let mut changed = false;
    if rng.chance(0.5) {
        let reply = Reply::new(format!("{{\"answer\":{},\"check\":{}}}", seq.0, rng.bits()));
        let op = ConsumerOp::Completed {
            seq,
            reply: reply.encode_to_vec().into(),
        };
        change(store, &responder, &op);
        acked.replies.insert(seq.0, reply);
        changed = true;
    }
    if rng.chance(0.3) {
        change(store, &listener, &ConsumerOp::Done(vec![(seq, seq)]));
        changed = true;
    } else if rng.chance(0.2) {
        let attempt = Attempt {
            seq,
            delivery: 1,
            place: PlaceKind::Connection,
            alone: false,
        };
        change(store, &listener, &ConsumerOp::Attempts(vec![attempt]));
        changed = true;
    }
    if rng.chance(0.05) {
        let entry = store.get_by_seq(seq).expect("readable").expect("stored");
        let reason = format!("refused by the kitchen: {}", rng.bits());
        let now = store.clock().now();
        change(store, &listener, &ConsumerOp::DeadLettered { seq });
        let letter = NewLetter {
            consumer: &listener,
            entry: &entry,
            number: None,
            code: DeadLetterCode::Rejected,
            reason: &reason,
            attempts: Vec::new(),
        };
        let number = store.stage_letter(letter, now).expect("room");
        commit(store);
        let letter = store.reader().dead_letter(number);
        let letter = letter.expect("readable").expect("there");
        acked.letters.insert(number, letter);
        changed = false;
    }
    if changed {
        commit(store);
    }
}

fn change(store: &mut RequestStore, name: &ConsumerName, op: &ConsumerOp) {
    let ledger = store.ledger_mut(name).expect("it was made");
    let closed = ledger.apply(op);
    let staged: Result<(), StageError> = store.stage_change(name, op, &closed);
    staged.expect("room");
}

fn commit(store: &mut RequestStore) {
    let now = store.clock().now();
    store.commit(now).expect("memory takes all");
}

fn name(text: &str) -> ConsumerName {
    text.parse().expect("a name")
}
