//! A store as one file, taken while it is being written, and a store made of such a file.
//!
//! In reading order: [`format`] the bytes; [`capture`] what changes meanwhile; [`copy`] the way
//! through a store, page by page; [`cut`] the moment that is kept; [`file`] reading such a file;
//! [`restore`] making a store of it, with [`build`] for its tables.
//!
//! What was written once never changes: requests, ids, first replies. So most of a store is copied
//! first, however long that takes, a piece under each view; what is sealed meanwhile, and concerns
//! what was copied, is noted and copied again. Once nothing is left, everything above the tables is
//! taken at one moment, with all consumers and figures: that is the state that is kept.
//!
//! Invariants: a backup holds what was on disk at one lsn, and nothing newer. No view is held
//! between two pages, and the writer is held up for as long as it takes to copy the consumers. A
//! folder opens as a store only when all of it was written and read again.

mod build;
mod capture;
mod copy;
mod cut;
mod file;
mod format;
mod restore;

pub(super) use capture::Capture;
pub use copy::{Backup, BackupPage};
pub use file::{BackupContents, BackupFile};
pub use restore::{Identity, Restored, restore};
