//! Client and server over real sockets, and, where it makes sense, over memory as well.

pub(crate) mod fixture;

mod either;

mod bad_records;
mod flood;
mod frames;
mod handshake;

mod limits;
mod lost;
mod stopping;
