//! How a store is set up.

use std::time::Duration;

use edgebus_core::{Code, RecordLimits, Refusal};

use crate::store::StoreError;

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
    /// How large a request may be.
    pub record: RecordLimits,
}

impl Default for StoreConfig {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
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
        } else {
            return Ok(());
        };
        Err(Refusal::new(Code::BadConfig, problem).into())
    }
}
