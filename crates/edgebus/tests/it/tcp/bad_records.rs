//! A bad record is refused alone, by its code; its neighbours in the same frame are stored.

use edgebus::{Code, Message, Record, RecordLimits};

use super::fixture::{TestServer, goodbye, outcomes, rewritten, send};
use crate::bus::fixture::{eventually, id, large_message, log_ids, record};

/// A record from a client that checks nothing.
fn unchecked(message: &Message) -> Record {
    let limits = RecordLimits {
        payload_bytes_max: usize::MAX,
    };
    Record::encode(message, &limits).unwrap()
}

/// A record whose topic is replaced by another text of the same length.
fn with_topic(number: u64, topic: &[u8]) -> Record {
    let mut message = large_message(number, 3);
    message.topic = "t".repeat(topic.len()).parse().unwrap();
    rewritten(&unchecked(&message), |bytes| {
        bytes[40..40 + topic.len()].copy_from_slice(topic);
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_record_is_refused_alone() {
    let server = TestServer::start().await;
    let limit = server.bus().record_limits().payload_bytes_max;
    let mut flipped = record(2).as_bytes().to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    let flipped = Record::split_from(&mut flipped.into()).unwrap();
    let two_headers = {
        // 65 headers in the meta part, which is field 4 again and again.
        let plain = record(6);
        rewritten(&plain, |bytes| {
            let meta: Vec<u8> = [0x22, 3, 0x0a, 1, b'h'].repeat(65);
            bytes[10..12].copy_from_slice(&(meta.len() as u16).to_le_bytes());
            let payload = 40 + "orders.created".len();
            bytes.splice(payload..payload, meta);
        })
    };
    let broken_meta = rewritten(&two_headers, |bytes| {
        let meta = 40 + "orders.created".len();
        bytes[meta] = 0xff;
    });
    let records = vec![
        record(1),
        flipped,
        with_topic(3, b"a..b"),
        with_topic(4, b"caf\xc3\xa9"),
        record(5),
        two_headers,
        broken_meta,
        rewritten(&record(8), |bytes| bytes[13] = 2),
        rewritten(&record(9), |bytes| bytes[12] = 9),
        record(10),
    ];
    let mut socket = server.welcomed().await;
    socket.send(&send(100, records)).await;
    socket
        .send(&send(200, vec![unchecked(&large_message(11, limit + 1))]))
        .await;
    socket.send(&send(300, vec![record(12)])).await;
    socket.end().await;
    let mut told = outcomes(&socket.frames().await);
    told.sort_by_key(|(tag, _)| *tag);
    let expected = [
        (100, Ok((1, false))),
        (101, Err(Code::RecordCorrupt)),
        (102, Err(Code::BadTopic)),
        (103, Err(Code::BadTopic)),
        (104, Ok((2, false))),
        (105, Err(Code::BadHeader)),
        (106, Err(Code::BadRecord)),
        (107, Err(Code::BadRecord)),
        (108, Err(Code::BadRecord)),
        (109, Ok((3, false))),
        (200, Err(Code::PayloadTooLarge)),
        (300, Ok((4, false))),
    ];
    assert_eq!(told, expected);
    assert_eq!(log_ids(server.bus()), [1, 5, 10, 12].map(id));
    let stats = server.handle.stats();
    assert_eq!((stats.refused, stats.connections_cut), (8, 0));
}

/// Behind a record with wrong lengths nothing can be found any more, so the connection ends; what
/// came before is stored and answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn record_with_wrong_lengths_ends_the_connection_after_what_came_before() {
    let server = TestServer::start().await;
    for (field, value) in [
        (4..8, &[0xff, 0xff, 0, 0][..]),
        (8..10, &[0xff; 2]),
        (10..12, &[0xff; 2]),
    ] {
        let mut broken = record(2).as_bytes().to_vec();
        broken[field].copy_from_slice(value);
        let body = [&7u64.to_le_bytes()[..], &1u64.to_le_bytes(), &broken].concat();
        let mut socket = server.welcomed().await;
        socket.send(&send(1, vec![record(1)])).await;
        socket.write(&super::fixture::frame_of(3, &body)).await;
        let mut frames = socket.frames().await;
        assert_eq!(goodbye(frames.pop()).code, Code::BadRecord);
        let told = outcomes(&frames);
        assert!(matches!(told[..], [(1, Ok((1, _)))]), "{told:?}");
    }
    assert_eq!(log_ids(server.bus()), [id(1)]);
    eventually(|| server.handle.stats().connections == 0).await;
    assert_eq!(server.handle.stats().connections_cut, 3);
}
