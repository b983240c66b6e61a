//! The feeder: reads for the engine what is in the tables only, on a thread of its own.
//!
//! The engine asks for pages, single messages and answers; what was found comes back through the
//! queue like any other command. The engine itself never waits for the disk to be read.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use edgebus_core::consumer::Answer;
use edgebus_core::query::{LogPage, LogQuery};
use edgebus_core::{Code, ConsumerName, Entry, Refusal, Seq};
use parking_lot::{Condvar, Mutex};

use super::queue::Queue;
use crate::store::{StoreError, StoreReader};

/// Something to be read.
#[derive(Debug)]
pub(super) enum Job {
    /// What a consumer selects from some point on.
    Page {
        consumer: ConsumerName,
        /// Comes back with the answer, so that one of an earlier life is known.
        ticket: u64,
        query: LogQuery,
    },
    /// Single messages, by sequence number or out of a dead letter.
    Load {
        consumer: ConsumerName,
        ticket: u64,
        wanted: Vec<(Seq, Option<u64>)>,
    },
    /// How a request that was stored before ended.
    Answer {
        seq: Seq,
        responders: Arc<[ConsumerName]>,
    },
}

impl Job {
    fn failed(&self) -> Failed {
        match self {
            Self::Page {
                consumer, ticket, ..
            }
            | Self::Load {
                consumer, ticket, ..
            } => Failed::Messages(consumer.clone(), *ticket),
            Self::Answer { seq, .. } => Failed::Answer(*seq),
        }
    }
}

/// What was found.
#[derive(Debug)]
pub(super) enum Fed {
    Page {
        consumer: ConsumerName,
        ticket: u64,
        entries: Vec<Entry>,
        /// Everything up to here was looked at.
        upto: Seq,
    },
    Loaded {
        consumer: ConsumerName,
        ticket: u64,
        found: Vec<(Seq, Option<Entry>)>,
    },
    Answer {
        seq: Seq,
        answer: Option<Answer>,
    },
    /// Reading failed: a consumer cannot go on over damaged bytes.
    Failed {
        of: Failed,
        error: StoreError,
    },
}

/// What could not be read.
#[derive(Clone, Debug)]
pub(super) enum Failed {
    /// Messages of a consumer; with the ticket they were asked for with.
    Messages(ConsumerName, u64),
    /// How a request ended.
    Answer(Seq),
}

/// Jobs on their way to the feeder. Bounded by the engine: one page and one load a consumer.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    stopping: bool,
}

impl Jobs {
    pub(super) fn push(&self, job: Job) {
        self.state.lock().jobs.push_back(job);
        self.wake.notify_one();
    }

    /// Ends the feeder's thread.
    pub(super) fn stop(&self) {
        self.state.lock().stopping = true;
        self.wake.notify_one();
    }

    /// Sleeps until there is a job; `false` when the end has come.
    fn wait(&self) -> bool {
        let mut state = self.state.lock();
        let nothing = |state: &mut State| state.jobs.is_empty() && !state.stopping;
        self.wake.wait_while(&mut state, nothing);
        !state.stopping
    }
}

/// Reads what the engine asks for.
#[derive(Debug)]
pub struct Feeder {
    jobs: Arc<Jobs>,
    queue: Arc<Queue>,
    reader: StoreReader,
}

impl Feeder {
    pub(super) fn new(jobs: Arc<Jobs>, queue: Arc<Queue>, reader: StoreReader) -> Self {
        Self {
            jobs,
            queue,
            reader,
        }
    }

    /// Does one job, if there is one; says whether there was.
    pub fn step(&mut self) -> bool {
        let job = self.jobs.state.lock().jobs.pop_front();
        let Some(job) = job else { return false };
        let of = job.failed();
        // Damaged bytes can make a read panic. Whoever asked waits for an answer all the same.
        let read = catch_unwind(AssertUnwindSafe(|| self.read(job)));
        let read = read.unwrap_or_else(|_| {
            let what = "reading panicked: see the server's log";
            Err(Refusal::new(Code::Corrupt, what).into())
        });
        let fed = read.unwrap_or_else(|error| Fed::Failed { of, error });
        self.queue.feed(fed);
        true
    }

    /// Sleeps until there is a job; `false` when the end has come.
    pub(super) fn wait(&self) -> bool {
        self.jobs.wait()
    }

    fn read(&self, job: Job) -> Result<Fed, StoreError> {
        Ok(match job {
            Job::Page {
                consumer,
                ticket,
                query,
            } => {
                // What the page does not reach is looked at next time.
                let last = self.reader.last_seq();
                let page = self.reader.read_log(&query)?;
                Fed::Page {
                    consumer,
                    ticket,
                    upto: looked_at(&page, last),
                    entries: page.entries,
                }
            }
            Job::Load {
                consumer,
                ticket,
                wanted,
            } => Fed::Loaded {
                consumer,
                ticket,
                found: self.load(&wanted)?,
            },
            Job::Answer { seq, responders } => Fed::Answer {
                seq,
                answer: find_answer(&self.reader, seq, &responders)?,
            },
        })
    }

    fn load(&self, wanted: &[(Seq, Option<u64>)]) -> Result<Vec<(Seq, Option<Entry>)>, StoreError> {
        let mut found = Vec::with_capacity(wanted.len());
        let mut page: Vec<Entry> = Vec::new();
        for (seq, letter) in wanted {
            let entry = match letter {
                Some(number) => match self.reader.dead_letter(*number)? {
                    Some(letter) => Some(letter.entry()?),
                    None => None,
                },
                None => {
                    if page.binary_search_by_key(seq, Entry::seq).is_err() {
                        // Neighbours are often wanted next and are in the same block.
                        let mut query = LogQuery::from(*seq);
                        query.limit = wanted.len();
                        page = self.reader.read_log(&query)?.entries;
                    }
                    let at = page.binary_search_by_key(seq, Entry::seq);
                    at.ok().map(|at| page[at].clone())
                }
            };
            found.push((*seq, entry));
        }
        Ok(found)
    }
}

/// Up to where a page was looked for, when the log had ended with `last`.
fn looked_at(page: &LogPage, last: Seq) -> Seq {
    match page.next {
        Some(next) => Seq(next.0 - 1),
        None => page
            .entries
            .last()
            .map_or(last, |entry| entry.seq().max(last)),
    }
}

/// How a request ended, as far as the store knows.
pub(super) fn find_answer(
    reader: &StoreReader,
    seq: Seq,
    responders: &[ConsumerName],
) -> Result<Option<Answer>, StoreError> {
    // Looked at before the reply is: one that is stored meanwhile is found then.
    let passed = match reader.get_by_seq(seq)? {
        Some(entry) => responders
            .iter()
            .find(|name| reader.has_passed(name, &entry)),
        None => None,
    };
    if let Some(reply) = reader.reply(seq)? {
        return Ok(Some(Answer::Reply(reply)));
    }
    for responder in responders {
        if let Some(number) = reader.dead_letter_of(responder.as_str(), seq)?
            && let Some(letter) = reader.dead_letter(number)?
        {
            let reason = letter.reason.clone();
            let dead = Answer::DeadLettered { reason };
            return Ok((!letter.is_requeued()).then_some(dead));
        }
    }
    if seq < reader.first_seq() {
        return Ok(Some(Answer::Expired));
    }
    // Nobody will ever run it, so nobody is to wait for it.
    Ok(passed.map(|name| Answer::DeadLettered {
        reason: format!(
            "consumer {name} is past it and gave no reply: its dead letter was removed, or its place was set behind it"
        ),
    }))
}
