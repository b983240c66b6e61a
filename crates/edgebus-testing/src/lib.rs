//! What tests of edgebus share that must not come from the product: a network that fails as its
//! seed says, and a check of what clients were told against what is stored.
//!
//! - [`proxy`]: stands between clients and a server, and cuts, delays, halves, stalls, refuses
//! - [`history`]: what each client asked and how it ended, and the promises that follow
//! - [`till`]: clients that ask in all the ways there are
//!
//! The proxy and the check use `edgebus-core` alone, for the form of frames and records: what a
//! client or a server believes of itself proves nothing.

mod dice;
pub mod history;
pub mod proxy;
pub mod till;

pub use dice::{Dice, seeds};
pub use history::{Ended, History, Outcomes};
pub use proxy::{Faults, Proxy, Weather};
