//! Reading a spool's journal group by group.
//!
//! Invariant: a cursor holds one group and one open file, whatever the spool holds.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use edgebus_core::Entry;

use super::index::{At, Dead, Figures, Index};
use crate::files::Files;
use crate::store::StoreError;
use crate::store::dead_letter::DeadLetter;
use crate::store::journal::{BLOCK_BYTES, Place, SegmentReader};
use crate::store::op::Op;

/// Where the segments are.
#[derive(Clone, Debug)]
pub(super) struct Ground {
    pub(super) files: Arc<dyn Files>,
    pub(super) journal: PathBuf,
}

/// Goes through the requests in the order of their numbers.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    /// The segment it is in, and where the group behind the one it holds begins.
    segment: u64,
    offset: u64,
    group: Option<Group>,
    reader: Option<SegmentReader>,
}

#[derive(Debug)]
struct Group {
    place: Place,
    ops_bytes: usize,
    rest: Bytes,
}

impl Cursor {
    /// A cursor before the request with this number, or the first one behind it.
    pub(super) fn before(index: &Index, number: u64) -> Self {
        // Without such a request it waits at the end.
        let (segment, offset) = match index.segments.get(index.position_of(number)) {
            Some(figures) => (figures.segment, 0),
            None => index.segments.back().map_or((0, 0), |s| (s.segment, s.end)),
        };
        Self {
            segment,
            offset,
            ..Self::default()
        }
    }

    /// The next request, settled or not; `None` at the end, where there may be one later.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or what the operating system says; the next call tries again.
    pub(super) fn step(
        &mut self,
        ground: &Ground,
        index: &Index,
    ) -> Result<Option<(At, Entry)>, StoreError> {
        loop {
            if let Some(found) = self.step_in_group()? {
                return Ok(Some(found));
            }
            if !self.load(ground, index)? {
                return Ok(None);
            }
        }
    }

    fn step_in_group(&mut self) -> Result<Option<(At, Entry)>, StoreError> {
        let Some(group) = &mut self.group else {
            return Ok(None);
        };
        while !group.rest.is_empty() {
            let op = group.ops_bytes - group.rest.len();
            let at = At {
                group: group.place,
                op,
            };
            if let Op::Append(entry) = Op::split_from(&mut group.rest)? {
                return Ok(Some((at, entry)));
            }
        }
        self.group = None;
        Ok(None)
    }

    /// Reads the next group; `false` when there is none.
    fn load(&mut self, ground: &Ground, index: &Index) -> Result<bool, StoreError> {
        // At the end of the last segment, or before the first group of a spool without any.
        let place = loop {
            let from = |segment| index.segments.iter().find(|s| s.segment >= segment);
            let Some(figures) = from(self.segment) else {
                return Ok(false);
            };
            if figures.segment != self.segment || self.offset == 0 {
                (self.segment, self.offset) = (figures.segment, BLOCK_BYTES as u64);
            }
            if self.offset < figures.end {
                break Place {
                    segment: self.segment,
                    offset: self.offset,
                };
            }
            if from(self.segment + 1).is_none() {
                return Ok(false);
            }
            (self.segment, self.offset) = (self.segment + 1, 0);
        };
        let reader = ground.reader(&mut self.reader, place.segment)?;
        let (rest, next) = reader.group(place.offset)?;
        self.offset = next;
        self.group = Some(Group {
            place,
            ops_bytes: rest.len(),
            rest,
        });
        Ok(true)
    }
}

impl Ground {
    /// A reader of a segment: the one at hand, if it is.
    fn reader<'a>(
        &self,
        at_hand: &'a mut Option<SegmentReader>,
        segment: u64,
    ) -> Result<&'a SegmentReader, StoreError> {
        if at_hand
            .as_ref()
            .is_none_or(|reader| reader.number() != segment)
        {
            *at_hand = None;
            let opened = SegmentReader::open(&*self.files, &self.journal, segment)?;
            return Ok(at_hand.insert(opened));
        }
        Ok(at_hand.as_ref().expect("it was looked at above"))
    }

    /// Bytes of the records in a segment that wait.
    pub(super) fn waiting_bytes(&self, index: &Index, figures: Figures) -> Result<u64, StoreError> {
        let Some((first, last)) = figures.numbers else {
            return Ok(0);
        };
        let mut cursor = Cursor::before(index, first);
        let mut bytes = 0;
        while let Some((_, entry)) = cursor.step(self, index)? {
            let number = entry.seq().0;
            if number > last {
                break;
            }
            if index.waits(number) {
                bytes += entry.record().as_bytes().len() as u64;
            }
            if number == last {
                break;
            }
        }
        Ok(bytes)
    }
}

/// Reads dead letters by their places.
#[derive(Debug, Default)]
pub(super) struct Letters {
    reader: Option<SegmentReader>,
    /// The group read last: neighbours are often together.
    group: Option<(Place, Bytes)>,
}

impl Letters {
    /// # Errors
    /// [`StoreError::Corrupt`] or what the operating system says.
    pub(super) fn get(
        &mut self,
        ground: &Ground,
        number: u64,
        dead: &Dead,
    ) -> Result<DeadLetter, StoreError> {
        match self.op(ground, dead.at)? {
            Op::DeadLetter { number: of, letter } if of == number => Ok(letter),
            _ => Err(self.misplaced(ground, dead.at, number)),
        }
    }

    /// # Errors
    /// [`StoreError::Corrupt`] or what the operating system says.
    pub(super) fn request(
        &mut self,
        ground: &Ground,
        number: u64,
        at: At,
    ) -> Result<Entry, StoreError> {
        match self.op(ground, at)? {
            Op::Append(entry) if entry.seq().0 == number => Ok(entry),
            _ => Err(self.misplaced(ground, at, number)),
        }
    }

    fn op(&mut self, ground: &Ground, at: At) -> Result<Op, StoreError> {
        let ops = match &self.group {
            Some((place, ops)) if *place == at.group => ops.clone(),
            _ => {
                let reader = ground.reader(&mut self.reader, at.group.segment)?;
                let (ops, _) = reader.group(at.group.offset)?;
                self.group = Some((at.group, ops.clone()));
                ops
            }
        };
        let mut rest = ops.slice(at.op.min(ops.len())..);
        Ok(Op::split_from(&mut rest)?)
    }

    fn misplaced(&mut self, ground: &Ground, at: At, number: u64) -> StoreError {
        match ground.reader(&mut self.reader, at.group.segment) {
            Ok(reader) => reader.damaged(at.group, &format!("request {number} is not there")),
            Err(error) => error,
        }
    }
}
