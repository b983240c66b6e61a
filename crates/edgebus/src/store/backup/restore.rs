//! A store made of a backup.
//!
//! The folder says that it holds an unfinished restore before anything else is in it, and that it is
//! a store when all was written, synced, and read again: a power cut leaves the one or the other, and
//! the former is opened by nobody.
//!
//! Invariant: nothing that is there is overwritten.

use std::path::Path;
use std::sync::Arc;

use edgebus_core::{Code, Lsn, Refusal, Seq};

use super::build::{Build, Figures};
use super::file::BackupFile;
use crate::files::Files;
use crate::host;
use crate::store::StoreError;
use crate::store::consumers::Consumers;
use crate::store::folder::{self, RESTORING, STORE};
use crate::store::journal::{Journal, Segments};
use crate::store::tables::{TablesFile, verify};

/// Which store a restored one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Another one than the backup is of: clients do not take it for that, and what they have
    /// undecided is unknown to them.
    New,
    /// The very one: right only when the other one never runs again.
    Same,
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// The id of the store that was made.
    pub store_id: [u8; 16],
    /// The last change that is in it.
    pub lsn: Lsn,
    /// The first request that is kept: above the last one when none is.
    pub first_seq: Seq,
    /// The last request that was stored.
    pub last_seq: Seq,
    /// Requests in the log.
    pub requests: u64,
    /// Request ids that are known.
    pub ids: u64,
    /// Replies.
    pub replies: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Consumers.
    pub consumers: u64,
}

/// Names that a folder may have in it and count as empty: of a mount, and of a start or restore
/// that was cut off before it had done anything.
const NOTHING: [&str; 3] = ["lost+found", "LOCK", "VERSION.new"];
/// Memory redb may take to cache pages.
const CACHE_BYTES: usize = 64 * 1024 * 1024;
/// Size of the journal's first segment, in which nothing is ever written: it says where the journal
/// begins.
const SEGMENT_BYTES: u64 = 16 * 1024;

/// Makes a store of a backup in a folder that is missing or empty. `progress` is told how many bytes
/// of how many of the backup were done.
///
/// # Errors
/// [`Code::BadConfig`] when the folder is not empty; [`Code::Corrupt`] when the backup's parts do not
/// fit each other; [`StoreError::Full`] and what else the operating system says. The folder is
/// then no store, and what is in it can be removed.
pub fn restore(
    files: &Arc<dyn Files>,
    backup: &BackupFile,
    dir: &Path,
    identity: Identity,
    progress: impl FnMut(u64, u64),
) -> Result<Restored, StoreError> {
    files
        .create_dir(dir)
        .map_err(|e| StoreError::io("create", dir, e))?;
    refuse_unless_empty(&**files, dir)?;
    let _lock = folder::lock(&**files, dir)?;
    // Somebody may have been faster.
    refuse_unless_empty(&**files, dir)?;
    folder::sync_parents(&**files, dir)?;
    folder::write_version(&**files, dir, &RESTORING, "")?;

    let tables = TablesFile {
        files: files.clone(),
        path: dir.join("store.redb"),
        cache_bytes: CACHE_BYTES,
    };
    let mut figures = Figures::default();
    tables.create_with(dir, |database, path| {
        figures = Build::new(backup, database, path).run(progress)?;
        Ok(())
    })?;
    begin_journal(files, dir, backup.state.lsn())?;
    read_again(&tables, &figures)?;

    let id = match identity {
        Identity::New => host::random_uuid().into_bytes(),
        Identity::Same => backup.store_id(),
    };
    let line = format!("id {}\n", uuid::Uuid::from_bytes(id));
    folder::write_version(&**files, dir, &STORE, &line)?;
    let state = &backup.state;
    Ok(Restored {
        store_id: id,
        lsn: state.lsn(),
        first_seq: Seq(state.first_seq),
        last_seq: Seq(state.last_seq),
        requests: state.last_seq + 1 - state.first_seq,
        ids: figures.ids,
        replies: figures.replies,
        dead_letters: figures.dead_letters,
        consumers: figures.consumers,
    })
}

fn refuse_unless_empty(files: &dyn Files, dir: &Path) -> Result<(), StoreError> {
    let names = files
        .list(dir)
        .map_err(|e| StoreError::io("list", dir, e))?;
    match names.iter().find(|name| !NOTHING.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            // What it says of a restore that was cut off is more to the point.
            folder::read_version(files, dir, &STORE)?;
            let what = format!(
                "{} is not empty ({name} is in it): a restore overwrites nothing, name another folder",
                dir.display()
            );
            Err(Refusal::new(Code::BadConfig, what).into())
        }
    }
}

/// An empty journal that goes on behind the tables.
fn begin_journal(files: &Arc<dyn Files>, dir: &Path, lsn: Lsn) -> Result<(), StoreError> {
    let journal = dir.join("journal");
    files
        .create_dir(&journal)
        .map_err(|e| StoreError::io("create", &journal, e))?;
    let segments = Segments::none(SEGMENT_BYTES);
    let mut journal = Journal::new(files.clone(), &journal, Arc::new(segments), 1, lsn);
    journal.reserve(0, lsn.next(), 0)?;
    files
        .sync_dir(dir)
        .map_err(|e| StoreError::io("sync", dir, e))
}

/// Reads from the disk what a start would read.
fn read_again(tables: &TablesFile, figures: &Figures) -> Result<(), StoreError> {
    let (database, _held) = tables.look()?;
    let consumers = tables.guard(|| {
        verify(&database)?;
        Consumers::load(&database)
    })?;
    let read = (
        consumers.letters.count(),
        consumers.ledgers.by_name.len() as u64,
    );
    if read == (figures.dead_letters, figures.consumers) {
        return Ok(());
    }
    let what = "what was written is not what is read again: look at the disk";
    Err(StoreError::corrupt(&tables.path, what))
}
