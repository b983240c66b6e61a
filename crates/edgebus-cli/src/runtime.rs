//! The threads that serve connections.

use std::io;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Runtime};

/// Most threads for connections.
const WORKERS_MAX: usize = 8;

/// A runtime for a server. One core is left to the engine, which has a thread of its own.
pub(crate) fn for_serving() -> io::Result<Runtime> {
    let cores = available_parallelism().map_or(2, usize::from);
    Builder::new_multi_thread()
        .worker_threads((cores - 1).clamp(1, WORKERS_MAX))
        .enable_all()
        .build()
}
