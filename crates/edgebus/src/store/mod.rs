//! The store: what is on disk, and the only code that puts it there.
//!
//! ```text
//!   stage ──▶ journal (one write + one sync a group) ──▶ overlay (synced, in memory)
//!                                                            │ sealer
//!                                                            ▼
//!             readers ──▶ view = sealed tables (redb) + overlays above them
//! ```
//! In reading order: [`op`] and [`dead_letter`] a change of state as bytes; [`journal`] where it
//! becomes durable; [`overlay`] where it waits in memory; [`consumers`] what is known of consumers;
//! [`block`], [`ids`], [`tables`] how it looks in redb; [`sealed`], [`view`] and [`reader`] how it is
//! read; [`sealer`] how it gets from the journal to redb; [`front`] what retention knows; [`folder`]
//! who may open it; [`upgrade`] how an earlier format becomes this one; [`request_store`] the whole.
//!
//! Called by the engine (writes), its sealer thread, and readers of any thread.
//!
//! Invariants: nothing is visible before its sync returned. After a failed write or sync nothing
//! is written any more. A block of the journal that holds acked bytes is never written again. The
//! new view is published before what it replaces is pruned.

mod backend;
mod block;
mod consumers;
pub(crate) mod dead_letter;
mod error;
pub(crate) mod folder;
mod front;
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod generations;
mod ids;
pub(crate) mod journal;
pub(crate) mod op;
mod overlay;
mod reader;
mod replay;
mod request_store;
mod sealed;
mod sealer;
pub(crate) mod store_time;
mod tables;
mod upgrade;
mod view;

pub use dead_letter::{DeadLetter, NewLetter};
pub use error::StoreError;
pub use ids::Fingerprinter;
pub use journal::TornTail;
pub use reader::StoreReader;
pub use replay::Replay;
pub use request_store::{Admission, RequestStore, StageError, StoreConfig, TailRead};
pub use sealer::{SealStep, Sealer};
