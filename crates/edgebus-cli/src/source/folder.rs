//! A data folder that no server runs on.
//!
//! Looking changes nothing. What is changed is written as the server writes it, through the
//! journal, and is on disk when it is said to be done; the server finds it when it starts.

use std::path::Path;

use edgebus::admin::{
    BackupPart, ConsumerInfo, DeadLetterFilter, DeadLetterRow, LetterState, Position,
};
use edgebus::consumer::{Answer, ConsumerMode, ConsumerOp, Ledger};
use edgebus::query::{LogQuery, Stats};
use edgebus::store::backup::Backup;
use edgebus::store::{DeadLetter, StageError};
use edgebus::{
    Code, ConsumerName, Entry, Refusal, RequestId, RequestStore, Scope, Seq, StoreError,
    StoreReader,
};

use super::Letters;
use crate::error::CliError;
use crate::output;
use crate::output::say;

/// Dead letters changed with one write.
const LETTERS_AT_ONCE: usize = 256;
/// Journal that a write of them takes at most.
const CHANGE_BYTES: usize = 64 * 1024;

/// Bytes of one part of a backup.
const PART_BYTES: usize = 1024 * 1024;

/// The store, and a backup of it that is being taken.
pub(crate) struct Folder(RequestStore, Option<Backup>);

impl Folder {
    pub(super) fn open(dir: &Path) -> Result<Self, CliError> {
        // Opening would make a store there.
        if !dir.join("VERSION").exists() {
            let message = format!(
                "there is no store in {}: name its data folder",
                dir.display()
            );
            return Err(Refusal::new(Code::NotFound, message).into());
        }
        let store = RequestStore::open(dir).map_err(|error| match error {
            StoreError::DataInUse { path } => {
                let message = format!(
                    "data folder {} is in use: a server runs on it, ask that one with --server",
                    path.display()
                );
                CliError::from(Refusal::new(Code::DataInUse, message))
            }
            other => other.into(),
        })?;
        if let Some(torn) = store.torn_tail() {
            say!("edgebus: {}", output::torn_tail(torn));
        }
        Ok(Self(store, None))
    }

    pub(super) fn reader(&self) -> StoreReader {
        self.0.reader()
    }

    pub(super) fn backup_part(
        &mut self,
        before: Option<&BackupPart>,
    ) -> Result<BackupPart, Refusal> {
        let (store, backup) = (&self.0, &mut self.1);
        let refused = |error: StoreError| Refusal::from(&error);
        let backup = match backup {
            Some(backup) => backup,
            None => {
                let now = store.clock().now().wall_ms;
                backup.insert(store.reader().backup(now).map_err(refused)?)
            }
        };
        let page = backup.next_page(PART_BYTES).map_err(refused)?;
        Ok(BackupPart {
            id: 1,
            offset: before.map_or(0, |part| part.offset + part.bytes.len() as u64),
            bytes: page.bytes.into(),
            done: page.done,
            estimate_bytes: backup.estimate_bytes(),
        })
    }

    pub(super) fn was_stored(&self, id: RequestId) -> Result<Option<Seq>, CliError> {
        Ok(self.reader().find(id, Scope::default())?)
    }

    pub(super) fn find(&self, id: RequestId) -> Result<Option<Entry>, CliError> {
        match self.was_stored(id)? {
            Some(seq) => Ok(self.reader().get_by_seq(seq)?),
            None => Ok(None),
        }
    }

    /// A reply, or what a responder's dead letter says.
    pub(super) fn answer(&self, seq: Seq) -> Result<Option<Answer>, CliError> {
        let reader = self.reader();
        if let Some(reply) = reader.reply(seq)? {
            return Ok(Some(Answer::Reply(reply)));
        }
        for (name, ledger) in self.0.ledgers() {
            let is_responder = ledger
                .config()
                .is_some_and(|config| config.mode == ConsumerMode::Responder);
            if is_responder
                && let Some(number) = reader.dead_letter_of(name.as_str(), seq)?
                && let Some(letter) = reader.dead_letter(number)?
                && !letter.is_requeued()
            {
                let reason = letter.reason;
                return Ok(Some(Answer::DeadLettered { reason }));
            }
        }
        Ok(None)
    }

    pub(super) fn stats(&self) -> Stats {
        let mut stats = self.reader().stats();
        stats.first_seq = self.reader().first_seq().0;
        stats.consumers = self.0.ledgers().len() as u64;
        stats
    }

    pub(super) fn consumers(&self) -> Vec<ConsumerInfo> {
        let ledgers = self.0.ledgers().iter();
        ledgers
            .map(|(name, ledger)| self.info(name, ledger))
            .collect()
    }

    pub(super) fn consumer(&self, name: &ConsumerName) -> Result<ConsumerInfo, CliError> {
        match self.0.ledgers().get(name) {
            Some(ledger) => Ok(self.info(name, ledger)),
            None => {
                let message = format!("there is no consumer {name}");
                Err(Refusal::new(Code::NoSuchConsumer, message).into())
            }
        }
    }

    fn info(&self, name: &ConsumerName, ledger: &Ledger) -> ConsumerInfo {
        let reader = self.reader();
        let gaps = ledger.gaps();
        let mut info = ConsumerInfo::new(name.clone());
        info.config = ledger.config().cloned();
        info.epoch = ledger.epoch();
        info.offset = ledger.offset();
        info.lag = reader.last_seq().0.saturating_sub(ledger.offset().0);
        info.dead_letters = reader.dead_letter_count_of(name);
        info.state = match ledger.is_paused() {
            true => "paused".to_owned(),
            false => "idle".to_owned(),
        };
        info.gaps = gaps.count;
        info.gap_messages = gaps.messages;
        info.last_gap = gaps.last;
        info
    }

    pub(super) fn dead_letters(
        &self,
        filter: &DeadLetterFilter,
        after: u64,
        limit: usize,
    ) -> Result<Letters, CliError> {
        let mut rows = Vec::new();
        let more = self.each_letter(filter, after, |number, letter| {
            rows.push(row(number, letter)?);
            Ok(rows.len() < limit)
        })?;
        let next = rows.last().filter(|_| more).map(|row| row.number);
        Ok((rows, next))
    }

    pub(super) fn dead_letter_count(&self, filter: &DeadLetterFilter) -> Result<u64, CliError> {
        let mut count = 0;
        self.each_letter(filter, 0, |_, _| {
            count += 1;
            Ok(true)
        })?;
        Ok(count)
    }

    /// Hands over the dead letters that are chosen, until no more are wanted; says whether there
    /// may be more.
    fn each_letter(
        &self,
        filter: &DeadLetterFilter,
        mut after: u64,
        mut take: impl FnMut(u64, DeadLetter) -> Result<bool, CliError>,
    ) -> Result<bool, CliError> {
        let reader = self.reader();
        loop {
            let letters = reader.dead_letters(after, LETTERS_AT_ONCE)?;
            if letters.is_empty() {
                return Ok(false);
            }
            for (number, letter) in letters {
                after = number;
                let entry = letter.entry()?;
                let topic = entry.record().topic_str();
                if filter.selects(number, topic, &letter.consumer) && !take(number, letter)? {
                    return Ok(true);
                }
            }
        }
    }

    pub(super) fn requeue(
        &mut self,
        filter: &DeadLetterFilter,
        dry_run: bool,
    ) -> Result<u64, CliError> {
        let mut chosen = Vec::new();
        self.each_letter(filter, 0, |number, letter| {
            let consumer: ConsumerName = letter.consumer.parse()?;
            if !letter.is_requeued() && self.0.ledgers().contains_key(&consumer) {
                chosen.push((number, consumer, Seq(letter.seq)));
            }
            Ok(true)
        })?;
        if !dry_run {
            for part in chosen.chunks(LETTERS_AT_ONCE) {
                self.0.reserve(CHANGE_BYTES)?;
                for (number, consumer, seq) in part {
                    let (number, seq) = (*number, *seq);
                    self.change(consumer, &ConsumerOp::Requeued { seq, number })?;
                    self.0.stage_requeued(number).map_err(refused)?;
                }
                self.commit()?;
            }
        }
        Ok(chosen.len() as u64)
    }

    pub(super) fn remove_dead_letters(
        &mut self,
        filter: &DeadLetterFilter,
        dry_run: bool,
    ) -> Result<u64, CliError> {
        let mut chosen = Vec::new();
        self.each_letter(filter, 0, |number, letter| {
            chosen.push((number, letter.consumer.parse()?, Seq(letter.seq)));
            Ok(true)
        })?;
        if !dry_run {
            for part in chosen.chunks(LETTERS_AT_ONCE) {
                self.0.reserve(CHANGE_BYTES)?;
                self.remove(part)?;
            }
        }
        Ok(chosen.len() as u64)
    }

    fn remove(&mut self, letters: &[(u64, ConsumerName, Seq)]) -> Result<(), CliError> {
        for (number, consumer, seq) in letters {
            let waits = self
                .0
                .ledgers()
                .get(consumer)
                .and_then(|l| l.requeued(*seq));
            if waits == Some(*number) {
                self.change(consumer, &ConsumerOp::Dropped { seq: *seq })?;
            }
        }
        let numbers: Vec<u64> = letters.iter().map(|(number, ..)| *number).collect();
        self.0.stage_letters_removed(&numbers).map_err(refused)?;
        self.commit()
    }

    /// Changes what is known of a consumer.
    fn change(&mut self, consumer: &ConsumerName, op: &ConsumerOp) -> Result<(), CliError> {
        let closed = match self.0.ledger_mut(consumer) {
            Some(ledger) => ledger.apply(op),
            None => return Ok(()),
        };
        self.0.stage_change(consumer, op, &closed).map_err(refused)
    }

    fn commit(&mut self) -> Result<(), CliError> {
        let now = self.0.clock().now();
        Ok(self.0.commit(now)?)
    }

    pub(super) fn trim(&mut self, before: Position) -> Result<(Seq, u64), CliError> {
        let reader = self.reader();
        let first = reader.first_seq();
        let before = match before {
            Position::Seq(seq) => seq,
            Position::TimeMs(ms) => {
                let mut query = LogQuery::from(Seq(1));
                query.from_time_ms = Some(ms);
                query.limit = 1;
                match reader.replay(query).next() {
                    Some(entry) => entry?.seq(),
                    None => reader.last_seq().next(),
                }
            }
            _ => return Err(Refusal::new(Code::BadQuery, "not a place in the log").into()),
        };
        self.0.trim(before)?;
        let first_now = self.reader().first_seq();
        Ok((first_now, first_now.0.saturating_sub(first.0)))
    }
}

fn refused(error: StageError) -> CliError {
    match error {
        StageError::Refused(refusal) => refusal.into(),
        StageError::GroupFull => {
            Refusal::new(Code::Busy, "too much is written at once: choose fewer").into()
        }
    }
}

fn row(number: u64, letter: DeadLetter) -> Result<DeadLetterRow, CliError> {
    Ok(DeadLetterRow {
        number,
        seq: Seq(letter.seq),
        code: letter.code(),
        state: match letter.is_requeued() {
            true => LetterState::Requeued,
            false => LetterState::Dead,
        },
        wall_ms: letter.wall_ms,
        entry: letter.entry()?,
        consumer: letter.consumer,
        reason: letter.reason,
        attempts: letter.attempts,
    })
}
