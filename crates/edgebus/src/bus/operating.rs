//! What operators ask of a running bus. What is to be found on disk is looked up on threads made
//! for blocking, before the engine is asked to change anything.

use std::collections::BTreeSet;

use edgebus_core::admin::{
    Admin, DeadLetterFilter, DeadLetterRow, LetterState, Managed, Position, RequestState,
};
use edgebus_core::query::LogQuery;
use edgebus_core::{Code, ConsumerName, Refusal, RequestId, Scope, Seq};
use tokio::sync::oneshot;

use super::dispatch::commands::{Change, Question};
use super::feeder::find_answer;
use super::lane::engine_gone;
use super::message_bus::MessageBus;
use super::queue::Command;
use crate::delivery::admin::admin_calls;
use crate::host;
use crate::store::{DeadLetter, StoreError, StoreReader};

admin_calls!(MessageBus, [async] [.await]);

/// Dead letters looked at in one go, and handed to the engine in one go.
const LETTERS: usize = 1024;
/// Bytes of one page of dead letters.
const LETTERS_BYTES: usize = 256 * 1024;
/// Ranges of messages handed to the engine in one go.
const RANGES: usize = 4096;

impl MessageBus {
    /// Does what an operator asks; ids are those of the default scope. On disk when this returns.
    ///
    /// # Errors
    /// Why not.
    pub async fn admin(&self, admin: Admin) -> Result<Managed, Refusal> {
        self.admin_in(Scope::default(), admin).await
    }

    /// As [`MessageBus::admin`], for an asker whose ids live in a scope.
    pub(crate) async fn admin_in(&self, scope: Scope, admin: Admin) -> Result<Managed, Refusal> {
        admin.check()?;
        match admin {
            Admin::ConsumerAdd { name, config } => {
                let begin = self.begin_of(&config).await?;
                self.change(Change::Put(name, config, begin)).await
            }
            Admin::Consumers => {
                let (to, answer) = oneshot::channel();
                self.queue().control(Command::Ask(Question::All(to)))?;
                let consumers = answer.await.map_err(|_| engine_gone())?;
                Ok(Managed::Consumers(consumers))
            }
            Admin::ConsumerInfo { name } => {
                let (to, answer) = oneshot::channel();
                self.queue()
                    .control(Command::Ask(Question::One(name, to)))?;
                let info = answer.await.map_err(|_| engine_gone())??;
                Ok(Managed::Consumers(vec![info]))
            }
            Admin::ConsumerPause { name, paused } => self.change(Change::Pause(name, paused)).await,
            Admin::ConsumerRemove { name } => self.change(Change::Remove(name)).await,
            Admin::ConsumerReset { name, to } => {
                let last = self.reader().last_seq();
                let first = self.seq_at(to).await?.unwrap_or(last.next());
                let offset = Seq(first.0.min(last.0 + 1).saturating_sub(1));
                self.change(Change::Reset(name, offset)).await
            }
            Admin::Next {
                name,
                count,
                ack,
                wait_ms,
            } => {
                let (done, got) = oneshot::channel();
                self.queue().control(Command::Pull {
                    consumer: name,
                    count,
                    ack,
                    wait_ms,
                    done,
                })?;
                let got = got.await.unwrap_or_else(|_| Err(engine_gone()))?;
                Ok(Managed::Deliveries(got))
            }
            Admin::Settle {
                name,
                token,
                settlement,
            } => {
                let settlement = settlement.bounded(&self.record_limits())?;
                self.change(Change::Settle(name, token, settlement)).await
            }
            Admin::DeadLetters {
                filter,
                after,
                limit,
            } => {
                let page = move |reader: &StoreReader| page(reader, &filter, after, limit as usize);
                let (letters, next) = self.look(page).await?;
                Ok(Managed::DeadLetters { letters, next })
            }
            Admin::DeadLetterCount { filter } => {
                let chosen = self.look(move |reader| chosen(reader, &filter, false));
                Ok(Managed::Count(chosen.await?.len() as u64))
            }
            Admin::Requeue { filter, dry_run } => {
                let letters = self
                    .look(move |reader| chosen(reader, &filter, true))
                    .await?;
                self.in_parts(letters, dry_run, |letters, done| Command::Requeue {
                    letters,
                    done,
                })
                .await
            }
            Admin::RemoveDeadLetters { filter, dry_run } => {
                // One that is to be tried again goes only if it is named.
                let dead = filter.numbers.is_empty();
                let letters = self
                    .look(move |reader| chosen(reader, &filter, dead))
                    .await?;
                self.in_parts(letters, dry_run, |letters, done| Command::RemoveLetters {
                    letters,
                    done,
                })
                .await
            }
            Admin::Trim { before } => {
                let first = self.reader().first_seq();
                let before = self.seq_at(before).await?;
                let before = before.unwrap_or(self.reader().last_seq().next());
                self.change(Change::Trim(before)).await?;
                let first_seq = self.reader().first_seq();
                let messages = first_seq.0.saturating_sub(first.0);
                Ok(Managed::Trimmed {
                    first_seq,
                    messages,
                })
            }
            Admin::ReplayInto { name, query } => self.replay_to(name, query).await,
            Admin::RequestState { id } => self.state_of(id, scope).await,
            Admin::Clients => Ok(Managed::Clients(Vec::new())),
            _ => Err(Refusal::new(
                Code::BadQuery,
                "this server does not know the question",
            )),
        }
    }

    async fn change(&self, change: Change) -> Result<Managed, Refusal> {
        let (done, changed) = oneshot::channel();
        let change = Box::new(change);
        self.queue().control(Command::Change { change, done })?;
        changed.await.unwrap_or_else(|_| Err(engine_gone()))?;
        Ok(Managed::Done)
    }

    /// Looks something up where reading from disk holds up nobody.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&StoreReader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let reader = self.reader();
        let looked = host::blocking(move || look(&reader)).await;
        match looked {
            Ok(found) => found.map_err(|error| Refusal::from(&error)),
            Err(_) => Err(Refusal::new(Code::Corrupt, "looking it up failed")),
        }
    }

    /// The sequence number at a place in the log; `None` behind the last message.
    pub(super) async fn seq_at(&self, position: Position) -> Result<Option<Seq>, Refusal> {
        let from_ms = match position {
            Position::Seq(seq) => return Ok(Some(seq)),
            Position::TimeMs(ms) => ms,
            _ => return Err(Refusal::new(Code::BadQuery, "not a place in the log")),
        };
        self.look(move |reader| {
            let mut query = LogQuery::from(Seq(1));
            query.from_time_ms = Some(from_ms);
            query.limit = 1;
            match reader.replay(query).next() {
                None => Ok(None),
                Some(entry) => entry.map(|entry| Some(entry.seq())),
            }
        })
        .await
    }

    /// Hands dead letters to the engine, so many at a time.
    async fn in_parts(
        &self,
        letters: Vec<(u64, ConsumerName, Seq)>,
        dry_run: bool,
        command: impl Fn(
            Vec<(u64, ConsumerName, Seq)>,
            oneshot::Sender<Result<u64, Refusal>>,
        ) -> Command,
    ) -> Result<Managed, Refusal> {
        if dry_run {
            return Ok(Managed::Count(letters.len() as u64));
        }
        let mut count = 0;
        for part in letters.chunks(LETTERS) {
            let (done, counted) = oneshot::channel();
            self.queue().control(command(part.to_vec(), done))?;
            count += counted.await.unwrap_or_else(|_| Err(engine_gone()))?;
        }
        Ok(Managed::Count(count))
    }

    /// Has a consumer do messages again, as far as they are for it.
    async fn replay_to(&self, name: ConsumerName, query: LogQuery) -> Result<Managed, Refusal> {
        let (to, answer) = oneshot::channel();
        self.queue()
            .control(Command::Ask(Question::One(name.clone(), to)))?;
        let info = answer.await.map_err(|_| engine_gone())??;
        let Some(config) = info.config else {
            let message = format!("consumer {name} has no patterns yet: add it first");
            return Err(Refusal::new(Code::BadConfig, message));
        };
        let mut query = query;
        let last = self.reader().last_seq();
        query.to = Some(query.to.unwrap_or(last).min(last));
        let (mut next, mut count) = (Some(query.from), 0);
        while let Some(from) = next {
            query.from = from;
            let (page, config) = (query.clone(), config.clone());
            let (ranges, found, then) = self
                .look(move |reader| {
                    let page = reader.read_log(&page)?;
                    let mut ranges: Vec<(Seq, Seq)> = Vec::new();
                    let mut found = 0;
                    for entry in page.entries.iter().filter(|e| config.selects(e.record())) {
                        found += 1;
                        match ranges.last_mut() {
                            Some(last) if last.1.next() == entry.seq() => last.1 = entry.seq(),
                            _ => ranges.push((entry.seq(), entry.seq())),
                        }
                    }
                    Ok((ranges, found, page.next))
                })
                .await?;
            for part in ranges.chunks(RANGES) {
                self.change(Change::Again(name.clone(), part.to_vec()))
                    .await?;
            }
            count += found;
            next = then;
        }
        Ok(Managed::Count(count))
    }

    async fn state_of(&self, id: RequestId, scope: Scope) -> Result<Managed, Refusal> {
        let Some(seq) = self.look(move |reader| reader.find(id, scope)).await? else {
            return Ok(Managed::State(RequestState {
                seq: None,
                answer: None,
            }));
        };
        let (to, answer) = oneshot::channel();
        self.queue().control(Command::Ask(Question::All(to)))?;
        let consumers = answer.await.map_err(|_| engine_gone())?;
        let responders: Vec<ConsumerName> = consumers
            .into_iter()
            .filter(|info| {
                let config = info.config.as_ref();
                config.is_some_and(|c| c.mode == edgebus_core::consumer::ConsumerMode::Responder)
            })
            .map(|info| info.name)
            .collect();
        let answer = self
            .look(move |reader| find_answer(reader, seq, &responders))
            .await?;
        Ok(Managed::State(RequestState {
            seq: Some(seq),
            answer,
        }))
    }
}

/// A page of the dead letters that a filter selects, and where to go on.
fn page(
    reader: &StoreReader,
    filter: &DeadLetterFilter,
    after: u64,
    limit: usize,
) -> Result<(Vec<DeadLetterRow>, Option<u64>), StoreError> {
    let (mut rows, mut bytes, mut after) = (Vec::new(), 0, after);
    loop {
        let letters = reader.dead_letters(after, LETTERS)?;
        let Some((last, _)) = letters.last() else {
            return Ok((rows, None));
        };
        after = *last;
        for (number, letter) in letters {
            let row = row_of(number, &letter)?;
            if !filter.selects(number, row.entry.record().topic_str(), &row.consumer) {
                continue;
            }
            bytes += row.entry.as_bytes().len();
            let full = rows.len() >= limit || bytes > LETTERS_BYTES;
            if full && !rows.is_empty() {
                return Ok((rows, Some(number - 1)));
            }
            rows.push(row);
        }
    }
}

/// The dead letters that a filter selects, by number, consumer and message; of requeued ones none
/// when only the `dead` ones are wanted.
fn chosen(
    reader: &StoreReader,
    filter: &DeadLetterFilter,
    dead: bool,
) -> Result<Vec<(u64, ConsumerName, Seq)>, StoreError> {
    let (mut found, mut after) = (Vec::new(), 0);
    if !filter.numbers.is_empty() && filter.topic.is_none() {
        // Only those are read, and only as far as needed: one that is damaged can still be removed.
        for number in filter.numbers.iter().copied().collect::<BTreeSet<u64>>() {
            let Some((consumer, seq)) = reader.dead_letter_whose(number) else {
                continue;
            };
            let is_dead = || {
                let letter = reader.dead_letter(number)?;
                Ok::<_, StoreError>(letter.is_some_and(|letter| !letter.is_requeued()))
            };
            if filter.selects(number, "", &consumer) && (!dead || is_dead()?) {
                found.push((number, consumer.parse()?, seq));
            }
        }
        return Ok(found);
    }
    loop {
        let letters = reader.dead_letters(after, LETTERS)?;
        let Some((last, _)) = letters.last() else {
            return Ok(found);
        };
        after = *last;
        for (number, letter) in letters {
            let entry = letter.entry()?;
            let topic = entry.record().topic_str();
            if filter.selects(number, topic, &letter.consumer) && !(dead && letter.is_requeued()) {
                found.push((number, letter.consumer.parse()?, Seq(letter.seq)));
            }
        }
    }
}

fn row_of(number: u64, letter: &DeadLetter) -> Result<DeadLetterRow, StoreError> {
    Ok(DeadLetterRow {
        number,
        seq: Seq(letter.seq),
        consumer: letter.consumer.clone(),
        code: letter.code(),
        reason: letter.reason.clone(),
        state: if letter.is_requeued() {
            LetterState::Requeued
        } else {
            LetterState::Dead
        },
        attempts: letter.attempts.clone(),
        wall_ms: letter.wall_ms,
        entry: letter.entry()?,
    })
}
