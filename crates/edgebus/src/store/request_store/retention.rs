//! How much of the log is kept: up to where it is too old, too large or too long.
//!
//! Goes by store time, which no wall clock can move. Consumers are not looked at: whether one holds
//! what would go is for the engine to decide.

use edgebus_core::Seq;

use super::RequestStore;
use crate::clock::Now;
use crate::store::front::Bounds;

impl RequestStore {
    /// Store time, milliseconds: since the store was made, never going back.
    pub fn store_ms(&self, now: Now) -> u64 {
        self.time.at(now)
    }

    /// The oldest request that is kept: the next one to be stored when none is.
    pub fn first_seq(&self) -> Seq {
        self.shared.state.read().first_seq()
    }

    /// The first request to keep when all goes that is too old, too many or too large; `None` when
    /// nothing needs to go. Whole blocks only. Looks at memory alone; where very much is to go, it
    /// comes in pieces: trim, and ask again.
    pub fn retention_floor(&self, now: Now) -> Option<Seq> {
        let mut front = self.shared.front.lock();
        let state = self.shared.state.read();
        let (first, sealed) = (state.first_seq(), &state.sealed);
        let all_bytes = sealed.log_bytes + sealed.reply_bytes;
        let bytes = all_bytes + state.tail_bytes() as u64;
        let age_ms = u64::try_from(self.config.retention_age.as_millis()).unwrap_or(u64::MAX);
        let last_kept = self.config.retention_count;
        let bounds = Bounds {
            stored_ms: self.time.at(now).checked_sub(age_ms),
            last_seq: Seq(state.open.last_seq.0.saturating_sub(last_kept)),
            bytes: bytes.saturating_sub(self.config.retention_bytes),
            log_bytes: sealed.log_bytes,
            all_bytes,
        };
        front.floor(first, &bounds)
    }

    /// What log and replies take, as a share of their limit; more than 1 when it is too much.
    pub fn log_share(&self) -> f64 {
        let front = self.shared.front.lock();
        let state = self.shared.state.read();
        let kept = state.sealed.log_bytes + state.sealed.reply_bytes + state.tail_bytes() as u64;
        let kept = kept.saturating_sub(front.going_bytes(state.first_seq()));
        kept as f64 / self.config.retention_bytes as f64
    }
}
