//! The thread that moves a client's frames, and how other threads wait for what happens there.
//!
//! Everything that is made from a client holds a clone of its [`Runtime`]; the thread ends when the
//! last one is dropped. Whoever waits polls on his own thread: so a wait neither needs nor minds a
//! runtime of the application around it.
//!
//! Invariants: the thread itself runs nothing of the application, whose handlers have threads of
//! the pool beside it; otherwise one that blocks would hold up the frames of all. The runtime is
//! dropped on its own thread, as dropping one inside another panics.

use std::io;
use std::pin::pin;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::delivery::ConsumeConfig;

/// How long what was said before the end may take to be written: more than the client gives it.
const END_TIMEOUT: Duration = Duration::from_secs(3);
/// How often the thread looks whether all of it is. The tasks of a client tell nobody.
const END_LOOK: Duration = Duration::from_millis(1);
/// What the system shows of a thread's name, in bytes.
const THREAD_NAME_BYTES: usize = 15;

/// Nothing came in the time that was given. Asking again goes on where this left off.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("nothing came in time")]
pub struct TimedOut;

/// The thread of a client, and the way to it. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Runtime(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    handle: Handle,
    /// Tells the thread to end, by being dropped.
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Runtime {
    /// Starts a thread that is named after the client.
    ///
    /// # Errors
    /// When the operating system gives no thread, or nothing to wait for events with.
    pub(super) fn start(client: &str) -> io::Result<Self> {
        let name = thread_name(client);
        let (end, ended) = oneshot::channel();
        let (started, starting) = sync_channel(1);
        let thread = thread::Builder::new()
            .name(name.clone())
            .spawn(move || run(name, &started, ended))?;
        let started = starting.recv();
        let handle = started.map_err(|_| io::Error::other("it ended at once"))??;
        Ok(Self(Arc::new(Shared {
            handle,
            end: Some(end),
            thread: Some(thread),
        })))
    }

    /// Waits on this thread until something is done.
    pub(super) fn wait<F: Future>(&self, future: F) -> F::Output {
        let waited = self.inside(|| wait_here(future, None));
        waited.expect("it is only given up when there is a limit")
    }

    /// Waits on this thread until something is done, but only so long. What is not done then is
    /// dropped.
    pub(super) fn wait_at_most<F: Future>(
        &self,
        time: Duration,
        future: F,
    ) -> Result<F::Output, TimedOut> {
        self.inside(|| wait_here(future, Some(time)))
    }

    /// So that the timers and sockets that are made are those of the thread.
    fn inside<T>(&self, wait: impl FnOnce() -> T) -> T {
        let own = self.0.thread.as_ref().map(|thread| thread.thread().id());
        assert!(
            own != Some(thread::current().id()),
            "a client's own thread must not wait for it"
        );
        let _entered = self.0.handle.enter();
        wait()
    }

    /// Leaves something to the thread, which does not end before it is done.
    pub(super) fn leave(&self, future: impl Future<Output = ()> + Send + 'static) {
        let runtime = self.clone();
        self.0.handle.spawn(async move {
            future.await;
            drop(runtime);
        });
    }

    /// Leaves something to a thread of the pool.
    pub(super) fn leave_blocking(&self, run: impl FnOnce() + Send + 'static) {
        self.0.handle.spawn_blocking(run);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        drop(self.end.take());
        // Whoever is inside a runtime must not wait, least of all for the thread he is on.
        if Handle::try_current().is_err()
            && let Some(thread) = self.thread.take()
        {
            // It does not panic; and if it did, what is dropped would have no use for it.
            let _ = thread.join();
        }
    }
}

/// Waits on this thread until something is done, at most so long. It makes no timers or sockets.
pub(super) fn wait_here<F: Future>(
    future: F,
    time: Option<Duration>,
) -> Result<F::Output, TimedOut> {
    let end = time.and_then(|time| Instant::now().checked_add(time));
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Ok(output);
        }
        match end.map(|end| end.saturating_duration_since(Instant::now())) {
            None => thread::park(),
            Some(Duration::ZERO) => return Err(TimedOut),
            Some(left) => thread::park_timeout(left),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// The whole life of the thread.
fn run(name: String, started: &mpsc::SyncSender<io::Result<Handle>>, end: oneshot::Receiver<()>) {
    let built = Builder::new_current_thread()
        .enable_all()
        .thread_name(name)
        // Threads are made as handlers need them, each for one message that it works on.
        .max_blocking_threads(ConsumeConfig::CREDIT_MAX as usize)
        .build();
    let runtime = match built {
        Ok(runtime) => runtime,
        Err(error) => return drop(started.send(Err(error))),
    };
    // Whoever started it waits for this.
    let _ = started.send(Ok(runtime.handle().clone()));
    runtime.block_on(async {
        // Nobody sends: the other end goes.
        let _ = end.await;
        let metrics = Handle::current().metrics();
        let all_said = async {
            while metrics.num_alive_tasks() > 0 {
                tokio::time::sleep(END_LOOK).await;
            }
        };
        // What was not written by then is lost with its connection.
        let _ = tokio::time::timeout(END_TIMEOUT, all_said).await;
    });
    // A name that is still being looked up is not waited for.
    runtime.shutdown_background();
}

/// A name that shows whose thread it is.
fn thread_name(client: &str) -> String {
    let mut name = String::from("edgebus");
    if !client.is_empty() {
        name.push('-');
        name.extend(client.chars().filter(char::is_ascii_graphic));
    }
    name.truncate(THREAD_NAME_BYTES);
    name
}
