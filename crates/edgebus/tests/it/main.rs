//! The library as its users see it, on real files.

#![allow(clippy::unwrap_used)]

mod bus;

mod delivery;

mod protocol;

mod spool;

mod store;

mod tcp;
