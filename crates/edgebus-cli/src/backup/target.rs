//! The file that a backup is written to.
//!
//! Invariants: nothing that is there is overwritten; what is not finished has another name, and goes
//! with the command; nobody else can read it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Stdout, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use edgebus::{Code, Refusal};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::error::CliError;

/// Where the bytes go.
pub(super) enum Target {
    Stdout(Stdout),
    File { file: File, partial: Partial },
}

/// A file under its temporary name, which is removed unless it gets its own.
pub(super) struct Partial {
    path: PathBuf,
    named: PathBuf,
    published: bool,
}

impl Target {
    /// Makes the file; `-` is standard output.
    pub(super) fn create(path: &Path) -> Result<Self, CliError> {
        if path.as_os_str() == "-" {
            return Ok(Self::Stdout(io::stdout()));
        }
        if fs::symlink_metadata(path).is_ok() {
            return Err(there(path));
        }
        let Some(name) = path.file_name() else {
            return Err(CliError::usage(format!("{} names no file", path.display())));
        };
        let mut partial = std::ffi::OsString::from(".");
        partial.push(name);
        partial.push(format!(".{}.partial", std::process::id()));
        let partial = path.with_file_name(partial);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&partial)
            .map_err(|e| CliError::io("create", &partial, e))?;
        Ok(Self::File {
            file,
            partial: Partial {
                path: partial,
                named: path.to_owned(),
                published: false,
            },
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        match self {
            Self::Stdout(stdout) => stdout
                .write_all(bytes)
                .map_err(|e| CliError::io("write", Path::new("standard output"), e)),
            Self::File { file, partial } => file
                .write_all(bytes)
                .map_err(|e| CliError::io("write", &partial.path, e)),
        }
    }

    /// All of it is written. A file is on disk then, and still has its temporary name.
    pub(super) fn finish(self) -> Result<Option<Partial>, CliError> {
        match self {
            Self::Stdout(mut stdout) => {
                let flushed = stdout.flush();
                flushed.map_err(|e| CliError::io("write", Path::new("standard output"), e))?;
                Ok(None)
            }
            Self::File { file, partial } => {
                let synced = file.sync_all();
                synced.map_err(|e| CliError::io("sync", &partial.path, e))?;
                Ok(Some(partial))
            }
        }
    }
}

impl Partial {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name, for good.
    pub(super) fn publish(mut self) -> Result<(), CliError> {
        let renamed = renameat_with(CWD, &self.path, CWD, &self.named, RenameFlags::NOREPLACE);
        match renamed {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => return Err(there(&self.named)),
            // A file system that cannot do both at once.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                if fs::symlink_metadata(&self.named).is_ok() {
                    return Err(there(&self.named));
                }
                let renamed = fs::rename(&self.path, &self.named);
                renamed.map_err(|e| CliError::io("rename", &self.path, e))?;
            }
            Err(error) => return Err(CliError::io("rename", &self.path, error.into())),
        }
        self.published = true;
        let folder = match self.named.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|e| CliError::io("sync", folder, e))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.published {
            // What failed before is what there is to tell.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn there(path: &Path) -> CliError {
    let what = format!(
        "{} is there already: a backup overwrites nothing, name another file",
        path.display()
    );
    Refusal::new(Code::BadConfig, what).into()
}
