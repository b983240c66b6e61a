//! What is asked and answered: receipts, replies, the log, notifications, operators.

use std::time::Duration;

use edgebus::admin::{DeadLetterFilter, Position};
use edgebus::blocking::{Client, TimedOut};
use edgebus::consumer::{ConsumerConfig, Reply};
use edgebus::{
    ClientConfig, Code, ConnectError, ConnectionState, LogQuery, Message, Notification,
    RequestError, SendError, Seq, Subscription,
};

use super::fixture::{HANGS_AFTER, with_server};
use crate::bus::files::{Call, Of};
use crate::bus::fixture::{duplicate, id, large_message, log_ids, message, new};
use crate::delivery::fixture::{ask, name, pattern, reply_to, responder};
use crate::tcp::fixture::window;

#[test]
fn same_request_gets_its_first_receipt() {
    with_server(|host| {
        let client = Client::connect(&host.server.url.to_string()).unwrap();
        assert_eq!(new(client.send_message(message(1))), Seq(1));
        assert_eq!(duplicate(client.clone().send_message(message(1))), Seq(1));
        assert_eq!(new(client.send("orders.created", "{}")), Seq(2));
        let bad = client.send("orders..created", "{}").unwrap_err();
        assert_eq!(bad.code(), Code::BadTopic);
    });
}

#[test]
fn order_of_calls_is_order_in_the_log() {
    with_server(|host| {
        let client = host.client();
        let pending: Vec<_> = (1..=100)
            .map(|number| client.enqueue(message(number)).unwrap())
            .collect();
        for (number, pending) in (1..).zip(pending) {
            assert_eq!(pending.request_id(), id(number));
            assert_eq!(new(pending.wait()), Seq(number));
        }
        let ids: Vec<_> = (1..=100).map(id).collect();
        assert_eq!(log_ids(host.server.bus()), ids);
    });
}

#[test]
fn batch_tells_each_outcome_in_its_place() {
    with_server(|host| {
        let client = host.client();
        let too_large = large_message(2, 64 << 20);
        let results = client.send_batch(vec![message(1), too_large, message(3), message(1)]);
        let seqs: Vec<_> = results
            .iter()
            .map(|result| result.as_ref().map(|r| r.seq).map_err(SendError::code))
            .collect();
        let refused = Err(Code::PayloadTooLarge);
        assert_eq!(seqs, [Ok(Seq(1)), refused, Ok(Seq(2)), Ok(Seq(1))]);
    });
}

#[test]
fn full_window_refuses_what_must_not_wait() {
    with_server(|host| {
        let client = host.connect(window(1));
        let hold = host.server.files().hold(Of::Journal, Call::Sync);
        let first = client.try_send(message(1)).unwrap();
        let refused = client.try_send(message(2)).unwrap_err();
        assert_eq!(refused.code(), Code::Busy);
        drop(hold);
        assert_eq!(new(first.wait()), Seq(1));
        assert_eq!(new(client.try_send(message(2)).unwrap().wait()), Seq(2));
    });
}

#[test]
fn request_brings_its_reply_and_the_same_one_again() {
    with_server(|host| {
        let client = host.client();
        let late = client.request_timeout(ask(1), Duration::from_millis(1));
        let late = late.unwrap_err();
        assert_eq!((late.code(), late.request_id()), (Code::Unknown, id(1)));
        assert!(
            late.to_string().contains("no reply within 0.001 s"),
            "{late}"
        );

        let handler = client
            .handle(pattern("prices.*"), responder(), |request| {
                reply_to(&request)
            })
            .unwrap();
        let response = client.request_timeout(ask(1), HANGS_AFTER).unwrap();
        assert_eq!(response.reply.payload, "no idea what costs 1");
        let again = client.request_message(ask(1)).unwrap();
        assert_eq!(again.reply, response.reply);
        assert!(again.receipt.duplicate);
        let other = client.request("prices.ask", "pears").unwrap();
        assert_eq!(other.reply.payload, "no idea pears");
        handler.stop();
    });
}

#[test]
fn log_is_read_by_page_by_number_by_id_and_whole() {
    with_server(|host| {
        let client = host.client();
        let sent = client.send_batch((1..=2500).map(message).collect());
        assert!(sent.iter().all(Result::is_ok));
        let mut query = LogQuery::from(Seq(10));
        query.to = Some(Seq(12));
        assert_eq!(client.log(query).unwrap().entries.len(), 3);
        let entry = client.get(Seq(7)).unwrap().unwrap();
        assert_eq!(entry.record().id(), id(7));
        assert_eq!(client.find(id(8)).unwrap().unwrap().seq(), Seq(8));
        assert_eq!(client.get(Seq(2501)).unwrap(), None);
        let replay = client.replay(LogQuery::from(Seq(1)));
        let seqs: Vec<_> = replay.map(|entry| entry.unwrap().seq().0).collect();
        assert_eq!(seqs, (1..=2500).collect::<Vec<_>>());
        let mut tail = client.replay(LogQuery::from(Seq(2500)));
        let last = tail.next_timeout(HANGS_AFTER).unwrap().unwrap().unwrap();
        assert_eq!(last.record().id(), id(2500));
        assert_eq!(tail.next_timeout(HANGS_AFTER), Ok(None));
        assert_eq!(client.stats().unwrap().last_seq, 2500);
    });
}

#[test]
fn notifications_come_live_by_client_and_under_a_name() {
    with_server(|host| {
        let config = ClientConfig::default().name("till-7").reconnect(false);
        let till = host.connect(config);
        let office = host.client();
        let prices = || Subscription::to("prices.*".parse().unwrap());
        let mut live = till.subscribe(prices()).unwrap();
        let nothing = live.next_timeout(Duration::from_millis(1));
        assert_eq!(nothing, Err(TimedOut));
        assert_eq!(office.publish("prices.apples", "2.49").unwrap(), 1);
        let to_one = Message::new(id(1), "prices.pears".parse().unwrap(), "1.99");
        let reached = office.send_to_client("till-7", to_one.clone()).unwrap();
        assert_eq!(reached, 1);
        assert_eq!(office.publish_message(to_one.clone()).unwrap(), 1);
        let texts: Vec<_> = live.by_ref().take(3).map(text).collect();
        assert_eq!(texts, ["2.49", "1.99", "1.99"]);

        drop(till.subscribe_named(name("prices-7"), prices()).unwrap());
        let stored = office.publish_persisted(to_one).unwrap();
        let mut named = till.subscribe_named(name("prices-7"), prices()).unwrap();
        match named.next_timeout(HANGS_AFTER) {
            Ok(Some(Notification::Message(entry))) => assert_eq!(entry.seq(), stored.seq),
            other => panic!("{other:?}"),
        }
        assert_eq!(live.next().map(text).as_deref(), Some("1.99"));

        host.stop();
        assert_eq!(live.next(), None);
        assert!(live.why_ended().is_some());
    });
}

fn text(notification: Notification) -> String {
    match notification {
        Notification::Message(entry) => {
            String::from_utf8(entry.record().payload().to_vec()).unwrap()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn operators_ask_with_the_same_types() {
    with_server(|host| {
        let client = host.connect(ClientConfig::default().name("office"));
        let config = ConsumerConfig::responder(pattern("prices.*"));
        client.consumer_add(name("prices"), config).unwrap();
        client.send_message(ask(1)).unwrap();
        let next = client.next(name("prices"), 1, false, HANGS_AFTER);
        let token = next.unwrap().remove(0).token;
        let term = edgebus::consumer::Settlement::Term {
            reason: "no such fruit".into(),
        };
        client
            .settle_by_name(name("prices"), token, term.clone())
            .unwrap();
        let again = client.settle_by_name(name("prices"), token, term);
        assert_eq!(again.unwrap_err().code, Code::AlreadyCompleted);
        let all = DeadLetterFilter::all;
        assert_eq!(client.dead_letter_count(all()), Ok(1));
        assert_eq!(client.dead_letters(all(), 0, 10).unwrap().letters.len(), 1);
        assert_eq!(client.requeue(all(), false), Ok(1));
        let handler = client.handle(pattern("prices.*"), responder(), |_| Reply::new("2.49"));
        let response = client.request_timeout(ask(1), HANGS_AFTER).unwrap();
        assert_eq!(response.reply.payload, "2.49");
        handler.unwrap().stop();
        assert_eq!(client.clients().unwrap()[0].name, "office");
        client.trim(Position::Seq(Seq(2))).unwrap();
        client.consumer_remove(name("prices")).unwrap();
        assert_eq!(client.consumers(), Ok(vec![]));
        let gone = client.consumer_info(name("prices")).unwrap_err();
        assert_eq!(gone.code, Code::NoSuchConsumer);
    });
}

#[test]
fn lost_server_is_told_to_who_does_not_want_another() {
    with_server(|host| {
        let client = host.connect(ClientConfig::default().reconnect(false));
        let config = responder().credit(1);
        let mut messages = client.consumer(config).unwrap();
        host.stop();
        let lost = messages.next().unwrap().unwrap_err();
        assert!(
            matches!(lost.code, Code::ShuttingDown | Code::Disconnected),
            "{lost}"
        );
        assert!(messages.next().is_none());
        let refused = client.send_message(message(1)).unwrap_err();
        assert!(refused.is_retryable(), "{refused}");
        let refused = client.request_message(ask(2)).unwrap_err();
        assert!(matches!(refused, RequestError::Send(_)), "{refused}");
    });
}

#[test]
fn states_tell_of_a_connection_until_it_is_over() {
    with_server(|host| {
        let url = host.server.url.to_string();
        let away = free_url();
        let client = Client::builder(&away).server(&url).name("till-7");
        let client = client.connect().unwrap();
        let mut states = client.states();
        let first = states.next().unwrap();
        assert_eq!(first, client.state());
        match first {
            ConnectionState::Connected { server, connection } => {
                assert_eq!((server, connection), (url, 1));
            }
            other => panic!("{other:?}"),
        }
        let unchanged = states.next_timeout(Duration::from_millis(1));
        assert_eq!(unchanged, Err(TimedOut));
        host.stop();
        let lost = states.next_timeout(HANGS_AFTER).unwrap().unwrap();
        assert!(matches!(lost, ConnectionState::Lost { .. }), "{lost:?}");
        client.drain();
        let closed = states.next().unwrap();
        assert!(
            matches!(closed, ConnectionState::Closed { .. }),
            "{closed:?}"
        );
        assert_eq!(states.next(), None);
        let refused = client.send_message(message(1)).unwrap_err();
        assert_eq!(refused.code(), Code::Disconnected);
    });
}

/// Where nobody listens.
fn free_url() -> String {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("tcp://{}", taken.local_addr().unwrap())
}

#[test]
fn drained_client_has_the_answers_to_all_it_said() {
    with_server(|host| {
        let client = host.client();
        let pending: Vec<_> = (1..=100)
            .map(|number| client.enqueue(message(number)).unwrap())
            .collect();
        client.drain();
        assert_eq!(log_ids(host.server.bus()).len(), 100);
        for (number, pending) in (1..).zip(pending) {
            assert_eq!(new(pending.wait()), Seq(number));
        }
    });
}

#[test]
fn server_that_is_not_there_is_named() {
    let url = free_url();
    let refused = Client::connect(&url).unwrap_err();
    assert!(matches!(&refused, ConnectError::Unreachable { .. }));
    assert!(refused.to_string().contains(&url), "{refused}");
    let refused = Client::connect("http://127.0.0.1:1").unwrap_err();
    assert!(matches!(refused, ConnectError::Refused(_)), "{refused}");
}
