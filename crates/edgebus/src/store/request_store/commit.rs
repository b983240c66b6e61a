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
        let (tail_bytes, all_sealed) = {
            let state = self.shared.state.read();
            (state.tail_bytes(), state.is_all_sealed())
        };
        let max = self.config.tail_bytes_max;
        // Segments are freed one seal late: with nothing left to seal, only another group has it done.
        if tail_bytes >= max || (self.is_journal_full() && !all_sealed) {
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
    /// [`StoreError::Full`]: nothing of the group was written; its requests are gone, all else stays
    /// staged and goes with a later commit. Any other: whether the group is on disk is unknown, and
    /// the store takes nothing more.
    pub fn commit(&mut self, now: Now) -> Result<(), StoreError> {
        if let Err(error) = self.shared.check() {
            self.staged = Staged::default();
            return Err(error);
        }
        self.note_time(now);
        let written = match self.staged.op_count {
            0 => Ok(()),
            _ => self.write_group(now),
        };
        if !matches!(written, Ok(()) | Err(StoreError::Full { .. })) {
            return written;
        }
        // What waits for room in the journal holds up no sealing, which makes room there.
        let duplicates = std::mem::take(&mut self.staged.duplicates);
        Counters::add(&self.shared.counters.duplicates, duplicates);
        if self
            .space_checked
            .is_none_or(|last| now.monotonic >= last + SPACE_CHECK_EVERY)
        {
            self.check_space(now);
        }
        self.close_overlay_if_due(now);
        self.seal_inline()?;
        written
    }

    /// Makes room in the journal for what is staged and so many bytes of operations more, as far as
    /// they go into one group: the commit that follows does not fail for want of room. With requests
    /// in the group, it is full when that room is used up.
    ///
    /// # Errors
    /// [`StoreError::Full`]: nothing has changed. Any other stops the store.
    pub fn reserve(&mut self, extra_bytes: usize) -> Result<(), StoreError> {
        self.shared.check()?;
        self.reserve_group(extra_bytes, self.spares_kept())
    }

    /// As [`RequestStore::reserve`], for what makes room on the disk in the end: on a full one it
    /// gets the last spare segment, which all else leaves alone.
    ///
    /// # Errors
    /// As [`RequestStore::reserve`].
    pub fn reserve_to_free(&mut self, extra_bytes: usize) -> Result<(), StoreError> {
        self.shared.check()?;
        self.reserve_group(extra_bytes, 0)
    }

    fn reserve_group(&mut self, extra_bytes: usize, keep: usize) -> Result<(), StoreError> {
        let wanted = self.staged.ops.len().saturating_add(extra_bytes);
        let wanted = wanted.min(self.journal.group_bytes_max());
        self.reserve_bytes(wanted, keep)?;
        self.staged.room = Some(wanted);
        Ok(())
    }

    /// Spare segments that are left alone: on a full disk one, unless the group makes room.
    fn spares_kept(&self) -> usize {
        let full = self.shared.counters.storage_full.load(Ordering::Relaxed);
        let frees = |ops: &[Op]| ops.iter().any(Op::frees_space);
        usize::from(full && !frees(&self.staged.others))
    }

    fn reserve_bytes(&mut self, bytes: usize, keep: usize) -> Result<(), StoreError> {
        let reserved = self.journal.reserve(bytes, self.next_lsn, keep);
        reserved.inspect_err(|error| {
            if !matches!(error, StoreError::Full { .. }) {
                self.shared.poison(error.to_string());
            }
        })
    }

    /// Forgets the requests of the group that is being built; all else stays staged.
    pub fn drop_staged_appends(&mut self) {
        self.staged.drop_appends();
    }

    fn write_group(&mut self, now: Now) -> Result<(), StoreError> {
        if let Err(error) = self.reserve_bytes(self.staged.ops.len(), self.spares_kept()) {
            if matches!(error, StoreError::Full { .. }) {
                self.check_space(now);
                self.staged.drop_appends();
            }
            return Err(error);
        }
        let staged = self.staged.take();
        let meta = GroupMeta {
            first_lsn: self.next_lsn,
            op_count: staged.op_count,
            store_time_ms: self.time.at(now),
            wall_ms: now.wall_ms,
        };
        let written = self.journal.write(&meta, &staged.ops);
        let journal_bytes = written.inspect_err(|error| self.shared.poison(error.to_string()))?;
        self.next_lsn = Lsn(self.next_lsn.0 + u64::from(staged.op_count));

        let counters = &self.shared.counters;
        Counters::add(&counters.groups, 1);
        Counters::add(&counters.duplicates, staged.duplicates);
        Counters::add(&counters.journal_bytes, journal_bytes);
        Counters::add(&counters.appended, staged.appends.len() as u64);
        Counters::add(&counters.appended_bytes, staged.appended_bytes());
        let mut changes = Vec::new();
        // Both are held until both are done: whoever reads both, in this order, sees one moment.
        let mut consumers = self.shared.consumers.write();
        for op in staged.others {
            consumers.apply(op, &mut changes);
        }
        let mut state = self.shared.state.write();
        let group = Group {
            last_lsn: Lsn(self.next_lsn.0 - 1),
            first_seq: state.open.last_seq.next(),
            appends: staged.appends,
            ops: Bytes::from(staged.ops),
        };
        let times_ms = (meta.store_time_ms, meta.wall_ms);
        state.open.apply(group, changes, journal_bytes, times_ms);
        Ok(())
    }

    pub(super) fn note_time(&self, now: Now) {
        let counter = &self.shared.counters.store_ms;
        counter.store(self.time.at(now), Ordering::Relaxed);
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
        if self.is_seal_due(now) {
            self.close_overlay();
        }
    }

    /// Whether the next commit gives what is synced to the sealer.
    pub fn is_seal_due(&self, now: Now) -> bool {
        let state = self.shared.state.read();
        let open = &state.open;
        let age_ms = self.time.at(now).saturating_sub(open.opened_ms);
        !open.is_empty()
            && (open.bytes >= self.config.seal_bytes
                || open.journal_bytes >= self.seal_journal_bytes()
                || u128::from(age_ms) >= self.config.seal_after.as_millis()
                || (state.closed.is_empty() && self.is_journal_full()))
    }

    /// As configured, but for a small journal: as its segments are freed one seal late, it must
    /// hold what is sealed twice.
    fn seal_journal_bytes(&self) -> u64 {
        let journal_bytes =
            (self.config.segment_bytes).saturating_mul(self.config.segments_max as u64);
        self.config.seal_journal_bytes.min(journal_bytes / 4)
    }

    fn is_journal_full(&self) -> bool {
        self.shared.segments.used() >= self.config.segments_max
    }

    /// Gives what is synced to the sealer, whether it is due or not.
    pub fn close_overlay(&mut self) {
        if self.shared.state.read().open.is_empty() {
            return;
        }
        // Made outside the lock. Only the writer changes either.
        let (consumers, removed_epoch) = {
            let mut consumers = self.shared.consumers.write();
            (consumers.take_changed(), consumers.ledgers.removed_epoch)
        };
        let mut state = self.shared.state.write();
        let next = state.open.successor();
        let mut closed = std::mem::replace(&mut state.open, next);
        closed.consumers = consumers;
        closed.removed_epoch = removed_epoch;
        state.closed.push_back(Arc::new(closed));
    }

    /// When the oldest unsealed change will be due for the sealer; `None` when there is none.
    pub fn seal_due_in(&self, now: Now) -> Option<Duration> {
        if self.is_seal_due(now) {
            return Some(Duration::ZERO);
        }
        let state = self.shared.state.read();
        let age = self.time.at(now).saturating_sub(state.open.opened_ms);
        let left = self
            .config
            .seal_after
            .saturating_sub(Duration::from_millis(age));
        (!state.open.is_empty()).then_some(left)
    }

    /// Whether the sealer has something to seal, to remove, or to read ahead.
    pub fn wants_sealer(&self) -> bool {
        let front = self.shared.front.lock();
        let state = self.shared.state.read();
        let first = state.first_seq();
        let pruned = self.shared.counters.pruned_seq.load(Ordering::Relaxed);
        !state.closed.is_empty() || pruned < first.0 || front.wants(first).is_some()
    }

    pub(super) fn seal_inline(&mut self) -> Result<(), StoreError> {
        let wants_sealer = self.wants_sealer();
        let Some(sealer) = &mut self.sealer else {
            return Ok(());
        };
        if !wants_sealer {
            return Ok(());
        }
        while sealer.step()? == SealStep::Worked {}
        Ok(())
    }
}
