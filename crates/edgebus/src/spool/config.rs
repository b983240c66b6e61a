//! How large a spool may become.

use edgebus_core::{Code, Refusal};

/// The bounds of a spool.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SpoolConfig {
    /// Most bytes of requests, waiting and dead ones together; more are refused with
    /// `storage_full`. On the disk they take up to four times as much, when each comes alone, and
    /// eight segments; that is a bound too.
    pub bytes_max: u64,
    /// Size of a journal segment in bytes: a multiple of 16 KiB, at least 64 KiB. A request that
    /// takes more than a quarter of one gets a larger one of its own.
    pub segment_bytes: u64,
}

impl Default for SpoolConfig {
    fn default() -> Self {
        Self {
            bytes_max: 256 * 1024 * 1024,
            segment_bytes: 1024 * 1024,
        }
    }
}

impl SpoolConfig {
    /// Most bytes of requests.
    #[must_use]
    pub fn bytes_max(mut self, bytes: u64) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// Size of a journal segment in bytes.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// # Errors
    /// [`Code::BadConfig`].
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let fits = (64 * 1024..=1024 * 1024 * 1024).contains(&self.segment_bytes);
        if fits && self.segment_bytes.is_multiple_of(16 * 1024) {
            return Ok(());
        }
        let what = format!(
            "segment_bytes {} must be a multiple of 16 KiB from 64 KiB to 1 GiB",
            self.segment_bytes
        );
        Err(Refusal::new(Code::BadConfig, what))
    }

    /// Most bytes of segments in use.
    pub(super) fn disk_bytes_max(&self) -> u64 {
        let segments = self.segment_bytes.saturating_mul(8);
        self.bytes_max.saturating_mul(4).saturating_add(segments)
    }
}
