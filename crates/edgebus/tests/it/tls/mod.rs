//! Servers behind other doors than plain TCP: Unix sockets and TLS, and who comes in.

mod authority;
mod fixture;

mod files;
mod foreign;
mod handshake;
mod pace;
mod refusals;
mod reloading;
mod unix;
