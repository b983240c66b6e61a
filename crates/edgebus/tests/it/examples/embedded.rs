//! The examples that need no server.

use super::process::Example;
use crate::blocking::fixture::within;

#[test]
fn embedded_bus_stores_and_replays() {
    within(|| {
        let (status, lines) = Example::start("embedded", &[]).end();
        assert!(status.success(), "{lines:?}");
        assert!(lines[0].ends_with("as seq 1"), "{lines:?}");
        assert_eq!(lines[1], "1 orders.created b\"{\\\"order\\\":1}\"");
    });
}

#[test]
fn handler_replies_and_rejects() {
    within(|| {
        let (status, lines) = Example::start("handler", &[]).end();
        assert!(status.success(), "{lines:?}");
        assert_eq!(lines[0], "apples: b\"2.49\"");
        assert!(lines[1].ends_with("no such fruit"), "{lines:?}");
    });
}
