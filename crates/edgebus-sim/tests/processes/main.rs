//! The real binary under the proofs that take moments; the long runs are commands.

mod crash;
