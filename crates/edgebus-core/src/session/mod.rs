//! Who may say what when on a connection: one pure state machine for each end.
//!
//! Frames go in, decisions come out. Transports only move frames; the client and the server only
//! act on decisions. Neither machine reads a clock or a socket.

mod client;
mod server;
#[cfg(test)]
mod tests;

pub use client::{ClientSession, Event as ClientEvent, Waiting};
pub use server::{
    Outcome, ServerLimits, ServerSession, SettleAnswer, Step, deliver_frames, frames_for,
    notify_frames,
};
