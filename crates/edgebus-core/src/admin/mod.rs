//! What operators ask a server to do, and what it answers: the same for the bus, the wire, the
//! command line and HTTP.
//!
//! In reading order: [`question`] what may be asked; [`letters`] dead letters and how they are
//! chosen; [`answer`] what is answered.
//!
//! Invariant: nothing here acts. [`Admin::check`] refuses what makes no sense; whoever takes an
//! [`Admin`] from outside calls it.

pub mod answer;
pub mod letters;
pub mod question;

pub use answer::{BackupPart, ClientInfo, ConsumerInfo, Managed, RequestState};
pub use letters::{DeadLetterFilter, DeadLetterRow, LetterState};
pub use question::{Admin, NEXT_MAX, NEXT_WAIT_MS_MAX, Position};

pub use crate::consumer::Delivery;
