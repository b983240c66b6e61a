//! Proof on the real binary: real processes, real files, the real client over TCP, and what goes
//! wrong for real.
//!
//! In reading order: [`failure`] why a command ends; [`tools`] what of the system it needs;
//! [`interrupt`] how it ends early; [`binary`] and [`server`] the server as a child process.
//!
//! Invariants: whatever was started, mounted or attached is ended by its own id on every way out,
//! as its owner's `Drop` does so. All waiting is bounded. What can follow from the seed does; when
//! what happens is up to the machine, so a run is repeated in kind, not to the byte. Nothing here
//! decides what was promised: that is the checker's.

pub mod failure;

pub mod tools;

pub mod interrupt;

pub mod binary;

pub mod server;

pub mod load;

pub mod ending;

pub mod figures;

pub mod crash;

pub mod ready;

pub mod stopped;

pub mod mounted;

pub mod snapshots;

pub mod strace;

pub mod inject;

pub mod full_disk;

pub mod soak;

pub use failure::Failure;
