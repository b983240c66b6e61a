//! Requests that wait on this machine's disk.

use std::path::Path;
use std::time::Duration;

use edgebus::blocking::{Client, SpoolingClient, TimedOut};
use edgebus::{Accepted, ClientConfig, Code, ConnectError, SendError};
use edgebus_testing::Proxy;

use super::fixture::{HANGS_AFTER, Hosted, with_server};
use crate::bus::fixture::{id, log_ids, message};

/// A way to the server on which nobody gets through.
fn blocked_way(host: &Hosted) -> Proxy {
    let way = Proxy::to(&host.server.url.to_string());
    way.refuse(true);
    way
}

fn open(way: &Proxy, folder: &Path) -> Result<SpoolingClient, ConnectError> {
    let config = ClientConfig::default().name("spool").give_up_after(None);
    let client = Client::builder(way.url()).config(config);
    client.spool(folder.join("spool")).connect()
}

/// Its number in the spool.
fn spooled(accepted: Result<Accepted, SendError>) -> u64 {
    match accepted {
        Ok(Accepted::Spooled(spooled)) => spooled.number,
        other => panic!("not in the spool: {other:?}"),
    }
}

#[test]
fn what_was_accepted_without_a_server_is_in_its_log_in_order_once_there_is_one() {
    with_server(|host| {
        let folder = tempfile::tempdir().unwrap();
        let way = blocked_way(host);
        let till = open(&way, folder.path()).unwrap();
        assert_eq!(spooled(till.send_message(message(1))), 1);
        let second = till.enqueue(message(2)).unwrap();
        let third = till.try_send(message(3)).unwrap();
        assert_eq!((second.request_id(), third.request_id()), (id(2), id(3)));
        assert_eq!((spooled(second.wait()), spooled(third.wait())), (2, 3));
        let batch = till.send_batch(vec![message(4), message(5)]);
        let numbers: Vec<_> = batch.into_iter().map(spooled).collect();
        assert_eq!(numbers, [4, 5]);
        assert_eq!(till.waiting(), 5);
        let nobody = till.flush_timeout(Duration::from_millis(1));
        assert_eq!(nobody, Err(TimedOut));

        way.calm();
        assert_eq!(till.flush_timeout(HANGS_AFTER), Ok(Ok(())));
        let ids: Vec<_> = (1..=5).map(id).collect();
        assert_eq!(log_ids(host.server.bus()), ids);
        assert_eq!(till.waiting(), 0);
        match till.send("orders.created", "{}").unwrap() {
            Accepted::Stored(receipt) => assert_eq!(receipt.seq.0, 6),
            other => panic!("{other:?}"),
        }
        assert_eq!(till.client().stats().unwrap().last_seq, 6);
        till.drain();
        let closed = till.flush_timeout(HANGS_AFTER);
        assert_eq!(closed, Ok(Ok(())));
    });
}

#[test]
fn spool_is_free_for_the_next_one_when_the_drop_returns() {
    with_server(|host| {
        let folder = tempfile::tempdir().unwrap();
        let way = blocked_way(host);
        let till = open(&way, folder.path()).unwrap();
        assert_eq!(spooled(till.send_message(message(1))), 1);
        let taken = open(&way, folder.path()).unwrap_err();
        match taken {
            ConnectError::Spool(refusal) => assert_eq!(refusal.code, Code::DataInUse),
            other => panic!("{other}"),
        }
        let other = till.clone();
        drop(till);
        drop(other);
        let again = open(&way, folder.path()).unwrap();
        assert_eq!(again.waiting(), 1);
        way.calm();
        assert_eq!(again.flush_timeout(HANGS_AFTER), Ok(Ok(())));
        assert_eq!(log_ids(host.server.bus()), [id(1)]);
        drop(again);
        // What is known to be on the server's disk is not sent again.
        let empty = open(&way, folder.path()).unwrap();
        assert_eq!(empty.waiting(), 0);
    });
}
