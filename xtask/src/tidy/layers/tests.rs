//! Each rule of the table with what it forbids and what it leaves alone.

use super::*;

/// The lines of `text`, as the file at `path`, that break a rule.
fn lines(path: &str, text: &str) -> Vec<usize> {
    let lib = SourceFile::new(
        "crates/edgebus/src/lib.rs",
        "//! Lib.\nmod bus;\nmod store;\npub use bus::{MessageBus, Options as BusOptions};\npub use store::Store;\n",
    );
    let file = SourceFile::new(path, text);
    let reexports = Reexports::collect(&[lib]);
    let mut violations = Vec::new();
    check(&file, &reexports, &mut violations);
    let mut lines: Vec<_> = violations.iter().map(|violation| violation.line).collect();
    // A line may break more than one.
    lines.sort_unstable();
    lines.dedup();
    lines
}

fn assert_broken(path: &str, text: &str) {
    assert_eq!(lines(path, text).len(), 1, "{path}: {text}");
}

fn assert_fine(path: &str, text: &str) {
    assert_eq!(lines(path, text), [0; 0], "{path}: {text}");
}

#[test]
fn core_has_no_io_and_no_clock() {
    let path = "crates/edgebus-core/src/session/mod.rs";
    for text in [
        "use std::fs::File;",
        "use std::{fmt, net::TcpStream};",
        "fn f() { std::thread::spawn(g); }",
        "use std::time::{Duration, Instant};",
        "use std::time; fn f() -> time::SystemTime { g() }",
        "use std::time::*;",
        "use tokio::sync::mpsc;",
        "use redb;",
        "fn f() { rustix::fs::fsync(g) }",
    ] {
        assert!(!lines(path, text).is_empty(), "{text}");
    }
    assert_fine(
        path,
        "use std::time::Duration; use std::fmt; use crate::topic::Topic;",
    );
    assert_fine(
        path,
        "// use std::fs::File;\nconst X: &str = \"std::fs::File\";",
    );
}

#[test]
fn store_names_nothing_above_it() {
    for path in [
        "crates/edgebus/src/store/mod.rs",
        "crates/edgebus/src/store.rs",
    ] {
        for text in [
            "use crate::transport::Tcp;",
            "use crate::client;",
            "use crate::{error::Error, server};",
            "fn f() { crate::bus::start() }",
            "use crate::*;",
            "use super::bus::Engine;",
            "use crate::delivery::Messages;",
            "use crate::spool::Spool;",
        ] {
            assert_broken(path, text);
        }
        assert_fine(
            path,
            "use crate::{error::Error, store::view, files::Files, clients};",
        );
    }
    assert_fine("crates/edgebus/src/stores.rs", "use crate::bus;");
}

#[test]
fn spool_knows_the_store_and_no_network() {
    let path = "crates/edgebus/src/spool/commit.rs";
    for text in [
        "use crate::transport::Tcp;",
        "use crate::client::Client;",
        "use crate::server;",
        "use crate::bus::Engine;",
        "use crate::MessageBus;",
        "use crate::delivery::Messages;",
        "use tokio::sync::mpsc;",
    ] {
        assert_broken(path, text);
    }
    assert_fine(
        path,
        "use crate::{files::Files, clock::Clock, store::{StoreError, journal::Journal}};",
    );
}

#[test]
fn reexports_do_not_hide_the_layer() {
    let path = "crates/edgebus/src/store/mod.rs";
    assert_broken(path, "use crate::MessageBus;");
    assert_broken(path, "fn f() { crate::BusOptions::default() }");
    assert_fine(path, "use crate::Store;");
}

#[test]
fn transport_names_nothing_beside_or_above_it() {
    let path = "crates/edgebus/src/transport/tcp.rs";
    for text in [
        "use crate::store::Store;",
        "use crate::bus;",
        "use crate::client;",
        "use crate::server;",
        "use crate::delivery;",
    ] {
        assert_broken(path, text);
    }
    assert_fine(
        path,
        "use crate::config::Limits; use super::Stream; use tokio::net::TcpStream;",
    );
}

#[test]
fn delivery_knows_neither_of_those_that_deliver() {
    for path in [
        "crates/edgebus/src/delivery/mod.rs",
        "crates/edgebus/src/delivery.rs",
    ] {
        for text in [
            "use crate::bus::MessageBus;",
            "use crate::MessageBus;",
            "use crate::client;",
            "use crate::server;",
            "use crate::store;",
            "use crate::transport::Writer;",
        ] {
            assert_broken(path, text);
        }
        assert_fine(path, "use crate::error::SendError; use super::Settle;");
    }
    assert_fine(
        "crates/edgebus/src/client/mod.rs",
        "use crate::delivery::Messages;",
    );
}

#[test]
fn client_knows_the_wire_only() {
    for path in [
        "crates/edgebus/src/client/mod.rs",
        "crates/edgebus/src/client.rs",
    ] {
        for text in [
            "use crate::bus;",
            "use crate::store::Row;",
            "use crate::server;",
        ] {
            assert_broken(path, text);
        }
        assert_fine(path, "use crate::{transport::connect, spool::Spool};");
    }
}

#[test]
fn engine_knows_no_connection() {
    let path = "crates/edgebus/src/bus/engine.rs";
    for text in [
        "use crate::transport;",
        "use crate::client::Client;",
        "use crate::server;",
    ] {
        assert_broken(path, text);
    }
    assert_fine(path, "use crate::store::Store;");
}

#[test]
fn server_may_name_all_below_it() {
    let text = "use crate::{bus, store, transport};";
    assert_fine("crates/edgebus/src/server/mod.rs", text);
}

#[test]
fn library_names_neither_command_nor_simulator() {
    assert_broken("crates/edgebus/src/server/mod.rs", "use edgebus_sim::Disk;");
    assert_broken(
        "crates/edgebus/src/error.rs",
        "fn f() { edgebus_cli::run() }",
    );
    assert_fine("crates/edgebus/tests/it/crash.rs", "use edgebus_sim::Disk;");
    assert_fine(
        "crates/edgebus/src/error.rs",
        "#[cfg(test)]\nmod tests { use edgebus_sim::Disk; }",
    );
    assert_fine("crates/edgebus-cli/src/main.rs", "use edgebus_sim::Disk;");
}

#[test]
fn files_are_opened_in_one_place() {
    for text in [
        "use std::fs;",
        "use std::{fs::File, io};",
        "use rustix::fs::fsync;",
    ] {
        assert_broken("crates/edgebus/src/store/journal.rs", text);
        assert_fine("crates/edgebus/src/files/mod.rs", text);
        assert_fine("crates/edgebus/src/files.rs", text);
        assert_fine("crates/edgebus/tests/it/main.rs", text);
        assert_fine("crates/edgebus-cli/src/main.rs", text);
    }
    assert_broken("crates/edgebus/src/files_cache.rs", "use std::fs;");
    assert_fine(
        "crates/edgebus/src/store/journal.rs",
        "use rustix::time::clock_gettime;",
    );
    assert_fine("crates/edgebus/src/store/tests.rs", "use std::fs;");
    assert_fine(
        "crates/edgebus/src/store/journal.rs",
        "#[cfg(test)]\nmod tests { use std::fs; }",
    );
}

#[test]
fn violation_says_where_what_why_and_what_to_do() {
    let file = SourceFile::new(
        "crates/edgebus/src/bus/mod.rs",
        "//! Bus.\nuse crate::client;\n",
    );
    let mut violations = Vec::new();
    check(&file, &Reexports::default(), &mut violations);
    assert_eq!(
        violations[0].to_string(),
        "crates/edgebus/src/bus/mod.rs:2: crates/edgebus/src/bus names `crate::client`, but the \
         engine serves embedded users and the simulator, where there is no connection; let server/ \
         call the engine, or move the shared type to edgebus-core"
    );
}

#[test]
fn blocking_names_neither_engine_nor_store_and_nothing_names_it() {
    let path = "crates/edgebus/src/blocking/client.rs";
    for text in [
        "use crate::bus::lane::Lane;",
        "use crate::MessageBus;",
        "use crate::store::Replay;",
        "use crate::server::Server;",
    ] {
        assert_broken(path, text);
    }
    assert_fine(
        path,
        "use crate::client::Client; use crate::delivery::Messages;",
    );
    assert_fine(path, "use crate::blocking::runtime::Runtime;");
    for path in [
        "crates/edgebus/src/client/mod.rs",
        "crates/edgebus/src/server/mod.rs",
    ] {
        assert_broken(path, "use crate::blocking::Client;");
    }
}
