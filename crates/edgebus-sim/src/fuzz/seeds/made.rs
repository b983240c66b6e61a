//! Values to be encoded. Nothing in them is drawn: an input that broke something is made again.

use edgebus_core::consumer::{ConsumerConfig, Delivery, LeaseToken};
use edgebus_core::entry::Envelope;
use edgebus_core::{
    ConsumerName, Entry, Kind, Message, Record, RecordLimits, RequestId, Scope, Seq, TopicPattern,
};

/// A request, or with each fourth number a notification with everything that it can carry.
pub(in crate::fuzz) fn record(number: u8) -> Record {
    let topic = ["orders.created", "orders.paid", "sensors.a.temp", "a"][usize::from(number % 4)];
    let topic = topic.parse().expect("a topic");
    let payload = vec![b'0' + number % 10; 3 + usize::from(number) * 5];
    let mut message = Message::new(RequestId::from_bytes([number; 16]), topic, payload)
        .time_ms(1_760_000_000_000 + u64::from(number));
    if number % 4 == 3 {
        message = message
            .kind(Kind::Notification)
            .source("till-7")
            .target("display-3")
            .correlation_id("order 17")
            .header("currency", "EUR")
            .expires_ms(60_000);
    }
    Record::encode(&message, &RecordLimits::default()).expect("it fits")
}

/// A record as it is stored.
pub(in crate::fuzz) fn entry_of(seq: u64, record: &Record) -> Entry {
    let envelope = Envelope {
        seq: Seq(seq),
        received_ms: 1_760_000_000_000 + seq * 1000,
        store_time_ms: seq * 1000,
        scope: Scope((seq % 2) as u32),
        identity: if seq.is_multiple_of(3) { "till-7" } else { "" },
    };
    let mut bytes = Vec::new();
    Entry::encode(&mut bytes, &envelope, record);
    Entry::from_bytes(bytes.into()).expect("it was just written")
}

/// A stored request.
pub(in crate::fuzz) fn entry(seq: u8) -> Entry {
    entry_of(u64::from(seq), &record(seq))
}

pub(super) fn token(seq: u64) -> LeaseToken {
    LeaseToken {
        epoch: 1,
        seq: Seq(seq),
        delivery: 1,
    }
}

/// A message for a worker.
pub(in crate::fuzz) fn delivery(entry: Entry) -> Delivery {
    Delivery {
        token: token(entry.seq().0),
        attempt: 1,
        entry,
    }
}

pub(in crate::fuzz) fn consumer() -> ConsumerName {
    "billing".parse().expect("a name")
}

pub(super) fn pattern() -> TopicPattern {
    "orders.>".parse().expect("a pattern")
}

pub(super) fn consumer_config() -> ConsumerConfig {
    ConsumerConfig::responder(pattern())
        .ack_wait_ms(30_000)
        .max_attempts(5)
        .backoff_ms([1_000, 10_000])
        .max_in_flight(64)
}
