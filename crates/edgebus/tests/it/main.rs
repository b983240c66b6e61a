//! The library as its users see it, on real files.

#![allow(clippy::unwrap_used)]

mod access;

mod blocking;

mod bus;

mod client;

mod chaos;

mod delivery;

mod examples;

mod protocol;

mod spool;

mod store;

mod tcp;

mod tls;
