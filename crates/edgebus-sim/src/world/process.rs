//! A process's view of its machine's disk. It may be killed between two calls: what it wrote stays
//! in the machine's memory, synced or not, and the next one finds it there.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use edgebus::files::{File, Files, OpenMode};
use tokio::sync::Notify;

use crate::disk::SimDisk;

/// The disk as one process sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Process(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    disk: SimDisk,
    /// Calls that change something until it is dead.
    calls_left: AtomicU64,
    /// Wakes whoever waits for its end.
    over: Notify,
    /// Files it has locked.
    locked: Mutex<Vec<Arc<dyn File>>>,
}

impl Process {
    /// A process that lives as long as the machine.
    pub(crate) fn new(disk: &SimDisk) -> Self {
        Self(Arc::new(Inner {
            disk: disk.this_boot(),
            calls_left: AtomicU64::new(u64::MAX),
            over: Notify::new(),
            locked: Mutex::default(),
        }))
    }

    /// Lets it die after so many more calls that change something.
    pub(crate) fn kill_after(&self, calls: u64) {
        self.0.calls_left.store(calls, Ordering::Relaxed);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.0.calls_left.load(Ordering::Relaxed) == 0
    }

    /// Whether nothing it does has an effect any more.
    pub(crate) fn is_over(&self) -> bool {
        self.is_dead() || self.0.disk.power_is_off()
    }

    /// Waits until it or its machine's power is gone.
    pub(crate) async fn over(&self) {
        loop {
            let changed = self.0.over.notified();
            if self.is_over() {
                return;
            }
            changed.await;
        }
    }

    /// Looks after a call that failed whether that was the end.
    fn made<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.is_err() && self.is_over() {
            self.0.over.notify_waiters();
        }
        result
    }

    /// Ends it: no call of anything that is left of it has an effect, and its locks are gone.
    pub(crate) fn end(&self) {
        self.kill_after(0);
        let mut locked = self.0.locked.lock().unwrap_or_else(PoisonError::into_inner);
        for file in locked.drain(..) {
            // After a power cut there is nothing to unlock.
            let _ = file.unlock();
        }
    }

    fn reads(&self) -> io::Result<()> {
        match self.is_dead() {
            true => Err(io::Error::other("the process is dead")),
            false => Ok(()),
        }
    }

    fn changes(&self) -> io::Result<()> {
        self.reads()?;
        let left = self.0.calls_left.load(Ordering::Relaxed);
        if left != u64::MAX {
            self.kill_after(left - 1);
        }
        // The call it dies before is not made.
        self.made(self.reads())
    }
}

impl Files for Process {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.changes()?;
        self.made(self.0.disk.create_dir(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.reads()?;
        self.0.disk.list(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        match mode {
            OpenMode::Read | OpenMode::Existing => self.reads()?,
            _ => self.changes()?,
        }
        Ok(Arc::new(ProcessFile {
            file: self.made(self.0.disk.open(path, mode))?,
            process: self.clone(),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.changes()?;
        self.made(self.0.disk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.changes()?;
        self.made(self.0.disk.remove(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.changes()?;
        self.made(self.0.disk.sync_dir(dir))
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.0.disk.free_bytes(dir)
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
        self.process.made(self.file.write_at(bytes, offset))
    }

    fn sync(&self) -> io::Result<()> {
        self.process.changes()?;
        self.process.made(self.file.sync())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.process.changes()?;
        self.process.made(self.file.allocate(len))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.process.changes()?;
        self.process.made(self.file.set_len(len))
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
        let is_locked = self.file.try_lock()?;
        if is_locked {
            let locked = self.process.0.locked.lock();
            let mut locked = locked.unwrap_or_else(PoisonError::into_inner);
            locked.push(self.file.clone());
        }
        Ok(is_locked)
    }

    fn unlock(&self) -> io::Result<()> {
        self.file.unlock()
    }
}
