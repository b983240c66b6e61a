//! What readers see: the tables as of the last seal, and the overlays above them.
//!
//! One lock guards which tables and which overlays belong together; it is held for moments only.
//! Blocks are read and decompressed outside it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use edgebus_core::query::{LogPage, LogQuery, Stats};
use edgebus_core::{ConsumerName, Entry, Lsn, RequestId, Scope, Seq};
use parking_lot::RwLock;

use super::StoreError;
use super::gate::Gate;
use super::ids::Fingerprinter;
use super::journal::Segments;
use super::overlay::{Group, Overlay, StoredId};
use super::sealed::Sealed;

/// What the writer, the sealer and readers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: RwLock<State>,
    pub(super) segments: Arc<Segments>,
    pub(super) keys: Fingerprinter,
    pub(super) counters: Counters,
    pub(super) gate: Gate,
    poisoned: OnceLock<String>,
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
    /// The sealer found no room for the tables when it last tried.
    pub(super) sealer_full: AtomicBool,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}

impl Shared {
    pub(super) fn new(state: State, segments: Arc<Segments>, keys: Fingerprinter) -> Self {
        Self {
            state: RwLock::new(state),
            segments,
            keys,
            counters: Counters::default(),
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
    fn look<T>(&self, look: impl FnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
        match self.gate.look(look) {
            Err(StoreError::Closed { path }) => {
                self.check()?;
                Err(StoreError::Closed { path })
            }
            found => found,
        }
    }

    /// The number of the dead letter of a consumer and a request, if it has one.
    pub(super) fn has_dead_letter(&self, consumer: &str, seq: Seq) -> Result<bool, StoreError> {
        let key = (consumer.to_owned(), seq.0);
        self.look(|| {
            let sealed = {
                let state = self.state.read();
                let mut overlays = state.overlays();
                if overlays.any(|overlay| overlay.dead_letter_keys.contains(&key)) {
                    return Ok(true);
                }
                state.sealed.clone()
            };
            Ok(sealed.dead_letter(consumer, seq.0)?.is_some())
        })
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

    /// Groups that hold requests from a sequence number on; `None` when the tables hold it.
    fn tail_from(&self, from: Seq, bytes_max: usize) -> Option<Vec<Arc<Group>>> {
        if from <= self.sealed.last_seq {
            return None;
        }
        let overlay = self.overlays().find(|overlay| overlay.last_seq >= from)?;
        Some(overlay.groups_from(from, bytes_max))
    }
}

/// Reads a store, from any thread, while it is being written. Cheap to clone.
///
/// Every call sees a state that was on disk at some moment of the call, and nothing newer. Calls
/// may read from disk: do not make them on an async runtime's own threads.
#[derive(Clone, Debug)]
pub struct StoreReader {
    pub(super) shared: Arc<Shared>,
}

impl StoreReader {
    /// The request with a sequence number; `None` when there is none (yet).
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or what the operating system says.
    pub fn get_by_seq(&self, seq: Seq) -> Result<Option<Entry>, StoreError> {
        let mut query = LogQuery::from(seq);
        query.to = Some(seq);
        query.limit = 1;
        Ok(self.read_log(&query)?.entries.pop())
    }

    /// Where a request id is stored; `None` when it is not (yet).
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or what the operating system says.
    pub fn find(&self, id: RequestId, scope: Scope) -> Result<Option<Seq>, StoreError> {
        Ok(self.shared.find(&id, scope)?.map(|stored| stored.seq))
    }

    /// Whether a request id of the default scope is stored: sending it again would store nothing.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or what the operating system says.
    pub fn is_duplicate(&self, id: RequestId) -> Result<bool, StoreError> {
        Ok(self.find(id, Scope::default())?.is_some())
    }

    /// Up to where everything is done for a consumer; `None` for a consumer that has no offset.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or what the operating system says.
    pub fn get_consumer_offset(&self, consumer: &ConsumerName) -> Result<Option<Seq>, StoreError> {
        self.shared.look(|| {
            let sealed = {
                let state = self.shared.state.read();
                let mut newest_first = state.overlays().rev();
                if let Some(offset) = newest_first.find_map(|o| o.offsets.get(consumer)) {
                    return Ok(Some(*offset));
                }
                state.sealed.clone()
            };
            sealed.offset(consumer)
        })
    }

    /// How many dead letters there are.
    pub fn dead_letter_count(&self) -> u64 {
        let state = self.shared.state.read();
        let above: usize = state
            .overlays()
            .map(|overlay| overlay.dead_letters.len())
            .sum();
        state.sealed.dead_letters + above as u64
    }

    /// The last stored request's sequence number; 0 when there is none.
    pub fn last_seq(&self) -> Seq {
        self.shared.state.read().open.last_seq
    }

    /// One page of the log.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or what the operating system says.
    pub fn read_log(&self, query: &LogQuery) -> Result<LogPage, StoreError> {
        self.shared.look(|| self.read_page(query))
    }

    fn read_page(&self, query: &LogQuery) -> Result<LogPage, StoreError> {
        // A page of nothing would never come to an end.
        let limit = query.limit.max(1);
        let mut page = LogPage::default();
        let mut bytes = 0;
        let mut full = |page: &LogPage, entry: &Entry| {
            bytes += entry.as_bytes().len();
            page.entries.len() >= limit || (bytes > query.page_bytes && !page.entries.is_empty())
        };
        let mut at = query.from.max(Seq(1));
        let started = at;
        loop {
            let (tail, sealed, last) = {
                let state = self.shared.state.read();
                let last = query.to.unwrap_or(Seq(u64::MAX)).min(state.open.last_seq);
                (
                    state.tail_from(at, query.page_bytes),
                    state.sealed.clone(),
                    last,
                )
            };
            if at > last {
                return Ok(page);
            }
            let before = at;
            match tail {
                None => at = sealed.read_log(at, last, query, &mut page, &mut full)?,
                Some(groups) => at = read_tail(&groups, at, last, query, &mut page, &mut full),
            }
            let stuck = at == before;
            if stuck || page.entries.len() >= limit || at.0 - started.0 > SCANNED_PER_PAGE {
                page.next = (at <= last).then_some(at);
                return Ok(page);
            }
        }
    }

    /// Everything from a sequence number on, page by page.
    pub fn replay_from(&self, seq: Seq) -> Replay {
        self.replay(LogQuery::from(seq))
    }

    /// Everything a query selects, page by page; the query's limit is that of a page.
    pub fn replay(&self, query: LogQuery) -> Replay {
        Replay {
            reader: self.clone(),
            query: Some(query),
            page: Vec::new().into_iter(),
        }
    }

    /// The store's figures; those of connections and of the process are left at 0.
    pub fn stats(&self) -> Stats {
        let counters = &self.shared.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let state = self.shared.state.read();
        let above: usize = state
            .overlays()
            .map(|overlay| overlay.dead_letters.len())
            .sum();
        Stats {
            last_seq: state.open.last_seq.0,
            stored: state.open.last_seq.0,
            synced_lsn: state.open.last_lsn.0,
            sealed_lsn: state.sealed.lsn.0,
            tail_bytes: state.tail_bytes() as u64,
            journal_segments: self.shared.segments.used() as u64,
            groups: get(&counters.groups),
            appended: get(&counters.appended),
            duplicates: get(&counters.duplicates),
            refused: get(&counters.refused),
            appended_bytes: get(&counters.appended_bytes),
            journal_bytes: get(&counters.journal_bytes),
            seals: get(&counters.seals),
            dead_letters: state.sealed.dead_letters + above as u64,
            disk_free_bytes: get(&counters.disk_free_bytes),
            store_file_bytes: get(&counters.store_file_bytes),
            poisoned: self.shared.check().is_err(),
            storage_full: counters.storage_full.load(Ordering::Relaxed),
            ..Stats::default()
        }
    }

    /// Computes fingerprints with the store's key.
    pub fn fingerprinter(&self) -> Fingerprinter {
        self.shared.keys
    }

    /// Whether new requests are refused for want of space on the disk.
    pub fn is_full(&self) -> bool {
        self.shared.counters.storage_full.load(Ordering::Relaxed)
    }

    /// Why the store was stopped; `None` while it runs.
    pub fn poisoned(&self) -> Option<String> {
        self.shared.poisoned.get().cloned()
    }

    /// Stops the store for good: nothing is written any more.
    pub(crate) fn poison(&self, reason: &str) {
        self.shared.poison(reason);
    }

    /// The last change that is on disk.
    pub fn synced_lsn(&self) -> Lsn {
        self.shared.state.read().open.last_lsn
    }
}

/// Sequence numbers looked at for one page, so that a query that selects little answers in time.
const SCANNED_PER_PAGE: u64 = 200_000;

fn read_tail(
    groups: &[Arc<Group>],
    from: Seq,
    to: Seq,
    query: &LogQuery,
    page: &mut LogPage,
    mut full: impl FnMut(&LogPage, &Entry) -> bool,
) -> Seq {
    let mut at = from;
    for entry in groups.iter().flat_map(|group| group.entries_from(from)) {
        if entry.seq() < from {
            continue;
        }
        if entry.seq() > to {
            break;
        }
        if query.selects(&entry) {
            if full(page, &entry) {
                return entry.seq();
            }
            page.entries.push(entry.clone());
        }
        at = entry.seq().next();
    }
    at
}

/// The log from some point on, read page by page. Between two items nothing of the store is held,
/// so the caller may take its time.
#[derive(Debug)]
pub struct Replay {
    reader: StoreReader,
    query: Option<LogQuery>,
    page: std::vec::IntoIter<Entry>,
}

impl Iterator for Replay {
    type Item = Result<Entry, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.page.next() {
                return Some(Ok(entry));
            }
            let mut query = self.query.take()?;
            match self.reader.read_log(&query) {
                Ok(page) => {
                    self.query = page.next.map(|next| {
                        query.from = next;
                        query
                    });
                    self.page = page.entries.into_iter();
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
