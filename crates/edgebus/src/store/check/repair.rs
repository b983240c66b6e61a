//! Putting right what can be put right without losing anything, and nothing else.
//!
//! What is planned is a list of single bytes, each with its proof: a checksum that matches again with
//! it ([`super::plan`]). It is looked at as a whole, through files that only seem changed, before anything
//! is changed. Then the files concerned are copied to a folder of their own, which is on disk first.
//! A power cut in between leaves some bytes put right and the others not: what is left is planned
//! and done again.
//!
//! What is damaged beyond that is not touched. A request, a reply or a dead letter that cannot be
//! read is refused to whoever asks for it, which is better than a store that has forgotten that there
//! was one; a journal that has lost what was acknowledged stays shut, as its requests would be run
//! again, or their numbers given to others. For that there are backups.
//!
//! One thing is taken away: damaged segments of the journal of which the tables have everything, and
//! which would have been freed.
//!
//! Invariants: nothing is written before the originals are on disk; a folder of originals is never
//! written to again.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::patched::Patched;
use super::plan::Planner;
use super::{Check, Owner, Summary, Watch};
use crate::files::{Files, OpenMode};
use crate::store::StoreError;
use crate::store::folder::{FolderLock, Kind, SPOOL, STORE, lock_to_look};

/// How often damage may hide behind damage.
const ROUNDS_MAX: usize = 1_000;
/// Bytes copied at a time.
const COPY_BYTES: usize = 1024 * 1024;
/// Room that is left on the disk beside the copies, in bytes.
const ROOM_BYTES: u64 = 1024 * 1024;

/// What would put a store, or a spool, right. Nothing was changed yet; the folder stays locked.
#[derive(Debug)]
pub struct Repair {
    dir: PathBuf,
    files: Arc<dyn Files>,
    patches: Vec<Patch>,
    /// Segments that go, oldest first.
    superseded: Vec<PathBuf>,
    after: Summary,
    _lock: FolderLock,
}

/// A byte that is to be another one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Patch {
    /// The file.
    pub file: PathBuf,
    /// Where in it.
    pub byte: u64,
    /// What is there.
    pub is: u8,
    /// What was written.
    pub was: u8,
    /// What it belongs to, for people.
    pub what: String,
}

impl Repair {
    /// Finds out what can be put right, and tells what would be wrong still. Changes nothing.
    ///
    /// # Errors
    /// As [`super::check`].
    pub fn plan(
        dir: &Path,
        files: &Arc<dyn Files>,
        watch: &mut dyn Watch,
    ) -> Result<Self, StoreError> {
        let kind = kind_of(dir, &**files)?;
        let lock = lock_to_look(&**files, dir)?;
        let patched = Arc::new(Patched::over(files.clone()));
        let seen: Arc<dyn Files> = patched.clone();
        let mut planner = Planner {
            dir,
            files: &*seen,
            found: Vec::new(),
        };
        let mut patches: Vec<Patch> = Vec::new();
        for _ in 0..ROUNDS_MAX {
            planner.round(&kind)?;
            // What was put right is right, so the same byte comes only once.
            let new = planner
                .found
                .drain(..)
                .filter(|patch| !patches.contains(patch));
            let new: Vec<Patch> = new.collect();
            if new.is_empty() {
                break;
            }
            for patch in &new {
                patched.put(&patch.file, patch.byte, patch.was);
            }
            patches.extend(new);
        }
        let mut check = Check::new(dir, &seen, watch);
        check.version(&kind)?;
        let mut superseded = Vec::new();
        let owner = match kind.word == SPOOL.word {
            true => Owner::Spool,
            false => {
                let known = check.tables()?;
                if let Some(known) = &known {
                    superseded = planner.superseded(known.sealed)?;
                    superseded.iter().for_each(|path| patched.hide(path));
                }
                Owner::Store(known)
            }
        };
        check.journal(owner)?;
        Ok(Self {
            dir: dir.to_owned(),
            files: files.clone(),
            patches,
            superseded,
            after: check.finish(),
            _lock: lock,
        })
    }

    /// The bytes that are to be changed.
    pub fn patches(&self) -> &[Patch] {
        &self.patches
    }

    /// Damaged segments of the journal that are to go: the tables have all that they held.
    pub fn superseded(&self) -> &[PathBuf] {
        &self.superseded
    }

    /// Whether there is nothing to be done.
    pub fn is_empty(&self) -> bool {
        self.patches.is_empty() && self.superseded.is_empty()
    }

    /// What a check would say afterwards.
    pub fn after(&self) -> &Summary {
        &self.after
    }

    /// Copies the files concerned to a folder `repair-`*n* beside them, and then changes the bytes and
    /// removes what is superseded.
    /// Returns that folder. Everything is on disk when this returns.
    ///
    /// # Errors
    /// [`StoreError::Full`] when there is no room for the copies, or what the operating system says:
    /// then some bytes may be changed and the others not.
    pub fn apply(self) -> Result<PathBuf, StoreError> {
        let patched = self.patches.iter().map(|patch| &patch.file);
        let mut concerned: Vec<&Path> = patched
            .chain(&self.superseded)
            .map(PathBuf::as_path)
            .collect();
        concerned.sort_unstable();
        concerned.dedup();
        let mut needed = ROOM_BYTES;
        for path in &concerned {
            let file = self.files.open(path, OpenMode::Read);
            let len = file.and_then(|file| file.len());
            needed += len.map_err(|e| StoreError::io("measure", path, e))?;
        }
        // A file system that cannot tell says so when it is full.
        if self
            .files
            .free_bytes(&self.dir)
            .is_ok_and(|free| free < needed)
        {
            let path = self.dir.clone();
            return Err(StoreError::Full { path });
        }
        let kept = self.new_folder()?;
        for path in &concerned {
            self.keep(path, &kept)?;
        }
        let list = self.patches.iter().map(|patch| {
            let Patch {
                file,
                byte,
                is,
                was,
                what,
            } = patch;
            format!(
                "{}\tbyte {byte}\t{is:#04x} -> {was:#04x}\t{what}\n",
                file.display()
            )
        });
        self.write_new(
            &kept.join("changes.txt"),
            list.collect::<String>().as_bytes(),
        )?;
        for folder in [&kept, &kept.join("journal"), &self.dir] {
            let synced = self.files.sync_dir(folder);
            synced.map_err(|e| StoreError::io("sync", folder, e))?;
        }
        for path in &concerned {
            let file = self.files.open(path, OpenMode::Existing);
            let file = file.map_err(|e| StoreError::io("open", path, e))?;
            for patch in self.patches.iter().filter(|patch| patch.file == *path) {
                let written = file.write_at(&[patch.was], patch.byte);
                written.map_err(|e| StoreError::io("write", path, e))?;
            }
            file.sync().map_err(|e| StoreError::sync(path, e))?;
        }
        // Oldest first, so that what is left has no gap.
        let journal = self.dir.join("journal");
        for path in &self.superseded {
            let removed = self.files.remove(path);
            removed.map_err(|e| StoreError::io("remove", path, e))?;
            let synced = self.files.sync_dir(&journal);
            synced.map_err(|e| StoreError::io("sync", &journal, e))?;
        }
        Ok(kept)
    }

    /// A folder that was not there.
    fn new_folder(&self) -> Result<PathBuf, StoreError> {
        for number in 1u64.. {
            let path = self.dir.join(format!("repair-{number}"));
            let is_there = match self.files.list(&path) {
                Ok(names) => !names.is_empty(),
                Err(error) if error.kind() == ErrorKind::NotFound => false,
                Err(_) => true,
            };
            if !is_there {
                let journal = path.join("journal");
                let made = self.files.create_dir(&journal);
                made.map_err(|e| StoreError::io("create", &journal, e))?;
                return Ok(path);
            }
        }
        Err(StoreError::Full {
            path: self.dir.clone(),
        })
    }

    /// Copies a file, and syncs it.
    fn keep(&self, path: &Path, kept: &Path) -> Result<(), StoreError> {
        let name = path.strip_prefix(&self.dir).unwrap_or(path);
        let copy = kept.join(name);
        let read = |e| StoreError::io("read", path, e);
        let write = |e| StoreError::io("write", &copy, e);
        let from = self.files.open(path, OpenMode::Read).map_err(read)?;
        let to = self.files.open(&copy, OpenMode::Truncate).map_err(write)?;
        let len = from.len().map_err(read)?;
        let mut buffer = vec![0; COPY_BYTES.min(len as usize)];
        let mut at = 0;
        while at < len {
            let part = &mut buffer[..(len - at).min(COPY_BYTES as u64) as usize];
            from.read_at(part, at).map_err(read)?;
            to.write_at(part, at).map_err(write)?;
            at += part.len() as u64;
        }
        to.sync().map_err(|e| StoreError::sync(&copy, e))
    }

    fn write_new(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let write = |e| StoreError::io("write", path, e);
        let file = self.files.open(path, OpenMode::Truncate).map_err(write)?;
        file.write_at(bytes, 0).map_err(write)?;
        file.sync().map_err(|e| StoreError::sync(path, e))
    }
}

/// What the folder holds. A damaged VERSION says nothing; the tables do.
fn kind_of(dir: &Path, files: &dyn Files) -> Result<Kind, StoreError> {
    let names = match files.list(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        other => other.map_err(|e| StoreError::io("list", dir, e))?,
    };
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    Ok(
        match has("journal") && !has("store.redb") && has("VERSION") {
            true => SPOOL,
            false => STORE,
        },
    )
}
