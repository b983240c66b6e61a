//! What a server answers to operators.

use bytes::Bytes;

use super::letters::DeadLetterRow;
use crate::consumer::{Answer, ConsumerConfig, Delivery};
use crate::id::{ConsumerName, Seq};

/// An answer; [`super::Admin`] says which belongs to what.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Managed {
    /// It is done, and on disk.
    Done,
    /// Consumers, in order of their names.
    Consumers(Vec<ConsumerInfo>),
    /// Leased messages.
    Deliveries(Vec<Delivery>),
    /// A page of dead letters.
    DeadLetters {
        /// In order of their numbers.
        letters: Vec<DeadLetterRow>,
        /// Number after which to go on; `None` when there are no more.
        next: Option<u64>,
    },
    /// How many there are, or how many it was done to.
    Count(u64),
    /// Connections.
    Clients(Vec<ClientInfo>),
    /// What trimming did.
    Trimmed {
        /// The oldest message that is kept.
        first_seq: Seq,
        /// How many were removed.
        messages: u64,
    },
    /// What became of a request.
    State(RequestState),
    /// Part of a backup.
    Backup(BackupPart),
}

/// Some of the bytes of a backup.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BackupPart {
    /// What to call the backup when the next part is asked for.
    pub id: u64,
    /// How many bytes come before.
    pub offset: u64,
    /// These.
    pub bytes: Bytes,
    /// They are the last ones.
    pub done: bool,
    /// How many bytes the whole will have, about.
    pub estimate_bytes: u64,
}

/// A consumer and how it is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsumerInfo {
    /// Its name.
    pub name: ConsumerName,
    /// How it is set up; `None`: only its offset was set so far.
    pub config: Option<ConsumerConfig>,
    /// How often it was reset, plus one.
    pub epoch: u32,
    /// Everything up to here is done.
    pub offset: Seq,
    /// Messages between the offset and the end of the log, whether they match or not.
    pub lag: u64,
    /// Messages that workers hold.
    pub in_flight: u64,
    /// Messages that wait to be tried again.
    pub retrying: u64,
    /// Messages that may have killed a worker and are tried again one at a time.
    pub suspects: u64,
    /// Workers.
    pub workers: u64,
    /// Its dead letters.
    pub dead_letters: u64,
    /// `active`, `idle` (no worker), `paused`, `tripped` (most of what it was given failed),
    /// `bounded` (too much waits to be tried again) or `dead_letters_full`.
    pub state: String,
    /// Messages done since the server started.
    pub completed: u64,
    /// Attempts that failed since the server started.
    pub failed: u64,
    /// How often retention overtook it.
    pub gaps: u64,
    /// How many messages it was overtaken by.
    pub gap_messages: u64,
    /// The last stretch that it missed: first and last.
    pub last_gap: Option<(Seq, Seq)>,
    /// Since when it has no worker and holds the log: the server's wall clock, unix milliseconds.
    pub held_since_ms: Option<u64>,
}

impl ConsumerInfo {
    /// A consumer of which nothing is known but its name.
    pub fn new(name: ConsumerName) -> Self {
        Self {
            name,
            config: None,
            epoch: 1,
            offset: Seq(0),
            lag: 0,
            in_flight: 0,
            retrying: 0,
            suspects: 0,
            workers: 0,
            dead_letters: 0,
            state: String::new(),
            completed: 0,
            failed: 0,
            gaps: 0,
            gap_messages: 0,
            last_gap: None,
            held_since_ms: None,
        }
    }
}

/// A connection.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClientInfo {
    /// Its number; never used twice by one run of the server.
    pub id: u64,
    /// The name it gave itself.
    pub name: String,
    /// Who it is, as proven to the server; empty for the server's own process, and from a server
    /// that does not tell.
    pub identity: String,
    /// Where it comes from.
    pub address: String,
    /// Since when: the server's wall clock, unix milliseconds.
    pub connected_ms: u64,
    /// Open streams.
    pub streams: u32,
    /// Messages that its workers hold.
    pub in_flight: u64,
    /// Messages that it sent.
    pub sent: u64,
}

/// What became of a request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RequestState {
    /// Its place in the log; `None`: it was never stored.
    pub seq: Option<Seq>,
    /// How it ended; `None`: it has not, or nobody answers it.
    pub answer: Option<Answer>,
}
