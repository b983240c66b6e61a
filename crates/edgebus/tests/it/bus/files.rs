//! Real files whose calls can be held, made to fail, or made to panic, each kind of file and call
//! by itself. Free space is what the test says.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use edgebus::files::{File, Files, OpenMode, RealFiles};
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

/// Which files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Of {
    /// Segments of the journal that are in use.
    Journal,
    /// The file with the tables.
    Tables,
    /// Everything else.
    Others,
}

/// Which call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Call {
    Read,
    Write,
    Sync,
    Allocate,
}

/// What such a call does instead of its work.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Fails(io::ErrorKind),
    Panics,
}

/// See the module. Cheap to clone; clones share what is held and what fails.
#[derive(Clone, Debug)]
pub(crate) struct TestFiles(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
    /// Calls that are being held.
    waiting: watch::Sender<usize>,
    free_bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Calls that are held, and how many of them may still pass.
    held: HashMap<(Of, Call), u64>,
    faults: HashMap<(Of, Call), Fault>,
}

/// Calls are held until this is dropped, which a failing test does too.
#[derive(Debug)]
pub(crate) struct Hold {
    files: TestFiles,
    what: (Of, Call),
}

impl TestFiles {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            state: Mutex::default(),
            changed: Condvar::new(),
            waiting: watch::Sender::new(0),
            free_bytes: AtomicU64::new(u64::MAX),
        }))
    }

    /// Holds calls from now on.
    pub(crate) fn hold(&self, of: Of, call: Call) -> Hold {
        self.0.state.lock().held.insert((of, call), 0);
        Hold {
            files: self.clone(),
            what: (of, call),
        }
    }

    pub(crate) fn fault(&self, of: Of, call: Call, fault: Fault) {
        self.0.state.lock().faults.insert((of, call), fault);
    }

    pub(crate) fn no_faults(&self) {
        self.0.state.lock().faults.clear();
    }

    pub(crate) fn set_free_bytes(&self, bytes: u64) {
        self.0.free_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Before the work of a call.
    fn enter(&self, of: Of, call: Call) -> io::Result<()> {
        let what = (of, call);
        let mut state = self.0.state.lock();
        if state.held.contains_key(&what) {
            self.0.waiting.send_modify(|waiting| *waiting += 1);
            loop {
                match state.held.get_mut(&what) {
                    Some(0) => self.0.changed.wait(&mut state),
                    Some(may_pass) => {
                        *may_pass -= 1;
                        break;
                    }
                    None => break,
                }
            }
            self.0.waiting.send_modify(|waiting| *waiting -= 1);
        }
        let fault = state.faults.get(&what).copied();
        drop(state);
        match fault {
            None => Ok(()),
            Some(Fault::Fails(kind)) => Err(io::Error::new(kind, "made to fail")),
            Some(Fault::Panics) => panic!("made to panic"),
        }
    }
}

impl Hold {
    /// Waits until a call is being held.
    pub(crate) async fn reached(&self) {
        let mut waiting = self.files.0.waiting.subscribe();
        waiting.wait_for(|waiting| *waiting > 0).await.unwrap();
    }

    /// Lets some calls pass.
    pub(crate) fn let_pass(&self, calls: u64) {
        let mut state = self.files.0.state.lock();
        *state.held.get_mut(&self.what).unwrap() += calls;
        self.files.0.changed.notify_all();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.files.0.state.lock().held.remove(&self.what);
        self.files.0.changed.notify_all();
    }
}

impl Files for TestFiles {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealFiles.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealFiles.list(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let of = match path.extension().and_then(|e| e.to_str()) {
            Some("wal") => Of::Journal,
            Some("redb") => Of::Tables,
            _ => Of::Others,
        };
        Ok(Arc::new(TestFile {
            file: RealFiles.open(path, mode)?,
            files: self.clone(),
            of,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFiles.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealFiles.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealFiles.sync_dir(dir)
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.0.free_bytes.load(Ordering::Relaxed))
    }
}

#[derive(Debug)]
struct TestFile {
    file: Arc<dyn File>,
    files: TestFiles,
    of: Of,
}

impl File for TestFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.files.enter(self.of, Call::Read)?;
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.files.enter(self.of, Call::Write)?;
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.files.enter(self.of, Call::Sync)?;
        self.file.sync()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.files.enter(self.of, Call::Allocate)?;
        self.file.allocate(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
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
