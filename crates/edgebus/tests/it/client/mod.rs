//! Clients whose server goes away and comes back.

mod fixture;

mod cancel;
mod odd;
mod questions;
mod sends;
mod spooling;
mod spooling_servers;
mod states;
mod streams;
