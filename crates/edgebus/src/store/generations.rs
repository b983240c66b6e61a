//! Request ids in generations: tables of some hundred thousand ids each.
//!
//! Random ids touch a page each, so a seal into a large tree rewrites much of it: over TCP the
//! second half of a million random ids went at 91,000 a second into one table, and at 305,000 into
//! tables of 131,072. A whole table is dropped at once when its ids are old enough. A look-up asks
//! the range and the filter of each generation before its tree, so ordered ids ask few filters.

mod pages;
mod restored;

use std::sync::{Arc, OnceLock};

use edgebus_core::{RequestId, Scope, Seq};
use redb::{
    Database, ReadTransaction, ReadableTable, ReadableTableMetadata as _, Table, TableDefinition,
    WriteTransaction,
};

use super::ids::{Fingerprinter, IdFilter};
use super::overlay::StoredId;
use super::tables::{
    ID_FILTERS, IdKey, IdTable, IdValue, METADATA, generation_rows, id_table_name, meta, metadata,
};

pub(super) use pages::IdCursor;
pub(super) use restored::{NewIds, restore_closed};

/// Bytes of a stored filter in one row.
const FILTER_PART_BYTES: usize = 32 * 1024;

/// One generation, as the sealer knows it.
#[derive(Clone, Debug)]
struct Generation {
    number: u64,
    /// `None` after a start, until it is rebuilt: then every look-up asks the tree.
    filter: Option<Arc<IdFilter>>,
    /// Its first and last id; known once it is closed and was looked at.
    range: OnceLock<(IdKey, IdKey)>,
    /// `None` for the open one.
    closed: Option<Closed>,
}

/// When a generation was closed: the last request in it, and the store time, milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closed {
    pub(super) last_seq: Seq,
    pub(super) store_ms: u64,
}

/// The generations, as the sealer writes them. The last one is open.
#[derive(Clone, Debug)]
pub(super) struct Generations {
    list: Vec<Generation>,
    open_count: u64,
    /// Ids after which a generation is closed and the next one begins.
    ids_max: u64,
}

impl Generations {
    /// Reads what a store has; filters of closed generations are loaded, that of the open one is
    /// left to [`Generations::rebuild_filter`].
    pub(super) fn load(database: &Database, ids_max: u64) -> Result<Self, redb::Error> {
        let txn = redb::ReadableDatabase::begin_read(database)?;
        let rows = txn.open_table(METADATA)?;
        let first = metadata(&rows, meta::FIRST_GENERATION)?;
        let last = metadata(&rows, meta::LAST_GENERATION)?;
        let filters = txn.open_table(ID_FILTERS)?;
        let mut list = Vec::new();
        for number in first..=last {
            let parts = filters.range((number, 0)..=(number, u32::MAX))?;
            let parts = parts
                .map(|row| Ok(row?.1.value().to_vec()))
                .collect::<Result<Vec<_>, redb::StorageError>>()?;
            let [last_seq, store_ms] = generation_rows(number);
            let closed = Closed {
                last_seq: Seq(metadata(&rows, &last_seq)?),
                store_ms: metadata(&rows, &store_ms)?,
            };
            list.push(Generation {
                number,
                filter: filter_from_parts(&parts).map(Arc::new),
                range: OnceLock::new(),
                // Without the rows nothing is known, and it stays.
                closed: (closed.last_seq > Seq(0)).then_some(closed),
            });
        }
        let name = id_table_name(last);
        let table: IdTable<'_> = TableDefinition::new(&name);
        let open_count = txn.open_table(table)?.len()?;
        if open_count == 0
            && let Some(open) = list.last_mut()
        {
            open.filter = Some(new_filter(ids_max));
        }
        Ok(Self {
            list,
            open_count,
            ids_max,
        })
    }

    /// Ids after which a generation is closed.
    pub(super) fn ids_max(&self) -> u64 {
        self.ids_max
    }

    /// Whether the open generation has no filter yet.
    pub(super) fn needs_filter(&self) -> bool {
        self.list.last().is_some_and(|open| open.filter.is_none())
    }

    /// Builds the filter of the open generation from its table, after a start.
    pub(super) fn rebuild_filter(
        &mut self,
        database: &Database,
        keys: &Fingerprinter,
    ) -> Result<(), redb::Error> {
        let Some(open) = self.list.last_mut() else {
            return Ok(());
        };
        let txn = redb::ReadableDatabase::begin_read(database)?;
        let name = id_table_name(open.number);
        let table: IdTable<'_> = TableDefinition::new(&name);
        let filter = new_filter(self.ids_max);
        for row in txn.open_table(table)?.iter()? {
            let (id, scope) = row?.0.value();
            filter.insert(keys.id_hash(&RequestId::from_bytes(id), Scope(scope)));
        }
        open.filter = Some(filter);
        Ok(())
    }

    /// Writes ids, which must be sorted, and closes the generation when it is full, as of `now`. The
    /// change takes effect with the transaction; on failure the whole value is to be loaded again.
    pub(super) fn insert(
        &mut self,
        txn: &WriteTransaction,
        keys: &Fingerprinter,
        ids: &[(IdKey, StoredId)],
        now: Closed,
    ) -> Result<(), redb::Error> {
        let Some(open) = self.list.last().cloned() else {
            return Ok(());
        };
        let name = id_table_name(open.number);
        let table: IdTable<'_> = TableDefinition::new(&name);
        let mut table = txn.open_table(table)?;
        for (key, stored) in ids {
            table.insert(*key, id_value(key, stored))?;
            if let Some(filter) = &open.filter {
                filter.insert(keys.id_hash(&RequestId::from_bytes(key.0), Scope(key.1)));
            }
        }
        drop(table);
        self.open_count += ids.len() as u64;
        // A generation without its filter stays open until the filter is there.
        if let (true, Some(filter)) = (self.open_count >= self.ids_max, &open.filter) {
            self.close(txn, &open, filter, now)?;
        }
        Ok(())
    }

    fn close(
        &mut self,
        txn: &WriteTransaction,
        open: &Generation,
        filter: &IdFilter,
        now: Closed,
    ) -> Result<(), redb::Error> {
        let mut filters = txn.open_table(ID_FILTERS)?;
        for (part, row) in (0u32..).zip(filter_parts(filter)) {
            filters.insert((open.number, part), row.as_slice())?;
        }
        let number = open.number + 1;
        let name = id_table_name(number);
        let next: IdTable<'_> = TableDefinition::new(&name);
        txn.open_table(next)?;
        let mut rows = txn.open_table(METADATA)?;
        rows.insert(meta::LAST_GENERATION, number)?;
        write_closed(&mut rows, open.number, now)?;
        if let Some(open) = self.list.last_mut() {
            open.closed = Some(now);
        }
        self.list.push(Generation {
            number,
            filter: Some(new_filter(self.ids_max)),
            range: OnceLock::new(),
            closed: None,
        });
        self.open_count = 0;
        Ok(())
    }

    /// Whether the oldest generation is not needed any more: closed at `horizon_ms` or before, and
    /// all its requests trimmed.
    pub(super) fn oldest_is_done(&self, first_seq: Seq, horizon_ms: u64) -> bool {
        let oldest = self.list.first().and_then(|oldest| oldest.closed);
        oldest.is_some_and(|c| c.last_seq < first_seq && c.store_ms <= horizon_ms)
    }

    /// Drops the oldest generation, which must be closed. As [`Generations::insert`] on failure.
    pub(super) fn drop_oldest(&mut self, txn: &WriteTransaction) -> Result<(), redb::Error> {
        let number = self.list.remove(0).number;
        let name = id_table_name(number);
        let table: IdTable<'_> = TableDefinition::new(&name);
        txn.delete_table(table)?;
        let mut filters = txn.open_table(ID_FILTERS)?;
        filters.retain_in((number, 0)..=(number, u32::MAX), |_, _| false)?;
        let mut rows = txn.open_table(METADATA)?;
        rows.insert(meta::FIRST_GENERATION, number + 1)?;
        for name in generation_rows(number) {
            rows.remove(name.as_str())?;
        }
        Ok(())
    }

    /// The generations as of a read transaction.
    pub(super) fn view(&self, txn: &ReadTransaction) -> Result<GenerationsView, redb::Error> {
        let mut list = Vec::with_capacity(self.list.len());
        let open = self.list.last().map(|open| open.number);
        for generation in &self.list {
            let name = id_table_name(generation.number);
            let table: IdTable<'_> = TableDefinition::new(&name);
            let table = txn.open_table(table)?;
            let range = match generation.range.get() {
                Some(range) => Some(*range),
                None => range_of(&table)?,
            };
            let Some(range) = range else { continue };
            if open != Some(generation.number) {
                generation.range.get_or_init(|| range);
            }
            list.push(GenerationView {
                number: generation.number,
                table,
                filter: generation.filter.clone(),
                first: range.0,
                last: range.1,
            });
        }
        list.reverse();
        let all = self.list.iter();
        let all = all.map(|generation| (generation.number, generation.closed));
        Ok(GenerationsView {
            list,
            all: all.collect(),
        })
    }
}

/// Notes when a generation was closed.
pub(super) fn write_closed(
    rows: &mut Table<'_, &'static str, u64>,
    generation: u64,
    closed: Closed,
) -> Result<(), redb::StorageError> {
    let [last_seq, store_ms] = generation_rows(generation);
    rows.insert(last_seq.as_str(), closed.last_seq.0)?;
    rows.insert(store_ms.as_str(), closed.store_ms)?;
    Ok(())
}

/// What stands under an id. The checksum covers the key too: a sequence number that flipped would
/// give a duplicate the receipt, and the reply, of somebody else's request.
pub(super) fn id_value(key: &IdKey, stored: &StoredId) -> IdValue {
    let fingerprint = stored.fingerprint.to_le_bytes();
    let mut crc = crc32c::crc32c(&key.0);
    crc = crc32c::crc32c_append(crc, &key.1.to_le_bytes());
    crc = crc32c::crc32c_append(crc, &stored.seq.0.to_le_bytes());
    crc = crc32c::crc32c_append(crc, &fingerprint);
    (stored.seq.0, fingerprint, crc)
}

pub(super) fn stored_id(key: &IdKey, value: IdValue) -> Result<StoredId, redb::StorageError> {
    let stored = StoredId {
        seq: Seq(value.0),
        fingerprint: u128::from_le_bytes(value.1),
    };
    if id_value(key, &stored) == value {
        return Ok(stored);
    }
    let id = RequestId::from_bytes(key.0);
    let what = format!("request_idempotency: the row of {id} does not match its checksum");
    Err(redb::StorageError::Corrupted(what))
}

fn range_of(
    table: &impl ReadableTable<IdKey, IdValue>,
) -> Result<Option<(IdKey, IdKey)>, redb::StorageError> {
    let first = table.first()?.map(|row| row.0.value());
    let last = table.last()?.map(|row| row.0.value());
    Ok(first.zip(last))
}

/// The table may take a little more than its share before it is closed: the last seal's ids.
fn new_filter(ids_max: u64) -> Arc<IdFilter> {
    Arc::new(IdFilter::with_capacity(ids_max as usize))
}

/// A filter as rows, each behind the CRC32C of the whole filter.
fn filter_parts(filter: &IdFilter) -> Vec<Vec<u8>> {
    let bytes = filter.to_bytes();
    let crc = crc32c::crc32c(&bytes).to_le_bytes();
    bytes
        .chunks(FILTER_PART_BYTES)
        .map(|part| [&crc, part].concat())
        .collect()
}

/// The filter in these rows; `None` when there is none, or a damaged one: a bit that was lost would
/// let a duplicate pass for a new request, while without a filter every look-up asks the tree.
pub(super) fn filter_from_parts(parts: &[Vec<u8>]) -> Option<IdFilter> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(part.get(4..)?);
    }
    let crc = crc32c::crc32c(&bytes).to_le_bytes();
    let sound = parts.iter().all(|part| part.starts_with(&crc));
    IdFilter::from_bytes(&bytes).filter(|_| sound)
}

/// The generations at one moment, newest first; those without ids are left out.
#[derive(Debug)]
pub(super) struct GenerationsView {
    list: Vec<GenerationView>,
    /// Every generation there is, oldest first; the last one is open.
    all: Vec<(u64, Option<Closed>)>,
}

struct GenerationView {
    number: u64,
    table: redb::ReadOnlyTable<IdKey, IdValue>,
    filter: Option<Arc<IdFilter>>,
    first: IdKey,
    last: IdKey,
}

impl std::fmt::Debug for GenerationView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GenerationView")
            .field("first", &self.first)
            .finish_non_exhaustive()
    }
}

impl GenerationsView {
    /// Where an id is stored.
    pub(super) fn find(
        &self,
        keys: &Fingerprinter,
        id: &RequestId,
        scope: Scope,
    ) -> Result<Option<StoredId>, redb::StorageError> {
        let key = (*id.as_bytes(), scope.0);
        let hash = keys.id_hash(id, scope);
        for generation in &self.list {
            let possible = (generation.first..=generation.last).contains(&key)
                && generation
                    .filter
                    .as_ref()
                    .is_none_or(|filter| filter.may_contain(hash));
            if !possible {
                continue;
            }
            if let Some(row) = generation.table.get(key)? {
                return stored_id(&key, row.value()).map(Some);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_filter_is_not_used() {
        let keys = Fingerprinter::new((1, 2));
        let filter = IdFilter::with_capacity(60_000);
        let id = RequestId::from_bytes([7; 16]);
        filter.insert(keys.id_hash(&id, Scope(0)));
        let parts = filter_parts(&filter);
        assert!(parts.len() > 2, "cut into rows");
        let read = filter_from_parts(&parts).expect("sound");
        assert!(read.may_contain(keys.id_hash(&id, Scope(0))));

        assert!(filter_from_parts(&[]).is_none());
        assert!(
            filter_from_parts(&parts[1..]).is_none(),
            "first row missing"
        );
        for byte in [0, 4, 77] {
            let mut flipped = parts.clone();
            flipped[1][byte] ^= 1;
            assert!(filter_from_parts(&flipped).is_none(), "byte {byte}");
        }
    }
}
