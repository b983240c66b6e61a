//! The examples, as the programs that people copy. `cargo test -p edgebus` builds them; `cargo test --test it`
//! alone takes them as they were built last.

mod embedded;
mod process;
mod till;
mod worker;
