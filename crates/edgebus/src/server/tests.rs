//! A connection whose client is played by the test, in the same process.

use edgebus_core::consumer::{ConsumerConfig, Settlement};
use edgebus_core::stream::{Consume, Open};
use edgebus_core::wire::Frame;
use edgebus_core::wire::control::Hello;
use edgebus_core::wire::settle::SettleItem;
use edgebus_core::{Message, RequestId, Seq};

use super::{Guard, Guest, Origin, Peer, ServerConfig, Shared, serve};
use crate::access::Identity;
use crate::bus::MessageBus;
use crate::transport::{Reader, pair};

async fn frame(reader: &mut Reader) -> Frame {
    let mut frames = Vec::new();
    while frames.is_empty() {
        assert!(reader.read(&mut frames).await.expect("sound"), "ended");
    }
    assert_eq!(frames.len(), 1, "{frames:?}");
    frames.remove(0)
}

/// The server finds out that nothing it says arrives, while what the client said last is on its
/// way. The connection used to end before that was read.
#[tokio::test]
async fn last_words_are_heard_although_nothing_can_be_answered() {
    let folder = tempfile::tempdir().expect("folder");
    let bus = MessageBus::open(folder.path()).expect("opens");
    let topic = "a".parse().expect("topic");
    let message = Message::new(RequestId::from_bytes([1; 16]), topic, "x");
    bus.send_to_server(message).await.expect("stored");

    let ((server_reader, server_writer), (mut reader, mut writer)) = pair();
    let guest = Guest::new(Peer::SameProcess, Identity::same_process());
    let shared = Shared::new(bus.clone(), ServerConfig::default(), Guard::default());
    let seat = shared.places.take(Origin::SameProcess).expect("a place");
    let serving = async move {
        serve(&shared, server_reader, server_writer, guest, seat).await;
    };
    let serving = tokio::spawn(serving);
    let hello = Hello {
        version_min: 1,
        version_max: 1,
        ..Hello::default()
    };
    writer.write(vec![Frame::Hello(hello)]).await.expect("said");
    assert!(matches!(frame(&mut reader).await, Frame::Welcome(_)));
    let mut consume = Consume::new("audit".parse().expect("name"), 9);
    consume.config = Some(ConsumerConfig::listener("a".parse().expect("pattern")));
    let open = Box::new((&Open::Consume(consume)).into());
    let opening = Frame::Open { stream: 1, open };
    writer.write(vec![opening]).await.expect("said");
    assert!(matches!(frame(&mut reader).await, Frame::Opened { .. }));
    let Frame::Deliver { deliveries, .. } = frame(&mut reader).await else {
        panic!("no message")
    };

    drop(reader);
    let ping = Frame::Ping { token: 1 };
    writer.write(vec![ping]).await.expect("said");
    // It tries to answer.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let items = vec![SettleItem {
        token: deliveries[0].token,
        settlement: (&Settlement::Ack).into(),
    }];
    let settle = Frame::Settle {
        stream: 1,
        tag: 0,
        items,
    };
    writer.write(vec![settle]).await.expect("said");
    drop(writer);
    serving.await.expect("served");
    let info = bus.consumer_info("audit".parse().expect("name")).await;
    let info = info.expect("there");
    assert_eq!((info.workers, info.offset), (0, Seq(1)));
    bus.shutdown().await;
}
