//! Each way to write a path, and what it resolves to.

use super::super::scan::scan;
use super::*;

fn paths_in(path: &str, source: &str) -> Vec<String> {
    let tokens = scan(source).tokens;
    let in_test = vec![false; tokens.len()];
    collect(path, &tokens, &in_test)
        .iter()
        .map(PathUse::text)
        .collect()
}

fn paths(source: &str) -> Vec<String> {
    paths_in("crates/edgebus/src/store/journal.rs", source)
}

#[test]
fn use_of_one_name() {
    assert_eq!(paths("use crate::bus;"), ["crate::bus"]);
    assert_eq!(
        paths("pub(crate) use crate::bus::Engine as E;"),
        ["crate::bus::Engine"]
    );
    assert_eq!(paths("use ::std::fs;"), ["std::fs"]);
    assert_eq!(paths("extern crate redb;"), ["redb"]);
}

#[test]
fn use_groups_are_taken_apart() {
    assert_eq!(
        paths("use crate::{bus, store::{self, view::View}, error::*};\nuse {redb, std::fs};"),
        [
            "crate::bus",
            "crate::store",
            "crate::store::view::View",
            "crate::error::*",
            "redb",
            "std::fs"
        ]
    );
}

#[test]
fn paths_in_expressions_and_types() {
    assert_eq!(
        paths("fn f(x: &crate::bus::Engine) -> Vec<std::fs::File> { ::redb::open::<u8>(x) }"),
        ["crate::bus::Engine", "std::fs::File", "redb::open"]
    );
    assert_eq!(
        paths("vec![$crate::bus::X]; x as std::fs::File"),
        ["crate::bus::X", "std::fs::File"]
    );
}

#[test]
fn names_on_their_own_and_members_are_no_paths() {
    assert_eq!(
        paths("let redb = self.tokio.redb::<u8>(crate); struct S { redb: X }"),
        [""; 0]
    );
    assert_eq!(paths("fn f() -> impl Sized + use<'_> {}"), [""; 0]);
}

#[test]
fn relative_paths_start_at_the_module_of_the_file() {
    assert_eq!(
        paths("use super::super::bus; use super::view; use self::group::Group; use super::*;"),
        [
            "crate::bus",
            "crate::store::view",
            "crate::store::journal::group::Group",
            "crate::store::*"
        ]
    );
    assert_eq!(
        paths_in("crates/edgebus/src/store/mod.rs", "use super::bus;"),
        ["crate::bus"]
    );
    assert_eq!(
        paths_in("crates/edgebus/src/store.rs", "use super::bus;"),
        ["crate::bus"]
    );
}

#[test]
fn inline_modules_move_the_start() {
    assert_eq!(
        paths("mod inner { fn f() { {} } use super::x; } use super::x;"),
        ["crate::store::journal::x", "crate::store::x"]
    );
}

#[test]
fn child_modules_are_resolved() {
    assert_eq!(
        paths_in(
            "crates/edgebus/src/lib.rs",
            "pub use bus::Bus; mod bus; mod store;"
        ),
        ["crate::bus::Bus"]
    );
}

#[test]
fn imported_names_are_resolved() {
    assert_eq!(
        paths("use std::time; use tokio as t; fn f() { time::Instant::now(); t::spawn(g); }"),
        [
            "std::time",
            "tokio",
            "std::time::Instant::now",
            "tokio::spawn"
        ]
    );
}

#[test]
fn imports_of_tests_do_not_touch_product_code() {
    let tokens = scan("fn f() { Engine::start() } use crate::bus::Engine;").tokens;
    let product_len = tokens.iter().position(|t| t.is_ident("use")).unwrap();
    let mut in_test = vec![false; tokens.len()];
    in_test[product_len..].fill(true);
    let collected = collect("crates/edgebus/src/store.rs", &tokens, &in_test);
    let product: Vec<_> = collected
        .iter()
        .filter(|p| !p.in_test)
        .map(PathUse::text)
        .collect();
    assert_eq!(product, ["Engine::start"]);
}

#[test]
fn prefixes_match_whole_segments_and_globs_around_them() {
    let path = |source: &str| {
        let tokens = scan(source).tokens;
        let in_test = vec![false; tokens.len()];
        collect("crates/edgebus/src/store.rs", &tokens, &in_test).remove(0)
    };
    assert!(path("use crate::bus;").names("crate::bus"));
    assert!(path("use crate::bus::x::Y;").names("crate::bus"));
    assert!(path("use crate::*;").names("crate::bus"));
    assert!(path("use std::time::*;").names("std::time::Instant"));
    assert!(!path("use crate::business;").names("crate::bus"));
    assert!(!path("use std::time;").names("std::time::Instant"));
    assert!(!path("use std::time::Duration;").names("std::time::Instant"));
    assert!(path("use std::thread::sleep;").ends_with("thread::sleep"));
    assert!(!path("use std::thread::sleeper;").ends_with("thread::sleep"));
}

#[test]
fn lines_are_those_of_the_name() {
    let tokens = scan("use crate::{\n    bus,\n    store,\n};").tokens;
    let in_test = vec![false; tokens.len()];
    let lines: Vec<_> = collect("src/a.rs", &tokens, &in_test)
        .iter()
        .map(|p| p.line)
        .collect();
    assert_eq!(lines, [2, 3]);
}

#[test]
fn unfinished_input_ends() {
    for source in [
        "use", "use a::", "use {", "use a as", "a::", "mod", "mod x {", "}", "use *",
    ] {
        let _ = paths(source);
    }
}
