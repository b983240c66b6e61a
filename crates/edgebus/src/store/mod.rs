//! The store: what is on disk, and the only code that puts it there.
//!
//! ```text
//!   stage ──▶ journal (one write + one sync a group) ──▶ overlay (synced, in memory)
//!                                                            │ sealer
//!                                                            ▼
//!             readers ──▶ view = sealed tables (redb) + overlays above them
//! ```
//! In reading order: [`op`] a change of state as bytes; [`journal`] where it becomes durable;
//! [`overlay`] where it waits in memory; [`block`], [`ids`], [`tables`] how it looks in redb;
//! [`sealed`] and [`view`] how it is read; [`sealer`] how it gets from the journal to redb;
//! [`folder`] who may open it; [`request_store`] the whole.
//!
//! Called by the engine (writes), its sealer thread, and readers of any thread.
//!
//! Invariants: nothing is visible before its sync returned. After a failed write or sync nothing
//! is written any more. A block of the journal that holds acked bytes is never written again. The
//! new view is published before what it replaces is pruned.

mod backend;
mod block;
mod error;
mod folder;
mod gate;
mod generations;
mod ids;
mod journal;
mod op;
mod overlay;
mod request_store;
mod sealed;
mod sealer;
mod store_time;
mod tables;
mod view;

pub use error::StoreError;
pub use ids::Fingerprinter;
pub use journal::TornTail;
pub use op::DeadLetter;
pub use request_store::{Admission, RequestStore, StageError, StoreConfig};
pub use sealer::{SealStep, Sealer};
pub use view::{Replay, StoreReader};
