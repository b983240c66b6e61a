//! A process that is killed between two calls: what it wrote stays in the machine's memory, synced
//! or not, and the next one finds it there.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use edgebus::files::{File, Files, OpenMode};
use edgebus_sim::SimDisk;

/// The disk as one process sees it.
#[derive(Clone)]
pub(crate) struct Process {
    disk: SimDisk,
    /// Calls that change something until it is dead.
    calls_left: Arc<AtomicU64>,
}

impl Process {
    /// A process that lives as long as the machine.
    pub(crate) fn new(disk: &SimDisk) -> Self {
        Self {
            disk: disk.this_boot(),
            calls_left: Arc::new(AtomicU64::new(u64::MAX)),
        }
    }

    /// Lets it die after so many more calls that change something.
    pub(crate) fn kill_after(&self, calls: u64) {
        self.calls_left.store(calls, Ordering::Relaxed);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.calls_left.load(Ordering::Relaxed) == 0
    }

    fn reads(&self) -> io::Result<()> {
        match self.is_dead() {
            true => Err(io::Error::other("the process is dead")),
            false => Ok(()),
        }
    }

    fn changes(&self) -> io::Result<()> {
        self.reads()?;
        self.calls_left.fetch_sub(1, Ordering::Relaxed);
        // The call it dies before is not made.
        self.reads()
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Process")
    }
}

impl Files for Process {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.changes()?;
        self.disk.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.reads()?;
        self.disk.list(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        match mode {
            OpenMode::Read | OpenMode::Existing => self.reads()?,
            _ => self.changes()?,
        }
        Ok(Arc::new(ProcessFile {
            file: self.disk.open(path, mode)?,
            process: self.clone(),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.changes()?;
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.changes()?;
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.changes()?;
        self.disk.sync_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.disk.free_bytes(dir)
    }
}

#[derive(Debug)]
struct ProcessFile {
    file: Arc<dyn File>,
    process: Process,
}

impl File for ProcessFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.process.reads()?;
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.process.changes()?;
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.process.changes()?;
        self.file.sync()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.process.changes()?;
        self.file.allocate(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.process.changes()?;
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.process.reads()?;
        self.file.len()
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.process.reads()?;
        self.file.drop_cache()
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.process.reads()?;
        self.file.try_lock()
    }

    fn unlock(&self) -> io::Result<()> {
        self.file.unlock()
    }
}
