//! The data folder: who may open it, and in which format it is.
//!
//! ```text
//!  LOCK         held while a process has the folder open
//!  VERSION      "edgebus-store 2\nid <uuid>\ncrc32c <8 hex digits>\n"; written last when a store is made
//!  store.redb   the tables
//!  journal/     the journal
//! ```

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use edgebus_core::{Code, Refusal};

use super::StoreError;
use super::tables::{FORMAT_VERSION, TablesFile};
use crate::files::{File, Files, OpenMode};
use crate::host;

/// What a folder holds, as the first word of its VERSION says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// For people.
    pub(crate) name: &'static str,
    /// Before the format.
    pub(crate) word: &'static str,
    /// The newest format this code knows.
    pub(crate) newest: u32,
}

/// Every kind there is, so that one is not taken for the other.
const KINDS: [Kind; 3] = [STORE, SPOOL, RESTORING];

/// What this is about.
pub(super) const STORE: Kind = Kind {
    name: "a store",
    word: "edgebus-store",
    newest: FORMAT_VERSION,
};

/// A client's own requests, on their way to a server.
pub(crate) const SPOOL: Kind = Kind {
    name: "a spool",
    word: "edgebus-spool",
    newest: 1,
};

/// A store that is being made of a backup: no version opens it, and none makes a new one in its
/// place.
pub(super) const RESTORING: Kind = Kind {
    name: "an unfinished restore",
    word: "edgebus-restoring",
    newest: 1,
};

/// An open, locked data folder.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) journal: PathBuf,
    pub(super) tables: TablesFile,
    /// The format it is in.
    pub(super) format: u32,
    /// The store's, drawn when it was made.
    pub(super) id: [u8; 16],
    dir: PathBuf,
    /// Held as long as the store is open.
    _lock: FolderLock,
}

impl Folder {
    /// Locks a folder, making the store in it if it is empty or missing.
    ///
    /// # Errors
    /// [`StoreError::DataInUse`], [`StoreError::NewerFormat`], [`StoreError::ReadOnly`],
    /// [`StoreError::Full`], [`StoreError::Corrupt`], or what the operating system says.
    pub(super) fn open(
        files: &Arc<dyn Files>,
        dir: &Path,
        cache_bytes: usize,
    ) -> Result<Self, StoreError> {
        files
            .create_dir(dir)
            .map_err(|e| StoreError::io("create", dir, e))?;
        let journal = dir.join("journal");
        let tables = TablesFile {
            files: files.clone(),
            path: dir.join("store.redb"),
            cache_bytes,
        };
        // A newer version may lock in another way, so its mark is looked at first of all.
        let version = read_version(&**files, dir, &STORE)?;
        let lock = lock(&**files, dir)?;
        let (format, id) = if let Some((format, lines)) = version {
            let id = store_id(&lines).ok_or_else(|| {
                let detail = "the second line does not name the store's id";
                StoreError::corrupt(&dir.join("VERSION"), detail)
            })?;
            // An earlier start may have ended, or failed, before the last name was on disk.
            files
                .sync_dir(dir)
                .map_err(|e| StoreError::io("sync", dir, e))?;
            (format, id)
        } else {
            // Nothing is acknowledged before VERSION is there, so what is found without it is
            // left over from an interrupted start, unless a journal says otherwise.
            files
                .create_dir(&journal)
                .map_err(|e| StoreError::io("create", &journal, e))?;
            let names = files
                .list(&journal)
                .map_err(|e| StoreError::io("list", &journal, e))?;
            if names.iter().any(|name| name.ends_with(".wal")) {
                let detail = "the file is missing, but there is a journal";
                return Err(StoreError::corrupt(&dir.join("VERSION"), detail));
            }
            sync_parents(&**files, dir)?;
            tables.create(dir)?;
            let id = host::random_uuid();
            write_version(&**files, dir, &STORE, &format!("id {id}\n"))?;
            (FORMAT_VERSION, id.into_bytes())
        };
        Ok(Self {
            journal,
            tables,
            format,
            id,
            dir: dir.to_owned(),
            _lock: lock,
        })
    }

    /// Marks the folder as one of the newest format: before anything is written to it that an
    /// earlier one does not know.
    ///
    /// # Errors
    /// What the operating system says; the folder has one format or the other.
    pub(super) fn mark_newest(&self, files: &dyn Files) -> Result<(), StoreError> {
        match read_version(files, &self.dir, &STORE)? {
            Some((format, rest)) if format < FORMAT_VERSION => {
                write_version(files, &self.dir, &STORE, &rest)
            }
            _ => Ok(()),
        }
    }
}

/// Makes the folder's own name survive a power cut, and those of the folders it is in, as some of
/// them may just have been created with it.
pub(crate) fn sync_parents(files: &dyn Files, dir: &Path) -> Result<(), StoreError> {
    for parent in dir.ancestors().skip(1) {
        let parent = match parent.as_os_str().is_empty() {
            true => Path::new("."),
            false => parent,
        };
        match files.sync_dir(parent) {
            Ok(()) => {}
            // A folder we may not open, or on a file system that knows no such sync (EINVAL), was
            // not created by us.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::PermissionDenied | ErrorKind::InvalidInput
                ) => {}
            Err(error) => return Err(StoreError::io("sync", parent, error)),
        }
    }
    Ok(())
}

/// The lock of a folder, held until this is dropped.
///
/// It is given back by name and not by closing the file: a child process that is just being started
/// has the file open too until it runs its program, and would keep the folder for as long.
#[derive(Debug)]
pub(crate) struct FolderLock(Arc<dyn File>);

impl Drop for FolderLock {
    fn drop(&mut self) {
        // If it cannot be given back, closing the file does that.
        if let Err(error) = self.0.unlock() {
            tracing::debug!(%error, "the folder is free once its lock file is closed");
        }
    }
}

/// Takes the lock of a folder.
///
/// # Errors
/// [`StoreError::DataInUse`], or what the operating system says.
pub(crate) fn lock(files: &dyn Files, dir: &Path) -> Result<FolderLock, StoreError> {
    let path = dir.join("LOCK");
    let file = files
        .open(&path, OpenMode::Create)
        .map_err(|e| StoreError::io("open", &path, e))?;
    match file.try_lock() {
        Ok(true) => Ok(FolderLock(file)),
        Ok(false) => Err(StoreError::DataInUse {
            path: dir.to_owned(),
        }),
        Err(error) => Err(StoreError::io("lock", &path, error)),
    }
}

/// Takes the lock of a folder in which nothing is to be changed: the file is made only when it is
/// missing.
///
/// # Errors
/// As [`lock`].
pub(super) fn lock_to_look(files: &dyn Files, dir: &Path) -> Result<FolderLock, StoreError> {
    let path = dir.join("LOCK");
    let file = match files.open(&path, OpenMode::Read) {
        Err(error) if error.kind() == ErrorKind::NotFound => return lock(files, dir),
        other => other.map_err(|e| StoreError::io("open", &path, e))?,
    };
    match file.try_lock() {
        Ok(true) => Ok(FolderLock(file)),
        Ok(false) => Err(StoreError::DataInUse {
            path: dir.to_owned(),
        }),
        Err(error) => Err(StoreError::io("lock", &path, error)),
    }
}

/// The folder's format, and the lines behind it; `None` when there is nothing in it yet.
///
/// # Errors
/// [`StoreError::WrongKind`], [`StoreError::NewerFormat`], [`StoreError::Corrupt`], or what the
/// operating system says.
pub(crate) fn read_version(
    files: &dyn Files,
    dir: &Path,
    kind: &Kind,
) -> Result<Option<(u32, String)>, StoreError> {
    let path = dir.join("VERSION");
    let names = files
        .list(dir)
        .map_err(|e| StoreError::io("list", dir, e))?;
    if !names.iter().any(|name| name == "VERSION") {
        return Ok(None);
    }
    let io = |e| StoreError::io("read", &path, e);
    let file = files.open(&path, OpenMode::Read).map_err(io)?;
    let mut text = vec![0; file.len().map_err(io)?.min(256) as usize];
    file.read_at(&mut text, 0).map_err(io)?;
    let text = String::from_utf8_lossy(&text);
    let (line, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let (word, number) = line.split_once(' ').unwrap_or((line, ""));
    if let Some(other) = KINDS.iter().find(|other| other.word == word)
        && other.word != kind.word
    {
        if other.word == RESTORING.word {
            let what = format!(
                "{} holds a restore that was not finished: remove the folder, and restore the backup again",
                dir.display()
            );
            return Err(Refusal::new(Code::BadConfig, what).into());
        }
        return Err(StoreError::WrongKind {
            path: dir.to_owned(),
            found: other.name,
            wanted: kind.name,
        });
    }
    let found = number.trim().parse::<u32>().ok();
    match found.filter(|_| word == kind.word) {
        Some(found) if found > kind.newest => Err(StoreError::NewerFormat {
            path: dir.to_owned(),
            found,
            known: kind.newest,
        }),
        Some(found) if found >= 1 => match without_checksum(&text) {
            Some(_) => Ok(Some((found, rest.to_owned()))),
            None => Err(StoreError::corrupt(
                &path,
                "the lines do not match the checksum behind them",
            )),
        },
        _ => Err(StoreError::corrupt(
            &path,
            "the first line does not name a format",
        )),
    }
}

/// The first word of the line with the checksum, which is the last one.
const CHECKSUM: &str = "crc32c ";

/// The text before the checksum; `None` when that is another one. What was written by a version that
/// wrote none has two lines, and is taken as it is.
fn without_checksum(text: &str) -> Option<&str> {
    let Some((at, _)) = text.match_indices('\n').nth(1) else {
        return Some(text);
    };
    let (before, checksum) = text.split_at(at + 1);
    let is_right = checksum.is_empty() || checksum == checksum_line(before);
    is_right.then_some(before)
}

/// Whether these bytes are a VERSION of a known format that matches its checksum.
pub(super) fn is_whole_version(bytes: &[u8], kind: &Kind) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let format = text.lines().next().and_then(|line| line.split_once(' '));
    let is_known = format.is_some_and(|(word, number)| {
        let number = number.parse::<u32>();
        word == kind.word && number.is_ok_and(|number| (1..=kind.newest).contains(&number))
    });
    let (_, rest) = text.split_once('\n').unwrap_or((text, ""));
    is_known
        && store_id(rest).is_some()
        && without_checksum(text).is_some_and(|before| before.len() < text.len())
}

fn checksum_line(before: &str) -> String {
    format!("{CHECKSUM}{:08x}\n", crc32c::crc32c(before.as_bytes()))
}

/// The id in the lines behind the format.
pub(super) fn store_id(lines: &str) -> Option<[u8; 16]> {
    let id = lines.lines().next()?.strip_prefix("id ")?;
    Some(uuid::Uuid::parse_str(id.trim()).ok()?.into_bytes())
}

/// Names the newest format, with these lines behind it.
///
/// # Errors
/// What the operating system says.
pub(crate) fn write_version(
    files: &dyn Files,
    dir: &Path,
    kind: &Kind,
    rest: &str,
) -> Result<(), StoreError> {
    let temporary = dir.join("VERSION.new");
    // What stood there before has one of its own.
    let lines = rest.lines().filter(|line| !line.starts_with(CHECKSUM));
    let mut text = format!("{} {}\n", kind.word, kind.newest);
    lines.for_each(|line| text.extend([line, "\n"]));
    text += &checksum_line(&text);
    let io = |action| {
        let path = temporary.clone();
        move |error| StoreError::io(action, &path, error)
    };
    let file = files
        .open(&temporary, OpenMode::Truncate)
        .map_err(io("create"))?;
    file.write_at(text.as_bytes(), 0).map_err(io("write"))?;
    file.sync().map_err(io("sync"))?;
    files
        .rename(&temporary, &dir.join("VERSION"))
        .map_err(io("rename"))?;
    files
        .sync_dir(dir)
        .map_err(|e| StoreError::io("sync", dir, e))
}
