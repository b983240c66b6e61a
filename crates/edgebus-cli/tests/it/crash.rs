//! The server is killed under load, again and again, and the client sends its file again each
//! time: everything is there once, in order, and no receipt was ever untrue.

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

/// Sends the orders; with the n-th receipt the server is ended. Gives the receipts and the exit
/// status.
fn send_until(
    server: Server,
    receipts_before: usize,
    end: impl FnOnce(Server),
) -> (BTreeMap<String, (u64, bool)>, i32) {
    let mut args = SEND;
    args[3] = orders();
    let mut command = server.command(&args);
    let mut client = Running::start(command.stderr(Stdio::null()));
    let mut printed = String::new();
    for _ in 0..receipts_before {
        printed.push_str(&client.line());
    }
    end(server);
    let (rest, status) = client.finish();
    printed.push_str(&rest);
    (receipts(&json_lines(&printed)), status)
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
    let mut promised: BTreeMap<String, u64> = BTreeMap::new();
    for receipts_before in [1, 40, 300, 700, 1100, 1500, 1900] {
        let (receipts, status) = send_until(Server::start(&place), receipts_before, Server::kill);
        assert!(matches!(status, 0 | 3 | 4), "exit status {status}");
        for (id, (seq, _)) in receipts {
            let first = *promised.entry(id.clone()).or_insert(seq);
            assert_eq!(first, seq, "{id} got another number than it was promised");
        }
        let server = Server::start(&place);
        let stored = assert_prefix_of_orders(&server);
        let last = promised.values().max().copied().unwrap_or_default();
        assert!(
            stored as u64 >= last,
            "{stored} are stored, {last} were promised"
        );
        server.kill();
    }
    let server = Server::start(&place);
    let mut args = SEND;
    args[3] = orders();
    let receipts = receipts(&server.run(&args).expect(0).json());
    for (id, seq) in promised {
        assert_eq!(receipts[&id], (seq, true));
    }
    assert_eq!(assert_prefix_of_orders(&server), 2000);
}

#[test]
fn a_server_that_is_told_to_stop_under_load_keeps_its_promises() {
    let place = Place::new();
    let (receipts, status) = send_until(Server::start(&place), 200, |server| {
        server.signal(Signal::TERM);
        assert_eq!(server.wait().code(), Some(0));
    });
    assert!(matches!(status, 0 | 3 | 4), "exit status {status}");
    assert!(receipts.len() >= 200);
    let server = Server::start(&place);
    assert!(assert_prefix_of_orders(&server) >= receipts.len());
}
