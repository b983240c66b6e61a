//! The folder of a spool: who may open it, and that it is one.
//!
//! ```text
//!  LOCK         held while a process has the spool open
//!  VERSION      "edgebus-spool 1\nid <uuid>\ncrc32c <8 hex digits>\n"; written last when a spool is made
//!  journal/     the journal
//! ```

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use edgebus_core::{Code, Refusal};

use crate::files::Files;
use crate::host;
use crate::store::StoreError;
use crate::store::folder::{FolderLock, SPOOL, lock, read_version, sync_parents, write_version};

/// An open, locked folder.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) journal: PathBuf,
    /// It was not marked as a spool yet: what is in it is left of an interrupted start.
    pub(super) is_new: bool,
    dir: PathBuf,
    /// Held as long as the spool is open.
    _lock: FolderLock,
}

impl Folder {
    /// Locks a folder, making it if it is missing. A new one is [`Folder::mark`]ed last.
    pub(super) fn open(files: &dyn Files, dir: &Path) -> Result<Self, StoreError> {
        files
            .create_dir(dir)
            .map_err(|e| StoreError::io("create", dir, e))?;
        let journal = dir.join("journal");
        // Another version may lock in another way, so its mark is looked at first of all.
        read_version(files, dir, &SPOOL)?;
        let lock = lock(files, dir)?;
        // Again, as who had the lock may just have made it.
        let is_new = read_version(files, dir, &SPOOL)?.is_none();
        if is_new {
            files
                .create_dir(&journal)
                .map_err(|e| StoreError::io("create", &journal, e))?;
            sync_parents(files, dir)?;
        }
        // An earlier start may have ended, or failed, before the last name was on disk.
        files
            .sync_dir(dir)
            .map_err(|e| StoreError::io("sync", dir, e))?;
        Ok(Self {
            journal,
            is_new,
            dir: dir.to_owned(),
            _lock: lock,
        })
    }

    /// Marks it as a spool, once its journal is there.
    pub(super) fn mark(&mut self, files: &dyn Files) -> Result<(), StoreError> {
        let id = format!("id {}\n", host::random_uuid());
        write_version(files, &self.dir, &SPOOL, &id)?;
        self.is_new = false;
        Ok(())
    }
}

/// The journal of a folder that is looked at and not opened.
pub(super) fn look(files: &dyn Files, dir: &Path) -> Result<PathBuf, StoreError> {
    match read_version(files, dir, &SPOOL) {
        Ok(Some(_)) => Ok(dir.join("journal")),
        Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => none(dir),
        Err(error) => Err(error),
        Ok(None) => none(dir),
    }
}

fn none(dir: &Path) -> Result<PathBuf, StoreError> {
    let what = format!("{} holds no spool: name another folder", dir.display());
    Err(Refusal::new(Code::NotFound, what).into())
}
