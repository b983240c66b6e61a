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
//! who may open it; [`upgrade`] how an earlier format becomes this one; [`request_store`] the whole;
//! [`backup`] a store as one file, and back.
//!
//! Called by the engine (writes), its sealer thread, and readers of any thread.
//!
//! Invariants: nothing is visible before its sync returned. After a failed write or sync nothing
//! is written any more. A block of the journal that holds acked bytes is never written again. The
//! new view is published before what it replaces is pruned.

mod backend;
pub mod backup;
mod block;
pub mod check;
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

use std::path::Path;

pub use dead_letter::{DeadLetter, NewLetter};
pub use error::StoreError;
pub use ids::Fingerprinter;
pub use journal::TornTail;
pub use reader::StoreReader;
pub use replay::Replay;
pub use request_store::{Admission, RequestStore, StageError, StoreConfig, TailRead};
pub use sealer::{SealStep, Sealer};

/// Store time (milliseconds since the store was made) and wall clock (unix milliseconds) of the last
/// group in the journal of a folder. For someone who does not own it: nothing is changed and nothing
/// is told about damage; a journal that cannot be read, or is changed meanwhile, gives `None`.
pub fn last_group_times(dir: &Path) -> Option<(u64, u64)> {
    let journal = dir.join("journal");
    let times = journal::look(&crate::files::RealFiles, &journal, |_, _, _| Ok(())).ok()?;
    (times.1 > 0).then_some(times)
}
