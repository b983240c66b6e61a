//! Records as bytes, and back.

use super::*;

fn message(payload: &'static [u8]) -> Message {
    let topic = "orders.created".parse().expect("valid topic");
    Message::new(RequestId::from_bytes([9; 16]), topic, payload)
        .source("till-1")
        .header("a", "b")
}

#[test]
fn record_gives_back_the_message() {
    let message = message(b"{\"order\":1}")
        .correlation_id("c")
        .target("t")
        .time_ms(5)
        .expires_ms(7);
    let record = Record::encode(&message, &RecordLimits::default()).expect("fits");
    assert_eq!(record.verify(&RecordLimits::default()), Ok(()));
    assert_eq!(record.to_message(), Ok(message));
}

#[test]
fn other_time_to_be_started_in_leaves_the_rest_as_it_was() {
    let message = message(b"abc").time_ms(5);
    let limits = RecordLimits::default();
    let record = Record::encode(&message, &limits).expect("fits");
    for ms in [0, 7, u64::MAX] {
        let other = record.with_expires_ms(ms).expect("can be read");
        assert_eq!(other.verify(&limits), Ok(()));
        assert_eq!(other.to_message(), Ok(message.clone().expires_ms(ms)));
    }
}

#[test]
fn any_flipped_bit_is_found_out() {
    let record = Record::encode(&message(b"abc"), &RecordLimits::default()).expect("fits");
    for bit in 0..record.as_bytes().len() * 8 {
        let mut bytes = record.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let mut bytes = Bytes::from(bytes);
        // A flip in a length either runs over the end or shortens what the checksum covers.
        if let Ok(flipped) = Record::split_from(&mut bytes) {
            assert!(
                flipped.verify(&RecordLimits::default()).is_err(),
                "bit {bit}"
            );
        }
    }
}

/// A foreign client may write fields that are skipped here, and a record of its own making.
#[test]
fn meta_part_over_the_limit_is_refused_whatever_is_in_it() {
    let record = Record::encode(&message(b""), &RecordLimits::default()).expect("fits");
    let mut unknown = vec![0xfa, 0x07, 0x80, 0x80, 0x01];
    unknown.resize(5 + META_BYTES_MAX, b'x');
    let mut bytes = record.as_bytes().to_vec();
    let meta_len = record.meta_len() + unknown.len();
    bytes[10..12].copy_from_slice(&(meta_len as u16).to_le_bytes());
    bytes.extend_from_slice(&unknown);
    let crc = crc32c::crc32c(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    let record = Record::split_from(&mut bytes.into()).expect("lengths are right");
    assert!(record.meta().is_ok(), "it can be read");
    let refusal = record
        .verify(&RecordLimits::default())
        .expect_err("too long");
    assert_eq!(refusal.code, Code::BadHeader);
}

#[test]
fn payload_over_the_limit_is_refused_by_code() {
    let limits = RecordLimits {
        payload_bytes_max: 2,
    };
    let refusal = Record::encode(&message(b"abc"), &limits).expect_err("3 > 2");
    assert_eq!(refusal.code, Code::PayloadTooLarge);
}

#[test]
fn headers_are_bounded() {
    let limits = RecordLimits::default();
    for bad in [
        message(b"").header("", "x"),
        message(b"").header("a b", "x"),
        message(b"").header("a=b", "x"),
    ] {
        assert_eq!(
            Record::encode(&bad, &limits).expect_err("name").code,
            Code::BadHeader
        );
    }
    let many = (0..HEADERS_MAX).fold(message(b""), |m, i| m.header(format!("h{i}"), ""));
    assert_eq!(
        Record::encode(&many, &limits)
            .expect_err("one too many")
            .code,
        Code::BadHeader
    );
    let long_name = message(b"").header("\u{1}".repeat(META_BYTES_MAX), "");
    let refusal = Record::encode(&long_name, &limits).expect_err("name");
    assert!(refusal.message.len() < 1024, "a refusal stays small");
    let long = message(b"").header("a", "x".repeat(META_BYTES_MAX));
    assert_eq!(
        Record::encode(&long, &limits).expect_err("too long").code,
        Code::BadHeader
    );
}
