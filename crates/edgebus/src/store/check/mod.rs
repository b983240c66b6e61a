//! Looking at a whole store that nobody has open: is every byte that counts what was written?
//!
//! In reading order: [`report`] what is said; [`pages`], [`header`] and [`nodes`] the file of the tables, without redb;
//! [`tables`] which tables there are and what `metadata` says; [`log`] and [`ids`] the requests and
//! who asks for them; [`rows`] replies, consumers, dead letters; [`journal`] what is not in the tables
//! yet; [`heal`], [`plan`], [`patched`] and [`repair`] what can be put right.
//!
//! Called by operators' tools, and by the simulator. Invariants: looking changes nothing in the folder. It
//! works through whatever it finds, also what no store opens, and names each place; it never stops
//! at the first. Memory is bounded by a window of the log, not by the store.

mod header;
mod heal;
mod ids;
mod journal;
mod log;
mod nodes;
mod pages;
mod patched;
mod plan;
mod repair;
mod report;
mod rows;
mod tables;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use edgebus_core::{Code, Lsn, Refusal, Seq};

pub use repair::{Patch, Repair};
pub use report::{Finding, Lost, Severity, Summary, Watch};

use super::StoreError;
use super::folder::{FolderLock, Kind, SPOOL, STORE, lock_to_look, read_version, store_id};
use super::ids::Fingerprinter;
use crate::files::{File, Files, OpenMode};
pub(crate) use journal::Owner;

/// Looks at every byte that counts of the store in a folder, which nobody may have open, and changes
/// none. Tells what is wrong as it is found, and in the end how much was looked at.
///
/// # Errors
/// [`StoreError::DataInUse`], [`StoreError::NewerFormat`], [`StoreError::WrongKind`],
/// [`Code::NotFound`] when there is no store, or what the operating system says. Damage is no error.
pub fn check(
    dir: &Path,
    files: &Arc<dyn Files>,
    watch: &mut dyn Watch,
) -> Result<Summary, StoreError> {
    let mut check = Check::new(dir, files, watch);
    let _lock = check.folder(&STORE)?;
    let known = check.tables()?;
    check.journal(Owner::Store(known))?;
    Ok(check.finish())
}

/// A check under way.
pub(crate) struct Check<'a> {
    dir: &'a Path,
    files: &'a Arc<dyn Files>,
    watch: &'a mut dyn Watch,
    summary: Summary,
    all_bytes: u64,
}

/// What the tables say of the whole store; only when `metadata` can be trusted.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(super) sealed: Lsn,
    pub(super) first_seq: Seq,
    pub(super) last_seq: Seq,
    pub(super) keys: Fingerprinter,
}

impl<'a> Check<'a> {
    pub(crate) fn new(dir: &'a Path, files: &'a Arc<dyn Files>, watch: &'a mut dyn Watch) -> Self {
        Self {
            dir,
            files,
            watch,
            summary: Summary::default(),
            all_bytes: 0,
        }
    }

    /// Locks the folder and looks at VERSION.
    pub(crate) fn folder(&mut self, kind: &Kind) -> Result<FolderLock, StoreError> {
        let names = match self.files.list(self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            other => other.map_err(|e| StoreError::io("list", self.dir, e))?,
        };
        if !names
            .iter()
            .any(|name| name == "VERSION" || name == "store.redb")
        {
            let what = format!(
                "there is neither a store nor a spool in {}: name its folder",
                self.dir.display()
            );
            return Err(Refusal::new(Code::NotFound, what).into());
        }
        // A newer version may lock in another way, so its mark is looked at first of all.
        match read_version(&**self.files, self.dir, kind) {
            // It may be a spool's just as well: that has no tables.
            Err(StoreError::Corrupt { .. })
                if kind.word == STORE.word && !names.iter().any(|name| name == "store.redb") =>
            {
                return Err(StoreError::WrongKind {
                    path: self.dir.to_owned(),
                    found: SPOOL.name,
                    wanted: STORE.name,
                });
            }
            Err(StoreError::Corrupt { .. }) => {}
            other => drop(other?),
        }
        let lock = lock_to_look(&**self.files, self.dir)?;
        self.version(kind)?;
        Ok(lock)
    }

    /// Looks at VERSION.
    fn version(&mut self, kind: &Kind) -> Result<(), StoreError> {
        let path = self.dir.join("VERSION");
        let version = match read_version(&**self.files, self.dir, kind) {
            Err(StoreError::Corrupt { detail, .. }) => Err(detail),
            other => Ok(other?),
        };
        let bytes = self
            .files
            .open(&path, OpenMode::Read)
            .and_then(|file| file.len());
        let bytes = bytes.unwrap_or(0);
        self.watch.in_use(&path, 0, bytes, "VERSION");
        let what = match version {
            Ok(Some((_, lines))) if store_id(&lines).is_some() => return Ok(()),
            Ok(Some(_)) => "the second line does not name the store's id".to_owned(),
            Ok(None) => "the file is missing".to_owned(),
            Err(detail) => detail,
        };
        self.damage(Place::file("version", &path).at(0), what, Lost::default());
        Ok(())
    }

    /// Says that it is done, and what was looked at.
    pub(crate) fn finish(self) -> Summary {
        let bytes = self.summary.bytes;
        self.watch.progress(bytes, bytes);
        self.summary
    }

    /// Whether nothing was found that is wrong.
    pub(crate) fn is_sound(&self) -> bool {
        self.summary.is_sound()
    }

    /// Something is wrong as a whole, at a place that a failure names.
    pub(crate) fn refused(&mut self, kind: &'static str, path: &Path, detail: String) {
        self.damage(Place::file(kind, path), detail, Lost::default());
    }

    /// Opens a file to look at what is on disk.
    fn open(&self, path: &Path) -> Result<Arc<dyn File>, std::io::Error> {
        let file = self.files.open(path, OpenMode::Read)?;
        // What memory holds may be newer than what a power cut leaves; some file systems cannot tell.
        let _ = file.drop_cache();
        Ok(file)
    }

    fn damage(&mut self, place: Place, what: impl Into<String>, lost: Lost) {
        self.summary.damages += 1;
        self.watch
            .found(place.finding(Severity::Damage, what.into(), lost));
    }

    fn note(&mut self, place: Place, what: impl Into<String>) {
        self.summary.notes += 1;
        let finding = place.finding(Severity::Note, what.into(), Lost::default());
        self.watch.found(finding);
    }

    fn looked_at(&mut self, bytes: u64) {
        self.summary.bytes += bytes;
        let done = self.summary.bytes.min(self.all_bytes);
        self.watch.progress(done, self.all_bytes);
    }
}

/// Where something is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    kind: &'static str,
    file: PathBuf,
    byte: Option<u64>,
    table: Option<String>,
    key: Option<String>,
}

impl Place {
    fn file(kind: &'static str, file: &Path) -> Self {
        Self {
            kind,
            file: file.to_owned(),
            byte: None,
            table: None,
            key: None,
        }
    }

    fn at(mut self, byte: u64) -> Self {
        self.byte = Some(byte);
        self
    }

    fn table(mut self, table: &str) -> Self {
        self.table = Some(table.to_owned());
        self
    }

    fn key(mut self, key: impl ToString) -> Self {
        self.key = Some(key.to_string());
        self
    }

    fn finding(self, severity: Severity, what: String, lost: Lost) -> Finding {
        Finding {
            severity,
            kind: self.kind,
            file: self.file,
            byte: self.byte,
            table: self.table,
            key: self.key,
            what,
            lost,
        }
    }
}
