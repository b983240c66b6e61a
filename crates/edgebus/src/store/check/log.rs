//! The log in the tables: every block, every request in it, and nothing missing between them.

use edgebus_core::Seq;

use super::ids::Ids;
use super::pages::{Row, u64_at};
use super::tables::Tables;
use super::{Check, Known, Lost, Place};
use crate::store::StoreError;
use crate::store::block::Block;
use crate::store::tables::meta;

const NAME: &str = "request_log";

/// How far the log was read.
struct Log<'t> {
    tables: &'t Tables,
    known: Option<Known>,
    ids: Ids,
    /// The next sequence number; `None` before the first block.
    next: Option<u64>,
    /// Read and not looked at yet: whether its key makes sense shows with the next one.
    held: Option<Row>,
    bytes: u64,
}

impl Check<'_> {
    /// Looks at the log, and at the ids of what is in it.
    pub(super) fn log_and_ids(&mut self, tables: &Tables) -> Result<(), StoreError> {
        let ids = self.ids(tables)?;
        let known = tables.is_trusted.then(|| tables.known());
        let mut log = Log {
            tables,
            known,
            ids,
            next: None,
            held: None,
            bytes: 0,
        };
        if let Some(tree) = tables.tree(NAME) {
            self.walk(&tables.pages, NAME, &tree, |check, row| {
                log.bytes += row.value.len() as u64;
                let key = u64_at(&row.key, 0);
                if let Some(held) = log.held.replace(row) {
                    log.block(check, &held, key)?;
                }
                Ok(())
            })?;
        }
        if let Some(held) = log.held.take() {
            log.block(self, &held, None)?;
        }
        if let Some(known) = &log.known
            && known.last_seq >= known.first_seq
        {
            let end = known.last_seq.next().0;
            log.missing(
                self,
                end,
                "the blocks up to metadata's last_seq are missing",
            )?;
        }
        self.total(tables, meta::LOG_BYTES, log.bytes);
        log.ids.finish(self, tables)
    }
}

impl Log<'_> {
    /// Looks at a block, behind which comes one with the key `following`.
    fn block(
        &mut self,
        check: &mut Check<'_>,
        row: &Row,
        following: Option<u64>,
    ) -> Result<(), StoreError> {
        check.summary.blocks += 1;
        let key = u64_at(&row.key, 0).unwrap_or(0);
        let place = Place::file("block", &check.tables_path()).at(row.at);
        let place = place.table(NAME).key(key);
        let (block, entries) = match Block::parse(key, &row.value) {
            Ok(block) => {
                let entries = block.entries();
                (block, entries)
            }
            Err(_) => return self.lost(check, place, key, following),
        };
        let first = block.first_seq.0;
        if self.next.is_some_and(|next| first < next) && !self.is_trimmed(key) {
            let what = "the block overlaps the one before it";
            check.damage(place, what, Lost::default());
            return Ok(());
        }
        self.missing(check, first, "blocks are missing before this one")?;
        let entries = match entries {
            Ok(entries) => entries,
            Err(refusal) => {
                let lost = self.lost_up_to(check, key)?;
                check.damage(place, refusal.message, lost);
                self.next = Some(key + 1);
                return Ok(());
            }
        };
        let is_outside = |entry: &&edgebus_core::Entry| !block.holds_time(entry.received_ms());
        if let Some(entry) = entries.iter().find(is_outside) {
            let what = format!("the block's times leave out seq {}", entry.seq());
            check.damage(place, what, Lost::default());
        }
        let first_kept = self.known.as_ref().map_or(0, |known| known.first_seq.0);
        for entry in entries.iter().filter(|entry| entry.seq().0 >= first_kept) {
            check.summary.requests += 1;
            self.ids.compare(check, self.tables, entry, row.at)?;
        }
        self.next = Some(key + 1);
        Ok(())
    }

    /// A block that cannot be read. What was in it shows from what stands around it.
    fn lost(
        &mut self,
        check: &mut Check<'_>,
        place: Place,
        key: u64,
        following: Option<u64>,
    ) -> Result<(), StoreError> {
        let what = "the block does not match its checksum, or its key";
        let last = self
            .known
            .as_ref()
            .map_or(u64::MAX, |known| known.last_seq.0);
        let is_plausible = following.is_none_or(|following| key < following) && key <= last;
        let lost = match is_plausible {
            true => self.lost_up_to(check, key)?,
            false => Lost::default(),
        };
        check.damage(place, what, lost);
        Ok(())
    }

    /// What is lost from the next one up to a sequence number; it is not reported again.
    fn lost_up_to(&mut self, check: &mut Check<'_>, last: u64) -> Result<Lost, StoreError> {
        let first_kept = self.known.as_ref().map_or(1, |known| known.first_seq.0);
        let first = self.next.unwrap_or(first_kept).max(first_kept);
        if first > last {
            return Ok(Lost::default());
        }
        let seqs = (Seq(first), Seq(last));
        self.next = Some(last + 1);
        Ok(Lost {
            seqs: Some(seqs),
            ids: self.ids.of_lost(check, self.tables, seqs)?,
            ..Lost::default()
        })
    }

    /// Says what is missing between the last block and a sequence number.
    fn missing(&mut self, check: &mut Check<'_>, next: u64, what: &str) -> Result<(), StoreError> {
        // Among what is trimmed there may be gaps.
        let is_first = self.next.is_none() && self.known.is_none();
        if is_first || next == 0 || self.is_trimmed(next - 1) {
            return Ok(());
        }
        let lost = self.lost_up_to(check, next - 1)?;
        if lost.seqs.is_some() {
            let place = Place::file("gap", &check.tables_path())
                .table(NAME)
                .key(next - 1);
            check.damage(place, what, lost);
        }
        Ok(())
    }

    fn is_trimmed(&self, seq: u64) -> bool {
        self.known
            .as_ref()
            .is_some_and(|known| seq < known.first_seq.0)
    }
}
