//! The bus: one engine thread that is the only writer, and what leads to it.
//!
//! ```text
//!   MessageBus::send_to_server ─┐
//!   a connection ───────────────┼─▶ Lane ─▶ Queue ─▶ Engine ─▶ RequestStore ─▶ outcomes
//!   another connection ─────────┘   bounded     in turn    one group at a time     │
//!          ▲─────────────────────────────────────────────────────────────────────────┘
//! ```
//! In reading order: [`lane`] a sender's bounded way in, [`pool`] what lanes share; [`queue`] all lanes together, [`turns`] whose
//! turn it is; [`engine`] the writer as a step function; [`mod@steps`] all that is stepped, [`threads`] the threads that call the steps; [`message_bus`] the
//! handle that users hold.
//!
//! Invariants: only the engine's thread writes; an outcome is told only after its group's sync;
//! control operations never wait behind appends.

mod delivering;
mod dispatch;
mod engine;
mod feeder;
mod hub;
mod lane;
mod message_bus;
mod operating;
mod pool;
mod queue;
mod state;
mod steps;
#[cfg(test)]
mod tests;
mod threads;
mod turns;
mod waiters;
mod worker;

pub(crate) use dispatch::commands::OpenWorker;
pub use engine::{Engine, Turn};
pub use feeder::Feeder;
pub(crate) use lane::Sender;
pub use lane::{Lane, LaneConfig, Outcome, Submitted};
pub use message_bus::MessageBus;
pub(crate) use pool::{Pool, Share};
pub use queue::Queue;
pub use state::BusState;
pub use steps::{Sealing, Steps};
pub(crate) use worker::WorkerHandle;
