//! Servers behind other doors than plain TCP: Unix sockets and TLS, and who comes in.

mod unix;
