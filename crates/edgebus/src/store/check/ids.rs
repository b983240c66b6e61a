//! Who asks for a request: the rows of ids, their filters, and whether each request that is kept has
//! its row.
//!
//! Rows are compared with the log a window of sequence numbers at a time, so that memory does not
//! grow with the store. Invariant: of a row only what matches its own checksum is believed.

use edgebus_core::{Entry, RequestId, Scope, Seq};
use twox_hash::XxHash3_128;

use super::pages::{Met, Row, Tree, u64_at};
use super::tables::Tables;
use super::{Check, Known, Lost, Place};
use crate::store::StoreError;
use crate::store::generations::{filter_from_parts, stored_id};
use crate::store::ids::IdFilter;
use crate::store::overlay::StoredId;
use crate::store::tables::{IdKey, IdValue, generation_rows, id_table_name, meta};

/// Sequence numbers compared at a time: 8 MiB of memory.
const WINDOW: u64 = 1 << 20;

/// A table of ids that was looked at.
#[derive(Debug)]
struct Generation {
    tree: Tree,
    /// Lowest and highest sequence number in it.
    seqs: (u64, u64),
}

/// The ids, as the log is read.
#[derive(Debug)]
pub(super) struct Ids {
    generations: Vec<Generation>,
    /// Without it fingerprints mean nothing.
    known: Option<Known>,
    /// First sequence number of the window; what each row stands for, 0 without one.
    first: u64,
    stands_for: Vec<u64>,
}

/// The key and the value of a row; `None` when it does not match its checksum.
pub(super) fn id_row(row: &Row) -> Option<(IdKey, StoredId)> {
    let (key, value) = (&row.key, &row.value);
    let id: [u8; 16] = key.get(..16)?.try_into().ok()?;
    let number = |bytes: &[u8]| Some(u32::from_le_bytes(bytes.try_into().ok()?));
    let key: IdKey = (id, number(key.get(16..20)?)?);
    let fingerprint: [u8; 16] = value.get(8..24)?.try_into().ok()?;
    let value: IdValue = (u64_at(value, 0)?, fingerprint, number(value.get(24..28)?)?);
    Some((key, stored_id(&key, value).ok()?))
}

impl Check<'_> {
    /// Looks at each row of ids on its own.
    pub(super) fn ids(&mut self, tables: &Tables) -> Result<Ids, StoreError> {
        let known = tables.is_trusted.then(|| tables.known());
        let path = self.tables_path();
        let mut generations = Vec::new();
        let mut filters = Filters::read(self, tables)?;
        let last_generation = tables.number(meta::LAST_GENERATION);
        for number in tables.generations() {
            let name = id_table_name(number);
            let filter = filters.of(number);
            let is_closed = tables.is_trusted && number < last_generation;
            if filter.is_none() && is_closed {
                let place = Place::file("filter", &path).table("id_filters").key(number);
                let what =
                    "the filter is missing or does not match its checksum: look-ups are slower";
                self.damage(place, what, Lost::default());
            }
            let Some(tree) = tables.tree(&name) else {
                continue;
            };
            // Format 1 did not write down when one was closed.
            let closed_at = tables.numbers.get(&generation_rows(number)[0]);
            let closed_at = closed_at.copied().filter(|_| is_closed);
            let closed_at = closed_at.unwrap_or_else(|| tables.number(meta::LAST_SEQ));
            let mut generation = Generation {
                tree,
                seqs: (u64::MAX, 0),
            };
            let mut last_key: Option<IdKey> = None;
            self.walk(&tables.pages, &name, &tree, |check, row| {
                check.summary.ids += 1;
                let place = || Place::file("id", &path).at(row.at).table(&name);
                let Some((key, stored)) = id_row(&row) else {
                    let id = row.key.get(..16).map(text_of);
                    let what = "the row does not match its checksum: the id is not known any more";
                    let lost = Lost {
                        ids: id.iter().cloned().collect(),
                        ..Lost::default()
                    };
                    check.damage(place().key(id.unwrap_or_default()), what, lost);
                    return Ok(());
                };
                let id = RequestId::from_bytes(key.0);
                if last_key.is_some_and(|last| last >= key) {
                    let what = "the row is not where it would be found";
                    check.damage(place().key(id), what, lost_id(&id));
                }
                last_key = Some(key);
                let seq = stored.seq.0;
                if tables.is_trusted && (seq == 0 || seq > closed_at) {
                    let what = format!("the row names seq {seq}, which this table cannot hold");
                    check.damage(place().key(id), what, lost_id(&id));
                }
                if let (Some(filter), Some(known)) = (&filter, &known)
                    && !filter.may_contain(known.keys.id_hash(&id, Scope(key.1)))
                {
                    let place = Place::file("filter", &path).table("id_filters");
                    let what = format!("the filter hides {id}");
                    check.damage(place.key(number), what, lost_id(&id));
                }
                generation.seqs = (generation.seqs.0.min(seq), generation.seqs.1.max(seq));
                Ok(())
            })?;
            generations.push(generation);
        }
        Ok(Ids {
            generations,
            known,
            first: 0,
            stands_for: Vec::new(),
        })
    }
}

impl Ids {
    /// Compares an entry of the log, which is read in order, with its row.
    pub(super) fn compare(
        &mut self,
        check: &mut Check<'_>,
        tables: &Tables,
        entry: &Entry,
        at: u64,
    ) -> Result<(), StoreError> {
        let seq = entry.seq().0;
        self.enter(check, tables, seq)?;
        let record = entry.record();
        let stored = StoredId {
            seq: entry.seq(),
            fingerprint: match &self.known {
                Some(known) => known.keys.fingerprint(record),
                None => 0,
            },
        };
        let wanted = self.digest(&(*record.id().as_bytes(), entry.scope().0), &stored);
        let found = std::mem::take(&mut self.stands_for[(seq - self.first) as usize]);
        if found == wanted {
            return Ok(());
        }
        let id = record.id();
        let place = Place::file("id", &check.tables_path())
            .at(at)
            .table("request_log");
        let what = match found {
            0 => "no row of ids names the request: sent again, it would be stored and run again",
            _ => "the row of ids that names the request is another one's, or of other content",
        };
        let mut lost = lost_id(&id);
        lost.seqs = None;
        check.damage(place.key(format!("seq {seq}, id {id}")), what, lost);
        Ok(())
    }

    /// What a row stands for; never 0.
    fn digest(&self, key: &IdKey, stored: &StoredId) -> u64 {
        let mut bytes = [0; 44];
        bytes[..16].copy_from_slice(&key.0);
        bytes[16..20].copy_from_slice(&key.1.to_le_bytes());
        bytes[20..28].copy_from_slice(&stored.seq.0.to_le_bytes());
        if self.known.is_some() {
            bytes[28..].copy_from_slice(&stored.fingerprint.to_le_bytes());
        }
        XxHash3_128::oneshot(&bytes) as u64 | 1
    }

    /// Moves the window on, so that it holds a sequence number.
    fn enter(
        &mut self,
        check: &mut Check<'_>,
        tables: &Tables,
        seq: u64,
    ) -> Result<(), StoreError> {
        if seq - self.first.min(seq) < self.stands_for.len() as u64 && seq >= self.first {
            return Ok(());
        }
        self.leave(check, tables)?;
        let last = self.generations.iter().map(|g| g.seqs.1).max().unwrap_or(0);
        let count = (last.saturating_sub(seq) + 1).min(WINDOW);
        self.first = seq;
        self.stands_for = vec![0; count as usize];
        let mut stands_for = std::mem::take(&mut self.stands_for);
        self.rows_of(check, tables, seq, seq + (count - 1), |key, stored| {
            let digest = self.digest(key, stored);
            stands_for[(stored.seq.0 - seq) as usize] = digest;
            true
        })?;
        self.stands_for = stands_for;
        Ok(())
    }

    /// Rows of the window that no request of the log took: what they name is not there.
    fn leave(&mut self, check: &mut Check<'_>, tables: &Tables) -> Result<(), StoreError> {
        let left = std::mem::take(&mut self.stands_for);
        let Some(known) = self.known.clone() else {
            return Ok(());
        };
        let kept = known.first_seq.0..=known.last_seq.0;
        let first = self.first;
        let is_left = |seq: u64| left[(seq - first) as usize] != 0 && kept.contains(&seq);
        let Some(from) = (first..).take(left.len()).find(|seq| is_left(*seq)) else {
            return Ok(());
        };
        let path = check.tables_path();
        let mut orphans = Vec::new();
        self.rows_of(
            check,
            tables,
            from,
            first + left.len() as u64 - 1,
            |key, stored| {
                if is_left(stored.seq.0) {
                    orphans.push((RequestId::from_bytes(key.0), stored.seq));
                }
                orphans.len() < Lost::IDS_MAX
            },
        )?;
        for (id, seq) in orphans {
            let place = Place::file("id", &path)
                .table("request_idempotency")
                .key(id);
            let what = format!("the row names seq {seq}, under which the log has no such request");
            check.damage(place, what, Lost::default());
        }
        Ok(())
    }

    /// What is left when the whole log was read.
    pub(super) fn finish(
        mut self,
        check: &mut Check<'_>,
        tables: &Tables,
    ) -> Result<(), StoreError> {
        self.leave(check, tables)
    }

    /// The ids of requests that are lost, as text; what names them is expected from here on.
    pub(super) fn of_lost(
        &mut self,
        check: &mut Check<'_>,
        tables: &Tables,
        seqs: (Seq, Seq),
    ) -> Result<Vec<String>, StoreError> {
        let mut ids = Vec::new();
        self.rows_of(check, tables, seqs.0.0, seqs.1.0, |key, _| {
            ids.push(text_of(&key.0));
            ids.len() < Lost::IDS_MAX
        })?;
        // In pieces, as they may reach over many windows.
        let mut seq = seqs.0.0;
        while seq <= seqs.1.0 && self.generations.iter().any(|g| g.seqs.1 >= seq) {
            self.enter(check, tables, seq)?;
            let from = (seq - self.first) as usize;
            let count = (seqs.1.0 - seq + 1).min((self.stands_for.len() - from) as u64);
            self.stands_for[from..from + count as usize].fill(0);
            seq += count.max(1);
        }
        Ok(ids)
    }

    /// Hands over the sound rows that name a sequence number of a range, until no more are wanted.
    fn rows_of(
        &self,
        check: &Check<'_>,
        tables: &Tables,
        first: u64,
        last: u64,
        mut take: impl FnMut(&IdKey, &StoredId) -> bool,
    ) -> Result<(), StoreError> {
        let path = check.tables_path();
        let meets = |g: &&Generation| g.seqs.0 <= last && g.seqs.1 >= first;
        for generation in self.generations.iter().filter(meets) {
            let mut walk = tables.pages.walk(&generation.tree);
            while let Some(met) = walk.next().map_err(|e| StoreError::io("read", &path, e))? {
                if let Met::Row(row) = met
                    && let Some((key, stored)) = id_row(&row)
                    && (first..=last).contains(&stored.seq.0)
                    && !take(&key, &stored)
                {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// The stored filters, read in the order of their generations.
struct Filters {
    rows: Vec<(u64, Vec<u8>)>,
}

impl Filters {
    fn read(check: &mut Check<'_>, tables: &Tables) -> Result<Self, StoreError> {
        const NAME: &str = "id_filters";
        let mut rows = Vec::new();
        if let Some(tree) = tables.tree(NAME) {
            check.walk(&tables.pages, NAME, &tree, |_, row| {
                rows.push((u64_at(&row.key, 0).unwrap_or(0), row.value.to_vec()));
                Ok(())
            })?;
        }
        Ok(Self { rows })
    }

    fn of(&mut self, generation: u64) -> Option<IdFilter> {
        let parts = self
            .rows
            .extract_if(.., |(number, _)| *number == generation);
        let parts: Vec<Vec<u8>> = parts.map(|(_, part)| part).collect();
        filter_from_parts(&parts)
    }
}

fn lost_id(id: &RequestId) -> Lost {
    Lost {
        ids: vec![id.to_string()],
        ..Lost::default()
    }
}

fn text_of(id: &[u8]) -> String {
    match <[u8; 16]>::try_from(id) {
        Ok(id) => RequestId::from_bytes(id).to_string(),
        Err(_) => String::new(),
    }
}
