//! How opening, reading or writing a store can fail.

use std::io;
use std::path::{Path, PathBuf};

use edgebus_core::{Code, Refusal};

/// A failure of the store. What was asked for did not happen, unless said otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The request itself cannot be taken; the store is as it was.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Another process has the data folder open.
    #[error("data folder {} is in use by another process: stop that one, or name another folder", path.display())]
    DataInUse {
        /// The folder.
        path: PathBuf,
    },
    /// The folder holds something else; nothing was touched.
    #[error("{} holds {found}, not {wanted}: name another folder", path.display())]
    WrongKind {
        /// The folder.
        path: PathBuf,
        /// What it holds, as in "a store".
        found: &'static str,
        /// What was to be opened.
        wanted: &'static str,
    },
    /// A newer version wrote the data folder; nothing was touched.
    #[error("data folder {} has format {found}, this version knows up to {known}: update edgebus", path.display())]
    NewerFormat {
        /// The folder.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format this code knows.
        known: u32,
    },
    /// The data folder cannot be written.
    #[error("{} cannot be written (read-only or no permission): make it writable, or name another folder", path.display())]
    ReadOnly {
        /// The folder or file.
        path: PathBuf,
    },
    /// No room on the disk; nothing was stored.
    #[error("the disk of {} is full: free some space, or name a folder on another disk", path.display())]
    Full {
        /// The folder or file.
        path: PathBuf,
    },
    /// Bytes on disk are not what was written; nothing was deleted.
    #[error("{}: {detail}; nothing was deleted: look at the folder with `edgebus check`, or restore a backup of it", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it, and what is wrong.
        detail: String,
    },
    /// The operating system failed a call.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The store was closed; its readers find nothing on disk any more.
    #[error("{} is closed: the store was shut down", path.display())]
    Closed {
        /// The file.
        path: PathBuf,
    },
    /// An earlier I/O error stopped the store.
    #[error(
        "the store stopped after an I/O error ({reason}): mend the cause and start again; all that was acknowledged is kept"
    )]
    Poisoned {
        /// The first error.
        reason: String,
    },
}

impl StoreError {
    /// An I/O error with its place; "no room" and "not writable" get cases of their own.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                Self::ReadOnly { path }
            }
            _ => Self::Io {
                action,
                path,
                source,
            },
        }
    }

    /// A sync that failed while the store is open. Never taken for a full disk, whatever the
    /// operating system calls it: the bytes it did not write are forgotten, and a second sync lies.
    pub(crate) fn sync(path: &Path, source: io::Error) -> Self {
        Self::Io {
            action: "sync",
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn corrupt(path: &Path, detail: impl Into<String>) -> Self {
        Self::Corrupt {
            path: path.to_owned(),
            detail: detail.into(),
        }
    }

    /// A redb error on the file with the tables.
    pub(crate) fn redb(action: &'static str, path: &Path, error: impl Into<redb::Error>) -> Self {
        match error.into() {
            // Not a database at all, or one that ends too early.
            redb::Error::Io(source)
                if matches!(
                    source.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                ) =>
            {
                Self::corrupt(path, format!("cannot {action} it: {source}"))
            }
            redb::Error::Io(source) => Self::io(action, path, source),
            // Closed, or about to be: after an I/O error redb refuses everything.
            redb::Error::PreviousIo | redb::Error::DatabaseClosed => Self::Closed {
                path: path.to_owned(),
            },
            redb::Error::DatabaseAlreadyOpen => Self::DataInUse {
                path: path.to_owned(),
            },
            redb::Error::Corrupted(detail) => Self::corrupt(path, detail),
            other => Self::corrupt(path, format!("cannot {action}: {other}")),
        }
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Refused(refusal) => refusal.code,
            Self::DataInUse { .. } => Code::DataInUse,
            Self::WrongKind { .. } => Code::BadConfig,
            Self::NewerFormat { .. } => Code::NewerFormat,
            Self::ReadOnly { .. } => Code::ReadOnly,
            Self::Full { .. } => Code::StorageFull,
            Self::Corrupt { .. } => Code::Corrupt,
            Self::Io { .. } => Code::Io,
            Self::Closed { .. } => Code::ShuttingDown,
            Self::Poisoned { .. } => Code::Poisoned,
        }
    }

    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }
}

impl From<&StoreError> for Refusal {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Refused(refusal) => refusal.clone(),
            other => Self::new(other.code(), other.to_string()),
        }
    }
}
