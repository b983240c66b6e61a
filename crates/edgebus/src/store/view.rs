//! What readers see: the tables as of the last seal, and the overlays above them.
//!
//! One lock guards which tables and which overlays belong together; it is held for moments only.
//! Blocks are read and decompressed outside it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use edgebus_core::{RequestId, Scope, Seq};
use parking_lot::{Mutex, RwLock};

use super::StoreError;
use super::backup::Capture;
use super::consumers::Consumers;
use super::front::LogFront;
use super::gate::Gate;
use super::ids::Fingerprinter;
use super::journal::Segments;
use super::overlay::{Group, Overlay, StoredId};
use super::sealed::Sealed;

/// What the writer, the sealer and readers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: RwLock<State>,
    /// Changed by the writer alone, and never ahead of the disk.
    pub(super) consumers: RwLock<Consumers>,
    /// The oldest blocks, for retention.
    pub(super) front: Mutex<LogFront>,
    pub(super) segments: Arc<Segments>,
    pub(super) keys: Fingerprinter,
    /// The store's, drawn when it was made.
    pub(super) store_id: [u8; 16],
    /// What a backup has to know of; `None` while none is taken. Locked before the state.
    pub(super) capture: Mutex<Option<Capture>>,
    pub(super) counters: Counters,
    pub(super) gate: Gate,
    pub(super) poisoned: OnceLock<String>,
}

/// Tables and overlays that belong together.
#[derive(Debug)]
pub(super) struct State {
    pub(super) sealed: Arc<Sealed>,
    /// Oldest first; they wait for the sealer.
    pub(super) closed: VecDeque<Arc<Overlay>>,
    pub(super) open: Overlay,
}

/// Figures since the start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) groups: AtomicU64,
    pub(super) appended: AtomicU64,
    pub(super) appended_bytes: AtomicU64,
    pub(super) duplicates: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) journal_bytes: AtomicU64,
    pub(super) seals: AtomicU64,
    pub(super) seal_bytes_per_s: AtomicU64,
    pub(super) disk_free_bytes: AtomicU64,
    pub(super) store_file_bytes: AtomicU64,
    pub(super) storage_full: AtomicBool,
    /// There is soon no room for more dead letters.
    pub(super) dead_letters_alarm: AtomicBool,
    /// The sealer found no room for the tables when it last tried.
    pub(super) sealer_full: AtomicBool,
    /// Nothing before it is left in the tables.
    pub(super) pruned_seq: AtomicU64,
    /// Store time of the latest commit, milliseconds.
    pub(super) store_ms: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}

impl Shared {
    pub(super) fn new(
        state: State,
        consumers: Consumers,
        segments: Arc<Segments>,
        keys: Fingerprinter,
        store_id: [u8; 16],
    ) -> Self {
        Self {
            state: RwLock::new(state),
            consumers: RwLock::new(consumers),
            front: Mutex::default(),
            segments,
            keys,
            store_id,
            capture: Mutex::default(),
            counters: Counters {
                // There is nothing before the first.
                pruned_seq: AtomicU64::new(1),
                ..Counters::default()
            },
            gate: Gate::default(),
            poisoned: OnceLock::new(),
        }
    }

    /// Stops the store for good; the first reason counts.
    pub(super) fn poison(&self, reason: impl Into<String>) {
        let _ = self.poisoned.set(reason.into());
        // Nobody opens the tables again.
        self.gate.close();
    }

    /// Fails when the store was stopped.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match self.poisoned.get() {
            None => Ok(()),
            Some(reason) => Err(StoreError::Poisoned {
                reason: reason.clone(),
            }),
        }
    }

    /// Where an id is stored, in memory or in the tables.
    pub(super) fn find(
        &self,
        id: &RequestId,
        scope: Scope,
    ) -> Result<Option<StoredId>, StoreError> {
        let key = (*id, scope);
        self.look(|| {
            let sealed = {
                let state = self.state.read();
                let mut newest_first = state.overlays().rev();
                if let Some(found) = newest_first.find_map(|overlay| overlay.ids.get(&key)) {
                    return Ok(Some(*found));
                }
                state.sealed.clone()
            };
            sealed.find(id, scope)
        })
    }

    /// Looks something up that may be in the tables.
    pub(super) fn look<T>(
        &self,
        look: impl FnMut() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match self.gate.look(look) {
            // What keeps them closed may be what stopped the store.
            Err(error @ (StoreError::Closed { .. } | StoreError::Refused(_))) => {
                self.check()?;
                Err(error)
            }
            found => found,
        }
    }
}

impl State {
    /// The overlays, oldest first, but those that the tables hold already.
    pub(super) fn overlays(&self) -> impl DoubleEndedIterator<Item = &Overlay> {
        let closed = self.closed.iter().map(Arc::as_ref);
        closed
            .filter(|overlay| overlay.last_lsn > self.sealed.lsn)
            .chain([&self.open])
    }

    /// Memory held above the tables, in bytes.
    pub(super) fn tail_bytes(&self) -> usize {
        self.overlays().map(|overlay| overlay.bytes).sum()
    }

    /// Whether the tables hold all there is.
    pub(super) fn is_all_sealed(&self) -> bool {
        self.closed.is_empty() && self.open.is_empty()
    }

    /// The oldest request that is kept, or the next one when none is.
    pub(super) fn first_seq(&self) -> Seq {
        self.open.first_seq
    }

    /// Groups that hold requests from a sequence number on; `None` when the tables hold it.
    pub(super) fn tail_from(&self, from: Seq, bytes_max: usize) -> Option<Vec<Arc<Group>>> {
        if from <= self.sealed.last_seq {
            return None;
        }
        let overlay = self.overlays().find(|overlay| overlay.last_seq >= from)?;
        Some(overlay.groups_from(from, bytes_max))
    }
}
