//! The spool: a client's requests on its own disk, until a server has them.
//!
//! ```text
//!   commit ──▶ journal (one write + one sync a group) ──▶ next ──▶ the server
//!     ▲                                                                │
//!     └──────────── settled: forwarded, or dead with its reason ◀──────┘
//! ```
//! The same journal as the store's, with nothing behind it: no tables, no threads, no runtime. What
//! is settled goes with the segment it is in. In reading order: [`index`] what is known without
//! reading; [`cursor`] reading; [`open`]; [`write`] one group; [`commit`], [`next`], [`change`] what
//! callers do; [`space`] how segments are freed; [`rows`] and [`look`] listing; [`check`] every byte; [`folder`] who may
//! open it.
//!
//! Called by the client, which owns it on a thread that may block, and by the command line.
//!
//! Invariants: a number that was given out is on disk. Numbers follow one another without gaps and
//! are never used twice. A request leaves the disk only after it was settled or removed, and that is
//! on disk. After a failed write or sync nothing is written any more. Memory does not grow with the
//! number of waiting requests.

mod change;
mod check;
mod commit;
mod config;
mod cursor;
mod folder;
mod index;
mod look;
mod next;
mod numbers;
mod open;
mod rows;
mod space;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;

use edgebus_core::{Code, Lsn, Record};

pub use config::SpoolConfig;
pub use look::Look;

pub use crate::store::{StoreError, TornTail};

use crate::clock::Clock;
use crate::store::journal::{Journal, Segments};
use crate::store::store_time::StoreTime;
use cursor::{Cursor, Ground};
use index::{At, Index};

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Settled {
    /// The server has it: it is not needed here any more.
    Forwarded,
    /// The server will never take it: it is kept as a dead letter.
    Dead {
        /// Why, as a word.
        code: Code,
        /// Why, for people; cut to a kilobyte.
        reason: String,
    },
}

/// A request to be forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiting {
    /// Its number in the spool.
    pub number: u64,
    /// The request.
    pub record: Record,
    /// Milliseconds of store time since it was spooled: never less because a wall clock was set.
    pub age_ms: u64,
}

/// One row of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpoolRow {
    /// Its number in the spool.
    pub number: u64,
    /// The request.
    pub record: Record,
    /// When it was spooled: wall clock, unix milliseconds.
    pub spooled_ms: u64,
    /// Whether it is still to be forwarded.
    pub state: RowState,
}

/// The state of a spooled request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RowState {
    /// It is to be forwarded.
    Waiting,
    /// The server will never take it.
    Dead {
        /// Why, as a word; [`Code::Unknown`] for one of a newer version.
        code: Code,
        /// Why, for people.
        reason: String,
        /// Since when: wall clock, unix milliseconds.
        at_ms: u64,
    },
}

/// A client's requests on its own disk, in the order they were given.
///
/// ```
/// use edgebus::spool::{Settled, Spool, SpoolConfig};
/// use edgebus::{Message, Record, RecordLimits, RequestId};
/// # let folder = tempfile::tempdir()?;
/// let mut spool = Spool::open(folder.path(), SpoolConfig::default())?;
/// let message = Message::new(RequestId::from_bytes([1; 16]), "orders.created".try_into()?, "{}");
/// let record = Record::encode(&message, &RecordLimits::default())?;
/// assert_eq!(spool.commit(&[], vec![record.clone()])?, [Ok(1)]); // on disk when this returns
///
/// let waiting = spool.next(100, 1024 * 1024)?;
/// assert_eq!((waiting[0].number, &waiting[0].record), (1, &record));
/// spool.commit(&[(1, Settled::Forwarded)], Vec::new())?; // once the server has it
/// assert_eq!(spool.waiting(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Spool {
    config: SpoolConfig,
    ground: Ground,
    clock: Arc<dyn Clock>,
    journal: Journal,
    segments: Arc<Segments>,
    index: Index,
    time: StoreTime,
    next_lsn: Lsn,
    /// Before what is handed out next.
    cursor: Cursor,
    /// Read by the cursor and not handed out, as it did not fit.
    ahead: Option<(At, edgebus_core::Entry)>,
    /// Handed out and not settled: where they are, and the bytes of their records. As many as its
    /// caller has under way.
    out: BTreeMap<u64, (At, u64)>,
    /// Dead, but not on disk yet as there was no room: not handed out again.
    owed: BTreeMap<u64, (Code, String)>,
    torn: Option<TornTail>,
    /// Why nothing is written any more.
    stopped: Option<String>,
    /// Dropped last, as it holds the lock.
    _folder: folder::Folder,
}

impl Spool {
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

    /// Bytes of their records.
    pub fn dead_bytes(&self) -> u64 {
        self.index.dead_bytes
    }

    /// Most bytes of records, waiting and dead ones together.
    pub fn bytes_max(&self) -> u64 {
        self.config.bytes_max
    }

    /// The group that a power cut tore, if this start found one.
    pub fn torn_tail(&self) -> Option<&TornTail> {
        self.torn.as_ref()
    }

    fn check(&self) -> Result<(), StoreError> {
        match &self.stopped {
            Some(reason) => Err(StoreError::Poisoned {
                reason: reason.clone(),
            }),
            None => Ok(()),
        }
    }

    /// After an error that leaves open what is on disk, nothing is written any more.
    fn stop_at<T>(&mut self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &outcome
            && !matches!(error, StoreError::Full { .. } | StoreError::Poisoned { .. })
        {
            self.stopped = Some(error.to_string());
        }
        outcome
    }
}
