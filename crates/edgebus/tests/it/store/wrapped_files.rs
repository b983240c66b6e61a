//! Real files with a say before each call: to make one fail, or wait. They may stay open when they
//! are dropped.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use edgebus::files::{File, Files, OpenMode, RealFiles};
use parking_lot::Mutex;

/// What is about to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    CreateDir,
    List,
    Open,
    Rename,
    Remove,
    SyncDir,
    Read,
    Write,
    Sync,
    Allocate,
    SetLen,
}

impl Action {
    /// Whether a file system mounted read-only refuses it. Files are opened for writing.
    pub(crate) fn changes_something(self) -> bool {
        !matches!(self, Self::List | Self::Read | Self::SyncDir | Self::Sync)
    }
}

type Say = dyn Fn(Action, &Path) -> io::Result<()> + Send + Sync;

/// Files that stay open.
type Kept = Mutex<Vec<Arc<dyn File>>>;

/// See the module.
#[derive(Clone)]
pub(crate) struct WrappedFiles {
    say: Arc<Say>,
    free_bytes: Arc<AtomicU64>,
    inherited: Option<Arc<Kept>>,
}

impl WrappedFiles {
    pub(crate) fn new(
        say: impl Fn(Action, &Path) -> io::Result<()> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            say: Arc::new(say),
            free_bytes: Arc::new(AtomicU64::new(u64::MAX)),
            inherited: None,
        })
    }

    /// Files that somebody else has open as well until this is dropped: a child process has all of
    /// its parent's from its beginning until it runs its program.
    pub(crate) fn inherited() -> Arc<Self> {
        let mut files = Self::new(|_, _| Ok(()));
        Arc::get_mut(&mut files).expect("new").inherited = Some(Arc::default());
        files
    }

    /// Says how much room there is from now on.
    pub(crate) fn set_free_bytes(&self, bytes: u64) {
        self.free_bytes.store(bytes, Ordering::Relaxed);
    }
}

impl fmt::Debug for WrappedFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WrappedFiles")
    }
}

impl Files for WrappedFiles {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        (self.say)(Action::CreateDir, path)?;
        RealFiles.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        (self.say)(Action::List, dir)?;
        RealFiles.list(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        (self.say)(Action::Open, path)?;
        let file = RealFiles.open(path, mode)?;
        if let Some(inherited) = &self.inherited {
            inherited.lock().push(file.clone());
        }
        Ok(Arc::new(WrappedFile {
            file,
            path: path.to_owned(),
            say: self.say.clone(),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        (self.say)(Action::Rename, from)?;
        RealFiles.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        (self.say)(Action::Remove, path)?;
        RealFiles.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        (self.say)(Action::SyncDir, dir)?;
        RealFiles.sync_dir(dir)
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.free_bytes.load(Ordering::Relaxed))
    }
}

struct WrappedFile {
    file: Arc<dyn File>,
    /// The name it was opened by; a rename does not change it.
    path: PathBuf,
    say: Arc<Say>,
}

impl fmt::Debug for WrappedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

impl File for WrappedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        (self.say)(Action::Read, &self.path)?;
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        (self.say)(Action::Write, &self.path)?;
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        (self.say)(Action::Sync, &self.path)?;
        self.file.sync()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        (self.say)(Action::Allocate, &self.path)?;
        self.file.allocate(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        (self.say)(Action::SetLen, &self.path)?;
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.file.drop_cache()
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.file.try_lock()
    }

    fn unlock(&self) -> io::Result<()> {
        self.file.unlock()
    }
}
