//! The client without async, from plain threads, against a real server over TCP.

pub(crate) mod fixture;

mod calls;
mod handlers;
mod spooling;
mod threads;
mod work;
