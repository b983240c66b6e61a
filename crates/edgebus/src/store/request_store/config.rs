//! How a store is set up.

use std::time::Duration;

use edgebus_core::{Code, RecordLimits, Refusal};

use crate::store::StoreError;
use crate::store::block::BLOCK_ENTRY_BYTES;

/// How a store is set up. Sizes are in bytes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoreConfig {
    /// Size of a journal segment; a group takes at most a quarter of one.
    pub segment_bytes: u64,
    /// Journal segments in use after which appends wait for the sealer.
    pub segments_max: usize,
    /// Memory held above the tables after which appends wait for the sealer; from half of it on
    /// they are paced.
    pub tail_bytes_max: usize,
    /// Memory above the tables after which the sealer is given work.
    pub seal_bytes: usize,
    /// Journal space above the tables after which the sealer is given work.
    pub seal_journal_bytes: u64,
    /// Age of the oldest unsealed change after which the sealer is given work.
    pub seal_after: Duration,
    /// Free space on the disk below which appends are refused.
    pub disk_free_bytes_min: u64,
    /// Memory redb may take to cache pages.
    pub cache_bytes: usize,
    /// Request ids in one table, after which the next table is begun. Larger tables make random ids
    /// slower, as each of them touches a page; smaller ones make more filters to ask.
    pub ids_per_generation: u64,
    /// Age of a request, by store time, after which it is trimmed.
    pub retention_age: Duration,
    /// Bytes of log and replies beyond which the oldest requests are trimmed.
    pub retention_bytes: u64,
    /// Requests beyond which the oldest ones are trimmed.
    pub retention_count: u64,
    /// How long the id of a request is known at least, by store time; longer while the request is
    /// kept.
    pub dedupe_horizon: Duration,
    /// Most dead letters.
    pub dead_letters_max: u64,
    /// Most bytes of dead letters.
    pub dead_letter_bytes_max: u64,
    /// How large a request may be.
    pub record: RecordLimits,
}

impl Default for StoreConfig {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            segment_bytes: 16 * MIB,
            segments_max: 16,
            tail_bytes_max: 64 * MIB as usize,
            seal_bytes: 8 * MIB as usize,
            seal_journal_bytes: 16 * MIB,
            seal_after: Duration::from_secs(30),
            disk_free_bytes_min: 64 * MIB,
            cache_bytes: 32 * MIB as usize,
            ids_per_generation: 128 * 1024,
            retention_age: 7 * DAY,
            retention_bytes: 10 * 1024 * MIB,
            retention_count: u64::MAX,
            dedupe_horizon: 30 * DAY,
            dead_letters_max: 100_000,
            dead_letter_bytes_max: 1024 * MIB,
            record: RecordLimits::default(),
        }
    }
}

impl StoreConfig {
    /// Fails when the sizes do not fit each other.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        // Topic, meta part, identity and headers of the largest request.
        const BESIDE_PAYLOAD_BYTES: u64 = 32 * 1024;
        // The filter over them is held in memory: 125 MB.
        const IDS_PER_GENERATION_MAX: u64 = 100_000_000;
        let largest = self.record.payload_bytes_max as u64 + BESIDE_PAYLOAD_BYTES;
        let problem = if !self.segment_bytes.is_multiple_of(16 * 1024) {
            "segment_bytes must be a multiple of 16 KiB"
        } else if self.segment_bytes / 4 < largest {
            "segment_bytes must be at least four times payload_bytes_max and 32 KiB"
        } else if self.segments_max < 3 {
            "segments_max must be at least 3"
        } else if !(1..=IDS_PER_GENERATION_MAX).contains(&self.ids_per_generation) {
            "ids_per_generation must be from 1 to 100 million"
        } else if self.retention_age.is_zero() {
            "retention_age must be more than 0"
        } else if self.retention_bytes < BLOCK_ENTRY_BYTES as u64 {
            "retention_bytes must be at least 64 KiB"
        } else if self.retention_count == 0 {
            "retention_count must be at least 1"
        } else if self.dedupe_horizon.is_zero() {
            "dedupe_horizon must be more than 0"
        } else if self.dead_letters_max == 0 || self.dead_letter_bytes_max < largest {
            "dead_letters_max must be at least 1, and dead_letter_bytes_max take one letter"
        } else {
            return Ok(());
        };
        Err(Refusal::new(Code::BadConfig, problem).into())
    }
}
