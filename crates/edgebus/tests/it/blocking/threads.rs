//! The thread of a client: there while anything of it is, gone afterwards, and in nobody's way.

use std::sync::mpsc;

use edgebus::blocking::Client;
use edgebus::consumer::Reply;
use edgebus::{ClientConfig, Code, ConnectError, ConnectionState, LogQuery, Seq, Subscription};
use edgebus_testing::Proxy;

use super::fixture::{Hosted, eventually, with_server, within};
use crate::bus::fixture::{id, large_message, message};
use crate::delivery::fixture::{ask, listener, name, pattern, responder};

/// Threads of this process that are named so.
fn threads(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        // Some end while they are being counted.
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|comm| comm.trim_end() == name)
        .count()
}

/// The system tells of a thread that was joined for a moment longer.
fn assert_gone(name: &str) {
    eventually(|| threads(name) == 0);
}

fn named(host: &Hosted, client: &str) -> Client {
    host.connect(ClientConfig::default().name(client))
}

#[test]
fn thread_is_gone_with_the_last_of_what_uses_it() {
    with_server(|host| {
        let client = named(host, "all");
        client.send_message(ask(1)).unwrap();
        let clone = client.clone();
        let pending = client.enqueue(message(2)).unwrap();
        let news = client.subscribe(Subscription::to("news".parse().unwrap()));
        let replay = client.replay(LogQuery::from(Seq(1)));
        let mut messages = client.consumer(listener("work")).unwrap();
        let delivered = messages.next().unwrap().unwrap();
        let incoming = delivered.incoming();
        let handler = client.handle(pattern("prices.*"), responder(), |_| ());
        let mut states = client.states();
        let left = || threads("edgebus-all") > 0;
        drop((client, replay, handler));
        assert!(left());
        pending.wait().unwrap();
        assert!(left());
        drop((clone, news));
        assert!(left());
        drop(messages);
        assert!(left());
        delivered.ack();
        assert!(left());
        drop(incoming);
        assert_gone("edgebus-all");
        // This one does not keep it.
        assert!(states.next().is_some());
        assert_eq!(states.last(), None);
        // The server hears of it in its own time; the second message does not concern the consumer.
        let other = host.client();
        let info = || other.consumer_info(name("work")).unwrap();
        eventually(|| (info().offset, info().workers) == (Seq(2), 0));
    });
}

#[test]
fn what_was_said_last_has_left_when_the_drop_returns() {
    with_server(|host| {
        let client = named(host, "last");
        for number in 1..=500 {
            drop(client.enqueue(message(number)).unwrap());
        }
        drop(client);
        assert_gone("edgebus-last");
        let other = host.client();
        eventually(|| other.find(id(500)).unwrap().is_some());
        assert_eq!(other.stats().unwrap().last_seq, 500);
    });
}

#[test]
fn calls_and_drops_inside_a_runtime_do_no_harm() {
    with_server(|host| {
        let url = host.server.url.to_string();
        let current = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let several = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        for runtime in [current, several] {
            runtime.block_on(async {
                let config = ClientConfig::default().name("inside");
                let client = Client::connect_with(&url.parse().unwrap(), config).unwrap();
                client.send_message(message(1)).unwrap();
                let moved = client.clone();
                let sent = tokio::spawn(async move { moved.send_message(message(1)) });
                assert!(sent.await.unwrap().unwrap().duplicate);
                drop(client);
            });
            assert_gone("edgebus-inside");
        }
    });
}

#[test]
fn drop_does_not_wait_for_a_server_that_is_away() {
    with_server(|host| {
        let config = ClientConfig::default().name("away").give_up_after(None);
        let client = host.connect(config);
        let mut states = client.states();
        host.stop();
        while !matches!(states.next(), Some(ConnectionState::Lost { .. })) {}
        let pending = client.enqueue(message(1)).unwrap();
        drop(client);
        assert_eq!(pending.wait().unwrap_err().code(), Code::Disconnected);
        assert_gone("edgebus-away");
    });
}

#[test]
fn drop_waits_only_so_long_for_a_server_that_does_not_read() {
    with_server(|host| {
        let way = Proxy::to(&host.server.url.to_string());
        let config = ClientConfig::default().name("stuck");
        let client = Client::connect_with(&way.url().parse().unwrap(), config).unwrap();
        way.freeze(true);
        // More than any buffer on the way takes.
        for number in 1..=64 {
            drop(client.enqueue(large_message(number, 1 << 19)).unwrap());
        }
        drop(client);
        assert_gone("edgebus-stuck");
    });
}

#[test]
fn failed_connection_leaves_no_thread() {
    within(|| {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("tcp://{}", taken.local_addr().unwrap());
        drop(taken);
        let config = ClientConfig::default().name("nobody");
        let refused = Client::connect_with(&url.parse().unwrap(), config);
        assert!(matches!(refused, Err(ConnectError::Unreachable { .. })));
        assert_gone("edgebus-nobody");
    });
}

#[test]
fn handler_that_holds_its_own_client_does_not_keep_it() {
    with_server(|host| {
        let client = named(host, "own");
        let own = client.clone();
        let handler = client.handle(pattern("prices.*"), responder(), move |_| {
            Reply::new(own.stats().unwrap().last_seq.to_string())
        });
        assert_eq!(client.request_message(ask(1)).unwrap().reply.payload, "1");
        drop(client);
        drop(handler);
        assert_gone("edgebus-own");
    });
}

#[test]
fn what_a_handler_holds_may_use_the_client_to_the_last() {
    with_server(|host| {
        struct Farewell(Client, mpsc::Sender<u64>);
        impl Drop for Farewell {
            fn drop(&mut self) {
                self.1.send(self.0.stats().unwrap().last_seq).unwrap();
            }
        }
        let client = named(host, "farew");
        let (said, farewell) = mpsc::channel();
        let held = Farewell(client.clone(), said);
        let handler = client.handle(pattern("prices.*"), responder(), move |_| {
            let _ = &held;
        });
        client.request_message(ask(1)).unwrap();
        handler.unwrap().stop();
        assert_eq!(farewell.recv(), Ok(1));
        drop(client);
        assert_gone("edgebus-farew");
    });
}

#[test]
fn name_of_a_client_may_be_anything() {
    with_server(|host| {
        let config = ClientConfig::default().name("no\0 \u{e4} name of a thread");
        let client = host.connect(config);
        client.send_message(message(1)).unwrap();
    });
}
