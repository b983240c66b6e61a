//! The binary as a user meets it: real processes, real sockets, real files.
//!
//! Nothing sleeps: a server is waited for by the line it prints, a command by its end.

mod support;

mod crash;
mod log;
mod refusals;
mod send;
mod send_file;
mod serve;
