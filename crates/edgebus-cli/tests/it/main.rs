//! The binary as a user meets it: real processes, real sockets, real files.
//!
//! Nothing sleeps: a server is waited for by the line it prints, a command by its end.

mod background;

mod backup;
mod openssl;
mod shop;
mod support;

mod access;
mod cert;
mod chaos;
mod check;
mod config;
mod consumer;
mod crash;
mod dlq;
mod guests;
mod hangup;
mod log;
mod newer;
mod operations;
mod publish;
mod refusals;
mod reply;
mod reply_lost;
mod request;
mod rights;
mod rotation;
mod send;
mod send_file;
mod send_spool;
mod serve;
mod spool;
mod tls_config;
