//! Ids of a store that is made of a backup.
//!
//! Invariant: an id gets into the generation in which its request was stored, so that it is
//! forgotten when it would have been.

use edgebus_core::{RequestId, Scope};
use redb::{ReadableTable as _, ReadableTableMetadata as _, TableDefinition, WriteTransaction};

use super::{Closed, Fingerprinter, IdFilter, filter_parts, id_value, stored_id, write_closed};
use crate::store::overlay::StoredId;
use crate::store::tables::{ID_FILTERS, IdKey, IdTable, METADATA, id_table_name};

/// Ids on their way into tables.
#[derive(Debug)]
pub(in crate::store) struct NewIds {
    closed: Vec<Closed>,
    waiting: Vec<(u64, IdKey, StoredId)>,
    count: u64,
}

impl NewIds {
    /// For these closed generations, oldest first, and one that is open.
    pub(in crate::store) fn new(closed: Vec<Closed>) -> Self {
        Self {
            closed,
            waiting: Vec::new(),
            count: 0,
        }
    }

    /// An id, in any order.
    pub(in crate::store) fn add(&mut self, key: IdKey, stored: StoredId) {
        let before = self.closed.partition_point(|c| c.last_seq < stored.seq);
        self.waiting.push((before as u64 + 1, key, stored));
    }

    /// How many wait to be written.
    pub(in crate::store) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many were written.
    pub(in crate::store) fn count(&self) -> u64 {
        self.count
    }

    /// Each closed generation.
    pub(in crate::store) fn closed(&self) -> Vec<(u64, Closed)> {
        (1..).zip(self.closed.iter().copied()).collect()
    }

    /// The open generation.
    pub(in crate::store) fn last(&self) -> u64 {
        self.closed.len() as u64 + 1
    }

    /// Writes what waits.
    pub(in crate::store) fn write(&mut self, txn: &WriteTransaction) -> Result<(), redb::Error> {
        self.waiting
            .sort_unstable_by_key(|(number, key, _)| (*number, *key));
        for of_one in self.waiting.chunk_by(|a, b| a.0 == b.0) {
            let Some((number, ..)) = of_one.first() else {
                continue;
            };
            let name = id_table_name(*number);
            let table: IdTable<'_> = TableDefinition::new(&name);
            let mut table = txn.open_table(table)?;
            for (_, key, stored) in of_one {
                let old = table.insert(*key, id_value(key, stored))?;
                let old = old.map(|row| stored_id(key, row.value())).transpose()?;
                match old {
                    // The id was forgotten in between, and used anew.
                    Some(old) if old.seq > stored.seq => {
                        table.insert(*key, id_value(key, &old))?;
                    }
                    Some(_) => {}
                    None => self.count += 1,
                }
            }
        }
        self.waiting.clear();
        // Every one of them is there, with ids or without.
        for number in 1..=self.last() {
            let name = id_table_name(number);
            let table: IdTable<'_> = TableDefinition::new(&name);
            txn.open_table(table)?;
        }
        Ok(())
    }
}

/// Writes the filter of a closed generation, from its table, and when it was closed.
pub(in crate::store) fn restore_closed(
    txn: &WriteTransaction,
    keys: &Fingerprinter,
    number: u64,
    closed: Closed,
) -> Result<(), redb::Error> {
    let name = id_table_name(number);
    let table: IdTable<'_> = TableDefinition::new(&name);
    let table = txn.open_table(table)?;
    let filter = IdFilter::with_capacity(usize::try_from(table.len()?).unwrap_or(usize::MAX));
    for row in table.iter()? {
        let (id, scope) = row?.0.value();
        filter.insert(keys.id_hash(&RequestId::from_bytes(id), Scope(scope)));
    }
    let mut filters = txn.open_table(ID_FILTERS)?;
    for (part, row) in (0u32..).zip(filter_parts(&filter)) {
        filters.insert((number, part), row.as_slice())?;
    }
    let mut rows = txn.open_table(METADATA)?;
    write_closed(&mut rows, number, closed)?;
    Ok(())
}
