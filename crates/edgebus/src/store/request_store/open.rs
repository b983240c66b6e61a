//! Opening a store: lock, tables, journal, and what a crash left in it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use edgebus_core::{Lsn, Refusal, Seq};

use super::{RequestStore, Staged, StoreConfig};
use crate::clock::Clock;
use crate::files::Files;
use crate::store::StoreError;
use crate::store::consumers::{Change, Consumers};
use crate::store::folder::Folder;
use crate::store::generations::Generations;
use crate::store::ids::Fingerprinter;
use crate::store::journal::{Begins, Journal, recover};
use crate::store::op::Op;
use crate::store::overlay::{Appended, Group, Overlay};
use crate::store::sealed::{Sealed, load_keys};
use crate::store::sealer::Sealer;
use crate::store::store_time::StoreTime;
use crate::store::tables::{FORMAT_VERSION, verify};
use crate::store::upgrade::upgrade;
use crate::store::view::{Shared, State};

impl RequestStore {
    /// Opens a store on given files and a given clock.
    ///
    /// # Errors
    /// As [`RequestStore::open`], and [`edgebus_core::Code::BadConfig`].
    pub fn open_with(
        dir: &Path,
        config: StoreConfig,
        files: Arc<dyn Files>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        config.check()?;
        let now = clock.now();
        let folder = Folder::open(&files, dir, config.cache_bytes)?;
        let tables = folder.tables.clone();
        let (database, backend) = tables.look()?;
        let view = |keys| {
            let generations = Generations::load(&database, config.ids_per_generation)?;
            let sealed = Sealed::open(&database, &tables.path, &generations, keys)?;
            Ok((generations, sealed))
        };
        let (keys, (mut generations, mut sealed), consumers) = tables.guard(|| {
            verify(&database)?;
            let keys = load_keys(&database)?;
            Ok((keys, view(keys)?, Consumers::load(&database)?))
        })?;

        let mut overlays = Overlays::new(&sealed, consumers, config.seal_bytes);
        let journal = &folder.journal;
        let recovered = recover(
            &*files,
            journal,
            config.segment_bytes,
            Begins::Behind(sealed.lsn),
            |_, header, ops| {
                let last_seq = overlays.open.last_seq;
                let (group, others) = parse_group(ops, header.last_lsn(), last_seq, &keys)?;
                overlays.apply(group, others, (header.store_time_ms, header.wall_ms));
                Ok(())
            },
        )?;
        tables.release(&backend)?;
        let times_ms = if recovered.last_times_ms.0 > sealed.times_ms.0 {
            recovered.last_times_ms
        } else {
            sealed.times_ms
        };
        if folder.format < FORMAT_VERSION {
            upgrade(&*files, &folder, &database, times_ms.0)?;
            (generations, sealed) = tables.guard(|| view(keys))?;
        }
        let last_dead_letter = overlays.last_dead_letter;
        // What a crash left in the journal is sealed at once, so that starting again and again
        // does not pile up segments.
        overlays.close();
        let next_lsn = overlays.open.last_lsn.next();
        let segments = Arc::new(recovered.segments);
        let mut journal = Journal::new(
            files.clone(),
            journal,
            segments.clone(),
            recovered.next_number,
            overlays.open.last_lsn,
        );
        // A start takes up no room, so that a full disk can be started on again and again.
        match recovered.end {
            // One of another size is left behind, to be freed.
            Some(end) if end.bytes == config.segment_bytes => journal.go_on(end)?,
            _ if recovered.torn.is_some() => journal.reserve(0, next_lsn, 0)?,
            _ => {}
        }
        let state = State {
            sealed: Arc::new(sealed),
            closed: overlays.closed,
            open: overlays.open,
        };
        let ledgers = overlays.consumers.ledgers.clone();
        let shared = Arc::new(Shared::new(
            state,
            overlays.consumers,
            segments,
            keys,
            folder.id,
        ));
        let sealer = Sealer::new(
            shared.clone(),
            files.clone(),
            folder.journal.clone(),
            tables,
            database,
            generations,
            u64::try_from(config.dedupe_horizon.as_millis()).unwrap_or(u64::MAX),
        );
        let mut store = Self {
            config,
            dir: dir.to_owned(),
            files,
            clock,
            shared,
            journal,
            staged: Staged::default(),
            ledgers,
            time: StoreTime::resume(times_ms, now),
            next_lsn,
            last_dead_letter,
            space_checked: None,
            holder: None,
            torn: recovered.torn,
            sealer: Some(sealer),
            folder,
        };
        store.note_time(now);
        store.check_space(now);
        Ok(store)
    }
}

/// What recovery builds: overlays of about the size the sealer takes at once.
struct Overlays {
    closed: VecDeque<Arc<Overlay>>,
    open: Overlay,
    consumers: Consumers,
    seal_bytes: usize,
    last_dead_letter: u64,
}

impl Overlays {
    fn new(sealed: &Sealed, consumers: Consumers, seal_bytes: usize) -> Self {
        Self {
            closed: VecDeque::new(),
            open: Overlay::new(sealed.first_seq, sealed.last_seq, sealed.lsn),
            consumers,
            seal_bytes,
            last_dead_letter: sealed.last_dead_letter,
        }
    }

    fn apply(&mut self, group: Group, others: Vec<Op>, times_ms: (u64, u64)) {
        let mut changes = Vec::new();
        for op in others {
            self.consumers.apply(op, &mut changes);
        }
        for change in &changes {
            if let Change::Letter { number, .. } = change {
                self.last_dead_letter = self.last_dead_letter.max(*number);
            }
        }
        self.open.apply(group, changes, 0, times_ms);
        if self.open.bytes >= self.seal_bytes {
            self.close();
        }
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            let next = self.open.successor();
            self.open.consumers = self.consumers.take_changed();
            self.open.removed_epoch = self.consumers.ledgers.removed_epoch;
            self.closed
                .push_back(Arc::new(std::mem::replace(&mut self.open, next)));
        }
    }
}

/// A group as it was when it was written, and its operations beside appends.
fn parse_group(
    ops: Bytes,
    last_lsn: Lsn,
    last_seq: Seq,
    keys: &Fingerprinter,
) -> Result<(Group, Vec<Op>), Refusal> {
    let mut group = Group {
        last_lsn,
        first_seq: last_seq.next(),
        appends: Vec::new(),
        ops: Bytes::new(),
    };
    let mut others = Vec::new();
    // The group's bytes are copied out of the segment, which would stay in memory otherwise.
    let ops = Bytes::copy_from_slice(&ops);
    let mut rest = ops.clone();
    while !rest.is_empty() {
        let start = (ops.len() - rest.len()) as u32;
        match Op::split_from(&mut rest)? {
            Op::Append(entry) => {
                let expected = Seq(group.first_seq.0 + group.appends.len() as u64);
                if entry.seq() != expected || !entry.record().is_intact() {
                    let detail = format!(
                        "lsn {last_lsn}: the group does not hold seq {expected} where it should"
                    );
                    return Err(Refusal::new(edgebus_core::Code::Corrupt, detail));
                }
                group.appends.push(Appended {
                    start,
                    end: (ops.len() - rest.len()) as u32,
                    id: entry.record().id(),
                    scope: entry.scope(),
                    fingerprint: keys.fingerprint(entry.record()),
                });
            }
            Op::Mark(_) => {
                let detail = format!("lsn {last_lsn}: the group belongs to no store");
                return Err(Refusal::new(edgebus_core::Code::Corrupt, detail));
            }
            op => others.push(op),
        }
    }
    group.ops = ops;
    Ok((group, others))
}
