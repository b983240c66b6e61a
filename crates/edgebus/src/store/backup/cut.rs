//! The moment that is kept: everything above the tables, all consumers, and the figures.
//!
//! Taken under the locks of consumers and state together, which the writer takes in the same order
//! and holds until a group is in both; so it is the state behind one group. What overlays hold is
//! taken as it is, without being copied, and outlives them for as long as it is written out.
//!
//! Invariant: there is a cut only when all that is in the tables, up to the very view that the
//! overlays are above of, is in the file.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use edgebus_core::consumer::Ledger;
use edgebus_core::{ConsumerName, Seq};
use prost::Message as _;

use super::copy::Copied;
use super::format::{CONSUMERS, Chunks, ENTRIES, LETTERS, REPLIES, Rows, STATE, State, letter};
use crate::store::StoreError;
use crate::store::dead_letter::Fate;
use crate::store::overlay::{Group, LetterChange, Overlay};
use crate::store::view::Shared;

/// What is left to be written out after the cut.
#[derive(Debug)]
pub(super) struct Tail {
    groups: VecDeque<Arc<Group>>,
    /// Oldest first.
    above: Vec<Above>,
    ledgers: BTreeMap<ConsumerName, Ledger>,
    state: State,
    at: At,
}

/// Where the writing out is: which overlay, and behind which key of it.
#[derive(Clone, Copy, Debug)]
enum At {
    Groups,
    Replies(usize, Option<Seq>),
    Letters(usize, Option<u64>),
    Consumers,
    State,
    End,
}

/// Replies and dead letters of an overlay.
#[derive(Debug)]
enum Above {
    Closed(Arc<Overlay>),
    Open {
        replies: BTreeMap<Seq, Bytes>,
        letters: BTreeMap<u64, LetterChange>,
    },
}

impl Above {
    fn replies(&self) -> &BTreeMap<Seq, Bytes> {
        match self {
            Self::Closed(overlay) => &overlay.replies,
            Self::Open { replies, .. } => replies,
        }
    }

    fn letters(&self) -> &BTreeMap<u64, LetterChange> {
        match self {
            Self::Closed(overlay) => &overlay.letters,
            Self::Open { letters, .. } => letters,
        }
    }
}

/// Takes the cut, unless something of the tables is not in the file yet.
pub(super) fn take(shared: &Shared, copied: &Copied) -> Result<Option<Tail>, StoreError> {
    let capture = shared.capture.lock();
    let consumers = shared.consumers.read();
    let state = shared.state.read();
    shared.check()?;
    let sealed = &state.sealed;
    let noted = capture.as_ref().is_some_and(|capture| {
        capture.overflowed || !capture.replies.is_empty() || !capture.letters.is_empty()
    });
    // One that the tables hold already and that was not taken away is not noted yet.
    let is_ahead = |overlay: &Arc<Overlay>| overlay.last_lsn <= sealed.lsn;
    let ready = !noted
        && copied.log_at == sealed.last_seq.next()
        && copied.ids_to.next() >= copied.log_from
        && copied.replies_again.is_empty()
        && copied.letters_again.is_empty()
        && !state.closed.iter().any(is_ahead);
    if !ready {
        return Ok(None);
    }
    let mut groups = VecDeque::new();
    let mut above = Vec::new();
    let mut times_ms = sealed.times_ms;
    let mut last_dead_letter = sealed.last_dead_letter;
    for overlay in state.overlays() {
        groups.extend(overlay.groups.iter().cloned());
        if !overlay.is_empty() {
            times_ms = overlay.times_ms;
        }
        if let Some((number, _)) = overlay.letters.last_key_value() {
            last_dead_letter = last_dead_letter.max(*number);
        }
    }
    above.extend(state.closed.iter().cloned().map(Above::Closed));
    above.push(Above::Open {
        replies: state.open.replies.clone(),
        letters: state.open.letters.clone(),
    });
    let closed = sealed.closed_generations();
    let (key_0, key_1) = shared.keys.key();
    let kept = State {
        lsn: state.open.last_lsn.0,
        first_seq: state.first_seq().0,
        last_seq: state.open.last_seq.0,
        store_time_ms: times_ms.0,
        wall_ms: times_ms.1,
        last_dead_letter,
        removed_epoch: consumers.ledgers.removed_epoch,
        untimed_ms: sealed.untimed_ms,
        key_0,
        key_1,
        closed_last_seq: closed.iter().map(|closed| closed.last_seq.0).collect(),
        closed_store_ms: closed.iter().map(|closed| closed.store_ms).collect(),
        dead_letters: consumers.letters.count(),
        consumers: consumers.ledgers.by_name.len() as u64,
        copied_from: copied.log_from.0,
    };
    Ok(Some(Tail {
        groups,
        above,
        ledgers: consumers.ledgers.by_name.clone(),
        state: kept,
        at: At::Groups,
    }))
}

impl Tail {
    /// Writes a chunk of about so many bytes; says whether more is to come.
    pub(super) fn step(
        &mut self,
        bytes_max: usize,
        chunks: &mut Chunks,
        out: &mut Vec<u8>,
    ) -> bool {
        let mut rows = Rows::default();
        match self.at {
            At::Groups => {
                while rows.body.len() < bytes_max
                    && let Some(group) = self.groups.pop_front()
                {
                    for append in &group.appends {
                        rows.entry(&group.ops[append.start as usize..append.end as usize]);
                    }
                }
                chunks.chunk(out, ENTRIES, rows.count, &rows.body);
                if self.groups.is_empty() {
                    self.at = At::Replies(0, None);
                }
            }
            At::Replies(index, after) => {
                let last = self.replies(index, after, bytes_max, &mut rows);
                chunks.chunk(out, REPLIES, rows.count, &rows.body);
                self.at = match last {
                    Some(last) => At::Replies(index, Some(last)),
                    None if index + 1 < self.above.len() => At::Replies(index + 1, None),
                    None => At::Letters(0, None),
                };
            }
            At::Letters(index, after) => {
                let last = self.letters(index, after, bytes_max, &mut rows);
                chunks.chunk(out, LETTERS, rows.count, &rows.body);
                self.at = match last {
                    Some(last) => At::Letters(index, Some(last)),
                    None if index + 1 < self.above.len() => At::Letters(index + 1, None),
                    None => At::Consumers,
                };
            }
            At::Consumers => {
                while rows.body.len() < bytes_max
                    && let Some((name, ledger)) = self.ledgers.pop_first()
                {
                    rows.consumer(name.as_str(), &ledger.encode());
                }
                chunks.chunk(out, CONSUMERS, rows.count, &rows.body);
                if self.ledgers.is_empty() {
                    self.at = At::State;
                }
            }
            At::State => {
                chunks.chunk(out, STATE, 1, &self.state.encode_to_vec());
                self.at = At::End;
            }
            At::End => return false,
        }
        true
    }

    /// Replies of an overlay behind a key; the last key when there may be more.
    fn replies(
        &self,
        index: usize,
        after: Option<Seq>,
        bytes_max: usize,
        rows: &mut Rows,
    ) -> Option<Seq> {
        let from = after.map_or(Seq(0), Seq::next);
        for (seq, reply) in self.above.get(index)?.replies().range(from..) {
            rows.reply(seq.0, reply);
            if rows.body.len() >= bytes_max {
                return Some(*seq);
            }
        }
        None
    }

    fn letters(
        &self,
        index: usize,
        after: Option<u64>,
        bytes_max: usize,
        rows: &mut Rows,
    ) -> Option<u64> {
        let from = after.map_or(0, |after| after + 1);
        for (number, change) in self.above.get(index)?.letters().range(from..) {
            match change {
                LetterChange::Put(letter) => {
                    rows.letter(*number, letter::PUT, &letter.encode_to_vec());
                }
                LetterChange::Fate(Fate::Dead) => rows.letter(*number, letter::DEAD, &[]),
                LetterChange::Fate(Fate::Requeued) => rows.letter(*number, letter::REQUEUED, &[]),
                LetterChange::Fate(Fate::Removed) => rows.letter(*number, letter::GONE, &[]),
            }
            if rows.body.len() >= bytes_max {
                return Some(*number);
            }
        }
        None
    }
}
