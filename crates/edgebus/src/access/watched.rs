//! Something that is read from files, and read again when they change.
//!
//! Invariant: what is there is whole and good. Files that cannot be used change nothing; what was
//! read before them stays.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use edgebus_core::Refusal;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::files::{Stamp, stamp};

type Load<T> = Box<dyn Fn() -> Result<T, Refusal> + Send + Sync>;

/// What was read last, and from which files.
pub(crate) struct Watched<T> {
    files: Vec<PathBuf>,
    load: Load<T>,
    current: watch::Sender<Arc<T>>,
    /// The files as they were when they were last read, with or without success.
    seen: Mutex<Vec<Option<Stamp>>>,
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// Reads it for the first time.
    ///
    /// # Errors
    /// What is wrong, with the name of the file.
    pub(crate) fn open(
        files: Vec<PathBuf>,
        load: impl Fn() -> Result<T, Refusal> + Send + Sync + 'static,
    ) -> Result<Self, Refusal> {
        // Before it is read: a change meanwhile is seen by the next look.
        let seen = stamps(&files);
        let current = watch::Sender::new(Arc::new(load()?));
        Ok(Self {
            files,
            load: Box::new(load),
            current,
            seen: Mutex::new(seen),
        })
    }

    /// What was read last.
    pub(crate) fn current(&self) -> Arc<T> {
        self.current.borrow().clone()
    }

    /// What was read last, now and as it changes.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<T>> {
        self.current.subscribe()
    }

    /// Reads it again if a file has changed since it was last read; `None` if none has. Blocks for
    /// as long as the files take.
    pub(crate) fn look(&self) -> Option<Result<(), Refusal>> {
        let now = stamps(&self.files);
        // The lock is let go here, as reading takes it again.
        let changed = now != *self.seen.lock();
        changed.then(|| self.reload())
    }

    /// Reads it again. Blocks for as long as the files take.
    ///
    /// # Errors
    /// What is wrong, with the name of the file; what was read before stays.
    pub(crate) fn reload(&self) -> Result<(), Refusal> {
        let mut seen = self.seen.lock();
        *seen = stamps(&self.files);
        let loaded = (self.load)()?;
        self.current.send_replace(Arc::new(loaded));
        Ok(())
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    files.iter().map(|file| stamp(file)).collect()
}

impl<T> fmt::Debug for Watched<T> {
    /// Without what was read: it may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut watched = f.debug_struct("Watched");
        watched.field("files", &self.files).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use edgebus_core::Code;

    use super::*;

    fn number(file: &std::path::Path) -> Result<u32, Refusal> {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.parse()
            .map_err(|_| Refusal::new(Code::BadConfig, format!("{text:?} is no number")))
    }

    #[test]
    fn bad_file_changes_nothing_and_is_told_of_once() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("number");
        fs::write(&file, "1").expect("written");
        let read = file.clone();
        let watched = Watched::open(vec![file.clone()], move || number(&read)).expect("good");
        assert!(watched.look().is_none(), "nothing has changed");
        fs::write(&file, "seven").expect("written");
        assert!(watched.look().expect("changed").is_err());
        assert!(watched.look().is_none(), "that was told");
        assert!(
            watched.reload().is_err(),
            "asked for by name it is told again"
        );
        assert_eq!(*watched.current(), 1);
        fs::write(&file, "22").expect("written");
        watched.look().expect("changed").expect("good");
        assert_eq!(*watched.current(), 22);
        fs::remove_file(&file).expect("removed");
        assert!(watched.look().expect("changed").is_err());
        assert_eq!(*watched.current(), 22);
    }
}
