//! The way through a store, page by page.
//!
//! Ids of requests that are kept no more, blocks, replies, dead letters; then, as often as it takes,
//! what was sealed meanwhile; then the [`super::cut`]. Each step takes one view, reads a bounded piece
//! and lets the view go.
//!
//! Invariants: a row of the tables that is at or behind the place a copy has come to is copied
//! later, or was noted when it was sealed. What is in memory is bounded: a page, what was noted,
//! and after the cut what the overlays held.

use std::collections::BTreeSet;
use std::sync::Arc;

use edgebus_core::{Code, Refusal, Seq};

use super::capture::Capture;
use super::cut::{self, Tail};
use super::format::{BLOCKS, Begin, Chunks, IDS, LETTERS, REPLIES, Rows, letter};
use crate::host;
use crate::store::StoreError;
use crate::store::generations::IdCursor;
use crate::store::sealed::Sealed;
use crate::store::view::Shared;

/// Bytes of rows read under one view, about; a chunk of the file. Less when a page is smaller.
const STEP_BYTES: usize = 512 * 1024;
/// Bytes of that for each id that is looked at; a row takes 44, but not all are for the file.
const BYTES_PER_ID: usize = 8;
/// Rows to be copied again that are held; more begin their copy anew.
const AGAIN_MAX: usize = 1024 * 1024;
/// How often that may happen.
const BEGINNINGS_MAX: u32 = 16;

/// A backup being taken. One at a time; dropped, it is given up.
///
/// ```
/// use edgebus::{Message, RequestId, RequestStore};
/// # let folder = tempfile::tempdir()?;
/// let mut store = RequestStore::open(folder.path())?;
/// # let message = Message::new(RequestId::from_bytes([1; 16]), "orders.created".try_into()?, "{}");
/// store.append_request(&message)?;
/// let (mut backup, mut file) = (store.reader().backup(0)?, Vec::new());
/// loop {
///     let page = backup.next_page(64 * 1024)?; // the store may be written between two pages
///     file.extend_from_slice(&page.bytes);
///     if page.done {
///         break;
///     }
/// }
/// assert!(file.starts_with(b"edgebus-backup 1\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Backup {
    shared: Arc<Shared>,
    chunks: Option<Chunks>,
    stage: Stage,
    /// Made, and not handed out yet.
    out: Vec<u8>,
    pub(super) copied: Copied,
    /// Where a walk through the ids is, and up to which request it goes.
    ids: IdCursor,
    ids_goal: Option<Seq>,
    beginnings: u32,
    step_bytes: usize,
    estimate_bytes: u64,
}

/// The next bytes of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupPage {
    /// They follow those of the page before.
    pub bytes: Vec<u8>,
    /// These are the last ones.
    pub done: bool,
}

/// What is in the file already.
#[derive(Debug)]
pub(super) struct Copied {
    /// All requests from here on, up to before `log_at`.
    pub(super) log_from: Seq,
    pub(super) log_at: Seq,
    /// The ids of all requests up to here, that are not in it themselves.
    pub(super) ids_to: Seq,
    /// Replies before this one, but for those to be copied again; the same for dead letters.
    replies_at: u64,
    letters_at: u64,
    pub(super) replies_again: BTreeSet<u64>,
    pub(super) letters_again: BTreeSet<u64>,
}

#[derive(Debug)]
enum Stage {
    Ids,
    Log,
    Replies,
    Letters,
    CatchUp,
    Tail(Box<Tail>),
    Done,
}

/// Everything has been looked at.
const END: u64 = u64::MAX;

impl Backup {
    /// Begins at a moment of the wall clock, unix milliseconds.
    pub(in crate::store) fn begin(shared: Arc<Shared>, wall_ms: u64) -> Result<Self, StoreError> {
        shared.check()?;
        {
            let mut capture = shared.capture.lock();
            if capture.is_some() {
                let what = "another backup of this store is being taken: try again when it is done";
                return Err(Refusal::new(Code::Busy, what).retry_after_ms(1000).into());
            }
            *capture = Some(Capture::default());
        }
        let begin = Begin {
            backup_id: host::random_uuid().as_bytes().to_vec(),
            store_id: shared.store_id.to_vec(),
            wall_ms,
            made_by: concat!("edgebus ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let mut out = Vec::new();
        let chunks = Chunks::begin(&mut out, &begin);
        let mut backup = Self {
            shared,
            chunks: Some(chunks),
            stage: Stage::Ids,
            out,
            copied: Copied {
                log_from: Seq(1),
                log_at: Seq(1),
                ids_to: Seq(0),
                replies_at: 0,
                letters_at: 0,
                replies_again: BTreeSet::new(),
                letters_again: BTreeSet::new(),
            },
            ids: IdCursor::default(),
            ids_goal: None,
            beginnings: 0,
            step_bytes: STEP_BYTES,
            estimate_bytes: 0,
        };
        let view = backup.view()?;
        let tail_bytes = backup.shared.state.read().tail_bytes() as u64;
        let sealed = &view.sealed;
        backup.estimate_bytes =
            sealed.log_bytes + sealed.reply_bytes + sealed.dead_letter_bytes + tail_bytes;
        // What lies before is gone, but for the ids.
        backup.copied.log_from = view.first.min(sealed.last_seq.next());
        backup.copied.log_at = backup.copied.log_from;
        Ok(backup)
    }

    /// The next bytes, about as many as asked for at most. The store may be written meanwhile, and
    /// is not held up between two calls.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] naming the row that is damaged, [`StoreError::Poisoned`] and others;
    /// [`Code::Busy`] when the store changes faster than it is copied. Nothing goes on after one.
    pub fn next_page(&mut self, bytes: usize) -> Result<BackupPage, StoreError> {
        let bytes = bytes.max(1);
        self.step_bytes = bytes.min(STEP_BYTES);
        while self.out.len() < bytes && !matches!(self.stage, Stage::Done) {
            self.shared.check()?;
            self.step()?;
        }
        let rest = self.out.split_off(self.out.len().min(bytes));
        let bytes = std::mem::replace(&mut self.out, rest);
        let done = self.out.is_empty() && matches!(self.stage, Stage::Done);
        Ok(BackupPage { bytes, done })
    }

    /// How many bytes there will be, about: as of the beginning.
    pub fn estimate_bytes(&self) -> u64 {
        self.estimate_bytes
    }

    fn step(&mut self) -> Result<(), StoreError> {
        let next = match &mut self.stage {
            Stage::Ids => self.ids()?.then_some(Stage::Log),
            Stage::Log => self.log()?.then_some(Stage::Replies),
            Stage::Replies => self.replies()?.then_some(Stage::Letters),
            Stage::Letters => self.letters()?.then_some(Stage::CatchUp),
            Stage::CatchUp => self.catch_up()?,
            Stage::Tail(tail) => {
                let Some(mut chunks) = self.chunks.take() else {
                    return Ok(());
                };
                if tail.step(self.step_bytes, &mut chunks, &mut self.out) {
                    self.chunks = Some(chunks);
                    None
                } else {
                    chunks.end(&mut self.out);
                    Some(Stage::Done)
                }
            }
            Stage::Done => None,
        };
        if let Some(next) = next {
            self.stage = next;
        }
        Ok(())
    }

    /// Copies a piece of what was sealed meanwhile; the cut when there is nothing.
    fn catch_up(&mut self) -> Result<Option<Stage>, StoreError> {
        let view = self.view()?;
        let copied = &self.copied;
        if copied.replies_at != END {
            self.replies()?;
        } else if copied.letters_at != END {
            self.letters()?;
        } else if copied.log_at <= view.sealed.last_seq {
            self.log()?;
        } else if copied.ids_to.next() < copied.log_from {
            self.ids()?;
        } else if !copied.replies_again.is_empty() {
            self.replies_again()?;
        } else if !copied.letters_again.is_empty() {
            self.letters_again()?;
        } else {
            drop(view);
            let tail = cut::take(&self.shared, &self.copied)?;
            return Ok(tail.map(|tail| Stage::Tail(Box::new(tail))));
        }
        Ok(None)
    }

    /// The tables as they are now, with all that was noted up to them taken in.
    fn view(&mut self) -> Result<View, StoreError> {
        let (noted, view) = {
            let mut capture = self.shared.capture.lock();
            let state = self.shared.state.read();
            let view = View {
                sealed: state.sealed.clone(),
                first: state.first_seq(),
            };
            (capture.as_mut().map(std::mem::take), view)
        };
        self.take_in(noted.unwrap_or_default())?;
        Ok(view)
    }

    fn take_in(&mut self, noted: Capture) -> Result<(), StoreError> {
        let copied = &mut self.copied;
        let replies = noted.replies.into_iter();
        let letters = noted.letters.into_iter();
        let (replies_at, letters_at) = (copied.replies_at, copied.letters_at);
        copied
            .replies_again
            .extend(replies.filter(|seq| *seq < replies_at));
        copied
            .letters_again
            .extend(letters.filter(|number| *number < letters_at));
        let again = copied.replies_again.len() + copied.letters_again.len();
        if noted.overflowed || again > AGAIN_MAX {
            copied.replies_again.clear();
            copied.letters_again.clear();
            (copied.replies_at, copied.letters_at) = (0, 0);
            self.beginnings += 1;
        }
        if self.beginnings > BEGINNINGS_MAX {
            let what = "the store changes faster than the backup is taken: take it when less goes on, or nearer to the server";
            return Err(Refusal::new(Code::Busy, what).into());
        }
        Ok(())
    }

    /// Ids of requests that will not be in the file; done: whether these were the last.
    fn ids(&mut self) -> Result<bool, StoreError> {
        // A walk goes where it was to go when it began: what it has passed would be missed else.
        let goal = self.ids_goal.unwrap_or(Seq(self.copied.log_from.0 - 1));
        let range = (self.copied.ids_to, goal);
        if range.0 >= range.1 {
            return Ok(true);
        }
        self.ids_goal = Some(goal);
        let before = self.ids;
        let rows_max = (self.step_bytes / BYTES_PER_ID).max(1);
        let (mut rows, mut cursor, mut done) = (Rows::default(), before, false);
        self.look(|view| {
            (rows, cursor) = (Rows::default(), before);
            let take = |key: &([u8; 16], u32), stored: &_| rows.id(&key.0, key.1, stored);
            done = view
                .sealed
                .ids_between(range, &mut cursor, rows_max, take)?;
            Ok(())
        })?;
        self.put(IDS, &rows);
        self.ids = cursor;
        if done {
            self.ids = IdCursor::default();
            self.ids_goal = None;
            self.copied.ids_to = range.1;
        }
        Ok(done)
    }

    /// Blocks; done: whether the tables have no more at the moment.
    fn log(&mut self) -> Result<bool, StoreError> {
        let step_bytes = self.step_bytes;
        let (from, at) = (self.copied.log_from, self.copied.log_at);
        let (mut rows, mut next, mut done) = (Rows::default(), (from, at), false);
        self.look(|view| {
            (rows, next) = (Rows::default(), (from, at));
            let last = view.sealed.last_seq;
            let mut gap = None;
            view.sealed
                .blocks_from(at, step_bytes, |key, first, block| {
                    if first > next.1 {
                        gap = gap.or(Some((next.1, first)));
                        next.0 = first;
                    }
                    // The first one may begin before what is kept.
                    next.0 = next.0.min(first);
                    next.1 = Seq(key).next();
                    rows.block(key, block);
                })?;
            if rows.count == 0 && next.1 <= last {
                gap = Some((next.1, last.next()));
                next = (last.next(), last.next());
            }
            // What is missing must have been trimmed.
            match gap {
                Some((missing, until)) if until > view.first => {
                    Err(view.sealed.missing_block(missing))
                }
                _ => {
                    done = next.1 > last;
                    Ok(())
                }
            }
        })?;
        self.put(BLOCKS, &rows);
        (self.copied.log_from, self.copied.log_at) = next;
        Ok(done)
    }

    fn replies(&mut self) -> Result<bool, StoreError> {
        let step_bytes = self.step_bytes;
        let (mut rows, mut next) = (Rows::default(), None);
        let view = self.view()?;
        // One that begins anew was told of by the view.
        let at = self.copied.replies_at;
        if at == END {
            return Ok(true);
        }
        self.look_from(view, |view| {
            rows = Rows::default();
            let from = at.max(view.first.0);
            next = view
                .sealed
                .replies_from(from, step_bytes, |seq, reply| rows.reply(seq, reply))?;
            Ok(())
        })?;
        self.put(REPLIES, &rows);
        self.copied.replies_at = next.unwrap_or(END);
        Ok(next.is_none())
    }

    fn letters(&mut self) -> Result<bool, StoreError> {
        let step_bytes = self.step_bytes;
        let (mut rows, mut next) = (Rows::default(), None);
        let view = self.view()?;
        let at = self.copied.letters_at;
        if at == END {
            return Ok(true);
        }
        self.look_from(view, |view| {
            rows = Rows::default();
            let take = |number, bytes: &[u8]| rows.letter(number, letter::PUT, bytes);
            next = view.sealed.letters_from(at, step_bytes, take)?;
            Ok(())
        })?;
        self.put(LETTERS, &rows);
        self.copied.letters_at = next.unwrap_or(END);
        Ok(next.is_none())
    }

    fn replies_again(&mut self) -> Result<(), StoreError> {
        let step_bytes = self.step_bytes;
        let (mut rows, mut last) = (Rows::default(), None);
        let again = std::mem::take(&mut self.copied.replies_again);
        let looked = self.look(|view| {
            rows = Rows::default();
            for seq in &again {
                if rows.body.len() >= step_bytes {
                    break;
                }
                if let Some(reply) = view.sealed.reply(Seq(*seq))? {
                    rows.reply(*seq, &reply);
                }
                last = Some(*seq);
            }
            Ok(())
        });
        looked?;
        self.put(REPLIES, &rows);
        self.copied.replies_again.extend(behind(again, last));
        Ok(())
    }

    fn letters_again(&mut self) -> Result<(), StoreError> {
        let step_bytes = self.step_bytes;
        let (mut rows, mut last) = (Rows::default(), None);
        let again = std::mem::take(&mut self.copied.letters_again);
        let looked = self.look(|view| {
            rows = Rows::default();
            for number in &again {
                if rows.body.len() >= step_bytes {
                    break;
                }
                let mut found = false;
                view.sealed.letters_from(*number, 1, |at, bytes| {
                    if at == *number {
                        found = true;
                        rows.letter(at, letter::PUT, bytes);
                    }
                })?;
                if !found {
                    rows.letter(*number, letter::GONE, &[]);
                }
                last = Some(*number);
            }
            Ok(())
        });
        looked?;
        self.put(LETTERS, &rows);
        self.copied.letters_again.extend(behind(again, last));
        Ok(())
    }

    fn put(&mut self, kind: u8, rows: &Rows) {
        if let Some(chunks) = &mut self.chunks {
            chunks.chunk(&mut self.out, kind, rows.count, &rows.body);
        }
    }

    /// Reads a piece under one view; again under the next one when the tables were just being
    /// closed.
    fn look(
        &mut self,
        look: impl FnMut(&View) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let view = self.view()?;
        self.look_from(view, look)
    }

    fn look_from(
        &mut self,
        view: View,
        mut look: impl FnMut(&View) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let shared = self.shared.clone();
        let mut first = Some(view);
        shared.look(|| {
            let view = match first.take() {
                Some(view) => view,
                // What is noted stays noted: it is for the next view that is taken.
                None => {
                    let state = shared.state.read();
                    View {
                        sealed: state.sealed.clone(),
                        first: state.first_seq(),
                    }
                }
            };
            look(&view)
        })
    }
}

impl Drop for Backup {
    fn drop(&mut self) {
        *self.shared.capture.lock() = None;
    }
}

/// The tables at one moment, and the first request that is kept.
struct View {
    sealed: Arc<Sealed>,
    first: Seq,
}

/// Those behind the last one that was done.
fn behind(mut again: BTreeSet<u64>, last: Option<u64>) -> BTreeSet<u64> {
    match last {
        Some(last) => again.split_off(&(last + 1)),
        None => again,
    }
}
