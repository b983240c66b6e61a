//! The store as a whole: opening it, staging changes, making them durable.
//!
//! One owner writes. [`RequestStore::append_request`] and its siblings do everything in one call;
//! the engine stages many changes ([`mod@stage`], [`mod@stage_other`]) and commits them as one group
//! ([`mod@commit`]). It reads what is in memory with [`mod@tail`] and asks [`mod@retention`] what is
//! to be trimmed. Readers of other threads get a [`StoreReader`].

mod commit;
mod config;
mod open;
mod retention;
mod stage;
mod stage_other;
mod tail;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use edgebus_core::{
    Code, ConsumerName, Entry, Lsn, Message, Receipt, Record, RecordLimits, Refusal, RequestId,
    Scope, Seq,
};

pub use commit::Admission;
pub use config::StoreConfig;
pub use stage::StageError;
pub use tail::TailRead;

use super::StoreError;
use super::consumers::Ledgers;
use super::folder::Folder;
use super::ids::Fingerprinter;
use super::journal::{Journal, TornTail};
use super::reader::StoreReader;
use super::replay::Replay;
use super::sealer::Sealer;
use super::store_time::StoreTime;
use super::view::Shared;
use crate::clock::{Clock, Now, SystemClock};
use crate::files::{Files, RealFiles};
use stage::Staged;

/// A durable log of requests, each stored once, with consumer offsets and dead letters.
///
/// ```
/// use edgebus::{Message, RequestId, RequestStore, Seq};
/// # let folder = tempfile::tempdir()?;
/// let mut store = RequestStore::open(folder.path())?;
/// let message = Message::new(RequestId::from_bytes([1; 16]), "orders.created".try_into()?, "{}");
/// let receipt = store.append_request(&message)?; // on disk when this returns
/// assert_eq!((receipt.seq, receipt.duplicate), (Seq(1), false));
/// assert!(store.append_request(&message)?.duplicate);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RequestStore {
    config: StoreConfig,
    dir: PathBuf,
    files: Arc<dyn Files>,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    journal: Journal,
    staged: Staged,
    /// With what is staged; those in `shared` are as of the last sync.
    ledgers: Ledgers,
    time: StoreTime,
    next_lsn: Lsn,
    last_dead_letter: u64,
    space_checked: Option<Duration>,
    /// The consumer for whose sake new requests are refused.
    holder: Option<ConsumerName>,
    torn: Option<TornTail>,
    /// `None` when a thread of its own has it.
    sealer: Option<Sealer>,
    /// Dropped last, as it holds the lock.
    folder: Folder,
}

impl RequestStore {
    /// Opens the store in a folder, or makes one there if the folder is empty or missing.
    ///
    /// # Errors
    /// Each case of [`StoreError`]; whatever was acknowledged stays in the folder.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, StoreError> {
        let clock = Arc::new(SystemClock::default());
        Self::open_with(
            dir.as_ref(),
            StoreConfig::default(),
            Arc::new(RealFiles),
            clock,
        )
    }

    /// The group that a power cut tore, if the last start found one.
    pub fn torn_tail(&self) -> Option<&TornTail> {
        self.torn.as_ref()
    }

    /// Reads this store from any thread.
    pub fn reader(&self) -> StoreReader {
        StoreReader {
            shared: self.shared.clone(),
        }
    }

    /// Hands the sealer to whoever will call its steps. Until then the store does so itself after
    /// a commit.
    pub fn take_sealer(&mut self) -> Option<Sealer> {
        self.sealer.take()
    }

    /// Stores a request. On disk when this returns.
    ///
    /// # Errors
    /// [`StoreError::Refused`], [`StoreError::Full`]: nothing was stored. Any other: unknown.
    pub fn append_request(&mut self, message: &Message) -> Result<Receipt, StoreError> {
        let record = Record::encode(message, &self.config.record)?;
        let fingerprint = self.shared.keys.fingerprint(&record);
        let scope = Scope::default();
        let now = self.clock.now();
        let staged = self.stage_append(&record, scope, "", fingerprint, now);
        let (seq, duplicate) = self.retry_full_group(staged, now, |store| {
            store.stage_append(&record, scope, "", fingerprint, now)
        })?;
        self.commit(now)?;
        Ok(Receipt::new(message.id, seq, duplicate))
    }

    /// Sets a consumer's offset: every request up to it is done. On disk when this returns.
    ///
    /// # Errors
    /// As [`RequestStore::append_request`].
    pub fn set_consumer_offset(
        &mut self,
        consumer: &ConsumerName,
        offset: Seq,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.reserve(CONTROL_BYTES)?;
        let staged = self.stage_offset(consumer, offset);
        self.retry_full_group(staged, now, |store| store.stage_offset(consumer, offset))?;
        self.commit(now)
    }

    /// Keeps a request among the dead letters of a consumer, with the reason. Says whether it was
    /// new: the same request fails once for one consumer. On disk when this returns.
    ///
    /// # Errors
    /// [`Code::NotFound`] for a sequence number without a request; else as
    /// [`RequestStore::append_request`].
    pub fn move_to_dead_letter(
        &mut self,
        seq: Seq,
        consumer: &ConsumerName,
        reason: &str,
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let entry_bytes = self.get_by_seq(seq)?.map_or(0, |e| e.as_bytes().len());
        self.reserve(entry_bytes + CONTROL_BYTES)?;
        let staged = self.stage_dead_letter(seq, consumer, reason, now)?;
        let new = self.retry_full_group(staged, now, |store| {
            store
                .stage_dead_letter(seq, consumer, reason, now)
                .unwrap_or_else(|e| Err(Refusal::from(&e).into()))
        })?;
        self.commit(now)?;
        Ok(new)
    }

    /// Trims the log: nothing before a sequence number is kept. On disk when this returns; the
    /// space is used again soon after.
    ///
    /// # Errors
    /// As [`RequestStore::append_request`].
    pub fn trim(&mut self, before: Seq) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.reserve(CONTROL_BYTES)?;
        let staged = self.stage_trim(before);
        self.retry_full_group(staged, now, |store| store.stage_trim(before))?;
        self.commit(now)
    }

    fn retry_full_group<T>(
        &mut self,
        staged: Result<T, StageError>,
        now: Now,
        again: impl FnOnce(&mut Self) -> Result<T, StageError>,
    ) -> Result<T, StoreError> {
        let staged = match staged {
            Err(StageError::GroupFull) => {
                self.commit(now)?;
                again(self)
            }
            other => other,
        };
        staged.map_err(|error| match error {
            StageError::Refused(refusal) => refusal.into(),
            StageError::GroupFull => Refusal::new(
                Code::PayloadTooLarge,
                "larger than a whole group of the journal",
            )
            .into(),
        })
    }

    /// The request with a sequence number; `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or what the operating system says.
    pub fn get_by_seq(&self, seq: Seq) -> Result<Option<Entry>, StoreError> {
        self.reader().get_by_seq(seq)
    }

    /// Whether a request id is stored: sending it again would store nothing.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or what the operating system says.
    pub fn is_duplicate(&self, id: RequestId) -> Result<bool, StoreError> {
        self.reader().is_duplicate(id)
    }

    /// Up to where everything is done for a consumer; `None` for a consumer that has no offset.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or what the operating system says.
    pub fn get_consumer_offset(&self, consumer: &ConsumerName) -> Result<Option<Seq>, StoreError> {
        self.reader().get_consumer_offset(consumer)
    }

    /// How many dead letters there are.
    pub fn dead_letter_count(&self) -> u64 {
        self.reader().dead_letter_count()
    }

    /// Everything from a sequence number on, page by page.
    pub fn replay_from(&self, seq: Seq) -> Replay {
        self.reader().replay_from(seq)
    }

    /// The clock this store goes by.
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    /// The id drawn when the store was made: the same as long as it is the same store.
    pub fn store_id(&self) -> [u8; 16] {
        self.folder.id
    }

    /// How large a request may be.
    pub fn record_limits(&self) -> RecordLimits {
        self.config.record
    }

    /// Computes fingerprints with the store's key.
    pub fn fingerprinter(&self) -> Fingerprinter {
        self.shared.keys
    }

    /// Seals everything and closes. Without this nothing is lost either; the next start takes a
    /// little longer.
    ///
    /// # Errors
    /// What the sealer met.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.commit(self.clock.now())?;
        self.close_overlay();
        self.seal_inline()
    }
}

/// More than a change takes that carries no request. What stays staged when the disk is full would
/// be done later, after its caller was told that it was not: so the room is made first.
const CONTROL_BYTES: usize = 4 * 1024;
