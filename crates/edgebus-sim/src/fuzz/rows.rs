//! Targets `records`, `entries`, `ops` and `blocks`: what lies in the journal and in the tables.
//!
//! Promises: no panic; what is decoded and encoded again comes back, byte for byte from then on; a
//! block takes no more memory than its bytes can stand for.

use bytes::Bytes;
use edgebus::store::fuzzing;
use edgebus_core::consumer::ConsumerOp;
use edgebus_core::entry::Envelope;
use edgebus_core::{Entry, Record, RecordLimits};

use super::mend;

/// Target `records`: requests as clients write them, one after the other.
pub(super) fn records(data: &[u8]) {
    let limits = RecordLimits {
        payload_bytes_max: mend::FRAME_BYTES_MAX,
    };
    let mut left = Bytes::copy_from_slice(data);
    while let Ok(record) = Record::split_from(&mut left) {
        let mut mended = record.as_bytes().to_vec();
        mend::record(&mut mended);
        let mut mended = Bytes::from(mended);
        let mended = Record::split_from(&mut mended).expect("the lengths are the same");
        assert!(mended.is_intact(), "the checksum was put right");
        for record in [record, mended] {
            // Whatever it is, it can be looked at.
            let _ = (record.id(), record.kind(), record.expires_ms());
            let _ = (record.topic_str(), record.target(), record.payload());
            if record.verify(&limits).is_ok() {
                is_a_message(&record, &limits);
            }
        }
    }
}

fn is_a_message(record: &Record, limits: &RecordLimits) {
    let message = record.to_message().expect("a verified one is a message");
    let written = Record::encode(&message, limits).expect("a verified one is within the limits");
    written.verify(limits).expect("what is written is verified");
    let again = written.to_message().expect("what is written is a message");
    assert_eq!(again, message, "does not come back");
    assert_eq!(
        Record::encode(&again, limits)
            .as_ref()
            .map(Record::as_bytes),
        Ok(written.as_bytes()),
        "is written another way each time"
    );
    if let Ok(sooner) = record.with_expires_ms(7) {
        assert!(
            sooner.verify(limits).is_ok(),
            "with another time it is none"
        );
        assert_eq!(sooner.expires_ms(), 7);
        assert_eq!(sooner.payload_bytes(), record.payload_bytes());
    }
}

/// Target `entries`: stored requests, one after the other.
pub(super) fn entries(data: &[u8]) {
    let mut left = Bytes::copy_from_slice(data);
    while let Ok(entry) = Entry::split_from(&mut left) {
        let again = Entry::from_bytes(entry.as_bytes().clone()).expect("it is one");
        assert_eq!(again, entry);
        let envelope = Envelope {
            seq: entry.seq(),
            received_ms: entry.received_ms(),
            store_time_ms: entry.store_time_ms(),
            scope: entry.scope(),
            identity: entry.identity(),
        };
        if envelope.identity.len() > edgebus_core::entry::IDENTITY_BYTES_MAX {
            continue;
        }
        let mut written = Vec::new();
        Entry::encode(&mut written, &envelope, entry.record());
        let read = Entry::from_bytes(written.into()).expect("what is written is read");
        assert_eq!(read.record(), entry.record());
        assert_eq!(
            (read.seq(), read.identity(), read.scope()),
            (entry.seq(), entry.identity(), entry.scope())
        );
    }
}

/// Target `ops`: changes of state, one after the other, as a group holds them; and the changes of
/// consumers that are in them.
pub(super) fn ops(data: &[u8]) {
    group_ops(Bytes::copy_from_slice(data));
    if let Ok(op) = ConsumerOp::decode(Bytes::copy_from_slice(data)) {
        let written = op.encode();
        let again = ConsumerOp::decode(written.clone().into()).expect("what is written is read");
        assert_eq!(again.encode(), written, "{op:?} does not come back");
    }
}

/// Reads operations until one is none; how many there were.
pub(super) fn group_ops(mut bytes: Bytes) -> usize {
    let mut count = 0;
    while !bytes.is_empty() {
        let before = bytes.len();
        let Ok(written) = fuzzing::op(&mut bytes) else {
            break;
        };
        assert!(bytes.len() < before, "an operation of no bytes");
        let mut again = Bytes::from(written.clone());
        let second = fuzzing::op(&mut again).expect("what is written is read");
        assert!(again.is_empty(), "bytes are left of an operation");
        assert_eq!(second, written, "an operation does not come back");
        count += 1;
    }
    count
}

/// Target `blocks`: rows of `request_log`.
pub(super) fn blocks(data: &[u8]) {
    // The key is not in the row: one that the row would be under, as most others are refused.
    let word = |range: std::ops::Range<usize>| {
        let mut number = [0; 8];
        let bytes = data.get(range).unwrap_or_default();
        number[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(number)
    };
    let key = word(16..24).wrapping_add(word(8..12)).wrapping_sub(1);
    let _ = fuzzing::block(word(0..8), data);
    block(key, data);
    let mut mended = data.to_vec();
    mend::row(&mut mended);
    block(key, &mended);
}

fn block(key: u64, bytes: &[u8]) {
    let Ok(entries) = fuzzing::block(key, bytes) else {
        return;
    };
    assert_eq!(entries.last().map(|entry| entry.seq().0), Some(key));
    assert!(entries.iter().all(|entry| entry.record().is_intact()));
    let (again, written) = fuzzing::write_block(&entries);
    assert_eq!(again, key);
    let read = fuzzing::block(key, &written).expect("what is written is read");
    assert_eq!(read, entries, "a block does not come back");
}
