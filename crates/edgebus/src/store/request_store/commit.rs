//! Committing: making the staged group durable, then visible; space, pacing and sealing around it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use edgebus_core::Lsn;

use super::{RequestStore, Staged};
use crate::clock::Now;
use crate::store::StoreError;
use crate::store::journal::GroupMeta;
use crate::store::op::Op;
use crate::store::overlay::Group;
use crate::store::sealer::SealStep;
use crate::store::view::Counters;

/// How often the free space is looked at.
const SPACE_CHECK_EVERY: Duration = Duration::from_millis(100);

/// Whether the store takes appends at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It does.
    Open,
    /// The sealer is behind: wait this long before the next group of appends.
    Paced(Duration),
    /// The sealer is far behind: wait until it has sealed something.
    Blocked,
}

impl RequestStore {
    /// Whether appends are taken at the moment.
    pub fn admission(&self) -> Admission {
        let tail_bytes = self.shared.state.read().tail_bytes();
        let max = self.config.tail_bytes_max;
        if tail_bytes >= max || self.shared.segments.used() >= self.config.segments_max {
            return Admission::Blocked;
        }
        let rate = self
            .shared
            .counters
            .seal_bytes_per_s
            .load(Ordering::Relaxed);
        if tail_bytes < max / 2 || rate == 0 {
            return Admission::Open;
        }
        // From twice the sealer's speed at half of the bound down to half of it at the bound.
        let left = (max - tail_bytes) as f64 / (max / 2) as f64;
        let allowed = rate as f64 * (0.5 + 1.5 * left);
        let last_group = self
            .shared
            .state
            .read()
            .open
            .groups
            .last()
            .map_or(0, |g| g.ops.len());
        Admission::Paced(Duration::from_secs_f64(last_group as f64 / allowed))
    }

    /// Makes everything staged durable, then visible. With nothing staged it only looks after
    /// space and sealing.
    ///
    /// # Errors
    /// [`StoreError::Full`]: nothing of the group was written, it is gone. Any other: whether the
    /// group is on disk is unknown, and the store takes nothing more.
    pub fn commit(&mut self, now: Now) -> Result<(), StoreError> {
        if let Err(error) = self.shared.check() {
            self.staged = Staged::default();
            return Err(error);
        }
        if self.staged.op_count > 0 {
            self.write_group(now)?;
        }
        let duplicates = std::mem::take(&mut self.staged.duplicates);
        Counters::add(&self.shared.counters.duplicates, duplicates);
        if self
            .space_checked
            .is_none_or(|last| now.monotonic >= last + SPACE_CHECK_EVERY)
        {
            self.check_space(now);
        }
        self.close_overlay_if_due(now);
        self.seal_inline()
    }

    fn write_group(&mut self, now: Now) -> Result<(), StoreError> {
        let staged = self.staged.take();
        let meta = GroupMeta {
            first_lsn: self.next_lsn,
            op_count: staged.op_count,
            store_time_ms: self.time.at(now),
            wall_ms: now.wall_ms,
        };
        let written = match self.journal.reserve(staged.ops.len(), self.next_lsn) {
            Ok(()) => self.journal.write(&meta, &staged.ops),
            Err(full @ StoreError::Full { .. }) => {
                self.check_space(now);
                self.last_dead_letter -= count_dead_letters(&staged.others);
                return Err(full);
            }
            Err(error) => Err(error),
        };
        let journal_bytes = written.inspect_err(|error| self.shared.poison(error.to_string()))?;
        self.next_lsn = Lsn(self.next_lsn.0 + u64::from(staged.op_count));

        let counters = &self.shared.counters;
        Counters::add(&counters.groups, 1);
        Counters::add(&counters.duplicates, staged.duplicates);
        Counters::add(&counters.journal_bytes, journal_bytes);
        Counters::add(&counters.appended, staged.appends.len() as u64);
        Counters::add(&counters.appended_bytes, staged.ops.len() as u64);
        let mut state = self.shared.state.write();
        let group = Group {
            last_lsn: Lsn(self.next_lsn.0 - 1),
            first_seq: state.open.last_seq.next(),
            appends: staged.appends,
            others: staged.others,
            ops: Bytes::from(staged.ops),
        };
        state
            .open
            .apply(group, journal_bytes, (meta.store_time_ms, meta.wall_ms));
        Ok(())
    }

    /// Looks at the free space and decides whether appends are taken.
    pub(super) fn check_space(&mut self, now: Now) {
        self.space_checked = Some(now.monotonic);
        let counters = &self.shared.counters;
        // A file system that cannot tell is taken to have room; its writes will say otherwise.
        let free = self.files.free_bytes(&self.dir).unwrap_or(u64::MAX);
        counters.disk_free_bytes.store(free, Ordering::Relaxed);
        // The tables grow in large steps, so they may find no room while there is some. Until they
        // do, nothing makes room above them, and who waits for that would wait without an answer.
        let cannot_seal = counters.sealer_full.load(Ordering::Relaxed);
        let stuck = cannot_seal && self.admission() == Admission::Blocked;
        let full = stuck || free < self.config.disk_free_bytes_min;
        counters.storage_full.store(full, Ordering::Relaxed);
    }

    fn close_overlay_if_due(&mut self, now: Now) {
        let due = {
            let state = self.shared.state.read();
            let open = &state.open;
            let age_ms = self.time.at(now).saturating_sub(open.opened_ms);
            !open.is_empty()
                && (open.bytes >= self.config.seal_bytes
                    || open.journal_bytes >= self.config.seal_journal_bytes
                    || u128::from(age_ms) >= self.config.seal_after.as_millis())
        };
        if due {
            self.close_overlay();
        }
    }

    /// Gives what is synced to the sealer, whether it is due or not.
    pub fn close_overlay(&mut self) {
        let mut state = self.shared.state.write();
        if !state.open.is_empty() {
            let next = state.open.successor();
            let closed = std::mem::replace(&mut state.open, next);
            state.closed.push_back(Arc::new(closed));
        }
    }

    /// When the oldest unsealed change will be due for the sealer; `None` when there is none.
    pub fn seal_due_in(&self, now: Now) -> Option<Duration> {
        let state = self.shared.state.read();
        let age = self.time.at(now).saturating_sub(state.open.opened_ms);
        let left = self
            .config
            .seal_after
            .saturating_sub(Duration::from_millis(age));
        (!state.open.is_empty()).then_some(left)
    }

    /// Whether an overlay waits for the sealer.
    pub fn wants_sealer(&self) -> bool {
        !self.shared.state.read().closed.is_empty()
    }

    pub(super) fn seal_inline(&mut self) -> Result<(), StoreError> {
        let Some(sealer) = &mut self.sealer else {
            return Ok(());
        };
        if self.shared.state.read().closed.is_empty() {
            return Ok(());
        }
        while sealer.step()? == SealStep::Worked {}
        Ok(())
    }
}

fn count_dead_letters(ops: &[Op]) -> u64 {
    ops.iter()
        .filter(|op| matches!(op, Op::DeadLetter { .. }))
        .count() as u64
}
