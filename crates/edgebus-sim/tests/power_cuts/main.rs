//! The real store, and the real spool, on a disk that loses power, fails, or is full.
//!
//! Every run follows from one number. A failure prints it; `EDGEBUS_SEED=<number>` runs that one
//! alone. `EDGEBUS_SEEDS=100000` tries so many.

#![allow(clippy::unwrap_used)]

mod model;

mod process;

mod machine;

mod consumers;

mod cuts;

mod faults;

mod full_disk;

mod restore;

mod spool;

mod upgrade;
