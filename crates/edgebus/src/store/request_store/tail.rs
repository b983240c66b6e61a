//! Reading what is in memory: synced and not sealed yet, and staged.
//!
//! For the engine alone, as what is staged is nobody else's to see: it may give a request to a
//! worker in the request's own group, and lets it out when the group is on disk.

use bytes::Bytes;
use edgebus_core::{Entry, Seq};

use super::RequestStore;

/// Requests in memory.
#[derive(Clone, Debug, PartialEq)]
pub enum TailRead {
    /// They are in the tables: to be read with a [`crate::store::StoreReader`].
    InTables,
    /// There are none from there on.
    End,
    /// In order, without gaps; at least one.
    Entries(Vec<Entry>),
}

impl RequestStore {
    /// Requests from a sequence number on, from memory, staged ones included: at most `count`, and
    /// not many more than `bytes`. A number below [`RequestStore::first_seq`] counts as that.
    pub fn tail_from(&self, from: Seq, count: usize, bytes: usize) -> TailRead {
        let state = self.shared.state.read();
        let from = from.max(state.first_seq());
        let visible = state.open.last_seq;
        let (mut entries, mut taken) = (Vec::new(), 0);
        let mut at = from;
        let mut is_full = |entries: &mut Vec<Entry>, entry: Entry| {
            taken += entry.as_bytes().len();
            entries.push(entry);
            entries.len() >= count || taken >= bytes
        };
        while at <= visible {
            let Some(groups) = state.tail_from(at, bytes) else {
                return TailRead::InTables;
            };
            let start = at;
            for entry in groups.iter().flat_map(|group| group.entries_from(start)) {
                at = entry.seq().next();
                if is_full(&mut entries, entry) {
                    return TailRead::Entries(entries);
                }
            }
        }
        drop(state);
        let skip = at.0.saturating_sub(visible.next().0) as usize;
        for append in self.staged.appends.iter().skip(skip) {
            let bytes = &self.staged.ops[append.start as usize..append.end as usize];
            let entry = Entry::from_bytes(Bytes::copy_from_slice(bytes));
            let entry = entry.expect("entries were encoded when they were staged");
            if is_full(&mut entries, entry) {
                break;
            }
        }
        match entries.is_empty() {
            true => TailRead::End,
            false => TailRead::Entries(entries),
        }
    }
}
