//! The disk and its files behind the traits the store knows.
//!
//! Each call locks the disk, checks that there is power and that the handle is of this boot, and
//! leaves the rest to the state.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard};

use edgebus::files::{File, Files, OpenMode};

use super::SimDisk;
use super::faults::Op;
use super::folder::InodeId;
use super::inode::HandleId;
use super::state::State;

impl SimDisk {
    /// The disk for one call, if this handle may still make it.
    fn enter(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.lock();
        state.check_power(self.boot.unwrap_or(state.boot))?;
        Ok(state)
    }
}

impl Files for SimDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.enter()?.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.enter()?.list(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut state = self.enter()?;
        let (inode, handle) = state.open(path, mode)?;
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            inode,
            handle,
            boot: state.boot,
            path: path.to_owned(),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.enter()?.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.enter()?.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.enter()?;
        let id = state.folder_of(dir)?;
        state.sync_dir(id)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let mut state = self.enter()?;
        state.folder_of(dir)?;
        Ok(state.free_bytes())
    }
}

/// One opening of a file.
struct SimFile {
    disk: SimDisk,
    inode: InodeId,
    handle: HandleId,
    boot: u64,
    /// The name it was opened by, for debugging; a rename does not change it.
    path: PathBuf,
}

impl SimFile {
    fn enter(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.lock();
        state.check_power(self.boot)?;
        Ok(state)
    }
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.enter()?.inode(self.inode).read(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.enter()?.write(self.inode, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.enter()?.sync(self.inode)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.enter()?.change_len(self.inode, Op::Allocate, len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.enter()?.change_len(self.inode, Op::SetLen, len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.enter()?.inode(self.inode).len())
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.enter()?.inode(self.inode).drop_cache();
        Ok(())
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut state = self.enter()?;
        let holder = state.inode(self.inode).lock.get_or_insert(self.handle);
        Ok(*holder == self.handle)
    }

    fn unlock(&self) -> io::Result<()> {
        let mut state = self.enter()?;
        let inode = state.inode(self.inode);
        if inode.lock == Some(self.handle) {
            inode.lock = None;
        }
        Ok(())
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.disk.lock();
        // The power cut has closed the handles of earlier boots.
        if state.boot == self.boot {
            state.close(self.inode, self.handle);
        }
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFile")
            .field("path", &self.path)
            .field("handle", &self.handle)
            .field("boot", &self.boot)
            .finish_non_exhaustive()
    }
}
