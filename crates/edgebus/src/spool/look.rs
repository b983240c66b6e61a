//! Looking into a spool that another process may have open.
//!
//! Nothing is locked, and nothing in the folder is changed. What is shown was on disk: files are
//! synced after they were read. While the owner frees segments, what was read of them may be gone the
//! next moment; then it is read again from the start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use edgebus_core::{Code, Refusal};

use super::cursor::Ground;
use super::index::Index;
use super::rows::rows;
use super::{Spool, SpoolRow, folder};
use crate::files::{Files, RealFiles};
use crate::store::StoreError;
use crate::store::journal::look;

/// How often reading begins anew before it is given up.
const ATTEMPTS_MAX: usize = 32;
/// How often the same damage is met before it is believed.
const SAME_DAMAGE: usize = 3;

/// A spool as it was a moment ago; see [`Spool::look`].
#[derive(Debug)]
pub struct Look {
    dir: PathBuf,
    ground: Ground,
    index: Index,
}

impl Spool {
    /// Looks into a spool without opening it: read-only, without the lock, changing nothing in the
    /// folder, also while a client writes to it.
    ///
    /// # Errors
    /// [`StoreError::WrongKind`], [`StoreError::Corrupt`] naming the place, or what the operating
    /// system says; [`Code::Busy`] when its owner frees room faster than it can be read.
    pub fn look(dir: &Path) -> Result<Look, StoreError> {
        Self::look_with(dir, Arc::new(RealFiles))
    }

    /// The same on given files.
    ///
    /// # Errors
    /// As [`Spool::look`].
    pub fn look_with(dir: &Path, files: Arc<dyn Files>) -> Result<Look, StoreError> {
        let journal = folder::look(&*files, dir)?;
        let ground = Ground { files, journal };
        let index = steady(dir, || take_index(&ground))?;
        Ok(Look {
            dir: dir.to_owned(),
            ground,
            index,
        })
    }
}

impl Look {
    /// Requests to be forwarded.
    pub fn waiting(&self) -> u64 {
        self.index.waiting
    }

    /// Bytes of their records.
    pub fn waiting_bytes(&self) -> u64 {
        self.index.waiting_bytes
    }

    /// Dead letters.
    pub fn dead(&self) -> u64 {
        self.index.dead.len() as u64
    }

    /// The requests with numbers behind `after`, as [`Spool::list`] gives them. When the owner freed
    /// what was seen, the page is of what is there now.
    ///
    /// # Errors
    /// As [`Spool::look`].
    pub fn list(&mut self, after: u64, limit: usize) -> Result<Vec<SpoolRow>, StoreError> {
        if let Ok(rows) = rows(&self.ground, &self.index, after, limit) {
            return Ok(rows);
        }
        let (index, rows) = steady(&self.dir, || {
            let index = take_index(&self.ground)?;
            let rows = rows(&self.ground, &index, after, limit)?;
            Ok((index, rows))
        })?;
        self.index = index;
        Ok(rows)
    }
}

fn take_index(ground: &Ground) -> Result<Index, StoreError> {
    let mut index = Index::default();
    look(&*ground.files, &ground.journal, |place, header, ops| {
        let end = place.offset + header.disk_bytes() as u64;
        index.take_group(place, end, &ops)
    })?;
    index.check_whole(ground)?;
    index.check_there_is_one(ground)?;
    index.tally(|index, figures| ground.waiting_bytes(index, figures))?;
    Ok(index)
}

/// Does it until nobody interferes: damage that is real is the same each time.
fn steady<T>(dir: &Path, read: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let mut last = String::new();
    let mut same = 0;
    for _ in 0..ATTEMPTS_MAX {
        let error = match read() {
            Ok(read) => return Ok(read),
            Err(error) => error,
        };
        let text = error.to_string();
        same = if text == last { same + 1 } else { 1 };
        if same >= SAME_DAMAGE {
            return Err(error);
        }
        last = text;
    }
    let what = format!(
        "spool {} changes too fast to be read: try again",
        dir.display()
    );
    Err(Refusal::new(Code::Busy, what).into())
}
