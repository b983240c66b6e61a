//! One group: a mark, and the changes behind it.
//!
//! Every group begins with a mark, so that whichever segment is the oldest one day begins with one,
//! and so that numbers are checked against each other at every group.
//!
//! Invariant: what is in memory changes between the making of room, which may be refused, and the
//! write, after which there is no way back.

use edgebus_core::entry::Envelope;
use edgebus_core::{Code, Entry, Record, Refusal, Scope, Seq};

use super::Spool;
use super::cursor::{Cursor, Ground};
use super::index::{At, Dead, Figures};
use crate::clock::Now;
use crate::store::StoreError;
use crate::store::dead_letter::{DeadLetter, Fate};
use crate::store::journal::GroupMeta;
use crate::store::op::{MARK_BYTES, Mark, Op};

/// Who may have the last room on a full disk. Each leaves what those behind it need, so that the way
/// out is never stopped by what came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// New requests: only while a spare segment is in reserve.
    Taken,
    /// Dead letters: they may have the spare segment, and leave a block of it.
    Kept,
    /// What frees a segment.
    Freed,
}

/// What is to be written as one group.
#[derive(Debug, Default)]
pub(super) struct Batch {
    ops: Vec<u8>,
    changes: Vec<Change>,
    op_count: u32,
}

/// What a group changes in the index.
#[derive(Debug)]
enum Change {
    Appended {
        record_bytes: u64,
    },
    Died {
        number: u64,
        op: usize,
        op_bytes: u64,
        record_bytes: u64,
    },
    Removed {
        number: u64,
        record_bytes: u64,
    },
}

/// When a request was spooled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) wall_ms: u64,
    pub(super) store_time_ms: u64,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.op_count == 0
    }

    /// Whether so many bytes more make it larger than a group should be.
    pub(super) fn is_full_with(&self, bytes: usize, group_bytes_max: usize) -> bool {
        MARK_BYTES + self.ops.len() + bytes > group_bytes_max
    }

    /// A request under the next number.
    pub(super) fn append(&mut self, number: u64, record: &Record, stamp: Stamp) {
        let envelope = Envelope {
            seq: Seq(number),
            received_ms: stamp.wall_ms,
            store_time_ms: stamp.store_time_ms,
            scope: Scope::default(),
            identity: "",
        };
        Entry::encode(&mut self.ops, &envelope, record);
        self.op_count += 1;
        let record_bytes = record.as_bytes().len() as u64;
        self.changes.push(Change::Appended { record_bytes });
    }

    /// A dead letter, new or written again.
    pub(super) fn die(&mut self, number: u64, letter: DeadLetter, record_bytes: u64) {
        let op = self.ops.len();
        Op::DeadLetter { number, letter }.encode(&mut self.ops);
        self.op_count += 1;
        self.changes.push(Change::Died {
            number,
            op: MARK_BYTES + op,
            op_bytes: (self.ops.len() - op) as u64,
            record_bytes,
        });
    }

    /// Requests or dead letters that go, with the bytes of those that wait.
    pub(super) fn remove(&mut self, removed: &[(u64, u64)]) {
        let numbers = removed.iter().map(|(number, _)| *number).collect();
        let fate = Fate::Removed;
        Op::Letters { numbers, fate }.encode(&mut self.ops);
        self.op_count += 1;
        let changes = removed
            .iter()
            .map(|(number, record_bytes)| Change::Removed {
                number: *number,
                record_bytes: *record_bytes,
            });
        self.changes.extend(changes);
    }
}

impl Spool {
    /// Makes a group durable and frees what it settled.
    ///
    /// # Errors
    /// [`StoreError::Full`]: nothing has changed. Any other stops the spool.
    pub(super) fn write(&mut self, batch: Batch, room: Room) -> Result<(), StoreError> {
        self.check()?;
        let reserved = self.reserve(MARK_BYTES + batch.ops.len(), room);
        self.stop_at(reserved)?;
        let written = self.write_reserved(batch);
        // A write is never merely refused: half of it may be there.
        let written = written.map_err(|error| match error {
            StoreError::Full { path } => StoreError::Io {
                action: "write",
                path,
                source: std::io::ErrorKind::StorageFull.into(),
            },
            other => other,
        });
        self.stop_at(written)?;
        self.free()
    }

    fn reserve(&mut self, bytes: usize, room: Room) -> Result<(), StoreError> {
        let Ground { files, journal } = &self.ground;
        let full = || StoreError::Full {
            path: journal.clone(),
        };
        if self.segments.spares() == 0 {
            // There may be room again.
            self.segments.make_spares(&**files, journal)?;
        }
        if self.segments.spares() == 0 {
            match room {
                Room::Taken => return Err(full()),
                Room::Kept if !self.journal.has_room_and_a_block(bytes) => return Err(full()),
                Room::Kept | Room::Freed => {}
            }
        }
        let keep = usize::from(room == Room::Taken);
        self.journal.reserve(bytes, self.next_lsn, keep)
    }

    fn write_reserved(&mut self, batch: Batch) -> Result<(), StoreError> {
        let now = self.clock.now();
        let group = self.journal.place().expect("there is room for it");
        let last = self.index.segments.back();
        if last.is_none_or(|last| last.segment != group.segment) {
            self.index.segments.push_back(Figures::new(group));
        }
        let before = self.index.next;
        for change in &batch.changes {
            match *change {
                Change::Appended { record_bytes } => self.index.appended(record_bytes),
                Change::Removed {
                    number,
                    record_bytes,
                } => self.index.removed(number, record_bytes),
                Change::Died {
                    number,
                    op,
                    op_bytes,
                    record_bytes,
                } => {
                    let at = At { group, op };
                    let dead = Dead {
                        at,
                        op_bytes,
                        record_bytes,
                    };
                    self.index.died(number, dead);
                }
            }
        }
        let mark = Mark {
            first: self.index.first,
            next: before,
            segment: self.index.oldest_needed(),
        };
        let mut ops = Vec::with_capacity(MARK_BYTES + batch.ops.len());
        Op::Mark(mark).encode(&mut ops);
        ops.extend_from_slice(&batch.ops);
        let meta = GroupMeta {
            first_lsn: self.next_lsn,
            op_count: 1 + batch.op_count,
            store_time_ms: self.time.at(now),
            wall_ms: now.wall_ms,
        };
        let bytes = self.journal.write(&meta, &ops)?;
        self.next_lsn.0 += u64::from(meta.op_count);
        self.index.ends_at(group.offset + bytes);
        self.index.marked = Some(mark);
        Ok(())
    }

    /// Writes down how far everything is settled, if the last group does not say so yet. On a full
    /// disk only when that frees a segment: until then it is remembered.
    pub(super) fn write_mark(&mut self) -> Result<(), StoreError> {
        let Some(mark) = self.index.marked else {
            return Ok(());
        };
        let frees = mark.segment < self.index.oldest_needed();
        let settles = mark.first < self.index.first && self.segments.spares() > 0;
        if frees || settles {
            self.write_if_room(Batch::default(), Room::Freed)?;
        }
        Ok(())
    }

    /// Writes what makes room in the end; `false` when there is none even for that.
    pub(super) fn write_if_room(&mut self, batch: Batch, room: Room) -> Result<bool, StoreError> {
        match self.write(batch, room) {
            Ok(()) => Ok(true),
            Err(StoreError::Full { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn stamp(&self, now: Now) -> Stamp {
        Stamp {
            wall_ms: now.wall_ms,
            store_time_ms: self.time.at(now),
        }
    }

    /// Places and bytes of requests that wait, sorted by number: of those handed out at once, of
    /// others by reading.
    pub(super) fn find(&self, numbers: &[u64]) -> Result<Vec<(u64, At, u64)>, StoreError> {
        let mut found = Vec::with_capacity(numbers.len());
        let mut cursor: Option<(u64, Cursor)> = None;
        for &number in numbers {
            if let Some((at, bytes)) = self.out.get(&number) {
                found.push((number, *at, *bytes));
                continue;
            }
            // One segment is read through; behind it the next is looked for.
            let from = self.index.position_of(number);
            let segment = self.index.segments.get(from).map_or(0, |s| s.segment);
            let cursor = match &mut cursor {
                Some((of, cursor)) if *of == segment => cursor,
                other => {
                    &mut other
                        .insert((segment, Cursor::before(&self.index, number)))
                        .1
                }
            };
            let missing = || {
                let what = format!("request {number} is not in the journal");
                Refusal::new(Code::Corrupt, what)
            };
            loop {
                let (at, entry) = cursor
                    .step(&self.ground, &self.index)?
                    .ok_or_else(missing)?;
                if entry.seq().0 == number {
                    found.push((number, at, entry.record().as_bytes().len() as u64));
                    break;
                }
                if entry.seq().0 > number {
                    return Err(missing().into());
                }
            }
        }
        Ok(found)
    }
}
