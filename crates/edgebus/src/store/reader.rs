//! Reading a store from any thread: requests, replies, dead letters, consumers, figures.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use edgebus_core::consumer::{ConsumerConfig, Ledger, Reply};
use edgebus_core::query::{LogPage, LogQuery, Stats};
use edgebus_core::{Code, ConsumerName, Entry, Lsn, Refusal, RequestId, Scope, Seq};
use prost::Message as _;

use super::StoreError;
use super::backup::Backup;
use super::dead_letter::{DeadLetter, Fate};
use super::ids::Fingerprinter;
use super::overlay::{Group, LetterChange};
use super::replay::Replay;
use super::view::Shared;

/// Reads a store, from any thread, while it is being written. Cheap to clone.
///
/// Every call sees a state that was on disk at some moment of the call, and nothing newer. Calls
/// may read from disk: do not make them on an async runtime's own threads.
#[derive(Clone, Debug)]
pub struct StoreReader {
    pub(super) shared: Arc<Shared>,
}

impl StoreReader {
    /// The request with a sequence number; `None` when there is none (yet).
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or what the operating system says.
    pub fn get_by_seq(&self, seq: Seq) -> Result<Option<Entry>, StoreError> {
        let mut query = LogQuery::from(seq);
        query.to = Some(seq);
        query.limit = 1;
        Ok(self.read_log(&query)?.entries.pop())
    }

    /// Where a request id is stored; `None` when it is not (yet).
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or what the operating system says.
    pub fn find(&self, id: RequestId, scope: Scope) -> Result<Option<Seq>, StoreError> {
        Ok(self.shared.find(&id, scope)?.map(|stored| stored.seq))
    }

    /// Whether a request id of the default scope is stored: sending it again would store nothing.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or what the operating system says.
    pub fn is_duplicate(&self, id: RequestId) -> Result<bool, StoreError> {
        Ok(self.find(id, Scope::default())?.is_some())
    }

    /// Up to where everything is done for a consumer; `None` for a consumer that has no offset.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or what the operating system says.
    pub fn get_consumer_offset(&self, consumer: &ConsumerName) -> Result<Option<Seq>, StoreError> {
        let consumers = self.shared.consumers.read();
        Ok(consumers.ledgers.by_name.get(consumer).map(Ledger::offset))
    }

    /// A consumer as of the last sync. Copies it: not for every moment.
    pub fn consumer(&self, name: &ConsumerName) -> Option<Ledger> {
        self.shared
            .consumers
            .read()
            .ledgers
            .by_name
            .get(name)
            .cloned()
    }

    /// All consumers, as of the last sync. Copies them: not for every moment.
    pub fn consumers(&self) -> BTreeMap<ConsumerName, Ledger> {
        self.shared.consumers.read().ledgers.by_name.clone()
    }

    /// The stored reply of a request; `None` when there is none (yet), or none any more because the
    /// request was trimmed.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or what the operating system says.
    pub fn reply(&self, seq: Seq) -> Result<Option<Reply>, StoreError> {
        let bytes = self.shared.look(|| {
            let (above, sealed) = {
                let state = self.shared.state.read();
                if seq < state.first_seq() {
                    return Ok(None);
                }
                // The first one ever stored counts.
                let above = state.overlays().find_map(|o| o.replies.get(&seq));
                (above.cloned(), state.sealed.clone())
            };
            Ok(sealed.reply(seq)?.or(above))
        })?;
        let reply = bytes.map(|bytes| {
            Reply::decode(bytes).map_err(|_| {
                let what = format!("the reply to seq {seq} cannot be read");
                Refusal::new(Code::Corrupt, what).into()
            })
        });
        reply.transpose()
    }

    /// A dead letter by its number.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or what the operating system says.
    pub fn dead_letter(&self, number: u64) -> Result<Option<DeadLetter>, StoreError> {
        let Some(whose) = self.shared.consumers.read().letters.whose(number) else {
            return Ok(None);
        };
        let letter = self.shared.look(|| self.look_for_letter(number))?;
        let is_other =
            |letter: &DeadLetter| (&*letter.consumer, letter.seq) != (&*whose.0, whose.1.0);
        let what = match &letter {
            Some(letter) if is_other(letter) => "is another one's",
            // One that is just being put there, or removed, is no such thing.
            None if number <= self.shared.state.read().sealed.last_dead_letter
                && self.dead_letter_whose(number).is_some() =>
            {
                "leads to none"
            }
            _ => return Ok(letter),
        };
        let what = format!("dead_letter_keys: number {number} {what}");
        Err(Refusal::new(Code::Corrupt, what).into())
    }

    fn look_for_letter(&self, number: u64) -> Result<Option<DeadLetter>, StoreError> {
        let mut newest_fate: Option<Fate> = None;
        let with_fate = |mut letter: DeadLetter, fate: Option<Fate>| {
            letter.state = fate.map_or(letter.state, Fate::to_state);
            letter
        };
        let sealed = {
            let state = self.shared.state.read();
            for overlay in state.overlays().rev() {
                match overlay.letters.get(&number) {
                    None => {}
                    Some(LetterChange::Put(letter)) => {
                        return Ok(Some(with_fate(letter.clone(), newest_fate)));
                    }
                    Some(LetterChange::Fate(Fate::Removed)) => return Ok(None),
                    Some(LetterChange::Fate(fate)) => newest_fate = newest_fate.or(Some(*fate)),
                }
            }
            state.sealed.clone()
        };
        let letter = sealed.dead_letter(number)?;
        Ok(letter.map(|letter| with_fate(letter, newest_fate)))
    }

    /// Dead letters with numbers above one, ascending: at most `limit` of them, or fewer when they
    /// take some megabytes. None at all: there are no more.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or what the operating system says.
    pub fn dead_letters(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, DeadLetter)>, StoreError> {
        let (mut letters, mut bytes, mut at) = (Vec::new(), 0, after);
        while letters.len() < limit && bytes < LETTERS_PAGE_BYTES {
            let Some(number) = self.shared.consumers.read().letters.after(at).next() else {
                break;
            };
            at = number;
            // One that was removed just now is left out.
            if let Some(letter) = self.dead_letter(number)? {
                bytes += letter.encoded_len();
                letters.push((number, letter));
            }
        }
        Ok(letters)
    }

    /// The number of the dead letter of a consumer and a request, if there is one.
    ///
    /// # Errors
    /// None at the moment.
    pub fn dead_letter_of(&self, consumer: &str, seq: Seq) -> Result<Option<u64>, StoreError> {
        Ok(self
            .shared
            .consumers
            .read()
            .letters
            .number_of(consumer, seq))
    }

    /// Whether a message is for a consumer and behind it: done, or never to be given to it.
    pub fn has_passed(&self, consumer: &ConsumerName, entry: &Entry) -> bool {
        let consumers = self.shared.consumers.read();
        let ledger = consumers.ledgers.by_name.get(consumer);
        ledger.is_some_and(|ledger| {
            let selects = |config: &ConsumerConfig| config.selects(entry.record());
            ledger.config().is_some_and(selects) && ledger.is_done(entry.seq())
        })
    }

    /// Whose a dead letter is: the consumer and the request. `None` when there is none (any more).
    /// Told of damaged ones, too.
    pub fn dead_letter_whose(&self, number: u64) -> Option<(String, Seq)> {
        let whose = self.shared.consumers.read().letters.whose(number);
        whose.map(|(consumer, seq)| (consumer.to_string(), seq))
    }

    /// How many dead letters there are.
    pub fn dead_letter_count(&self) -> u64 {
        self.shared.consumers.read().letters.count()
    }

    /// How many dead letters a consumer has.
    pub fn dead_letter_count_of(&self, consumer: &ConsumerName) -> u64 {
        self.shared
            .consumers
            .read()
            .letters
            .count_of(consumer.as_str())
    }

    /// Bytes that dead letters take; those of removed ones count until they are sealed.
    pub fn dead_letter_bytes(&self) -> u64 {
        let state = self.shared.state.read();
        let above: usize = state.overlays().map(|o| o.letter_bytes).sum();
        state.sealed.dead_letter_bytes + above as u64
    }

    /// The oldest request that is kept: the next one to be stored when none is.
    pub fn first_seq(&self) -> Seq {
        self.shared.state.read().first_seq()
    }

    /// The last stored request's sequence number; 0 when there is none.
    pub fn last_seq(&self) -> Seq {
        self.shared.state.read().open.last_seq
    }

    /// One page of the log.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or what the operating system says.
    pub fn read_log(&self, query: &LogQuery) -> Result<LogPage, StoreError> {
        self.shared.look(|| self.read_page(query))
    }

    fn read_page(&self, query: &LogQuery) -> Result<LogPage, StoreError> {
        // A page of nothing would never come to an end.
        let limit = query.limit.max(1);
        let mut page = LogPage::default();
        let mut bytes = 0;
        let mut full = |page: &LogPage, entry: &Entry| {
            bytes += entry.as_bytes().len();
            page.entries.len() >= limit || (bytes > query.page_bytes && !page.entries.is_empty())
        };
        let mut at = query.from.max(Seq(1));
        let mut started = at;
        loop {
            let (tail, sealed, last) = {
                let state = self.shared.state.read();
                if at < state.first_seq() {
                    at = state.first_seq();
                    started = started.max(at);
                }
                let last = query.to.unwrap_or(Seq(u64::MAX)).min(state.open.last_seq);
                (
                    state.tail_from(at, query.page_bytes),
                    state.sealed.clone(),
                    last,
                )
            };
            if at > last {
                return Ok(page);
            }
            let before = at;
            match tail {
                None => at = sealed.read_log(at, last, query, &mut page, &mut full)?,
                Some(groups) => at = read_tail(&groups, at, last, query, &mut page, &mut full),
            }
            let stuck = at == before;
            if stuck || page.entries.len() >= limit || at.0 - started.0 > SCANNED_PER_PAGE {
                page.next = (at <= last).then_some(at);
                return Ok(page);
            }
        }
    }

    /// Everything from a sequence number on, page by page.
    pub fn replay_from(&self, seq: Seq) -> Replay {
        self.replay(LogQuery::from(seq))
    }

    /// Everything a query selects, page by page; the query's limit is that of a page.
    pub fn replay(&self, query: LogQuery) -> Replay {
        Replay::new(self.clone(), query)
    }

    /// Begins a backup at a moment of the wall clock (unix milliseconds), which is written into it.
    ///
    /// # Errors
    /// [`Code::Busy`] while another one is taken.
    pub fn backup(&self, wall_ms: u64) -> Result<Backup, StoreError> {
        Backup::begin(self.shared.clone(), wall_ms)
    }

    /// The store's figures; those of connections and of the process are left at 0.
    pub fn stats(&self) -> Stats {
        let counters = &self.shared.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let dead_letters = self.dead_letter_count();
        let state = self.shared.state.read();
        Stats {
            last_seq: state.open.last_seq.0,
            stored: (state.open.last_seq.next().0).saturating_sub(state.first_seq().0),
            synced_lsn: state.open.last_lsn.0,
            sealed_lsn: state.sealed.lsn.0,
            tail_bytes: state.tail_bytes() as u64,
            journal_segments: self.shared.segments.used() as u64,
            groups: get(&counters.groups),
            appended: get(&counters.appended),
            duplicates: get(&counters.duplicates),
            refused: get(&counters.refused),
            appended_bytes: get(&counters.appended_bytes),
            journal_bytes: get(&counters.journal_bytes),
            seals: get(&counters.seals),
            dead_letters,
            first_seq: state.first_seq().0,
            log_bytes: state.sealed.log_bytes + state.sealed.reply_bytes,
            dead_letters_alarm: counters.dead_letters_alarm.load(Ordering::Relaxed),
            disk_free_bytes: get(&counters.disk_free_bytes),
            store_file_bytes: get(&counters.store_file_bytes),
            poisoned: self.shared.check().is_err(),
            storage_full: counters.storage_full.load(Ordering::Relaxed),
            ..Stats::default()
        }
    }

    /// Computes fingerprints with the store's key.
    pub fn fingerprinter(&self) -> Fingerprinter {
        self.shared.keys
    }

    /// Whether new requests are refused for want of space on the disk.
    pub fn is_full(&self) -> bool {
        self.shared.counters.storage_full.load(Ordering::Relaxed)
    }

    /// Whether the store was stopped.
    pub fn is_poisoned(&self) -> bool {
        self.shared.check().is_err()
    }

    /// Why the store was stopped; `None` while it runs.
    pub fn poisoned(&self) -> Option<String> {
        self.shared.poisoned.get().cloned()
    }

    /// Stops the store for good: nothing is written any more.
    pub(crate) fn poison(&self, reason: &str) {
        self.shared.poison(reason);
    }

    /// The last change that is on disk.
    pub fn synced_lsn(&self) -> Lsn {
        self.shared.state.read().open.last_lsn
    }
}

/// Bytes of dead letters after which a page of them is closed.
const LETTERS_PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Sequence numbers looked at for one page, so that a query that selects little answers in time.
const SCANNED_PER_PAGE: u64 = 200_000;

fn read_tail(
    groups: &[Arc<Group>],
    from: Seq,
    to: Seq,
    query: &LogQuery,
    page: &mut LogPage,
    mut full: impl FnMut(&LogPage, &Entry) -> bool,
) -> Seq {
    let mut at = from;
    for entry in groups.iter().flat_map(|group| group.entries_from(from)) {
        if entry.seq() < from {
            continue;
        }
        if entry.seq() > to {
            break;
        }
        if query.selects(&entry) {
            if full(page, &entry) {
                return entry.seq();
            }
            page.entries.push(entry.clone());
        }
        at = entry.seq().next();
    }
    at
}
