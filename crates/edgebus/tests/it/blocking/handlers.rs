//! Handlers that are plain functions.

use std::sync::mpsc;
use std::time::Duration;

use edgebus::blocking::Client;
use edgebus::consumer::{ConsumerConfig, Reply};
use edgebus::{Code, ConsumeConfig, Handled, Message, RequestError};
use edgebus_testing::Proxy;
use parking_lot::Mutex;

use super::fixture::{HANGS_AFTER, eventually, with_server};
use crate::bus::fixture::{id, message};
use crate::delivery::fixture::{ask, name, pattern, responder};

/// A handler that says that it began, and ends when it is told to.
fn held() -> (
    impl Fn() + Send + Sync + 'static,
    mpsc::Receiver<()>,
    mpsc::Sender<()>,
) {
    let (begin, begun) = mpsc::channel();
    let (go_on, told) = mpsc::channel::<()>();
    let told = Mutex::new(told);
    let pass = move || {
        begin.send(()).unwrap();
        // Nobody tells any more: that is as good.
        let _ = told.lock().recv();
    };
    (pass, begun, go_on)
}

#[test]
fn blocked_handler_holds_up_nobody_else() {
    with_server(|host| {
        let way = Proxy::to(&host.server.url.to_string());
        let client = Client::builder(way.url()).heartbeat(Duration::from_millis(20));
        let client = client.connect().unwrap();
        let (pass, begun, go_on) = held();
        let slow = client.handle(pattern("prices.*"), responder(), move |_| {
            pass();
            Reply::new("2.49")
        });
        let config = ConsumeConfig::new(name("stock"));
        let stock = client.handle(pattern("stock.*"), config, |_| Reply::new("7"));
        let asking = std::thread::spawn({
            let client = client.clone();
            move || client.request_message(ask(1))
        });
        begun.recv().unwrap();
        let response = client.request("stock.apples", "").unwrap();
        assert_eq!(response.reply.payload, "7");
        client.send_message(message(2)).unwrap();
        // Nor the heartbeats, without which the connection would be made again.
        let before = way.pings();
        eventually(|| way.pings() >= before + 10);
        assert!(!asking.is_finished());
        go_on.send(()).unwrap();
        assert_eq!(asking.join().unwrap().unwrap().reply.payload, "2.49");
        slow.unwrap().stop();
        stock.unwrap().stop();
    });
}

#[test]
fn handler_may_use_its_own_client() {
    with_server(|host| {
        let client = host.client();
        let config = ConsumeConfig::new(name("stock")).concurrency(2);
        let stock = client.handle(pattern("stock.*"), config, |_| Reply::new("7"));
        let asks = client.clone();
        let handler = client.handle(pattern("prices.*"), responder(), move |request| {
            request.extend()?;
            let stock = asks
                .request("stock.apples", "")
                .map_err(|e| e.to_refusal())?;
            Ok::<_, edgebus::Refusal>(Reply::new(stock.reply.payload))
        });
        let response = client.request_timeout(ask(1), HANGS_AFTER).unwrap();
        assert_eq!(response.reply.payload, "7");
        handler.unwrap().stop();
        stock.unwrap().stop();
    });
}

#[test]
fn what_a_handler_returns_is_what_becomes_of_the_message() {
    with_server(|host| {
        let client = host.client();
        let config = ConsumerConfig::responder(pattern("prices.*"))
            .backoff_ms([1])
            .max_attempts(2);
        let config = ConsumeConfig::new(name("prices")).config(config);
        let handler = client.handle(pattern("prices.*"), config, |request| {
            match &request.payload()[..] {
                b"done" => Handled::Done,
                b"reject" => Handled::Reject("no such fruit".into()),
                b"retry" if request.attempt() == 2 => Reply::new("at last").into(),
                b"retry" => Handled::Retry("not now".into()),
                other => panic!("no {}", String::from_utf8_lossy(other)),
            }
        });
        let ask = |number, text: &'static str| {
            let topic = "prices.ask".parse().unwrap();
            let asked = Message::new(id(number), topic, text);
            client.request_timeout(asked, HANGS_AFTER)
        };
        assert_eq!(ask(1, "done").unwrap().reply.payload, "");
        assert_eq!(ask(2, "retry").unwrap().reply.payload, "at last");
        let rejected = ask(3, "reject").unwrap_err();
        assert!(rejected.to_string().contains("no such fruit"), "{rejected}");
        let panicked = ask(4, "pears").unwrap_err();
        assert!(matches!(&panicked, RequestError::DeadLettered { .. }));
        assert!(
            panicked.to_string().contains("panicked: no pears"),
            "{panicked}"
        );
        handler.unwrap().stop();
    });
}

#[test]
fn stopped_handler_has_finished_what_it_began() {
    with_server(|host| {
        let client = host.client();
        let (pass, begun, go_on) = held();
        let config = responder().concurrency(1);
        let handler = client.handle(pattern("prices.*"), config, move |_| pass());
        client.send_batch(vec![ask(1), ask(2)]);
        begun.recv().unwrap();
        let stopping = std::thread::spawn(move || handler.unwrap().stop());
        let info = || client.consumer_info(name("prices")).unwrap();
        go_on.send(()).unwrap();
        drop(go_on);
        stopping.join().unwrap();
        assert!(info().offset.0 >= 1);
        assert_eq!(info().in_flight, 0);
    });
}

#[test]
fn dropped_handler_finishes_what_it_began_and_takes_nothing_more() {
    with_server(|host| {
        let client = host.client();
        let (pass, begun, go_on) = held();
        let config = responder().concurrency(1);
        let handler = client.handle(pattern("prices.*"), config, move |_| {
            pass();
            Reply::new("2.49")
        });
        let asking = std::thread::spawn({
            let client = client.clone();
            move || client.request_message(ask(1))
        });
        begun.recv().unwrap();
        drop(handler);
        go_on.send(()).unwrap();
        assert_eq!(asking.join().unwrap().unwrap().reply.payload, "2.49");
        let nobody = client.request_timeout(ask(2), Duration::from_millis(50));
        assert_eq!(nobody.unwrap_err().code(), Code::Unknown);
    });
}

#[test]
fn handler_that_lost_its_consumer_says_why() {
    with_server(|host| {
        let client = host.client();
        let mut handler = client
            .handle(pattern("prices.*"), responder(), |_| ())
            .unwrap();
        client.consumer_remove(name("prices")).unwrap();
        let ended = handler.ended().unwrap_err();
        assert_eq!(ended.code, Code::NoSuchConsumer);
        assert_eq!(handler.ended(), Ok(()));
        handler.stop();
    });
}
