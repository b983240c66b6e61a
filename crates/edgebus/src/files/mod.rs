//! The files a store lives in, behind one small trait, so that a simulated disk can take the real
//! one's place and drop, tear or refuse what it likes.
//!
//! Called by the store; [`small`] reads what people write beside it, [`socket`] names sockets.
//! Invariant: no other module of this crate touches the file system.

mod real;
mod small;
pub(crate) mod socket;

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use real::RealFiles;
pub use small::{Privacy, Stamp, read_small, stamp};

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenMode {
    /// For reading only; it must exist.
    Read,
    /// For reading and writing; it must exist.
    Existing,
    /// For reading and writing; it is created empty, or emptied if it exists.
    Truncate,
    /// For reading and writing; it is created empty if it does not exist.
    Create,
}

/// A file system as far as a store needs one.
///
/// A change of names (`create`, `rename`, `remove`) is only sure to survive a power cut after
/// [`Files::sync_dir`] of the folder; content only after [`File::sync`].
pub trait Files: Debug + Send + Sync + 'static {
    /// Creates a folder and its parents; it may exist.
    ///
    /// # Errors
    /// What the operating system says.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Names of the files in a folder, in no order.
    ///
    /// # Errors
    /// What the operating system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Opens a file.
    ///
    /// # Errors
    /// What the operating system says; `NotFound` for a missing file with [`OpenMode::Existing`] or
    /// [`OpenMode::Read`].
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;

    /// Renames a file within one folder, replacing what has the new name.
    ///
    /// # Errors
    /// What the operating system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the operating system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes names in a folder survive a power cut.
    ///
    /// # Errors
    /// What the operating system says; never to be retried.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Bytes that may still be written to the disk of a folder.
    ///
    /// # Errors
    /// What the operating system says.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
}

/// An open file. Offsets and lengths are in bytes.
#[allow(clippy::len_without_is_empty)]
pub trait File: Debug + Send + Sync + 'static {
    /// Fills the buffer from an offset.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before; else what the operating system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all bytes at an offset.
    ///
    /// # Errors
    /// What the operating system says; part of the bytes may then have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the content survive a power cut.
    ///
    /// # Errors
    /// What the operating system says; never to be retried, as a second try may lie.
    fn sync(&self) -> io::Result<()>;

    /// Makes the file at least this long with room on the disk for every byte; new bytes are 0.
    ///
    /// # Errors
    /// `StorageFull` when there is no room; else what the operating system says.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Makes the file exactly this long; new bytes are 0 and need not have room on the disk.
    ///
    /// # Errors
    /// What the operating system says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// The file's length.
    ///
    /// # Errors
    /// What the operating system says.
    fn len(&self) -> io::Result<u64>;

    /// Forgets what memory holds of the file, so that reads come from the disk.
    ///
    /// # Errors
    /// What the operating system says.
    fn drop_cache(&self) -> io::Result<()>;

    /// Locks the whole file against other openers until it is closed; `false` if one has it.
    ///
    /// # Errors
    /// What the operating system says.
    fn try_lock(&self) -> io::Result<bool>;

    /// Gives the lock back before the file is closed, in every process that has it open by
    /// inheritance; nothing if there is none.
    ///
    /// # Errors
    /// What the operating system says.
    fn unlock(&self) -> io::Result<()>;
}
