//! Ids row by row, for a copy of the store.
//!
//! A closed generation never changes, and the open one takes only ids of later requests; so pages
//! under different views make one whole, as long as later requests are left out.

use std::ops::Bound;

use edgebus_core::Seq;

use super::{Closed, GenerationsView, stored_id};
use crate::store::overlay::StoredId;
use crate::store::tables::IdKey;

/// How far a walk through the ids has come.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::store) struct IdCursor {
    generation: u64,
    after: Option<IdKey>,
}

impl GenerationsView {
    /// See [`crate::store::sealed::Sealed::ids_between`].
    pub(in crate::store) fn ids_between(
        &self,
        (above, to): (Seq, Seq),
        cursor: &mut IdCursor,
        rows_max: usize,
        mut take: impl FnMut(&IdKey, &StoredId),
    ) -> Result<bool, redb::StorageError> {
        let mut rows = 0;
        let mut before = Seq(0);
        for (number, closed) in &self.all {
            let begins_behind = before;
            before = closed.map_or(before, |closed| closed.last_seq);
            let is_behind = closed.is_some_and(|closed| closed.last_seq <= above);
            if *number < cursor.generation || is_behind || begins_behind >= to {
                continue;
            }
            if cursor.generation != *number {
                *cursor = IdCursor {
                    generation: *number,
                    after: None,
                };
            }
            let table = self.list.iter().find(|view| view.number == *number);
            let Some(view) = table else { continue };
            let from = cursor.after.map_or(Bound::Unbounded, Bound::Excluded);
            for row in view.table.range::<IdKey>((from, Bound::Unbounded))? {
                let (key, value) = row?;
                let key = key.value();
                let stored = stored_id(&key, value.value())?;
                if stored.seq > above && stored.seq <= to {
                    take(&key, &stored);
                }
                cursor.after = Some(key);
                rows += 1;
                if rows >= rows_max {
                    return Ok(false);
                }
            }
            cursor.generation = number + 1;
            cursor.after = None;
        }
        Ok(true)
    }

    /// When each closed generation was closed, oldest first, but for those of which that is not
    /// known: they count to the next one.
    pub(in crate::store) fn closed(&self) -> Vec<Closed> {
        self.all.iter().filter_map(|(_, closed)| *closed).collect()
    }
}
