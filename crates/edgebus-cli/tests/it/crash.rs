//! The server is killed under load, again and again, and started again, while one command sends its
//! file: everything is there once, in order, and no receipt was ever untrue.

use std::collections::BTreeMap;
use std::process::Stdio;

use rustix::process::Signal;

use crate::support::{Place, Running, Server, json_lines, orders, receipts};

const SEND: [&str; 9] = [
    "send",
    "orders.created",
    "--file",
    "",
    "--id-field",
    "order",
    "--json",
    "--window",
    "16",
];

/// Sends the orders with one command; with the n-th receipts the server is ended, and started again
/// where it was. Gives the receipts.
fn send_through(
    place: &Place,
    receipts_before: &[usize],
    end: impl Fn(Server),
) -> BTreeMap<String, (u64, bool)> {
    let mut server = Server::start(place);
    let url = server.url.clone();
    let mut args = SEND;
    args[3] = orders();
    let mut command = server.command(&args);
    let mut client = Running::start(command.stderr(Stdio::null()));
    let mut lines = Vec::new();
    for count in receipts_before {
        while lines.len() < *count {
            lines.push(client.line());
        }
        end(server);
        server = Server::start_at(place, &url);
        let promised = receipts(&json_lines(&lines.concat())).len();
        assert!(assert_prefix_of_orders(&server) >= promised);
    }
    let (rest, status) = client.finish();
    assert_eq!(status, 0);
    assert_eq!(assert_prefix_of_orders(&server), 2000);
    server.kill();
    receipts(&json_lines(&(lines.concat() + &rest)))
}

/// The rows are the lines of the file, up to some line, in order and once.
fn assert_prefix_of_orders(server: &Server) -> usize {
    let file = std::fs::read_to_string(orders()).expect("the file is there");
    let rows = server.rows();
    for (at, (row, line)) in rows.iter().zip(file.lines()).enumerate() {
        assert_eq!(row["seq"], at + 1);
        assert_eq!(row["payload"], line);
    }
    assert!(rows.len() <= 2000);
    rows.len()
}

#[test]
fn kill_9_under_load_loses_nothing_and_doubles_nothing() {
    let place = Place::new();
    let promised = send_through(&place, &[1, 40, 300, 700, 1100, 1500, 1900], Server::kill);
    assert_eq!(promised.len(), 2000);
    let server = Server::start(&place);
    let mut args = SEND;
    args[3] = orders();
    let receipts = receipts(&server.run(&args).expect(0).json());
    for (id, (seq, _)) in promised {
        assert_eq!(receipts[&id], (seq, true));
    }
    assert_eq!(assert_prefix_of_orders(&server), 2000);
}

#[test]
fn a_server_that_is_told_to_stop_under_load_keeps_its_promises() {
    let place = Place::new();
    let promised = send_through(&place, &[200, 900], |server| {
        server.signal(Signal::TERM);
        assert_eq!(server.wait().code(), Some(0));
    });
    assert_eq!(promised.len(), 2000);
}
