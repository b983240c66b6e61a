//! The bus: many senders, one writer, and what it promises when the disk is slow, full or broken.

pub(crate) mod files;
pub(crate) mod fixture;

mod senders;
mod sync;

mod faults;
mod full_disk;

mod groups;
mod lanes;

mod controls;
mod crashing_handler;
mod stopping;
